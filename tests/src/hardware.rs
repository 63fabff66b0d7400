//! Network cards of hardware's kind: those of the emulated machine (`tests/vm`), where the node's home is the machine's own
//! network namespace, since that is where the kernel lets a card fall when its namespace ends.
//!
//! A card is known by its driver and the MAC address that `tests/vm/boot` gives it, and afterwards by its PCI address:
//! names differ from boot to boot, and a virtual function has another MAC each time it is made.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use network_driver_common::model::IfName;
use network_driver_netlink::testing::{Namespace, permanent_address};
use network_driver_netlink::{Link, LinkChange};

/// How long the kernel may take to make links of functions, or a card to find its carrier: emulated, seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tests in several processes take turns by it: there is one set of cards.
const TURN: &str = "/run/lock/network-driver-cards";

/// A model of card on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    driver: &'static str,
    hardware_address: &'static str,
}

/// Intel 82576 with seven virtual functions, on the PCIe root of NUMA node 0.
pub const IGB_0: Model = Model {
    driver: "igb",
    hardware_address: "52:54:00:00:01:01",
};
/// The same on the PCIe root of NUMA node 1.
pub const IGB_1: Model = Model {
    driver: "igb",
    hardware_address: "52:54:00:00:02:01",
};
/// Intel 82574L, on a PCIe root of no NUMA node.
pub const E1000E: Model = Model {
    driver: "e1000e",
    hardware_address: "52:54:00:00:03:01",
};

/// The machine's cards, of one test at a time.
#[derive(Debug)]
pub struct Cards {
    home: Namespace,
    _turn: File,
}

impl Cards {
    /// Waits for this test's turn; cards have no virtual functions then. `None` where the cards are not, which is said on
    /// standard error.
    ///
    /// # Errors
    /// The machine cannot be read.
    pub fn take() -> anyhow::Result<Option<Self>> {
        if !Self::are_home()? {
            skipped();
            return Ok(None);
        }
        let home = Namespace::current()?;
        let turn = File::create(TURN).with_context(|| format!("make {TURN}"))?;
        turn.lock()?;
        let cards = Self { home, _turn: turn };
        for model in [IGB_0, IGB_1] {
            cards.card(model)?.set_functions(0)?;
        }
        Ok(Some(cards))
    }

    /// Whether the cards are on this machine, none of them away or on its way home.
    ///
    /// # Errors
    /// The machine cannot be read.
    pub fn are_home() -> anyhow::Result<bool> {
        let links = Namespace::current()?.socket()?.links()?;
        let models = [IGB_0, IGB_1, E1000E];
        Ok(models.iter().all(|model| model.find(&links).is_some()))
    }

    /// A card by its model, up.
    ///
    /// # Errors
    /// It is not at home.
    pub fn card(&self, model: Model) -> anyhow::Result<Card> {
        let links = self.home.socket()?.links()?;
        let link = model.find(&links);
        let link = link.with_context(|| format!("{model:?} is not at home"))?;
        let device = &link.bus.as_ref().context("no bus address")?.name;
        let card = Card {
            home: self.home.clone(),
            address: device.clone(),
        };
        card.set_up()?;
        Ok(card)
    }
}

impl Model {
    fn find(self, links: &[Link]) -> Option<&Link> {
        let mut links = links.iter().filter(|link| link.kind.is_none());
        links.find(|link| {
            let same = link.hardware_address.to_string() == self.hardware_address;
            same && driver_of(link).is_some_and(|driver| driver == self.driver)
        })
    }
}

/// A card or one of its functions: a PCI function with a link.
#[derive(Debug, Clone)]
pub struct Card {
    home: Namespace,
    /// PCI address: `0000:41:00.0`.
    pub address: String,
}

impl Card {
    /// The name under which it is offered, by the rule of the driver.
    pub fn device(&self) -> String {
        format!("pci-{}", self.address.replace([':', '.'], "-"))
    }

    /// Its link, if that is at home.
    ///
    /// # Errors
    /// Home cannot be read.
    pub fn at_home(&self) -> anyhow::Result<Option<Link>> {
        let links = self.home.socket()?.links()?;
        let is_it = |link: &Link| {
            link.bus
                .as_ref()
                .is_some_and(|bus| bus.name == self.address)
        };
        Ok(links.into_iter().find(is_it))
    }

