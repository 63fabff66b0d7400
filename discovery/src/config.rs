//! What the command line means, checked: nothing in here can be wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use network_driver_common::model::{DriverName, Protected};

use crate::args::OfferArgs;
use crate::attribute::{providers, sample};
use crate::filter::cel::InvalidFilter;
use crate::filter::{CelFilter, Offer, filters};
use crate::inventory::{Inventory, Rules};
use network_driver_netlink::sysfs::Sysfs;

/// A configuration that is refused (exit code 3).
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// The condition cannot be used.
    #[error("--filter cannot be used")]
    Filter(#[source] InvalidFilter),
    /// A cluster, but no node.
    #[error("--node-name (NODE_NAME) is needed to publish ResourceSlices")]
    NoNodeName,
}

/// Makes the empty inventory that these flags ask for, and where facts about links are read.
///
/// # Errors
/// The filter is wrong.
pub fn inventory(
    args: OfferArgs,
    driver: &DriverName,
) -> Result<(Inventory, Sysfs), InvalidConfig> {
    let OfferArgs {
        offer_down,
        offer_kinds,
        hide_names,
        filter,
        protect_interfaces,
        sysfs_root,
    } = args;
    let providers = Arc::new(providers());
    let condition = filter.filter(|text| !text.trim().is_empty());
    let condition = condition
        .map(|text| CelFilter::new(&text, driver, sample(&providers)))
        .transpose()
        .map_err(InvalidConfig::Filter)?;
    let rules = Rules {
        filters: filters(
            driver,
            Offer {
                down: offer_down,
                kinds: offer_kinds.clone(),
                hidden_names: hide_names.0,
                condition,
            },
        ),
        providers,
        kinds: offer_kinds,
    };
    let protected = Protected {
        destinations: BTreeSet::new(),
        interfaces: protect_interfaces.0.into_iter().collect(),
    };
    Ok((Inventory::new(rules, protected), Sysfs::new(&sysfs_root)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn parse(flags: &[&str]) -> Result<(), InvalidConfig> {
        let args = Args::parse_from(std::iter::once("discovery").chain(flags.iter().copied()));
        inventory(args.offer, &args.node.driver_name).map(|_| ())
    }

    #[test]
    fn the_filter_is_checked_against_every_attribute_when_it_is_read() {
        let good = r#"device.attributes["network.example.com"].numaNode == 0"#;
        assert!(parse(&["--filter", good]).is_ok());
        assert!(parse(&["--filter", " "]).is_ok());
        let other_driver = ["--driver-name", "nic.example.com", "--filter", good];
        assert!(matches!(
            parse(&other_driver),
            Err(InvalidConfig::Filter(_))
        ));
        let wrong = r#"device.attributes["network.example.com"].numanode == 0"#;
        assert!(matches!(
            parse(&["--filter", wrong]),
            Err(InvalidConfig::Filter(_))
        ));
    }
}
