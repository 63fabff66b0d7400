//! The NICs of a story: veth pairs, one end on the node and one in `ext`, the world outside.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::node::{ip, ip_json, run};
use crate::wait::{Seen, until};

/// One NIC of the node, with somebody at the other end of its wire.
#[derive(Debug)]
pub(crate) struct Nic {
    /// Its name at home.
    pub(crate) name: String,
    /// An address for the pod in the NIC's subnet, with prefix.
    pub(crate) address: String,
    /// The address at the other end.
    pub(crate) peer: String,
}

impl Nic {
    /// Makes the pair and sets both ends up. The subnet is `10.<net>.<number>.0/24`, the other end has `.1`.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn create(name: String, net: u8, number: u8) -> Result<Self> {
        let peer = format!("10.{net}.{number}.1");
        let other = format!("{name}x");
        ip(&format!(
            "link add {name} type veth peer name {other} netns ext"
        ))?;
        ip(&format!("-n ext addr add {peer}/24 dev {other}"))?;
        ip(&format!("-n ext link set {other} up"))?;
        ip(&format!("link set {name} up"))?;
        Ok(Self {
            address: format!("10.{net}.{number}.2/24"),
            name,
            peer,
        })
    }

    /// The pod's address without its prefix.
    pub(crate) fn ip(&self) -> &str {
        self.address
            .split_once('/')
            .map_or(&self.address, |(ip, _)| ip)
    }

    /// What the link looks like now, in the node's network namespace: all that an administrator could have set.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn look(&self) -> Result<Home> {
        let found = ip_json(&format!("-d addr show dev {}", self.name))?;
        let link = found
            .get(0)
            .with_context(|| format!("{} is not at home", self.name))?;
        let settings = [
            "flags",
            "mtu",
            "address",
            "txqlen",
            "qdisc",
            "altnames",
            "promiscuity",
            "ifalias",
            "master",
        ];
        let mut state = json!({});
        for setting in settings {
            state[setting] = link.get(setting).cloned().unwrap_or_default();
        }
        let addresses = link.get("addr_info").and_then(Value::as_array);
        let addresses = addresses.into_iter().flatten();
        state["addresses"] = addresses
            .map(|a| format!("{}/{} {}", a["local"], a["prefixlen"], a["scope"]))
            .collect();
        state["routes"] = ip_json(&format!("-4 route show table all dev {}", self.name))?;
        state["routes6"] = ip_json(&format!("-6 route show table all dev {}", self.name))?;
        Ok(Home(state))
    }

    /// Waits until the kernel has given the link its own IPv6 address and found it unique: only then is it at rest.
    ///
    /// # Errors
    /// It does not come to rest.
    pub(crate) async fn settled(&self) -> Result<()> {
        let what = format!("{} has its link-local address", self.name);
        until(&what, Duration::from_secs(10), async || {
            let found = ip_json(&format!("-6 addr show dev {}", self.name))?;
            let address = &found[0]["addr_info"][0];
            let at_rest = address["local"].is_string() && address["tentative"].is_null();
            Ok(Seen::when(at_rest, found.to_string()))
        })
        .await
    }

    /// Waits until the link is at home and looks as it did.
    ///
    /// # Errors
    /// It does not: both looks.
    pub(crate) async fn is_home_as(&self, home: &Home) -> Result<()> {
        let what = format!("{} home as before, which was {}", self.name, home.0);
        until(&what, Duration::from_secs(20), async || {
            let now = self.look()?;
            Ok(Seen::when(now == *home, now.0.to_string()))
        })
        .await
    }

    /// Whether the link is in the node's network namespace.
    ///
    /// # Errors
    /// `ip` failed.
    pub(crate) fn at_home(&self) -> Result<bool> {
        Ok(links()?.contains(&self.name))
    }

    /// Does to a NIC that is in a pod what the kernel does to a card when the pod's network namespace dies: it is at home,
    /// down, under the name that it had there. A veth pair would die too.
    ///
    /// # Errors
    /// It is nowhere.
    pub(crate) fn fall_home(&self, home: &Home) -> Result<()> {
        if home.name_in(&ip_json("link show")?).is_some() {
            return Ok(());
        }
        for namespace in run("ip", &["netns", "list"])?.lines() {
            let namespace = namespace.split_whitespace().next().unwrap_or_default();
            let links = ip_json(&format!("-n {namespace} link show"))?;
            if let Some(name) = home.name_in(&links) {
                return ip(&format!("-n {namespace} link set {name} netns 1"));
            }
        }
        bail!("{} is in no network namespace", self.name)
    }
}

/// What a link looks like at home.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Home(Value);

impl Home {
    /// The link's name now, if it is one of these, by its hardware address.
    fn name_in<'a>(&self, links: &'a Value) -> Option<&'a str> {
        let mut links = links.as_array().into_iter().flatten();
        let found = links.find(|link| link["address"] == self.0["address"]);
        found.and_then(|link| link["ifname"].as_str())
    }
}

/// Names of the links in the node's network namespace.
///
/// # Errors
/// `ip` failed.
pub(crate) fn links() -> Result<Vec<String>> {
    let found = ip_json("link show")?;
    let links = found.as_array().into_iter().flatten();
    Ok(links
        .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
        .collect())
}
