//! The stories: one list, in the order in which they run.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::case::Case;

mod basic;

/// One story.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) tell: fn(&Case) -> LocalBoxFuture<'_, Result<()>>,
}

macro_rules! stories {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(Story { name: stringify!($name), tell: |case| Box::pin($module::$name(case)) }),*]
    };
}

/// All stories.
pub(crate) const STORIES: &[Story] = stories![basic::a_pod_gets_a_nic_and_gives_it_back,];
