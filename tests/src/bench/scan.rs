//! discovery's reading of the whole node beside the kernel's own answers to the same questions, unparsed.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use ipnet::IpNet;
use network_driver_common::bus::Component;
use network_driver_common::metrics::registry;
use network_driver_discovery::args::Args;
use network_driver_discovery::config;
use network_driver_discovery::metrics::{Metrics, Trigger};
use network_driver_discovery::scan::Scanner;
use network_driver_netlink::Netns;
use network_driver_netlink::testing::permanent_address;

use super::raw::Raw;
use super::report::{Budget, Report, Row, Unit};
use super::sample::{Samples, timed};
use super::{Options, progress};
use crate::daemon::mount_sysfs;
use crate::node::Node;

/// What is measured of one node.
#[derive(Debug, Default)]
struct Times {
    /// All files of all links have to be read.
    cold: Samples,
    /// What the files say is known.
    warm: Samples,
    raw: Samples,
}

pub(super) fn run(options: &Options, links: usize, report: &mut Report) -> anyhow::Result<()> {
    progress(&format!("scan of {links} links"));
    let node = node(links)?;
    let dir = tempfile::Builder::new().prefix("nd").tempdir()?;
    let (home, sysfs) = (node.home().netns().clone(), dir.path().to_owned());
    let (netns, rounds) = (home.clone(), options.share(2));
    // The thread and all that it starts see the node's links, and the files of them.
    let measured = home.run(move || measure(&netns, &sysfs, rounds))?;
    let Times { cold, warm, raw } = measured?;
    let row = Row::new(format!("scan, {links} links"), Unit::Millis, warm);
    report.add(row.against("raw dump", &raw).budget(Budget::Ratio(3.0)));
    let row = Row::new(format!("first scan, {links} links"), Unit::Millis, cold);
    report.add(row.against("raw dump", &raw));
    Ok(())
}

/// A node with so many links that each have an address.
fn node(links: usize) -> anyhow::Result<Node> {
    let node = Node::new()?;
    node.add_links("port", links)?;
    let mut home = node.home().socket()?;
    for link in home.links()? {
        if link.name.as_bytes().starts_with(b"port") {
            let [a, b, c, d] = link.index.to_be_bytes();
            let address = [10, a | b | 0x10, c, d];
            let address = permanent_address(IpNet::new(address.into(), 32)?);
            home.add_address(link.index, &address)?;
        }
    }
    Ok(node)
}

fn measure(home: &Netns, sysfs: &Path, rounds: u32) -> anyhow::Result<Times> {
    mount_sysfs(sysfs)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut times = Times::default();
    let mut raw = Raw::open(home)?;
    let mut known = scanner(sysfs)?;
    runtime.block_on(known.scan(Trigger::Request))?;
    for _ in 0..rounds {
        times.raw.add(timed(|| raw.dump())?);
        let scan =
            |scanner: &mut Scanner| timed(|| Ok(runtime.block_on(scanner.scan(Trigger::Request))?));
        times.warm.add(scan(&mut known)?);
        times.cold.add(scan(&mut scanner(sysfs)?)?);
    }
    Ok(times)
}

/// A scanner with the daemon's own configuration, that offers what the node has.
fn scanner(sysfs: &Path) -> anyhow::Result<Scanner> {
    let args = Args::try_parse_from([
        PathBuf::from("discovery"),
        "--offer-down".into(),
        "--offer-kinds=veth".into(),
        "--sysfs-root".into(),
        sysfs.to_owned(),
    ])?;
    let (inventory, sysfs) = config::inventory(args.offer, &args.node.driver_name)?;
    let metrics = Metrics::new(&mut registry(Component::Discovery));
    Ok(Scanner::new(inventory, sysfs, metrics)?)
}
