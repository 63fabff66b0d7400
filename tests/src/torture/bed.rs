//! What a torture happens on: a cluster with a few cards, and a bystander pod that holds one of them all the time and
//! must notice nothing.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;
use network_driver_common::model::IfName;
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{Link, LinkChange};
use tokio::sync::Mutex;

use super::cards::{Card, Cards};
use super::life::{End, Life, Plan};
use crate::cluster::{Cluster, PATIENCE, PodHandle, Setup};
use crate::wait::{until, until_true};

/// Cards that lives may use; of real ones a whole card and a function.
pub(super) const CARDS: [Card; 2] = [Card(1), Card(2)];
/// The bystander's card.
const BYSTANDER: Card = Card(3);

/// The bed.
#[derive(Debug)]
pub(super) struct Bed {
    /// The cluster.
    pub(super) cluster: Cluster,
    /// Its cards.
    pub(super) cards: Cards,
    /// Namespaces of sandboxes that have ended, which only the hook may hold; none of real cards. Locked while one ends, so that no hook is
    /// started in between, and while a daemon is started.
    ended: Mutex<Vec<Namespace>>,
}

impl Bed {
    /// Makes one with so many cards, the daemons ready.
    pub(super) async fn new(setup: Setup, cards: u8) -> anyhow::Result<Self> {
        let cards = Cards::Cables(cards);
        Self::with(setup.nics(&cards.devices()), cards).await
    }

    /// The same on the emulated machine, with three of its cards.
    pub(super) async fn on_this_machine(setup: Setup) -> anyhow::Result<Self> {
        Self::with(setup.on_this_machine(), Cards::real().await?).await
    }

    async fn with(setup: Setup, cards: Cards) -> anyhow::Result<Self> {
        let cluster = Cluster::start(setup).await?;
        let devices = cards.devices();
        let published = || {
            let published = cluster.api.devices();
            devices.iter().all(|device| published.contains_key(device))
        };
        until_true("the cards to be published", PATIENCE, published).await?;
        Ok(Self {
            cluster,
            cards,
            ended: Mutex::default(),
        })
    }

    /// Starts the bystander.
    pub(super) async fn bystander(&self) -> anyhow::Result<Life<'_>> {
        let plan = Plan {
            cards: vec![BYSTANDER],
            claim_each: false,
            end: End::InOrder,
        };
        let life = Life::new(self, "bystander", plan);
        life.start().await?;
        Ok(life)
    }

    /// Does a step with which a pod's namespace may end.
    pub(super) async fn ending(
        &self,
        pod: &PodHandle<'_>,
        step: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        if matches!(self.cards, Cards::Real(_)) {
            // Whoever held the namespace would keep the cards in it from falling.
            return step.await;
        }
        let mut ended = self.ended.lock().await;
        let namespace = pod.namespace().ok();
        step.await?;
        ended.extend(namespace);
        self.let_fall(&mut ended)
    }

    /// Starts a daemon.
    pub(super) async fn start(&self, component: Component, switches: &str) -> anyhow::Result<()> {
        let mut ended = self.ended.lock().await;
        if component == Component::NriHook {
            self.let_fall(&mut ended)?;
        }
        self.cluster.start_armed(component, switches)
    }

    /// What nobody holds any more falls home as real cards do. What the hook holds, it brings home.
    fn let_fall(&self, ended: &mut Vec<Namespace>) -> anyhow::Result<()> {
        let (held, over): (Vec<_>, Vec<_>) = ended
            .drain(..)
            .partition(|namespace| self.hook_holds(namespace));
        *ended = held;
        over.iter()
            .try_for_each(|namespace| self.fall_home(namespace))
    }

    /// Whether the hook has the namespace open. It cannot open it any more once its path is gone.
    fn hook_holds(&self, namespace: &Namespace) -> bool {
        let Ok(pid) = self.cluster.pid(Component::NriHook) else {
            return false;
        };
        let wanted = namespace.netns().id();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        let mut held = files.flatten().flatten().filter_map(|file| {
            let file = std::fs::metadata(file.path()).ok()?;
            Some((file.dev(), file.ino()))
        });
        held.any(|(device, inode)| (device, inode) == (wanted.device, wanted.inode))
    }

    /// Moves the cards that are in a namespace home as the kernel does with hardware when the namespace ends: down,
    /// without addresses, under the name that it had there or `dev<index>` (`default_device_exit_net`).
    fn fall_home(&self, namespace: &Namespace) -> anyhow::Result<()> {
        let home = self.cluster.node.home();
        let mut socket = namespace.socket()?;
        for card in cards_in(namespace)? {
            let down = LinkChange {
                up: Some(false),
                ..LinkChange::default()
            };
            socket.change_link(card.index, &down)?;
            let taken = home.link_names()?.contains(&card.name);
            let name = if taken {
                format!("dev{}", card.index).parse()?
            } else {
                card.name.clone()
            };
            let moved = socket.move_link(card.index, home.netns(), &name);
            moved.with_context(|| format!("let {} fall home", card.name))?;
        }
        Ok(())
    }

    /// Kills a daemon and starts it with fail points switched on. Returns once it is ready, or has died of one.
    pub(super) async fn arm(&self, component: Component, switches: &str) -> anyhow::Result<()> {
        let registrations = self.cluster.runtime.registrations();
        self.cluster.kill_daemon(component)?;
        self.start(component, switches).await?;
        let died = async || self.cluster.has_ended(component).then_some(());
        tokio::select! {
            ready = self.all_ready(component, registrations) => {
                if !self.cluster.has_ended(component) {
                    ready?;
                }
            }
            died = until("its death", PATIENCE, died) => died?,
        }
        Ok(())
    }

    /// Waits until a daemon that was just started is ready and the others are again.
    pub(super) async fn all_ready(
        &self,
        started: Component,
        registrations: usize,
    ) -> anyhow::Result<()> {
        if started == Component::NriHook {
            let next = registrations.saturating_add(1);
            self.cluster.runtime.synchronised(next, PATIENCE).await?;
        }
        self.cluster.ready().await
    }

    /// Starts a daemon again that has died by SIGKILL, after a while.
    pub(super) async fn revive(&self, component: Component, after: Duration) -> anyhow::Result<()> {
        let status = until("the death at the fail point", PATIENCE, async || {
            self.cluster.reap(component)
        });
        let status = status.await?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        ensure!(
            signal == Some(9),
            "{} ended with {status} instead of being killed:\n{}",
            component.as_str(),
            self.cluster.tail(component)
        );
        tokio::time::sleep(after).await;
        self.start(component, "").await
    }
}

/// The links of a pod that are neither the loopback nor what CNI made.
fn cards_in(namespace: &Namespace) -> anyhow::Result<Vec<Link>> {
    let cni: IfName = "eth0".parse()?;
    let mut links = namespace.socket()?.links()?;
    links.retain(|link| !link.flags.loopback() && link.name != cni);
    Ok(links)
}
