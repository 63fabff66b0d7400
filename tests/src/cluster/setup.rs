//! What a cluster is made of.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use network_driver_common::model::IfName;

use crate::api_server::ResourceVersion;
use crate::kubelet::DraVersion;
use crate::runtime::Style;

/// Where traces go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracing {
    Off,
    On,
    ToNobody,
}

/// The set-up of a [`super::Cluster`].
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) style: Style,
    pub(super) served: Vec<ResourceVersion>,
    pub(super) knows: &'static [DraVersion],
    pub(super) nics: Vec<IfName>,
    pub(super) links: Option<(String, usize)>,
    pub(super) on_this_machine: bool,
    pub(super) cdi_confirmed: bool,
    pub(super) start_hook: bool,
    pub(super) tracing: Tracing,
    pub(super) export_delay: Duration,
    pub(super) publish_interval: Duration,
    pub(super) log_level: &'static str,
    pub(super) bin_dir: Option<PathBuf>,
}

impl Default for Setup {
    /// The newest of everything, and no network card.
    fn default() -> Self {
        Self {
            style: Style::CONTAINERD_2_4,
            served: vec![ResourceVersion::V1],
            knows: DraVersion::CURRENT,
            nics: Vec::new(),
            links: None,
            on_this_machine: false,
            cdi_confirmed: false,
            start_hook: false,
            tracing: Tracing::Off,
            // Spans are looked at soon after they have ended.
            export_delay: Duration::from_millis(200),
            publish_interval: Duration::from_millis(500),
            log_level: "debug",
            bin_dir: None,
        }
    }
}

impl Setup {
    /// With network cards of these names.
    ///
    /// # Panics
    /// When the kernel would not take a name.
    #[expect(clippy::panic, reason = "a wrong name is a fault of the test itself")]
    #[must_use]
    pub fn nics<N: AsRef<[u8]>>(mut self, names: &[N]) -> Self {
        for name in names {
            match IfName::try_from(name.as_ref()) {
                Ok(name) => self.nics.push(name),
                Err(error) => panic!("{error}"),
            }
        }
        self
    }

    /// With this many plain links `<prefix>0` … besides.
    #[must_use]
    pub fn links(mut self, prefix: &str, count: usize) -> Self {
        self.links = Some((prefix.to_owned(), count));
        self
    }

    /// With the machine itself as the node, its own cards for cards: see [`crate::hardware`]. What is published is not
    /// waited for then.
    #[must_use]
    pub fn on_this_machine(mut self) -> Self {
        self.on_this_machine = true;
        self
    }

    /// With a container runtime of this style.
    #[must_use]
    pub fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// With somebody's word that CDI is on in the runtime: containerd before 2.0 needs it.
    #[must_use]
    pub fn cdi_confirmed(mut self) -> Self {
        self.cdi_confirmed = true;
        self
    }

    /// With the start hook in place, which [`super::PodHandle::start_container`] runs.
    #[must_use]
    pub fn start_hook(mut self) -> Self {
        self.start_hook = true;
        self
    }

    /// With an API server that serves these versions of `resource.k8s.io`.
    #[must_use]
    pub fn served(mut self, versions: &[ResourceVersion]) -> Self {
        self.served = versions.to_vec();
        self
    }

    /// With a kubelet that knows these versions of the DRA service.
    #[must_use]
    pub fn knows(mut self, versions: &'static [DraVersion]) -> Self {
        self.knows = versions;
        self
    }

    /// With daemons that send their traces.
    #[must_use]
    pub fn tracing(mut self) -> Self {
        self.tracing = Tracing::On;
        self
    }

    /// With daemons that send their traces to a collector that is not there.
    #[must_use]
    pub fn tracing_to_nobody(mut self) -> Self {
        self.tracing = Tracing::ToNobody;
        self
    }

    /// With daemons that collect spans this long before they send them.
    #[must_use]
    pub fn export_delay(mut self, delay: Duration) -> Self {
        self.export_delay = delay;
        self
    }

    /// With a discovery that lets this much time pass between two writes of a slice.
    #[must_use]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        self.publish_interval = interval;
        self
    }

    /// With daemons that log this much.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// With binaries from this directory.
    #[must_use]
    pub fn bin_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.bin_dir = dir;
        self
    }

    /// Names of the devices that the cards become, by the rule of the driver: the link's name where that is a DNS
    /// label, else `x--` and its bytes in hexadecimal.
    pub(super) fn device_names(&self) -> BTreeSet<String> {
        let links = self.links.iter();
        let links =
            links.flat_map(|(prefix, count)| (0..*count).map(move |n| format!("{prefix}{n}")));
        self.nics.iter().map(device_name).chain(links).collect()
    }
}

/// Written from the rule, not with the driver's own code.
fn device_name(link: &IfName) -> String {
    let bytes = link.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    if bytes.iter().all(plain)
        && edge(bytes.first())
        && edge(bytes.last())
        && !bytes.starts_with(b"x--")
    {
        link.to_string()
    } else {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("x--{hex}")
    }
}
