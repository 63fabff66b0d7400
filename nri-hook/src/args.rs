//! The command line. Every flag can also be given as an environment variable.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use network_driver_common::admin::AdminCommand;
use network_driver_common::bus::BusArgs;
use network_driver_common::cli::{NodeArgs, Output};
use network_driver_common::metrics::HttpArgs;
use network_driver_common::telemetry::TelemetryArgs;

/// Gives pods their network devices and brings them home: the container runtime's NRI plugin of network-driver.
#[derive(Debug, Clone, Parser)]
#[command(name = "nri-hook", version)]
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
    /// The container runtime's NRI socket; mount its directory, not the file, into the container
    #[arg(
        long,
        env = "NETWORK_DRIVER_NRI_SOCKET",
        value_name = "FILE",
        default_value = "/var/run/nri/nri.sock"
    )]
    pub nri_socket: PathBuf,
    /// Name of the plugin among the runtime's
    #[arg(
        long,
        env = "NETWORK_DRIVER_NRI_PLUGIN_NAME",
        value_name = "NAME",
        default_value = "network-driver"
    )]
    pub nri_plugin_name: String,
    /// Place of the plugin among the runtime's, two digits: lower ones are called first
    #[arg(
        long,
        env = "NETWORK_DRIVER_NRI_PLUGIN_INDEX",
        value_name = "NN",
        default_value = "10"
    )]
    pub nri_plugin_index: String,
    /// Directory of the runtime's CDI files; no two drivers of one name may share it
    #[arg(
        long,
        env = "NETWORK_DRIVER_CDI_DIR",
        value_name = "DIR",
        default_value = "/var/run/cdi"
    )]
    pub cdi_dir: PathBuf,
    /// Directory on the host's tmpfs for what links looked like at home; it must survive the daemon, not the node
    #[arg(
        long,
        env = "NETWORK_DRIVER_STATE_DIR",
        value_name = "DIR",
        default_value = "/run/network-driver"
    )]
    pub state_dir: PathBuf,
    /// Directory of the node where `preflight` puts the start hook, the last gate of containers that name a claim; the
    /// same path on the node and here. Without it there is none
    #[arg(long, env = "NETWORK_DRIVER_START_HOOK_DIR", value_name = "DIR")]
    pub start_hook_dir: Option<PathBuf>,
    /// CDI is on in the container runtime. Only asked of containerd before 2.0, where it is off by default
    #[arg(long, env = "NETWORK_DRIVER_CDI_CONFIRMED")]
    pub cdi_confirmed: bool,
}

/// What `preflight` looks at besides what the daemon itself uses.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct PreflightArgs {
    /// The kubelet's root directory, as dra-plugin is told it
    #[arg(
        long,
        env = "NETWORK_DRIVER_KUBELET_ROOT_DIR",
        value_name = "DIR",
        default_value = "/var/lib/kubelet"
    )]
    pub kubelet_root_dir: PathBuf,
    /// Directory of dra-plugin's state database
    #[arg(
        long,
        env = "NETWORK_DRIVER_RECORDS_DIR",
        value_name = "DIR",
        default_value = "/var/lib/network-driver"
    )]
    pub records_dir: PathBuf,
    /// The program that is put into the directory for the start hook
    #[arg(long, value_name = "FILE", default_value = "/start-hook")]
    pub start_hook: PathBuf,
    /// Where a container says why it ended; written only if it exists
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
}

/// What to do instead of running the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the devices that are in pods
    Sandboxes {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Check that this node has what the driver needs, with the cure for what is missing; needs no daemon
    Preflight(PreflightArgs),
    /// What every daemon answers
    #[command(flatten)]
    Admin(AdminCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["nri-hook", "sandboxes", "-o", "json"]).unwrap();
        assert_eq!(
            args.command,
            Some(Command::Sandboxes {
                output: Output::Json
            })
        );
    }
}
