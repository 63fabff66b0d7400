//! The command line, as people write it. What it means is [`crate::config`]'s.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand};
use network_driver_common::admin::AdminCommand;
use network_driver_common::bus::BusArgs;
use network_driver_common::cli::{NodeArgs, Output};
use network_driver_common::metrics::HttpArgs;
use network_driver_common::model::IfName;
use network_driver_common::telemetry::TelemetryArgs;

use crate::filter::NamePattern;
use crate::verify::VerifyArgs;

/// Finds the node's network interfaces and offers them to Kubernetes in ResourceSlices
#[derive(Debug, Clone, Parser)]
#[command(name = "discovery", version)]
pub struct Args {
    /// What to do; without a command, run the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which driver on which node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// What is offered.
    #[command(flatten)]
    pub offer: OfferArgs,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Where the bus is.
    #[command(flatten)]
    pub bus: BusArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Metrics and probes.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// What to do instead of running the daemon.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show the links that the running daemon knows, each with its device or the reason why it is not offered
    Links {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Read this machine once and show what would be offered; needs no daemon and no cluster
    Scan {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Check through the API server that the driver's pods are ready and that their nodes' devices are published
    Verify(VerifyArgs),
    /// Questions to the running daemon.
    #[command(flatten)]
    Admin(AdminCommand),
}

/// Names that other software makes and keeps.
const HIDDEN_NAMES: &str = "docker*,br-*,veth*,cni*,flannel*,weave*,cali*,kube*,virbr*,vmnet*,\
    nodelocaldns*,cilium*,lxc*,podman*,ovs-*,genev_sys_*,vxlan_sys_*";

/// What is offered.
#[derive(Debug, Clone, ClapArgs)]
pub struct OfferArgs {
    /// Offer links that are down or have no carrier
    #[arg(long, env = "NETWORK_DRIVER_OFFER_DOWN", global = true)]
    pub offer_down: bool,
    /// Kernel kinds of virtual links to offer, e.g. `veth,macvlan`; by default only links with a device behind them are
    #[arg(
        long,
        env = "NETWORK_DRIVER_OFFER_KINDS",
        value_delimiter = ',',
        value_name = "KINDS",
        global = true
    )]
    pub offer_kinds: Vec<String>,
    /// Names of links not to offer, where `*` stands for anything
    #[arg(
        long,
        env = "NETWORK_DRIVER_HIDE_NAMES",
        value_name = "PATTERNS",
        default_value = HIDDEN_NAMES,
        global = true
    )]
    pub hide_names: Listed<NamePattern>,
    /// Condition in CEL that a device must meet, as in a DeviceClass:
    /// `device.attributes["network.example.com"].mtu >= 9000`
    #[arg(long, env = "NETWORK_DRIVER_FILTER", value_name = "CEL", global = true)]
    pub filter: Option<String>,
    /// Names of links never to offer or touch, with all that is above or below them
    #[arg(
        long,
        env = "NETWORK_DRIVER_PROTECT_INTERFACES",
        value_name = "NAMES",
        default_value = "",
        global = true
    )]
    pub protect_interfaces: Listed<IfName>,
    /// Where sysfs is mounted
    #[arg(
        long,
        env = "NETWORK_DRIVER_SYSFS_ROOT",
        value_name = "DIR",
        default_value = "/sys",
        global = true
    )]
    pub sysfs_root: PathBuf,
}

/// The cluster.
#[derive(Debug, Clone, ClapArgs)]
pub struct ClusterArgs {
    /// File that says how to reach the API server; by default the pod's service account, and outside a pod no cluster
    #[arg(long, env = "NETWORK_DRIVER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Least seconds between two writes of ResourceSlices
    #[arg(
        long,
        env = "NETWORK_DRIVER_PUBLISH_INTERVAL",
        value_name = "SECONDS",
        default_value = "10"
    )]
    pub publish_interval: Seconds,
}

/// Items joined by commas; none where there is no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T>(pub Vec<T>);

impl<T: FromStr> FromStr for Listed<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let items = text.split(',').filter(|item| !item.is_empty());
        items.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A time in seconds, also in parts of one; at most an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub std::time::Duration);

/// A text that is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be seconds from 0 to 3600")]
pub struct InvalidSeconds;

impl FromStr for Seconds {
    type Err = InvalidSeconds;

    fn from_str(text: &str) -> Result<Self, InvalidSeconds> {
        let seconds: f64 = text.parse().map_err(|_| InvalidSeconds)?;
        if !(0.0..=3600.0).contains(&seconds) {
            return Err(InvalidSeconds);
        }
        let time = std::time::Duration::try_from_secs_f64(seconds);
        time.map(Self).map_err(|_| InvalidSeconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn lists_and_times_read_as_people_write_them() {
        let names: Listed<IfName> = "eth0,bond0,".parse().unwrap();
        assert_eq!(names.0.len(), 2);
        assert_eq!("".parse::<Listed<IfName>>().unwrap().0, []);
        assert!("eth0,a/b".parse::<Listed<IfName>>().is_err());
        let time = |text: &str| text.parse::<Seconds>().map(|s| s.0.as_millis());
        assert_eq!((time("10"), time("0.2")), (Ok(10_000), Ok(200)));
        for bad in ["", "-1", "NaN", "inf", "3601", "1s"] {
            assert_eq!(time(bad), Err(InvalidSeconds), "{bad}");
        }
    }
}
