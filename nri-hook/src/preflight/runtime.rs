//! Whether the container runtime has NRI on, and which one it is.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Finding, SELINUX, Verdict};
use crate::nri::{Identity, RuntimeInfo, SessionError, ask};

const CHECK: &str = "runtime";

/// Time for a runtime that is just starting to make its socket.
const STARTING: Duration = Duration::from_secs(5);

/// Time for a runtime to answer: it takes plugins one after another, and none while it stops a container.
const ANSWERING: Duration = Duration::from_secs(10);

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What the runtime waits for an event's answer when it does not say (`plugin_request_timeout`).
const USUAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Below this there is not enough time for a pod with several devices while others start, too.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

/// How NRI is turned on.
const NRI_ON: &str = "turn NRI on in the runtime's configuration and restart it: containerd from 2.0 has it on, \
    1.7 needs [plugins.\"io.containerd.nri.v1.nri\"] disable = false; CRI-O needs [crio.nri] enable_nri = true; \
    if it is on, set nri.socketPath to its socket";

/// How CDI is turned on where it is off by default.
const CDI_ON: &str = "CDI is off by default before 2.0, and without it no container can get a device: set enable_cdi = \
    true in [plugins.\"io.containerd.grpc.v1.cri\"], restart it, and tell the driver by gate.cdiConfirmed=true";

/// Asks the runtime, more than once if it has just been started; `cdi_confirmed` is what the operator says of it.
pub(super) async fn check(socket: &Path, identity: &Identity, cdi_confirmed: bool) -> Finding {
    let began = Instant::now();
    loop {
        let answer = tokio::time::timeout(ANSWERING, ask(socket, identity)).await;
        let error = match answer {
            Ok(Ok(runtime)) => return judge(&runtime, socket, cdi_confirmed),
            Ok(Err(error)) => error,
            Err(_) => {
                let text = format!(
                    "it has taken the connection at {} but not answered for {ANSWERING:?}: busy, or not NRI's socket (nri.socketPath)",
                    socket.display()
                );
                return Finding::new(Verdict::Warn, CHECK, text);
            }
        };
        if began.elapsed() >= STARTING {
            return Finding::new(Verdict::Fail, CHECK, explain(&error, socket));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn explain(error: &SessionError, socket: &Path) -> String {
    let shown = socket.display();
    match error {
        SessionError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => format!("no NRI socket at {shown}; {NRI_ON}"),
            io::ErrorKind::ConnectionRefused => {
                format!("nobody listens at the NRI socket {shown}; {NRI_ON}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("the NRI socket {shown} may not be used: {source}; {SELINUX}")
            }
            _ => format!("the NRI socket {shown} cannot be used: {source}; {NRI_ON}"),
        },
        other => format!(
            "what listens at {shown} does not take an NRI plugin: {}; is nri.socketPath the runtime's NRI socket?",
            crate::chain(other)
        ),
    }
}

fn judge(runtime: &RuntimeInfo, socket: &Path, cdi_confirmed: bool) -> Finding {
    let RuntimeInfo {
        name,
        version,
        request_timeout,
    } = runtime;
    let timeout = request_timeout.unwrap_or(USUAL_TIMEOUT);
    let text = format!(
        "{name} {version} speaks NRI at {} and waits {timeout:?} for an answer",
        socket.display()
    );
    let is_old = name == "containerd" && major(version).is_some_and(|major| major < 2);
    let complaint = if is_old && !cdi_confirmed {
        CDI_ON.to_owned()
    } else if timeout < SHORT_TIMEOUT {
        format!("too short for several devices: set plugin_request_timeout to {USUAL_TIMEOUT:?}")
    } else {
        return Finding::new(Verdict::Ok, CHECK, text);
    };
    Finding::new(Verdict::Warn, CHECK, format!("{text}; {complaint}"))
}

/// The first number of `v2.4.2` or `1.7.27`.
fn major(version: &str) -> Option<u32> {
    let number = version.trim_start_matches('v').split('.').next()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use network_driver_proto::nri;
    use tokio::net::UnixListener;

    use super::*;
    use crate::nri::testing::FakeRuntime;

    fn identity() -> Identity {
        Identity::new("network-driver-preflight", "10").unwrap()
    }

    #[tokio::test]
    async fn a_runtime_is_named_with_the_time_it_gives() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("nri.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let runtime = async {
            let runtime = FakeRuntime::new(listener.accept().await.unwrap().0);
            runtime.accept(None).await;
            let configure = nri::ConfigureRequest {
                runtime_name: "cri-o".into(),
                runtime_version: "1.36.1".into(),
                request_timeout: 2000,
                ..nri::ConfigureRequest::default()
            };
            assert!(runtime.call("Configure", &configure).await.is_some());
        };
        let identity = identity();
        let (finding, ()) = tokio::join!(check(&socket, &identity, false), runtime);
        assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
        assert!(finding.text.starts_with("cri-o 1.36.1 speaks NRI"));
        assert!(finding.text.ends_with("waits 2s for an answer"));
    }

    #[tokio::test]
    async fn a_runtime_that_is_just_starting_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("nri.sock");
        let runtime = async {
            tokio::time::sleep(PAUSE / 2).await;
            let listener = UnixListener::bind(&socket).unwrap();
            let runtime = FakeRuntime::new(listener.accept().await.unwrap().0);
            runtime.accept(None).await;
            let configure = nri::ConfigureRequest::default();
            assert!(runtime.call("Configure", &configure).await.is_some());
        };
        let identity = identity();
        let (finding, ()) = tokio::join!(check(&socket, &identity, false), runtime);
        assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
    }

    #[test]
    fn each_way_to_be_away_has_its_cure() {
        let connect = |kind: io::ErrorKind| SessionError::Connect {
            path: "/n.sock".into(),
            source: kind.into(),
        };
        for (error, says) in [
            (
                connect(io::ErrorKind::NotFound),
                "no NRI socket at /n.sock; turn NRI on",
            ),
            (connect(io::ErrorKind::ConnectionRefused), "nobody listens"),
            (connect(io::ErrorKind::PermissionDenied), "spc_t"),
            (
                SessionError::Closed,
                "is nri.socketPath the runtime's NRI socket?",
            ),
        ] {
            let text = explain(&error, Path::new("/n.sock"));
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn what_is_off_or_short_by_default_is_a_warning() {
        let judged = |name: &str, version: &str, millis: Option<u64>, confirmed: bool| {
            let runtime = RuntimeInfo {
                name: name.into(),
                version: version.into(),
                request_timeout: millis.map(Duration::from_millis),
            };
            judge(&runtime, Path::new("/n.sock"), confirmed)
        };
        for (name, version, millis, verdict, says) in [
            ("containerd", "v2.4.2", Some(2000), Verdict::Ok, "2s"),
            ("containerd", "v2.0.0", None, Verdict::Ok, "2s"),
            ("containerd", "1.7.27", None, Verdict::Warn, "enable_cdi"),
            ("containerd", "devel", None, Verdict::Ok, "devel"),
            ("cri-o", "1.36.1", Some(2000), Verdict::Ok, "cri-o 1.36.1"),
            ("cri-o", "1.36.1", Some(500), Verdict::Warn, "too short"),
        ] {
            let finding = judged(name, version, millis, false);
            assert_eq!(finding.verdict, verdict, "{finding}");
            assert!(finding.text.contains(says), "{finding}");
        }
        let confirmed = judged("containerd", "1.7.27", Some(2000), true);
        assert_eq!(confirmed.verdict, Verdict::Ok, "{confirmed}");
    }
}
