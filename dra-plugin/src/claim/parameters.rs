//! The user's parameters: `NetworkConfig`, read strictly. An unknown field, kind or version is refused, and all faults
//! of one configuration are reported together, each with its path.
//!
//! ```yaml
//! apiVersion: network.example.com/v1alpha1   # <driver name>/v1alpha1
//! kind: NetworkConfig
//! interface:
//!   name: net1                # 1 to 15 bytes; without it the name at home
//!   mtu: 1400                 # 68 to 65535; without it the present one
//!   addresses: [10.1.0.5/24]  # at most 16
//! routes:                     # at most 32
//!   - destination: 0.0.0.0/0
//!     gateway: 10.1.0.1       # without it the destination is on the link
//! ```
//! Several configurations may apply to one device. They are merged field by field: a later one replaces the fields
//! that it sets (a list as a whole), and those of the claim come after those of the device's class.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use network_driver_common::model::{DriverName, IfName, InterfaceConfig, Mtu, Route};
use serde::Deserialize;
use serde_json::Value;

use super::object::Object;

/// Version of the parameters, after the driver's name.
pub(super) const VERSION: &str = "v1alpha1";
/// Kind of the parameters.
pub(super) const KIND: &str = "NetworkConfig";
/// Longest parameters in bytes (`OpaqueParametersMaxLength`).
const MAX_BYTES: usize = 10 * 1024;
/// Most addresses of an interface: as many as `status.devices[].networkData.ips` takes.
const MAX_ADDRESSES: usize = 16;
/// Most routes of an interface.
const MAX_ROUTES: usize = 32;
/// Names that the kernel or the pod keeps for itself: the loopback, and folders in /proc/sys/net/ipv4/conf.
const RESERVED_NAMES: [&str; 3] = ["lo", "all", "default"];

/// One fault of the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Path of the field, e.g. `routes[1].gateway`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Fault {
    fn new(path: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// All faults of a claim's parameters; printed in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct InvalidParameters(pub Vec<Fault>);

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// What one configuration sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PartialConfig {
    name: Option<IfName>,
    mtu: Option<Mtu>,
    addresses: Option<Vec<IpNet>>,
    routes: Option<Vec<Route>>,
}

impl PartialConfig {
    /// Reads the parameters of one configuration.
    ///
    /// # Errors
    /// All faults; the first only where the text has not the right form.
    pub(super) fn parse(
        parameters: &Value,
        driver: &DriverName,
    ) -> Result<Self, InvalidParameters> {
        let form = form(parameters, driver).map_err(|fault| InvalidParameters(vec![fault]))?;
        let mut faults = Vec::new();
        let Object(interface) = form.interface.unwrap_or_default();
        let config = Self {
            name: interface
                .name
                .and_then(|name| keep(&mut faults, "interface.name", interface_name(&name))),
            mtu: interface
                .mtu
                .and_then(|mtu| keep(&mut faults, "interface.mtu", Mtu::try_from(mtu))),
            addresses: interface
                .addresses
                .map(|list| addresses(&list, &mut faults)),
            routes: form.routes.map(|list| routes(&list, &mut faults)),
        };
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(InvalidParameters(faults))
        }
    }

    /// Puts the fields that this configuration sets into `config`.
    pub(super) fn apply_to(&self, config: &mut InterfaceConfig) {
        let Self {
            name,
            mtu,
            addresses,
            routes,
        } = self;
        if let Some(name) = name {
            config.name = Some(name.clone());
        }
        if let Some(mtu) = mtu {
            config.mtu = Some(*mtu);
        }
        if let Some(addresses) = addresses {
            config.addresses.clone_from(addresses);
        }
        if let Some(routes) = routes {
            config.routes.clone_from(routes);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    interface: Option<Object<InterfaceForm>>,
    routes: Option<Vec<Object<RouteForm>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InterfaceForm {
    name: Option<String>,
    mtu: Option<u64>,
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RouteForm {
    destination: String,
    gateway: Option<String>,
}

/// The parameters in the form that this version of the driver knows.
fn form(parameters: &Value, driver: &DriverName) -> Result<Form, Fault> {
    let size = parameters.to_string().len();
    if size > MAX_BYTES {
        let reason = format!("{size} bytes are too many, at most {MAX_BYTES}");
        return Err(Fault::new("parameters", reason));
    }
    let Object(head) = deserialize::<Object<Head>>(parameters)?;
    if head.kind != KIND {
        let reason = format!("{:?} is not known, use {KIND}", cut(&head.kind));
        return Err(Fault::new("kind", reason));
    }
    let wanted = format!("{driver}/{VERSION}");
    if head.api_version != wanted {
        let reason = format!("{:?} is not known, use {wanted}", cut(&head.api_version));
        return Err(Fault::new("apiVersion", reason));
    }
    deserialize(parameters).map(|Object(form)| form)
}

fn deserialize<'a, T: Deserialize<'a>>(parameters: &'a Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(parameters).map_err(|error| {
        let path = match error.path().to_string() {
            // The second is that of a field without a name.
            root if root == "." || root.is_empty() => "parameters".to_owned(),
            path => path,
        };
        Fault::new(path, error.inner())
    })
}

/// A user's text as an error may show it.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn keep<T, E: fmt::Display>(
    faults: &mut Vec<Fault>,
    path: impl Into<String>,
    value: Result<T, E>,
) -> Option<T> {
    value
        .map_err(|error| faults.push(Fault::new(path, error)))
        .ok()
}

