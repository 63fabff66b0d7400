//! Others on the node who move links without pause, as when many pods start at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use network_driver_common::model::IfName;
use network_driver_netlink::Netns;
use network_driver_netlink::testing::Namespace;

use super::raw::Raw;

/// Name of a mover's link.
const LINK: &str = "mover";

/// Threads that each move a link of their own to and fro between two namespaces. They rest until told to go, and end
/// when dropped.
#[derive(Debug)]
pub(super) struct Movers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    going: AtomicBool,
    ending: AtomicBool,
    moves: AtomicU64,
}

impl Movers {
    /// So many, at rest.
    pub(super) fn new(count: usize) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..count).map(|_| {
            let (mut mover, shared) = (Mover::new()?, Arc::clone(&shared));
            Ok(std::thread::spawn(move || mover.run(&shared)))
        });
        Ok(Self {
            threads: threads.collect::<anyhow::Result<_>>()?,
            shared,
        })
    }

    /// Lets them move, and waits until they do.
    pub(super) async fn go(&self) {
        let before = self.moves();
        self.shared.going.store(true, Ordering::Relaxed);
        while self.moves() == before && !self.threads.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets them rest; moves that are under way end by themselves.
    pub(super) fn rest(&self) {
        self.shared.going.store(false, Ordering::Relaxed);
    }

    /// Moves so far.
    fn moves(&self) -> u64 {
        self.shared.moves.load(Ordering::Relaxed)
    }
}

impl Drop for Movers {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has ended.
            drop(thread.join());
        }
    }
}

/// One of them.
struct Mover {
    sides: [(Raw, Netns); 2],
    index: u32,
    name: IfName,
    _far: Namespace,
}

impl Mover {
    fn new() -> anyhow::Result<Self> {
        let (here, there, far) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        here.veth(LINK, &far, "far")?;
        let index = here.link(LINK)?.index;
        Ok(Self {
            sides: [
                (Raw::open(here.netns())?, there.netns().clone()),
                (Raw::open(there.netns())?, here.netns().clone()),
            ],
            // Both namespaces are empty but for it, so a move keeps its index.
            index,
            name: LINK.parse()?,
            _far: far,
        })
    }

    fn run(&mut self, shared: &Shared) {
        loop {
            for (from, to) in &mut self.sides {
                while !shared.going.load(Ordering::Relaxed) {
                    if shared.ending.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                if shared.ending.load(Ordering::Relaxed)
                    || from.move_up(self.index, to, &self.name).is_err()
                {
                    return;
                }
                shared.moves.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
