//! Values that come with every device and every link: kept once, however many have them.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Values that are kept for good, up to a number. Those beyond are right, but not shared.
pub(super) struct Pool<T: ?Sized> {
    known: Mutex<BTreeSet<Arc<T>>>,
    most: usize,
}

impl<T: ?Sized + Ord> Pool<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            known: Mutex::new(BTreeSet::new()),
            most,
        }
    }

    /// The value as the one that all others of this process have.
    pub(super) fn share<V: Borrow<T> + Into<Arc<T>>>(&self, value: V) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(value.borrow()) {
            return Arc::clone(known);
        }
        let value: Arc<T> = value.into();
        if known.len() < self.most {
            known.insert(Arc::clone(&value));
        }
        value
    }
}

/// Names of attributes and offload features; a node has some three hundred.
static NAMES: Pool<str> = Pool::new(4096);

/// The name as the one that all others of this process have.
pub(super) fn shared(name: &str) -> Arc<str> {
    NAMES.share(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_once_and_beyond_the_most_none_is() {
        let pool: Pool<str> = Pool::new(1);
        assert!(Arc::ptr_eq(&pool.share("one"), &pool.share("one")));
        assert_eq!(&*pool.share("two"), "two");
        assert!(!Arc::ptr_eq(&pool.share("two"), &pool.share("two")));
    }
}
