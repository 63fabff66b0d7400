//! A node of a few links: how it is built, and what the daemons make of it.

use std::collections::BTreeMap;

use network_driver_common::model::{IfName, Protected};
use network_driver_netlink::testing::{Namespace, Whose};
use network_driver_netlink::uplink::{Relation, UplinkReason, matters, protected_links};
use network_driver_netlink::{Dumper, Link, LinkChange, LinkKind, MacvlanMode, NewLink};

use crate::route::Route;

/// Number of no link: the parent of a link that is only tried. Loopback takes no VLAN.
pub(crate) const NO_LINK: u32 = 1 << 20;

/// What it is called, and how it is built; it says what is to come of it with [`Node::is`].
pub(crate) type Topology = (&'static str, fn(&mut Node));

/// Builds each and prints how many were right.
pub(crate) fn try_all(topologies: &[Topology]) {
    let mut wrong = Vec::new();
    for (name, build) in topologies {
        let mut node = Node::new();
        build(&mut node);
        let seen = |side: fn(&str) -> bool| node.seen.iter().any(|verdict| side(verdict));
        if !seen(|verdict| verdict == "free") || !seen(|verdict| verdict != "free") {
            node.wrong.push("only one side is asserted".to_owned());
        }
        if !node.wrong.is_empty() {
            wrong.push(format!("{name}: {}", node.wrong.join("\n    ")));
        }
    }
    let all = topologies.len();
    let right = all.saturating_sub(wrong.len());
    assert!(wrong.is_empty(), "{right} of {all}:\n{}", wrong.join("\n"));
    println!(
        "uplink topologies: {right} of {all}, nothing protected is offered, nothing else is held back"
    );
}

/// The namespace of a node; another one has the far ends of its cables.
pub(crate) struct Node {
    pub(crate) home: Namespace,
    pub(crate) far: Namespace,
    protected: Protected,
    /// Links of a fresh namespace: loopback, and what some modules of the kernel put into each.
    of_kernel: Vec<u32>,
    seen: Vec<String>,
    wrong: Vec<String>,
}

impl Node {
    fn new() -> Self {
        let home = Namespace::new().unwrap();
        let links = home.socket().unwrap().links().unwrap();
        Self {
            home,
            far: Namespace::new().unwrap(),
            protected: Protected::default(),
            of_kernel: links.into_iter().map(|link| link.index).collect(),
            seen: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// Network cards `nic0`, `nic1` and so on, up and with a carrier.
    pub(crate) fn nics(&self, number: usize) {
        for name in (0..number).map(|n| format!("nic{n}")) {
            self.home.veth(&name, &self.far, &name).unwrap();
            self.far.set_up(&name, true).unwrap();
            self.up(&name);
        }
    }

    pub(crate) fn up(&self, name: &str) {
        self.home.set_up(name, true).unwrap();
    }

    pub(crate) fn down(&self, name: &str) {
        self.home.set_up(name, false).unwrap();
    }

    /// A link of the node, up.
    pub(crate) fn make(&self, name: &str, kind: LinkKind) {
        let link = NewLink::new(name.parse().unwrap(), kind);
        self.home.socket().unwrap().create_link(&link).unwrap();
        self.up(name);
    }

    /// A link with options of its kind, as the kernel numbers them, up.
    pub(crate) fn make_with(
        &self,
        name: &str,
        kind: &str,
        parent: Option<&str>,
        options: &[(u16, &[u8])],
    ) {
        self.home.add_link(name, kind, parent, options).unwrap();
        self.up(name);
    }

    pub(crate) fn bridge(&self, name: &str, ports: &[&str]) {
        self.make(name, LinkKind::Bridge);
        for port in ports {
            self.join(port, name);
        }
    }

    pub(crate) fn vlan(&self, name: &str, parent: &str, id: u16) {
        let parent = self.index(parent);
        self.make(name, LinkKind::Vlan { parent, id });
    }

    pub(crate) fn macvlan(&self, name: &str, parent: &str) {
        let (parent, mode) = (self.index(parent), MacvlanMode::Bridge);
        self.make(name, LinkKind::Macvlan { parent, mode });
    }

    /// A bond whose mode the kernel numbers so: 0 for all ports in turn, 1 for one at a time.
    pub(crate) fn bond(&self, name: &str, mode: u8, ports: &[&str]) {
        /// `IFLA_BOND_MODE`.
        const MODE: u16 = 1;
        self.home
            .add_link(name, "bond", None, &[(MODE, &[mode])])
            .unwrap();
        for port in ports {
            self.down(port); // a bond takes no other
            self.join(port, name);
        }
        self.up(name);
    }

    pub(crate) fn join(&self, port: &str, master: &str) {
        self.set_master(port, self.index(master));
    }

    pub(crate) fn leave(&self, port: &str) {
        self.set_master(port, 0);
    }

    fn set_master(&self, port: &str, master: u32) {
        let change = LinkChange {
            master: Some(master),
            ..LinkChange::default()
        };
        let mut socket = self.home.socket().unwrap();
        socket.change_link(self.index(port), &change).unwrap();
    }

    pub(crate) fn rename(&self, name: &str, to: &str) {
        self.down(name); // kernels before 6.2 rename no other
        let change = LinkChange {
            name: Some(to.parse().unwrap()),
            ..LinkChange::default()
        };
        let mut socket = self.home.socket().unwrap();
        socket.change_link(self.index(name), &change).unwrap();
        self.up(to);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut socket = self.home.socket().unwrap();
        socket.delete_link(self.index(name)).unwrap();
    }

    pub(crate) fn index(&self, name: &str) -> u32 {
        self.home.link(name).unwrap().index
    }

    pub(crate) fn address(&self, name: &str, address: &str) {
        self.home
            .add_address(name, address.parse().unwrap())
            .unwrap();
    }

    pub(crate) fn no_address(&self, name: &str, address: &str) {
        let mut socket = self.home.socket().unwrap();
        let (index, address) = (self.index(name), address.parse().unwrap());
        socket.delete_address(index, &address).unwrap();
    }

    /// Adds a route, see [`Route::read`].
    pub(crate) fn route(&self, text: &str) {
        Route::read(&self.home, text).add(&self.home);
    }

    pub(crate) fn no_route(&self, text: &str) {
        Route::read(&self.home, text).delete(&self.home);
    }

    /// Gives a link an address and the default route over it.
    pub(crate) fn default(&self, name: &str) {
        self.address(name, "10.0.0.5/24");
        self.route(&format!("0.0.0.0/0 via 10.0.0.1 dev {name}"));
    }

    pub(crate) fn rule(&self, whose: Whose, table: u32) {
        self.home.add_rule_for(whose, table).unwrap();
    }

    /// Moves a link to another namespace.
    pub(crate) fn leaves(&self, name: &str) {
        let mut socket = self.home.socket().unwrap();
        let moved = socket.move_link(
            self.index(name),
            self.far.netns(),
            &"moved".parse().unwrap(),
        );
        moved.unwrap();
    }

    /// Addresses of the node and of the API server, as discovery has them from the API.
    pub(crate) fn known_by(&mut self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        self.protected.destinations = addresses.collect();
    }

    /// What the operator protects.
    pub(crate) fn operator(&mut self, name: &str) {
        self.protected.interfaces.insert(name.parse().unwrap());
    }

    /// All links that were made are, in the order of their numbers, as `want` says: `nic0 default, nic1 free`. Asked as
    /// the hook asks before it takes a link, and as discovery does before it offers one.
    pub(crate) fn is(&mut self, want: &str) {
        for (who, found) in [("hook", self.hook()), ("discovery", self.discovery())] {
            let shown: Vec<_> = found.iter().map(|(n, v)| format!("{n} {v}")).collect();
            let shown = shown.join(", ");
            if shown != want {
                self.wrong.push(format!("{who}: {shown}, not {want}"));
            }
            self.seen
                .extend(found.into_iter().map(|(_, verdict)| verdict));
        }
    }

    fn hook(&self) -> Vec<(IfName, String)> {
        let mut socket = self.home.socket().unwrap();
        let links = socket.links_with_settings().unwrap();
        let links: Vec<_> = links.into_iter().map(|(link, _)| link).collect();
        let addresses = socket.addresses(None).unwrap();
        let routes = socket.routes().unwrap();
        let mut ways = Vec::new();
        for destination in &self.protected.destinations {
            let out = socket.route_to(*destination).unwrap();
            ways.extend(out.map(|index| (*destination, index)));
        }
        let protected = &self.protected;
        let found = protected_links(links.iter(), &routes, addresses.iter(), protected, &ways);
        self.verdicts(&links, &found)
    }

    fn discovery(&self) -> Vec<(IfName, String)> {
        let asked = async {
            let dumper = Dumper::open_in(self.home.netns()).unwrap();
            let dump = dumper.dump().await.unwrap();
            let mut ways = Vec::new();
            for destination in self.protected.destinations.clone() {
                if let Ok(Some(index)) = dumper.route_to(destination).await {
                    ways.push((destination, index));
                }
            }
            (dump, ways)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (mut dump, ways) = runtime.block_on(asked);
        let (links, addresses) = (dump.links.iter(), dump.addresses.iter());
        // Of the others it keeps none.
        dump.routes.retain(|route| matters(route, &self.protected));
        let found = protected_links(links, &dump.routes, addresses, &self.protected, &ways);
        self.verdicts(&dump.links, &found)
    }

    fn verdicts(
        &self,
        links: &[Link],
        found: &BTreeMap<u32, UplinkReason>,
    ) -> Vec<(IfName, String)> {
        let made = links.iter().filter(|l| !self.of_kernel.contains(&l.index));
        let mut made: Vec<_> = made.collect();
        made.sort_by_key(|link| link.index);
        let verdict = |link: &&Link| (link.name.clone(), short(found.get(&link.index)));
        made.iter().map(verdict).collect()
    }
}

fn short(reason: Option<&UplinkReason>) -> String {
    match reason {
        None => "free".to_owned(),
        Some(UplinkReason::DefaultRoute) => "default".to_owned(),
        Some(UplinkReason::Address(_)) => "address".to_owned(),
        Some(UplinkReason::RouteTo(_)) => "way".to_owned(),
        Some(UplinkReason::Operator) => "operator".to_owned(),
        Some(UplinkReason::Carries(above)) => format!("carries {above}"),
        Some(UplinkReason::UnknownRoute) => "suspect".to_owned(),
        Some(UplinkReason::Joined { relation, to, .. }) => match relation {
            Relation::Below => format!("below {to}"),
            Relation::Above => format!("above {to}"),
            Relation::Beside => format!("beside {to}"),
        },
    }
}