    /// Its link.
    ///
    /// # Errors
    /// It is not at home.
    pub fn link(&self) -> anyhow::Result<Link> {
        let link = self.at_home()?;
        link.with_context(|| format!("{} is not at home", self.address))
    }

    /// Sets it up and waits for its carrier.
    ///
    /// # Errors
    /// There is none, within the time that a card may take.
    pub fn set_up(&self) -> anyhow::Result<()> {
        self.change(|change| change.up = Some(true))?;
        let what = format!("a carrier on {}", self.address);
        until(&what, || Ok(self.link()?.carrier.then_some(())))
    }

    /// Gives it all that must be there again when it comes home: an MTU, an alias, another name, an address.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn dress(&self, address: &str) -> anyhow::Result<()> {
        self.change(|change| change.mtu = Some(1450))?;
        self.change(|change| change.alias = Some(b"rack 7 port 1".to_vec()))?;
        self.add_address(address)?;
        let link = self.link()?;
        let other = format!("port-{}", self.device());
        if !link.altnames.contains(&other.clone().into_bytes()) {
            let mut home = self.home.socket()?;
            home.add_altname(link.index, other.as_bytes())?;
        }
        self.set_up()
    }

    /// Gives it an address.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_address(&self, address: &str) -> anyhow::Result<()> {
        let address = permanent_address(address.parse()?);
        Ok(self
            .home
            .socket()?
            .add_address(self.link()?.index, &address)?)
    }

    fn change(&self, set: impl FnOnce(&mut LinkChange)) -> anyhow::Result<()> {
        let mut change = LinkChange::default();
        set(&mut change);
        Ok(self
            .home
            .socket()?
            .change_link(self.link()?.index, &change)?)
    }

    /// Makes so many virtual functions, in the place of those that there are, and waits for their links.
    ///
    /// # Errors
    /// The card makes none.
    pub fn set_functions(&self, count: usize) -> anyhow::Result<Vec<Self>> {
        let file = self.files().join("sriov_numvfs");
        let write = |count: usize| fs::write(&file, count.to_string());
        write(0).with_context(|| format!("write {}", file.display()))?;
        if count > 0 {
            write(count).with_context(|| format!("make {count} functions of {}", self.address))?;
        }
        let functions = (0..count).map(|number| self.function(number));
        let functions = functions.collect::<anyhow::Result<Vec<_>>>()?;
        for function in &functions {
            let what = format!("the link of {}", function.address);
            until(&what, || function.at_home())?;
        }
        Ok(functions)
    }

    fn function(&self, number: usize) -> anyhow::Result<Self> {
        let place = fs::read_link(self.files().join(format!("virtfn{number}")))?;
        let address = place.file_name().context("no PCI address")?;
        Ok(Self {
            home: self.home.clone(),
            address: address.to_string_lossy().into_owned(),
        })
    }

    /// Takes the card off the bus, as if it were pulled out.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn pull(&self) -> anyhow::Result<()> {
        fs::write(self.files().join("remove"), "1").context("remove a card from its bus")
    }

    /// Looks for cards on all buses, as if one were put in, and waits for this one.
    ///
    /// # Errors
    /// It does not come.
    pub fn plug(&self) -> anyhow::Result<Link> {
        fs::write("/sys/bus/pci/rescan", "1").context("look for cards")?;
        until(&format!("{} plugged in", self.address), || self.at_home())
    }

    fn files(&self) -> PathBuf {
        PathBuf::from("/sys/bus/pci/devices").join(&self.address)
    }
}

/// Which driver runs a link's device.
fn driver_of(link: &Link) -> Option<String> {
    let bus = link.bus.as_ref()?;
    let device = PathBuf::from("/sys/bus").join(&bus.bus).join("devices");
    let driver = fs::read_link(device.join(&bus.name).join("driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

/// Looks until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A link of that name at home that is nobody's card: its name is taken.
///
/// # Errors
/// The kernel refuses it.
pub fn take_name(home: &Namespace, name: &str) -> anyhow::Result<Taken> {
    let far = Namespace::new()?;
    home.veth(name, &far, "far")?;
    Ok(Taken {
        name: name.parse()?,
        _far: far,
    })
}

/// A name that is taken as long as this lives.
#[derive(Debug)]
pub struct Taken {
    /// The name.
    pub name: IfName,
    _far: Namespace,
}

#[expect(clippy::print_stderr, reason = "a test must not be left out silently")]
fn skipped() {
    eprintln!("SKIPPED: no cards of the emulated machine here (make vm)");
}
