//! Settings of links against the real kernel: each is found under its name, and written so that it is as it was.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;

use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{Sysctl, settings_by_name};

/// Files that netlink does not speak of, or whose value is not someone's.
const OTHERS: [&str; 8] = [
    "ipv4/mc_forwarding",
    "ipv6/mc_forwarding",
    "ipv6/stable_secret",
    "ipv6/mtu",
    "ipv6/hop_limit",
    "ipv6/ra_honor_pio_life",
    "ipv6/ra_honor_pio_pflag",
    "ipv6/regen_min_advance",
];

/// Names of all settings that the kernel has files for, and another value for each, as the file takes it.
fn files() -> Vec<(Sysctl, String)> {
    let mut found = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let dir = format!("/proc/sys/net/{family}/conf/nic0");
        for entry in fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{dir}/{name}");
            let sysctl = format!("{family}/{name}");
            if OTHERS.contains(&sysctl.as_str()) {
                continue;
            }
            let before = fs::read_to_string(&path).unwrap().trim().to_owned();
            let number: i64 = before.parse().unwrap();
            // Times in milliseconds are kept in ticks.
            let others = [1, -1, 1000].map(|more| number.saturating_add(more));
            let mut others = others.into_iter().chain([0, 1, 2]);
            let other = others.find(|other| {
                let written = fs::write(&path, other.to_string());
                let read = fs::read_to_string(&path).unwrap();
                *other != number && written.is_ok() && read.trim() == other.to_string()
            });
            let other = other.unwrap_or_else(|| panic!("{path} cannot be written"));
            fs::write(&path, before).unwrap();
            found.push((sysctl.parse().unwrap(), other.to_string()));
        }
    }
    found
}

fn set(sysctl: &Sysctl, text: &str) {
    let (family, name) = sysctl.parts();
    fs::write(format!("/proc/sys/net/{family}/conf/nic0/{name}"), text).unwrap();
}

#[test]
fn netns_every_setting_of_the_kernel_is_found_under_its_name_and_written_back() {
    let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    home.veth("nic0", &far, "far0").unwrap();
    let index = home.link("nic0").unwrap().index;
    let mut socket = home.socket().unwrap();
    let mut read = || -> BTreeMap<Sysctl, i32> {
        let (_, settings) = socket.link_with_settings(index).unwrap().unwrap();
        settings_by_name(&settings.settings)
    };
    let name = "nic0".parse().unwrap();
    let files = home.netns().run(files).unwrap();
    assert!(files.len() > 60, "{}", files.len());
    let mut write = home.socket().unwrap();
    for (sysctl, other) in files {
        let before = read();
        assert!(before.contains_key(&sysctl), "{sysctl} is not known");
        let changed = sysctl.clone();
        home.netns().run(move || set(&changed, &other)).unwrap();
        let after = read();
        let differ: Vec<_> = before
            .keys()
            .filter(|key| before[*key] != after[*key])
            .collect();
        assert_eq!(differ, [&sysctl]);
        let wanted = BTreeMap::from([(sysctl.clone(), before[&sysctl])]);
        let failed = write.write_settings(home.netns(), index, &name, wanted);
        assert_eq!(
            failed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [""; 0]
        );
        assert_eq!(read(), before, "{sysctl}");
    }
}

#[test]
fn netns_a_setting_that_cannot_be_written_is_told_and_the_others_are_written() {
    let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    home.veth("nic0", &far, "far0").unwrap();
    let index = home.link("nic0").unwrap().index;
    let mut socket = home.socket().unwrap();
    let of = |text: &str| text.parse::<Sysctl>().unwrap();
    let wanted = BTreeMap::from([
        (of("ipv4/no_such"), 1),
        (of("ipv6/no_such"), 1),
        (of("ipv4/rp_filter"), 2),
        (of("ipv6/accept_ra"), 2),
        (of("ipv6/addr_gen_mode"), 1),
    ]);
    let name = "nic0".parse().unwrap();
    let failed = socket.write_settings(home.netns(), index, &name, wanted.clone());
    assert_eq!(failed.len(), 2, "{failed:?}");
    let (_, settings) = socket.link_with_settings(index).unwrap().unwrap();
    let read = settings_by_name(&settings.settings);
    for (sysctl, value) in wanted {
        let known = sysctl.parts().1 != "no_such";
        assert_eq!(read.get(&sysctl), known.then_some(&value), "{sysctl}");
    }
}
