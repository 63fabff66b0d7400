//! The command line. Every flag can also be given as an environment variable.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use network_driver_common::admin::AdminCommand;
use network_driver_common::bus::BusArgs;
use network_driver_common::cli::{NodeArgs, Output};
use network_driver_common::metrics::HttpArgs;
use network_driver_common::model::DeviceName;
use network_driver_common::telemetry::TelemetryArgs;

/// Prepares ResourceClaims for the pods of this node: the kubelet's DRA plugin of network-driver.
#[derive(Debug, Clone, Parser)]
#[command(name = "dra-plugin", version)]
pub struct Args {
    /// What to do instead of running the daemon
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which driver on which node
    #[command(flatten)]
    pub node: NodeArgs,
    /// The daemon's settings
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// Where the driver's daemons meet
    #[command(flatten)]
    pub bus: BusArgs,
    /// Logs and traces
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Metrics and probes
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Settings of the daemon.
#[derive(Debug, Clone, clap::Args)]
pub struct DaemonArgs {
    /// Kubeconfig of the cluster; without it the pod's service account is used
    #[arg(long, env = "NETWORK_DRIVER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubelet's root directory: its plugins/ and plugins_registry/ hold the driver's sockets
    #[arg(
        long,
        env = "NETWORK_DRIVER_KUBELET_ROOT_DIR",
        value_name = "DIR",
        default_value = "/var/lib/kubelet"
    )]
    pub kubelet_root_dir: PathBuf,
    /// Directory of the state database; it must survive the daemon
    #[arg(
        long,
        env = "NETWORK_DRIVER_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/network-driver"
    )]
    pub state_dir: PathBuf,
}

/// Questions to the running daemon.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the prepared claims of this node
    Claims {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Devices that could not be brought home as they were: offered to nobody until they are released
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// What every daemon answers
    #[command(flatten)]
    Admin(AdminCommand),
}

/// What an operator does about devices in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum QuarantineCommand {
    /// Print the devices in quarantine, each with the reason
    List {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Offer a device again, once its link is what it was: name, addresses, settings
    Release {
        /// Name of the device, as in the list
        device: DeviceName,
    },
}
