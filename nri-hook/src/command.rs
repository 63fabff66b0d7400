//! Sub-commands: questions to the running daemon, and to the node before it runs.

use network_driver_common::admin::{AdminCommand, AskError, ask};
use network_driver_common::bus::{BusArgs, Component};
use network_driver_common::cli::{Output, table};
use network_driver_common::runtime::{Exit, print};
use tonic::Status;

use crate::args::{Args, Command};
use crate::hook::Dump;
use crate::preflight;

/// Runs a sub-command and prints what it was asked for.
///
/// # Errors
/// The daemon cannot be reached, or is not ready; or the node is not fit for it.
pub(crate) async fn run(command: Command, args: &Args) -> Result<(), Exit> {
    let text = match command {
        Command::Preflight(wanted) => return preflight::run(&wanted, &args.daemon).await,
        Command::Sandboxes { output } => sandboxes(&args.bus, output).await?,
        Command::Admin(command) => ask(args.bus.dir(), Component::NriHook, command).await?,
    };
    print(&text);
    Ok(())
}

async fn sandboxes(bus: &BusArgs, output: Output) -> Result<String, AskError> {
    let json = ask(bus.dir(), Component::NriHook, AdminCommand::Dump).await?;
    let failed = |error: serde_json::Error| {
        let status = Status::data_loss(format!("its answer cannot be read: {error}"));
        AskError::call(bus.dir(), Component::NriHook, status)
    };
    let dump: Dump = serde_json::from_str(&json).map_err(failed)?;
    match output {
        Output::Table => Ok(attached(&dump)),
        Output::Json => Ok(serde_json::to_string(&dump.attached).map_err(failed)? + "\n"),
    }
}

/// A line for each device.
fn attached(dump: &Dump) -> String {
    let rows = dump.attached.iter().flat_map(|row| {
        row.interfaces.iter().map(|interface| {
            [
                row.pod.clone(),
                row.sandbox.chars().take(13).collect(),
                row.claim.clone(),
                row.state.clone(),
                interface.device.clone(),
                interface.home_name.clone(),
                interface.name.clone(),
                interface.addresses.join(","),
            ]
        })
    });
    let header = [
        "POD",
        "SANDBOX",
        "CLAIM",
        "STATE",
        "DEVICE",
        "LINK",
        "NAME",
        "ADDRESSES",
    ];
    table(header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::{AttachedRow, InterfaceRow};

    #[test]
    fn the_table_has_a_line_for_each_device() {
        let interface = |name: &str| InterfaceRow {
            device: format!("dev-{name}"),
            home_name: "eth2".into(),
            name: name.into(),
            addresses: vec!["10.0.0.1/24".into()],
        };
        let dump = Dump {
            runtime: "containerd v2".into(),
            known_sandboxes: 1,
            attached: vec![AttachedRow {
                claim: "default/nic".into(),
                claim_uid: "c".into(),
                pod: "default/web".into(),
                sandbox: "0123456789abcdef".into(),
                state: "attached".into(),
                interfaces: vec![interface("net1"), interface("net2")],
            }],
            records: Vec::new(),
        };
        let table = attached(&dump);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[0].starts_with("POD          SANDBOX        CLAIM"),
            "{table}"
        );
        assert!(
            lines[2].ends_with("dev-net2  eth2  net2  10.0.0.1/24"),
            "{table}"
        );
    }
}
