//! Names that come with every device and every link: kept once, however many have them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Most names that are kept for good; a node has some three hundred. Those beyond are right, but not shared.
const MOST: usize = 4096;

static KNOWN: Mutex<BTreeSet<Arc<str>>> = Mutex::new(BTreeSet::new());

/// The name as the one that all others of this process have.
pub(super) fn shared(name: &str) -> Arc<str> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.get(name) {
        return Arc::clone(name);
    }
    let name: Arc<str> = name.into();
    if known.len() < MOST {
        known.insert(Arc::clone(&name));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let (one, other) = (shared("shared/one"), shared("shared/one"));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(&*shared("shared/two"), "shared/two");
    }
}
