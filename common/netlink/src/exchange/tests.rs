//! How answers are read, and what becomes of those that come late.

use std::time::Duration;

use super::*;
use crate::link;
use crate::testing::Namespace;

/// A message without a body but for what is given.
fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// Reads an answer to request 5; how many messages were taken, and how it ended.
fn read(datagrams: &[Vec<Vec<u8>>]) -> (usize, Option<Result<End, RequestError>>) {
    let mut reader = Reader {
        request: "try",
        sequence: 5,
        torn: false,
    };
    let mut taken = Vec::new();
    let mut take = |message: &Message<'_>| {
        taken.push(message.kind);
        Ok(())
    };
    for datagram in datagrams {
        match reader.read(&datagram.concat(), &mut take) {
            Ok(None) => {}
            Ok(Some(end)) => return (taken.len(), Some(end)),
            Err(error) => return (taken.len(), Some(Err(error))),
        }
    }
    (taken.len(), None)
}

#[test]
fn an_answer_ends_with_its_last_message_and_not_with_a_late_one() {
    let part = |sequence| message(16, 0, sequence, &[0; 16]);
    let done = |sequence| message(DONE, 0, sequence, &[0; 4]);
    let (taken, end) = read(&[
        vec![part(4), done(4)],
        vec![part(5), part(5)],
        vec![message(ERROR, 0, 3, &[255; 20])],
        vec![part(5), done(5)],
    ]);
    assert_eq!(taken, 3);
    assert!(matches!(end, Some(Ok(End::Whole))));
    assert!(read(&[vec![part(5)], vec![done(4)]]).1.is_none());
}

#[test]
fn a_table_that_changed_under_the_reading_is_torn() {
    let interrupted = message(16, FLAG_DUMP_INTERRUPTED, 5, &[0; 16]);
    let done = message(DONE, 0, 5, &[0; 4]);
    let at_the_end = message(DONE, FLAG_DUMP_INTERRUPTED, 5, &[0; 4]);
    for datagrams in [vec![vec![interrupted], vec![done]], vec![vec![at_the_end]]] {
        assert!(matches!(read(&datagrams).1, Some(Ok(End::Torn))));
    }
}

#[test]
fn a_refusal_carries_the_errno_also_at_the_end_of_a_dump() {
    let refused = (-95_i32).to_ne_bytes();
    for (kind, body) in [
        (ERROR, [&refused[..], &[0; 16]].concat()),
        (DONE, refused.to_vec()),
    ] {
        let (_, end) = read(&[vec![message(kind, 0, 5, &body)]]);
        let Some(Err(error)) = end else {
            panic!("no error")
        };
        assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
        assert_eq!(error.to_string(), "try");
    }
}

#[test]
fn a_broken_answer_is_an_error() {
    for broken in [vec![1; 20], message(ERROR, 0, 5, &[0; 3])] {
        let (_, end) = read(&[vec![broken]]);
        assert!(matches!(end, Some(Err(RequestError::Malformed { .. }))));
    }
}

#[test]
fn netns_no_request_is_sent_after_the_deadline() {
    let namespace = Namespace::new().unwrap();
    let mut socket = namespace.socket().unwrap();
    socket.set_deadline(Some(Instant::now()));
    let error = socket.links().unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
    socket.set_deadline(Instant::now().checked_add(Duration::from_mins(1)));
    assert_eq!(socket.links().unwrap().len(), 1);
    socket.set_deadline(None);
    assert_eq!(socket.links().unwrap().len(), 1);
}

#[test]
fn netns_an_answer_that_never_comes_is_given_up_at_the_deadline() {
    let namespace = Namespace::new().unwrap();
    let mut socket = namespace.socket().unwrap();
    let ends = Instant::now()
        .checked_add(Duration::from_millis(20))
        .unwrap();
    socket.set_deadline(Some(ends));
    let mut silent = Request::silent().unwrap();
    let error = socket
        .exchange()
        .answer(&mut silent, &mut |_| Ok(()))
        .err()
        .unwrap();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
    assert!(Instant::now() >= ends);
}

#[test]
fn netns_late_answers_are_not_taken_for_the_next_ones() {
    let namespace = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    for number in 0..100 {
        let (here, there) = (format!("nic{number}"), format!("far{number}"));
        namespace.veth(&here, &far, &there).unwrap();
    }
    let mut socket = namespace.socket().unwrap();
    let refuse = |_: &Message<'_>| Err(Malformed("tried"));
    let mut request = link::request::dump().unwrap();
    let given_up = socket.exchange().answer(&mut request, &mut { refuse });
    assert!(given_up.is_err() && socket.exchange().stale);
    // A dump is still under way, which would make another one EBUSY.
    assert_eq!(socket.links().unwrap().len(), 101);
    assert!(!socket.exchange().stale);

    let unread = link::request::by_index(1).unwrap().numbered(4711).to_vec();
    socket.exchange().transport.send(&unread).unwrap();
    assert_eq!(socket.links().unwrap().len(), 101);
}

#[test]
fn netns_a_part_longer_than_the_buffer_is_read_again_with_a_longer_one() {
    let namespace = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    for number in 0..20 {
        let (here, there) = (format!("nic{number}"), format!("far{number}"));
        namespace.veth(&here, &far, &there).unwrap();
    }
    let mut socket = namespace.socket().unwrap();
    socket.exchange().buffer = vec![0; 1024];
    assert_eq!(socket.links().unwrap().len(), 21);
    assert!(socket.exchange().buffer.len() > 1024);
    assert_eq!(socket.links().unwrap().len(), 21);
}
