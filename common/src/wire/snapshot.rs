//! What home must look like again.

use std::collections::BTreeMap;

use network_driver_proto::bus;

use super::record::{from_unix_nanos, to_unix_nanos};
use super::{InvalidMessage, each, field, optional, text_or_empty};
use crate::model::{
    HardwareAddress, IfName, RouteOptions, Snapshot, SnapshotAddress, SnapshotNeighbor,
    SnapshotRoute, Sysctl,
};

/// Most settings of a link; Linux 6.18 has 93.
const MAX_SYSCTLS: usize = 256;

impl From<&Snapshot> for bus::Snapshot {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            taken_unix_nanos: snapshot.taken.map_or(0, to_unix_nanos),
            name: snapshot.name.as_bytes().to_vec(),
            mtu: snapshot.mtu,
            hardware_address: snapshot.hardware_address.as_bytes().to_vec(),
            up: snapshot.up,
            alias: snapshot.alias.clone(),
            altnames: snapshot.altnames.clone(),
            addresses: snapshot.addresses.iter().map(Into::into).collect(),
            routes: snapshot.routes.iter().map(Into::into).collect(),
            neighbors: snapshot.neighbors.iter().map(Into::into).collect(),
            sysctls: sysctls_to_wire(&snapshot.sysctls),
        }
    }
}

impl TryFrom<&bus::Snapshot> for Snapshot {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Snapshot) -> Result<Self, InvalidMessage> {
        let hardware_address = HardwareAddress::try_from(message.hardware_address.as_slice());
        let taken = Some(message.taken_unix_nanos).filter(|nanos| *nanos != 0);
        Ok(Self {
            taken: taken.map(from_unix_nanos),
            name: field("name", IfName::try_from(message.name.as_slice()))?,
            mtu: message.mtu,
            hardware_address: field("hardware_address", hardware_address)?,
            up: message.up,
            alias: message.alias.clone(),
            altnames: message.altnames.clone(),
            addresses: each("addresses", &message.addresses, TryInto::try_into)?,
            routes: each("routes", &message.routes, TryInto::try_into)?,
            neighbors: each("neighbors", &message.neighbors, TryInto::try_into)?,
            sysctls: sysctls(&message.sysctls)?,
        })
    }
}

fn sysctls_to_wire(sysctls: &BTreeMap<Sysctl, i32>) -> BTreeMap<String, i32> {
    let texts = sysctls.iter();
    texts
        .map(|(sysctl, value)| (sysctl.to_string(), *value))
        .collect()
}

fn sysctls(message: &BTreeMap<String, i32>) -> Result<BTreeMap<Sysctl, i32>, InvalidMessage> {
    if message.len() > MAX_SYSCTLS {
        let text = format!("are {}, at most {MAX_SYSCTLS}", message.len());
        return Err(InvalidMessage::new("sysctls", text));
    }
    let parsed = each("sysctls", message, |(text, value)| {
        Ok((field("name", text.parse())?, *value))
    })?;
    Ok(parsed.into_iter().collect())
}

impl From<&SnapshotAddress> for bus::SnapshotAddress {
    fn from(address: &SnapshotAddress) -> Self {
        Self {
            address: address.address.to_string(),
            peer: text_or_empty(address.peer.as_ref()),
            broadcast: text_or_empty(address.broadcast.as_ref()),
            scope: address.scope.into(),
            flags: address.flags,
            label: address.label.clone(),
            preferred_lifetime: address.preferred_lifetime,
            valid_lifetime: address.valid_lifetime,
            protocol: address.protocol.into(),
            metric: address.metric,
        }
    }
}

impl TryFrom<&bus::SnapshotAddress> for SnapshotAddress {
    type Error = InvalidMessage;

    fn try_from(message: &bus::SnapshotAddress) -> Result<Self, InvalidMessage> {
        Ok(Self {
            address: field("address", message.address.parse())?,
            peer: optional("peer", &message.peer)?,
            broadcast: optional("broadcast", &message.broadcast)?,
            scope: field("scope", message.scope.try_into())?,
            flags: message.flags,
            label: message.label.clone(),
            preferred_lifetime: message.preferred_lifetime,
            valid_lifetime: message.valid_lifetime,
            protocol: field("protocol", message.protocol.try_into())?,
            metric: message.metric,
        })
    }
}

impl From<&SnapshotRoute> for bus::SnapshotRoute {
    fn from(route: &SnapshotRoute) -> Self {
        Self {
            destination: route.destination.to_string(),
            gateway: text_or_empty(route.gateway.as_ref()),
            preferred_source: text_or_empty(route.preferred_source.as_ref()),
            table: route.table,
            protocol: route.protocol.into(),
            scope: route.scope.into(),
            r#type: route.kind.into(),
            metric: route.metric,
            onlink: route.onlink,
            tos: route.options.tos.into(),
            realms: route.options.realms,
            preference: route.options.preference.into(),
            metrics: route.options.metrics.clone(),
        }
    }
}

impl TryFrom<&bus::SnapshotRoute> for SnapshotRoute {
    type Error = InvalidMessage;

    fn try_from(message: &bus::SnapshotRoute) -> Result<Self, InvalidMessage> {
        Ok(Self {
            destination: field("destination", message.destination.parse())?,
            gateway: optional("gateway", &message.gateway)?,
            preferred_source: optional("preferred_source", &message.preferred_source)?,
            table: message.table,
            protocol: field("protocol", message.protocol.try_into())?,
            scope: field("scope", message.scope.try_into())?,
            kind: field("type", message.r#type.try_into())?,
            metric: message.metric,
            onlink: message.onlink,
            options: RouteOptions {
                tos: field("tos", message.tos.try_into())?,
                realms: message.realms,
                preference: field("preference", message.preference.try_into())?,
                metrics: message.metrics.clone(),
            },
        })
    }
}

impl From<&SnapshotNeighbor> for bus::SnapshotNeighbor {
    fn from(neighbor: &SnapshotNeighbor) -> Self {
        Self {
            address: neighbor.address.to_string(),
            hardware_address: neighbor.hardware_address.as_bytes().to_vec(),
            flags: neighbor.flags.into(),
            protocol: neighbor.protocol.into(),
        }
    }
}

impl TryFrom<&bus::SnapshotNeighbor> for SnapshotNeighbor {
    type Error = InvalidMessage;

    fn try_from(message: &bus::SnapshotNeighbor) -> Result<Self, InvalidMessage> {
        let hardware_address = HardwareAddress::try_from(message.hardware_address.as_slice());
        Ok(Self {
            address: field("address", message.address.parse())?,
            hardware_address: field("hardware_address", hardware_address)?,
            flags: field("flags", message.flags.try_into())?,
            protocol: field("protocol", message.protocol.try_into())?,
        })
    }
}
