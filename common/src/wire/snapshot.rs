//! What home must look like again.

use std::collections::BTreeMap;
use std::str::FromStr;

use network_driver_proto::bus;

use super::record::{from_unix_nanos, to_unix_nanos};
use super::{InvalidMessage, each, field, optional, text_or_empty};
use crate::model::{
    HardwareAddress, IfName, LinkParameter, RouteOptions, SettableFlags, Settings, Snapshot,
    SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
};

/// Most settings of a link in one family, and most offload features; Linux 6.18 has 60 and 64.
const MOST: usize = 256;

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
            flags: snapshot.flags.map(SettableFlags::bits),
            parameters: with_texts(&snapshot.parameters),
            features: with_texts(&snapshot.features),
            ipv4_conf: snapshot.settings.ipv4.to_vec(),
            ipv6_conf: snapshot.settings.ipv6.to_vec(),
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
            settings: Settings {
                ipv4: numbers("ipv4_conf", &message.ipv4_conf)?,
                ipv6: numbers("ipv6_conf", &message.ipv6_conf)?,
            },
            flags: message.flags.map(SettableFlags::from_bits),
            parameters: known_parameters(&message.parameters),
            features: with_names("features", &message.features)?.into(),
        })
    }
}

fn with_texts<K: ToString, V: Copy>(values: &BTreeMap<K, V>) -> BTreeMap<String, V> {
    let pairs = values.iter();
    pairs
        .map(|(name, value)| (name.to_string(), *value))
        .collect()
}

/// Values whose names must be right, and not too many.
fn with_names<K: FromStr<Err: ToString> + Ord, V: Copy>(
    name: &str,
    message: &BTreeMap<String, V>,
) -> Result<BTreeMap<K, V>, InvalidMessage> {
    not_too_many(name, message.len())?;
    let parsed = each(name, message, |(text, value)| {
        Ok((field("name", text.parse())?, *value))
    })?;
    Ok(parsed.into_iter().collect())
}

fn numbers(name: &str, message: &[i32]) -> Result<Box<[i32]>, InvalidMessage> {
    not_too_many(name, message.len())?;
    Ok(message.into())
}

fn not_too_many(name: &str, count: usize) -> Result<(), InvalidMessage> {
    if count > MOST {
        let text = format!("are {count}, at most {MOST}");
        return Err(InvalidMessage::new(name, text));
    }
    Ok(())
}

/// Those that are known here: a later release may have kept more.
fn known_parameters(message: &BTreeMap<String, u32>) -> BTreeMap<LinkParameter, u32> {
    let pairs = message.iter();
    pairs
        .filter_map(|(name, value)| Some((name.parse().ok()?, *value)))
        .collect()
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