fn interface_name(text: &str) -> Result<IfName, String> {
    let name: IfName = text.parse().map_err(|error| format!("{error}"))?;
    if text.contains('%') {
        return Err(format!(
            "interface name {text:?} must not contain '%': the kernel would take it for a pattern"
        ));
    }
    if RESERVED_NAMES.contains(&text) {
        return Err(format!("interface name {text:?} is reserved"));
    }
    Ok(name)
}

fn addresses(list: &[String], faults: &mut Vec<Fault>) -> Vec<IpNet> {
    let path = "interface.addresses";
    if !within(path, list.len(), MAX_ADDRESSES, faults) {
        return Vec::new();
    }
    let mut kept: Vec<IpNet> = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(address) = keep(faults, &path, host_address(text)) else {
            continue;
        };
        if kept.iter().any(|other| other.addr() == address.addr()) {
            faults.push(Fault::new(
                path,
                format!("{} is given twice", address.addr()),
            ));
        } else {
            kept.push(address);
        }
    }
    kept
}

/// Address and prefix. Leading zeros are refused: who writes them may mean octal numbers, which `IpNet` does not.
fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.starts_with('+') || (prefix.starts_with('0') && prefix != "0") {
        return None;
    }
    IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()
}

/// An address that a host can have, with its prefix.
fn host_address(text: &str) -> Result<IpNet, String> {
    let shown = cut(text);
    let address =
        network(text).ok_or_else(|| format!("{shown:?} is not of the form address/prefix"))?;
    let host = address.addr();
    let point_to_point = address
        .max_prefix_len()
        .saturating_sub(address.prefix_len())
        < 2;
    let wrong = if host.is_unspecified() || host.is_multicast() || host.is_loopback() {
        Some("no address that an interface can have")
    } else if matches!(host, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        Some("an IPv4 address written as IPv6: write it as IPv4")
    } else if !point_to_point && host == address.network() {
        Some("the network itself, not an address in it")
    } else if !point_to_point && address.addr().is_ipv4() && host == address.broadcast() {
        Some("the broadcast address of its network")
    } else {
        None
    };
    match wrong {
        Some(reason) => Err(format!("{shown} is {reason}")),
        None => Ok(address),
    }
}

fn routes(list: &[Object<RouteForm>], faults: &mut Vec<Fault>) -> Vec<Route> {
    if !within("routes", list.len(), MAX_ROUTES, faults) {
        return Vec::new();
    }
    let mut kept: Vec<Route> = Vec::new();
    for (index, Object(form)) in list.iter().enumerate() {
        let path = format!("routes[{index}]");
        let destination = destination(&form.destination);
        let destination = keep(faults, format!("{path}.destination"), destination);
        let gateway = match &form.gateway {
            None => Some(None),
            Some(text) => {
                let gateway = gateway(text, destination);
                keep(faults, format!("{path}.gateway"), gateway).map(Some)
            }
        };
        let (Some(destination), Some(gateway)) = (destination, gateway) else {
            continue;
        };
        if kept.iter().any(|route| route.destination == destination) {
            let reason = format!("{destination} is given twice");
            faults.push(Fault::new(format!("{path}.destination"), reason));
        } else {
            kept.push(Route {
                destination,
                gateway,
            });
        }
    }
    kept
}

fn destination(text: &str) -> Result<IpNet, String> {
    let shown = cut(text);
    let destination =
        network(text).ok_or_else(|| format!("{shown:?} is not of the form network/prefix"))?;
    let network = destination.trunc();
    if network != destination {
        return Err(format!(
            "{shown} has bits set after its prefix, use {network}"
        ));
    }
    if network.prefix_len() > 0 && (network.addr().is_multicast() || network.addr().is_loopback()) {
        return Err(format!("{shown} is no destination for a route"));
    }
    Ok(destination)
}

fn gateway(text: &str, destination: Option<IpNet>) -> Result<IpAddr, String> {
    let shown = cut(text);
    let gateway: IpAddr = text
        .parse()
        .map_err(|_| format!("{shown:?} is not an IP address"))?;
    if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
        return Err(format!("{shown} is no address of a gateway"));
    }
    match destination {
        Some(destination) if destination.addr().is_ipv4() != gateway.is_ipv4() => Err(format!(
            "{shown} is not of the same address family as the destination {destination}"
        )),
        _ => Ok(gateway),
    }
}

fn within(path: &str, count: usize, max: usize, faults: &mut Vec<Fault>) -> bool {
    if count > max {
        faults.push(Fault::new(
            path,
            format!("{count} are too many, at most {max}"),
        ));
    }
    count <= max
}

#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;
