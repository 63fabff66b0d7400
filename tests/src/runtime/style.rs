//! How the runtimes differ, as far as a plugin can see.

use std::time::Duration;

/// A runtime and version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one observed difference"
)]
pub struct Style {
    /// `runtime_name` of Configure.
    pub name: &'static str,
    /// `runtime_version` of Configure.
    pub version: &'static str,
    /// `NRI_version` of Configure; empty where the runtime sends none.
    pub nri_version: &'static str,
    /// Whether the pod events have calls of their own (NRI 0.12), with StateChange as the way back.
    pub direct_calls: bool,
    /// Whether Configure carries the timeouts (NRI 0.7).
    pub sends_timeouts: bool,
    /// Whether Configure overtakes the answer to RegisterPlugin.
    pub configures_first: bool,
    /// Most pods in one part of Synchronize; 0 = no splitting.
    pub pods_per_part: usize,
    /// Whether a Stop carries the pod's namespaces and pid.
    pub stop_shows_netns: bool,
    /// Whether the network namespace is gone before the Stop (CRI-O).
    pub removes_netns_before_stop: bool,
    /// Whether a Remove carries the netns path, which is gone by then.
    pub remove_shows_netns: bool,
    /// Whether CreateContainer carries the container's name.
    pub shows_container_name: bool,
    /// Whether pods carry IP addresses (NRI 0.8).
    pub shows_ips: bool,
    /// Whether Synchronize lists stopped sandboxes with a netns path that is gone.
    pub lists_stopped_netns: bool,
    /// Whether plugins are no longer told of the end of pods from before a restart.
    pub forgets_pods_on_restart: bool,
    /// Highest event number it knows.
    pub last_event: u32,
    /// How long a plugin may take for a call.
    pub request_timeout: Duration,
}

impl Style {
    /// containerd 1.7 with NRI 0.6.1: no timeouts said, no namespaces in Stop.
    pub const CONTAINERD_1_7_20: Self = Self {
        name: "containerd",
        version: "v1.7.20",
        nri_version: "",
        direct_calls: false,
        sends_timeouts: false,
        configures_first: true,
        pods_per_part: 0,
        stop_shows_netns: false,
        removes_netns_before_stop: false,
        remove_shows_netns: false,
        shows_container_name: true,
        shows_ips: false,
        lists_stopped_netns: false,
        forgets_pods_on_restart: true,
        last_event: 11,
        request_timeout: Duration::from_secs(2),
    };

    /// containerd 2.2 with NRI 0.11: StateChange, split Synchronize.
    pub const CONTAINERD_2_2: Self = Self {
        version: "v2.2.9",
        sends_timeouts: true,
        pods_per_part: 2,
        stop_shows_netns: true,
        shows_ips: true,
        last_event: 14,
        ..Self::CONTAINERD_1_7_20
    };

    /// containerd 2.4 with NRI 0.12: a call of its own for each event.
    pub const CONTAINERD_2_4: Self = Self {
        version: "v2.4.2",
        nri_version: "v0.12.1",
        direct_calls: true,
        configures_first: false,
        ..Self::CONTAINERD_2_2
    };

    /// CRI-O 1.36 with NRI 0.11: the netns is gone at Stop, containers have no name.
    pub const CRIO_1_36: Self = Self {
        name: "cri-o",
        version: "1.36.1",
        removes_netns_before_stop: true,
        remove_shows_netns: true,
        shows_container_name: false,
        lists_stopped_netns: true,
        forgets_pods_on_restart: false,
        ..Self::CONTAINERD_2_2
    };

    /// Every style.
    pub const ALL: [Self; 4] = [
        Self::CONTAINERD_1_7_20,
        Self::CONTAINERD_2_2,
        Self::CONTAINERD_2_4,
        Self::CRIO_1_36,
    ];
}
