//! Whether the runtime heeds CDI ids. containerd before 2.0 has CDI off by default (`enable_cdi`), and then creates a
//! container as if its ids were not there: nothing would hold back one whose devices are missing. There no claim is
//! prepared until somebody has said that CDI is on, or a container has come with what a CDI file of ours adds.

use tokio::sync::watch;

/// Whether CDI is known to work.
#[derive(Debug)]
pub(crate) struct Confirmation(watch::Sender<bool>);

impl Confirmation {
    /// `said` by the operator, or not yet known.
    pub(crate) fn new(said: bool) -> Self {
        Self(watch::Sender::new(said))
    }

    /// A container has come with what our CDI file adds.
    pub(crate) fn seen(&self) {
        self.0
            .send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Why claims cannot be gated on this runtime (`name version`, as it says at Configure); `None` when they can.
    pub(crate) fn missing(&self, runtime: &str) -> Option<String> {
        let missing = !*self.0.borrow() && may_ignore_ids(runtime);
        missing.then(|| {
            format!(
                "{runtime} ignores CDI ids unless enable_cdi is set in its configuration; when it is, tell the driver by gate.cdiConfirmed=true (--cdi-confirmed)"
            )
        })
    }

    /// Tells when it becomes known.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// containerd before 2.0. A version that cannot be read is of a build of one's own, which are newer.
fn may_ignore_ids(runtime: &str) -> bool {
    let version = runtime.strip_prefix("containerd ");
    let major = version.and_then(|version| version.trim_start_matches('v').split('.').next());
    major.is_some_and(|major| matches!(major, "0" | "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_containerd_has_to_be_vouched_for() {
        let unknown = Confirmation::new(false);
        for runtime in ["containerd v1.7.27", "containerd 1.6.0"] {
            let missing = unknown.missing(runtime).unwrap();
            assert!(missing.contains("enable_cdi"), "{missing}");
        }
        for runtime in [
            "containerd v2.4.2",
            "containerd 2.0.0-rc.1",
            "containerd 10.1",
            "cri-o 1.36.1",
            "containerd ",
            "",
        ] {
            assert_eq!(unknown.missing(runtime), None, "{runtime}");
        }
        assert_eq!(Confirmation::new(true).missing("containerd v1.7.27"), None);
        let mut news = unknown.subscribe();
        unknown.seen();
        assert!(news.has_changed().unwrap());
        assert_eq!(unknown.missing("containerd v1.7.27"), None);
        news.mark_unchanged();
        unknown.seen();
        assert!(!news.has_changed().unwrap(), "told once");
    }
}
