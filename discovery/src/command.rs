//! The sub-commands: links as a table or as JSON.

use network_driver_common::admin::{self, AskError, DEADLINE};
use network_driver_common::bus::{self, Component};
use network_driver_common::cli::{Output, table};
use network_driver_common::metrics::registry;
use network_driver_common::model::{AttributeValue, Device, IfName};
use network_driver_common::runtime::{Exit, print};
use network_driver_kubernetes::connect;
use network_driver_proto::bus::inventory_client::InventoryClient;
use network_driver_proto::bus::{Link, ListLinksRequest};
use serde_json::{Value, json};

use crate::args::{Args, Command};
use crate::metrics::{Metrics, Trigger};
use crate::scan::Scanner;
use crate::verify::{VerifyError, WRONG, verify};
use crate::{REFUSED, config, server};

/// Runs a sub-command and prints what it was asked for.
///
/// # Errors
/// The daemon cannot be reached, or this machine cannot be read.
pub async fn run(args: Args, command: Command) -> Result<(), Exit> {
    let text = match command {
        Command::Links { output } => show(&links(&args).await?, output),
        Command::Scan { output } => show(&scan(args).await?, output),
        Command::Verify(wanted) => {
            let cluster = connect(args.cluster.kubeconfig.as_deref()).await?;
            let cluster = cluster.ok_or(VerifyError::NoCluster)?;
            let driver = &args.node.driver_name;
            let (text, verdict) = verify(cluster.client(), driver, &wanted).await?;
            print(&text);
            return verdict.map_err(|error| Exit::new(WRONG, error));
        }
        Command::Admin(command) => {
            admin::ask(args.bus.dir(), Component::Discovery, command).await?
        }
    };
    print(&text);
    Ok(())
}

async fn links(args: &Args) -> Result<Vec<Link>, AskError> {
    let dir = args.bus.dir();
    let mut client = InventoryClient::new(bus::channel(dir, Component::Discovery));
    let request = bus::with_trace(ListLinksRequest {}, DEADLINE);
    let answer = client.list(request).await;
    let failed = |status| AskError::call(dir, Component::Discovery, status);
    Ok(answer.map_err(failed)?.into_inner().links)
}

async fn scan(args: Args) -> Result<Vec<Link>, Exit> {
    let (inventory, sysfs) = config::inventory(args.offer, &args.node.driver_name)
        .map_err(|error| Exit::new(REFUSED, error))?;
    let metrics = Metrics::new(&mut registry(Component::Discovery));
    let mut scanner = Scanner::new(inventory, sysfs, metrics)?;
    Ok(server::list(&scanner.scan(Trigger::Request).await?))
}

fn show(links: &[Link], output: Output) -> String {
    match output {
        Output::Table => listed(links),
        Output::Json => format!("{:#}\n", json(links)),
    }
}

fn name(link: &Link) -> String {
    let name = IfName::try_from(link.interface_name.as_slice());
    name.map(|name| name.to_string()).unwrap_or_default()
}

/// Links as JSON: `name`, `ifindex`, `kind`, `device` (name, attributes, capacity), `claimUID`, `fault`, `hiddenBecause`.
pub fn json(links: &[Link]) -> Value {
    links.iter().map(link_json).collect()
}

fn link_json(link: &Link) -> Value {
    let device = link.device.as_ref().and_then(|d| Device::try_from(d).ok());
    let device = device.map(|device| {
        let attributes = device.attributes.iter();
        let attributes: serde_json::Map<_, _> = attributes
            .map(|(name, value)| (name.to_string(), attribute_json(value)))
            .collect();
        json!({
            "name": device.name.as_str(),
            "attributes": attributes,
            "capacity": device.capacity,
        })
    });
    json!({
        "name": name(link),
        "ifindex": link.ifindex,
        "kind": link.kind,
        "device": device,
        "claimUID": link.claim_uid,
        "fault": link.fault,
        "hiddenBecause": link.hidden_because,
    })
}

fn attribute_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Int(int) => json!(int),
        AttributeValue::Bool(bool) => json!(bool),
        AttributeValue::Text(text) | AttributeValue::Version(text) => json!(text),
    }
}

fn listed(links: &[Link]) -> String {
    let rows = links.iter().map(|link| {
        let device = link.device.as_ref();
        let state = match (device, link.claim_uid.as_str(), link.fault.as_str()) {
            (None, ..) => link.hidden_because.clone(),
            (Some(_), "", _) => "offered".to_owned(),
            (Some(_), claim, "") => format!("in use by claim {claim}"),
            (Some(_), claim, fault) => format!("in use by claim {claim}, does not work: {fault}"),
        };
        let kind = Some(link.kind.as_str()).filter(|kind| !kind.is_empty());
        let device = device.map_or("-", |device| device.name.as_str());
        let kind = kind.unwrap_or("-").to_owned();
        [name(link), kind, device.to_owned(), state]
    });
    table(["LINK", "KIND", "DEVICE", "STATE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_became_of_each_link() {
        let link = |name: &[u8], device: Option<&str>, claim: &str, why: &str| Link {
            interface_name: name.to_vec(),
            device: device.map(|name| network_driver_proto::bus::Device {
                name: name.to_owned(),
                ..Default::default()
            }),
            claim_uid: claim.to_owned(),
            hidden_because: why.to_owned(),
            ..Link::default()
        };
        let links = [
            link(b"eth0", None, "", "carries the default route"),
            link(b"a\xff", Some("x--61ff"), "", ""),
            link(b"eth1", Some("pci-0000-41-00-0"), "c-1", ""),
        ];
        assert_eq!(
            listed(&links),
            "LINK   KIND  DEVICE            STATE\n\
             eth0   -     -                 carries the default route\n\
             a\\xff  -     x--61ff           offered\n\
             eth1   -     pci-0000-41-00-0  in use by claim c-1\n"
        );
    }
}
