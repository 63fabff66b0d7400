use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::fixture::record;
use crate::store::memory::Memory;
use network_driver_common::bus::Component;

fn start(contents: Contents) -> (Book, Memory) {
    let mut registry = network_driver_common::metrics::registry(Component::DraPlugin);
    let store = Memory::default();
    let metrics = Metrics::new(&mut registry);
    let book = Book::start(Box::new(store.clone()), contents, metrics).unwrap();
    (book, store)
}

fn uid(text: &str) -> ClaimUid {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_record_is_seen_once_it_is_stored_and_gone_once_it_is_removed() {
    let (book, _store) = start(Contents::default());
    let mut changes = book.changes();
    book.put(record("c-1", &["eth1"])).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(book.record(&uid("c-1")).unwrap().attachments.len(), 1);
    let holder = book.holder(&"eth1".parse().unwrap()).unwrap();
    assert_eq!(holder.to_string(), "default/c-1");
    book.remove(&uid("c-1"), bent("eth1")).await.unwrap();
    assert!(book.records().is_empty() && book.holder(&"eth1".parse().unwrap()).is_none());
    assert_eq!(book.quarantined().len(), 1);
}

#[tokio::test]
async fn a_device_is_in_one_record_only() {
    let (book, store) = start(Contents {
        records: vec![record("c-1", &["eth1"])],
        ..Contents::default()
    });
    let (second, third) = tokio::join!(
        book.put(record("c-2", &["eth2", "eth1"])),
        book.put(record("c-3", &["eth3"])),
    );
    let error = second.unwrap_err().to_string();
    assert_eq!(error, "device eth1 is in use by claim default/c-1");
    third.unwrap();
    assert!(book.holder(&"eth2".parse().unwrap()).is_none());
    // The same claim may be put again.
    book.put(record("c-1", &["eth1"])).await.unwrap();
    assert!(!store.commits.lock().unwrap().is_empty());
}

fn bent(device: &str) -> Devices {
    vec![Unwell {
        device: device.parse().unwrap(),
        reason: format!("{device} is bent"),
        lost: false,
    }]
}

#[tokio::test]
async fn a_quarantine_outlives_its_claim_and_knows_the_link() {
    let (book, store) = start(Contents::default());
    let eth1 = "eth1".parse().unwrap();
    book.put(record("c-1", &["eth1"])).await.unwrap();
    book.quarantine(&uid("c-1"), bent("eth1")).await.unwrap();
    let first = book.quarantine_of(&eth1).unwrap();
    assert_eq!(first.reason, "eth1 is bent");
    assert_eq!(first.claim.as_ref().unwrap().uid, uid("c-1"));
    assert!(first.identity.is_some() && first.since.is_some());
    // What is said again is not written again, and neither a change of the record nor its end lifts it.
    let commits = store.commits.lock().unwrap().len();
    book.quarantine(&uid("c-1"), bent("eth1")).await.unwrap();
    assert_eq!(store.commits.lock().unwrap().len(), commits);
    let sandbox = "s1".parse().unwrap();
    let claim = uid("c-1");
    let attached = book.update(&claim, |record| record.sandbox = Some(sandbox));
    attached.await.unwrap();
    book.remove(&uid("c-1"), Vec::new()).await.unwrap();
    assert_eq!(book.quarantine_of(&eth1), Some(first));
}

#[tokio::test]
async fn a_device_in_quarantine_gets_into_no_new_record() {
    let (book, _store) = start(Contents::default());
    book.put(record("c-1", &["eth1"])).await.unwrap();
    book.remove(&uid("c-1"), bent("eth1")).await.unwrap();
    let error = book
        .put(record("c-2", &["eth2", "eth1"]))
        .await
        .unwrap_err();
    let want = "device eth1 is in quarantine: eth1 is bent";
    assert_eq!(error.to_string(), want);
    assert!(book.records().is_empty());
    book.readmit(&"eth1".parse().unwrap()).await.unwrap();
    book.put(record("c-2", &["eth2", "eth1"])).await.unwrap();
}

#[tokio::test]
async fn a_lost_record_is_put_back_though_its_device_is_in_quarantine() {
    let (book, _store) = start(Contents::default());
    book.put(record("c-1", &["eth1"])).await.unwrap();
    book.remove(&uid("c-1"), bent("eth1")).await.unwrap();
    book.put_back(record("c-1", &["eth1"])).await.unwrap();
    assert_eq!(book.records().len(), 1);
    assert_eq!(book.quarantined().len(), 1);
}

#[tokio::test]
async fn only_a_device_in_quarantine_that_no_record_holds_is_released() {
    let (book, _store) = start(Contents::default());
    let eth1 = "eth1".parse().unwrap();
    book.put(record("c-1", &["eth1"])).await.unwrap();
    let not_there = book.readmit(&eth1).await.unwrap_err().to_string();
    assert_eq!(not_there, "device eth1 is not in quarantine");
    book.quarantine(&uid("c-1"), bent("eth1")).await.unwrap();
    let held = book.readmit(&eth1).await.unwrap_err().to_string();
    let want = "device eth1 is held by claim default/c-1: end the pods that use the claim first";
    assert_eq!(held, want);
    assert!(book.quarantine_of(&eth1).is_some());
    book.remove(&uid("c-1"), Vec::new()).await.unwrap();
    book.readmit(&eth1).await.unwrap();
    assert!(book.quarantined().is_empty());
}

#[tokio::test]
async fn what_the_store_refuses_is_not_seen() {
    let (book, store) = start(Contents::default());
    book.put(record("c-1", &["eth1"])).await.unwrap();
    store.refuse.store(true, Ordering::SeqCst);
    assert!(book.put(record("c-2", &["eth2"])).await.is_err());
    assert!(book.remove(&uid("c-1"), Vec::new()).await.is_err());
    let sandbox = "s1".parse().unwrap();
    let c1 = uid("c-1");
    let update = book.update(&c1, |record| record.sandbox = Some(sandbox));
    assert!(update.await.is_err());
    assert_eq!(book.records().len(), 1);
    assert_eq!(book.record(&uid("c-1")).unwrap().sandbox, None);
    store.refuse.store(false, Ordering::SeqCst);
    book.put(record("c-2", &["eth2"])).await.unwrap();
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let (book, store) = start(Contents::default());
    book.put(record("c-1", &["eth1"])).await.unwrap();
    let same = book.update(&uid("c-1"), |_| {}).await.unwrap();
    assert!(same.is_some());
    assert_eq!(store.commits.lock().unwrap().len(), 1);
    assert!(book.update(&uid("c-2"), |_| {}).await.unwrap().is_none());
}

#[tokio::test]
async fn changes_that_wait_share_a_flush() {
    let (book, store) = start(Contents::default());
    let puts = (0..200).map(|n| {
        let book = book.clone();
        async move { book.put(record(&format!("c-{n}"), &[])).await }
    });
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    assert_eq!(book.records().len(), 200);
    let commits = store.commits.lock().unwrap().len();
    assert!(commits < 100, "{commits} flushes for 200 changes");
}

#[tokio::test]
async fn a_change_stands_though_its_caller_went_away() {
    use futures::FutureExt;
    let (book, _store) = start(Contents::default());
    // Handed over by the first poll; only a quick writer has answered by then.
    drop(book.put(record("c-1", &["eth1"])).now_or_never());
    let settled = book.settled(&uid("c-1")).await.unwrap();
    assert!(settled.is_some());
}

/// A store that makes a change and says that it could not.
#[derive(Default)]
struct Torn {
    state: Arc<Mutex<State>>,
    says_no: Arc<AtomicBool>,
    has_lost: bool,
}

impl Store for Torn {
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let mut state = self.state.lock().unwrap();
        for change in changes {
            state.apply(change);
        }
        if self.says_no.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Sync(std::io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<Option<Contents>, CommitError> {
        let records = self.state.lock().unwrap().records.clone();
        Ok(Some(Contents {
            records: records.into_values().map(|r| Record::clone(&r)).collect(),
            incomplete: self.has_lost,
            ..Contents::default()
        }))
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

fn start_torn(store: Torn) -> Book {
    let mut registry = network_driver_common::metrics::registry(Component::DraPlugin);
    let metrics = Metrics::new(&mut registry);
    Book::start(Box::new(store), Contents::default(), metrics).unwrap()
}

#[tokio::test]
async fn a_write_that_failed_and_was_made_all_the_same_is_not_forgotten() {
    let store = Torn::default();
    let (state, says_no) = (Arc::clone(&store.state), Arc::clone(&store.says_no));
    let book = start_torn(store);
    says_no.store(true, Ordering::SeqCst);
    book.put(record("c-1", &["eth1"])).await.unwrap_err();
    assert!(book.settled(&uid("c-1")).await.unwrap().is_some());
    let other = book.put(record("c-2", &["eth1"])).await.unwrap_err();
    assert_eq!(
        other.to_string(),
        "device eth1 is in use by claim default/c-1"
    );
    book.remove(&uid("c-1"), Vec::new()).await.unwrap();
    assert!(state.lock().unwrap().records.is_empty());
    book.put(record("c-2", &["eth1"])).await.unwrap();
}

#[tokio::test]
async fn when_records_are_lost_with_a_write_the_daemon_begins_anew() {
    let store = Torn {
        has_lost: true,
        ..Torn::default()
    };
    store.says_no.store(true, Ordering::SeqCst);
    let book = start_torn(store);
    book.put(record("c-1", &["eth1"])).await.unwrap_err();
    book.closed().await;
}
