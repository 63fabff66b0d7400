//! Sub-commands: questions to the running daemon.

use std::time::SystemTime;

use network_driver_common::admin::{AskError, DEADLINE, ask};
use network_driver_common::bus::{self, BusArgs, Component};
use network_driver_common::cli::{Output, table};
use network_driver_common::model::{Quarantine, Record};
use network_driver_proto::bus::claims_client::ClaimsClient;
use network_driver_proto::bus::{
    ListClaimsRequest, ListQuarantineRequest, ReleaseQuarantineRequest,
};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::args::{Command, QuarantineCommand};
use crate::quarantine;

/// Longest answer that is read: all records of a node.
const MAX_ANSWER: usize = 64 << 20;

/// Answers a sub-command; returns what is to be printed.
///
/// # Errors
/// The daemon cannot be reached, or is not ready.
pub(crate) async fn answer(command: Command, bus: &BusArgs) -> Result<String, AskError> {
    match command {
        Command::Admin(command) => ask(bus.dir(), Component::DraPlugin, command).await,
        Command::Quarantine(QuarantineCommand::List { output }) => {
            let quarantined = quarantined(bus).await?;
            Ok(match output {
                Output::Table => quarantine::listed(&quarantined, SystemTime::now()),
                Output::Json => quarantine::json(&quarantined).to_string() + "\n",
            })
        }
        Command::Quarantine(QuarantineCommand::Release { device }) => {
            let request = ReleaseQuarantineRequest {
                device: device.to_string(),
            };
            let request = bus::with_trace(request, DEADLINE);
            let answer = client(bus).release_quarantine(request).await;
            answer.map_err(|status| failed(bus, status))?;
            Ok(format!("device {device} is released from quarantine\n"))
        }
        Command::Claims { output } => {
            let records = claims(bus).await?;
            Ok(match output {
                Output::Table => listed(&records),
                Output::Json => json(&records).to_string() + "\n",
            })
        }
    }
}

fn client(bus: &BusArgs) -> ClaimsClient<Channel> {
    let channel = bus::channel(bus.dir(), Component::DraPlugin);
    ClaimsClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

fn failed(bus: &BusArgs, status: Status) -> AskError {
    AskError::call(bus.dir(), Component::DraPlugin, status)
}

async fn claims(bus: &BusArgs) -> Result<Vec<Record>, AskError> {
    let request = bus::with_trace(ListClaimsRequest {}, DEADLINE);
    let answer = client(bus).list(request).await;
    let answer = answer.map_err(|status| failed(bus, status))?.into_inner();
    let records: Result<Vec<_>, _> = answer.records.iter().map(Record::try_from).collect();
    records.map_err(|error| failed(bus, Status::data_loss(error.to_string())))
}

async fn quarantined(bus: &BusArgs) -> Result<Vec<Quarantine>, AskError> {
    let request = bus::with_trace(ListQuarantineRequest {}, DEADLINE);
    let answer = client(bus).list_quarantine(request).await;
    let answer = answer.map_err(|status| failed(bus, status))?.into_inner();
    let listed = answer.quarantined.iter().map(Quarantine::try_from);
    let listed: Result<Vec<_>, _> = listed.collect();
    listed.map_err(|error| failed(bus, Status::data_loss(error.to_string())))
}

/// A line for each device.
fn listed(records: &[Record]) -> String {
    let rows = records.iter().flat_map(|record| {
        record.attachments.iter().map(|attachment| {
            let sandbox = record.sandbox.as_ref();
            [
                record.claim.to_string(),
                record.claim.uid.to_string(),
                attachment.device.name.to_string(),
                attachment.device.interface.to_string(),
                record.pods.len().to_string(),
                sandbox.map_or("-".to_owned(), ToString::to_string),
            ]
        })
    });
    table(["CLAIM", "UID", "DEVICE", "LINK", "PODS", "SANDBOX"], rows)
}

pub(crate) fn json<'a>(records: impl IntoIterator<Item = &'a Record>) -> Value {
    let records = records.into_iter().map(|record| {
        let pods: Vec<_> = record.pods.iter().map(ToString::to_string).collect();
        let devices = record.attachments.iter().map(|attachment| {
            let addresses = attachment.config.addresses.iter();
            json!({
                "request": attachment.request,
                "pool": attachment.pool,
                "device": attachment.device.name.as_str(),
                "link": attachment.device.interface.to_string(),
                "wantedName": attachment.config.name.as_ref().map(ToString::to_string),
                "wantedMtu": attachment.config.mtu.map(network_driver_common::model::Mtu::get),
                "wantedAddresses": addresses.map(ToString::to_string).collect::<Vec<_>>(),
                "checked": attachment.snapshot.is_some(),
            })
        });
        json!({
            "namespace": record.claim.namespace,
            "name": record.claim.name,
            "uid": record.claim.uid.as_str(),
            "pods": pods,
            "sandbox": record.sandbox.as_ref().map(ToString::to_string),
            "bootID": record.boot_id,
            "traceparent": record.traceparent,
            "devices": devices.collect::<Vec<_>>(),
        })
    });
    Value::Array(records.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::record;

    #[test]
    fn the_table_has_a_line_for_each_device() {
        let text = listed(&[record("c-1", &["eth1", "eth2"])]);
        let want = "\
CLAIM        UID  DEVICE  LINK  PODS  SANDBOX
default/c-1  c-1  eth1    eth1  1     -
default/c-1  c-1  eth2    eth2  1     -
";
        assert_eq!(text, want);
    }

    #[test]
    fn json_names_claim_pods_and_devices() {
        let json = json(&[record("c-1", &["eth1"])]);
        assert_eq!(json[0]["uid"], "c-1");
        assert_eq!(json[0]["pods"], json!(["p-c-1"]));
        assert_eq!(json[0]["devices"][0]["device"], "eth1");
    }
}
