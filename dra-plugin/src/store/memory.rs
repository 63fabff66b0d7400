//! A store in memory, for tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Change, CommitError, Contents, Store};

/// Keeps what it is given, or refuses when told to. Clones share their content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) commits: Arc<Mutex<Vec<Vec<Change>>>>,
    pub(crate) refuse: Arc<AtomicBool>,
    /// Writes take as long as this is so.
    pub(crate) slow: Arc<AtomicBool>,
}

impl Store for Memory {
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        while self.slow.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if self.refuse.load(Ordering::SeqCst) {
            return Err(CommitError::Sync(std::io::ErrorKind::StorageFull.into()));
        }
        self.commits.lock().unwrap().push(changes.to_vec());
        Ok(())
    }

    fn reload(&mut self) -> Result<Option<Contents>, CommitError> {
        Ok(None)
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
