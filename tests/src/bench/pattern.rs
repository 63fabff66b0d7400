//! The way of drivers that ask as they go: seven requests a card, nearly each over a socket of its own.
//!
//! The comparison under load: with others moving links each request may wait anew, so what tells drivers apart is how
//! often they ask.

use anyhow::Context as _;
use network_driver_common::model::{RouteOptions, SnapshotRoute};
use network_driver_netlink::testing::permanent_address;
use network_driver_netlink::{LinkChange, Socket};

use super::floor::Floor;
use super::raw::Raw;

impl Floor {
    /// Attaches the first so many cards, one after another: look up, down, move; in the pod look up, address, up, route.
    pub(super) fn attach_step_by_step(&self, cards: usize) -> anyhow::Result<()> {
        for (number, card) in self.cards.iter().take(cards).enumerate() {
            let link = Socket::open_in(&self.home)?.link_by_name(&card.home_name)?;
            let index = link.context("the card is away")?.index;
            Raw::open(&self.home)?.set_down(index)?;
            Socket::open_in(&self.home)?.move_link(index, &self.pod, &card.pod_name)?;
            let mut pod = Socket::open_in(&self.pod)?;
            let link = pod.link_by_name(&card.pod_name)?;
            let index = link.context("the card has not arrived")?.index;
            let address = permanent_address(format!("10.77.{number}.2/24").parse()?);
            pod.add_address(index, &address)?;
            let up = LinkChange {
                up: Some(true),
                ..LinkChange::default()
            };
            Socket::open_in(&self.pod)?.change_link(index, &up)?;
            Socket::open_in(&self.pod)?.add_route(index, &route(number)?)?;
        }
        Ok(())
    }
}

/// A static route through a neighbour of the card.
fn route(number: usize) -> anyhow::Result<SnapshotRoute> {
    Ok(SnapshotRoute {
        destination: format!("10.88.{number}.0/24").parse()?,
        gateway: Some(format!("10.77.{number}.1").parse()?),
        preferred_source: None,
        table: 254,
        protocol: 4,
        scope: 0,
        kind: 1,
        metric: 0,
        onlink: false,
        options: RouteOptions::default(),
    })
}
