//! Fuzz target: what the OCI runtime gives to the start hook. See `network-driver-fuzzing`.

use network_driver_fuzzing::Target;

use super::{Refusal, Wanted, netns_of};

/// The argument, a NUL, the state. Whoever names a device must not pass where there is no link.
#[test]
fn start_hook() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "start_hook").run(|bytes| {
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let argument = parts.next().unwrap_or_default();
        let state = parts.next().unwrap_or_default();
        if let Ok(path) = netns_of(state) {
            let path = path.to_str().unwrap();
            let pid = path.strip_prefix("/proc/").unwrap();
            let pid = pid.strip_suffix("/ns/net").unwrap();
            assert!(pid.bytes().all(|byte| byte.is_ascii_digit()));
        }
        let Ok(wanted) = serde_json::from_slice::<Wanted>(argument) else {
            return;
        };
        let again: Wanted = serde_json::from_str(&wanted.to_argument()).unwrap();
        assert_eq!(again, wanted);
        match wanted.all_among(&[]) {
            Ok(()) => assert!(wanted.devices.is_empty()),
            Err(refusal) => assert!(matches!(
                refusal,
                Refusal::Missing { .. } | Refusal::Field { .. }
            )),
        }
    });
}
