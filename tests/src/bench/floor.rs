//! A second node that no daemon looks at, with cards like those of the first: where the floors work.

use std::sync::Arc;

use anyhow::Context as _;
use network_driver_common::model::IfName;
use network_driver_netlink::Netns;

use super::raw::Raw;
use crate::node::{Node, PodNetns};

/// The node, its pod, and a raw socket in either.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) cards: Vec<Card>,
    pub(super) home: Netns,
    pub(super) pod: Netns,
    from_home: Raw,
    from_pod: Raw,
    /// Held while the sockets are used: the links die with their namespaces.
    _node: Node,
    _pod: Arc<PodNetns>,
    _dir: tempfile::TempDir,
}

/// A card that is moved to and fro.
#[derive(Debug, Clone)]
pub(super) struct Card {
    /// It keeps it when it is moved: the pod's own are lower.
    pub(super) index: u32,
    pub(super) home_name: IfName,
    pub(super) pod_name: IfName,
}

impl Floor {
    /// With so many cards.
    pub(super) fn new(cards: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("nd").tempdir()?;
        let mut node = Node::new()?;
        for number in 0..cards {
            node.add_nic(card_name(number)?)?;
        }
        let pod = Arc::new(node.add_pod(dir.path().join("pod"))?);
        let pod_netns = pod.netns().context("the pod's namespace")?;
        let home = node.home().netns().clone();
        let cards = (0..cards).map(|number| {
            let home_name = card_name(number)?;
            let link = node.home().socket()?.link_by_name(&home_name)?;
            Ok(Card {
                index: link.context("the card just made")?.index,
                home_name,
                pod_name: format!("net{number}").parse()?,
            })
        });
        Ok(Self {
            cards: cards.collect::<anyhow::Result<_>>()?,
            from_home: Raw::open(&home)?,
            from_pod: Raw::open(&pod_netns)?,
            home,
            pod: pod_netns,
            _node: node,
            _pod: pod,
            _dir: dir,
        })
    }

    /// Moves the first so many cards into the pod: one message each.
    pub(super) fn attach(&mut self, cards: usize) -> anyhow::Result<()> {
        for card in self.cards.iter().take(cards) {
            self.from_home
                .move_up(card.index, &self.pod, &card.pod_name)?;
        }
        Ok(())
    }

    /// Moves them home again, likewise.
    pub(super) fn detach(&mut self, cards: usize) -> anyhow::Result<()> {
        for card in self.cards.iter().take(cards) {
            self.from_pod
                .move_up(card.index, &self.home, &card.home_name)?;
        }
        Ok(())
    }
}

/// Name of a card at home.
pub(super) fn card_name(number: usize) -> anyhow::Result<IfName> {
    Ok(format!("card{number}").parse()?)
}
