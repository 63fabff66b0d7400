//! Which interface gets which name in the pod, decided before anything moves. Pure.
//!
//! The kernel's move is not all-or-nothing: with the name taken it answers an error and has moved the link all the
//! same. So clashes are found here: with what the pod has, among the devices, and with alternative names, which share
//! one table with the names.

use std::collections::BTreeMap;

use network_driver_common::model::{DeviceName, IfName};

/// The names that a device brings into the pod.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    /// The device.
    pub(crate) device: &'a DeviceName,
    /// Name that its interface is to have.
    pub(crate) name: &'a IfName,
    /// Alternative names that travel with it.
    pub(crate) altnames: &'a [Vec<u8>],
}

/// A name that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameConflict {
    /// The pod has it.
    #[error("interface name {name} of device {device} is taken in the pod")]
    Pod {
        /// The name.
        name: String,
        /// Whose it was to be.
        device: DeviceName,
    },
    /// Another device of the pod gets it.
    #[error("interface name {name} of device {device} is taken by device {other}")]
    Device {
        /// The name.
        name: String,
        /// Whose it was to be.
        device: DeviceName,
        /// Whose it is.
        other: DeviceName,
    },
    /// It is an alternative name of the link itself.
    #[error("interface name {name} of device {device} is one of its alternative names")]
    Own {
        /// The name.
        name: String,
        /// Whose it was to be.
        device: DeviceName,
    },
}

/// Checks the names of all devices of a pod, in order, against those the pod has and each other.
///
/// # Errors
/// The first name that cannot be given.
pub(crate) fn check_names<'a>(
    devices: &[Names<'a>],
    in_pod: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), NameConflict> {
    let mut owners: BTreeMap<&[u8], Option<&DeviceName>> =
        in_pod.into_iter().map(|name| (name, None)).collect();
    for Names {
        device,
        name,
        altnames,
    } in devices
    {
        let altnames = altnames.iter().map(Vec::as_slice);
        for name in altnames.chain([name.as_bytes()]) {
            if let Some(owner) = owners.insert(name, Some(device)) {
                return Err(conflict(name, device, owner));
            }
        }
    }
    Ok(())
}

fn conflict(name: &[u8], device: &DeviceName, owner: Option<&DeviceName>) -> NameConflict {
    let device = device.clone();
    let name = IfName::try_from(name).map_or_else(
        |_| String::from_utf8_lossy(name).into_owned(),
        |name| name.to_string(),
    );
    match owner {
        None => NameConflict::Pod { name, device },
        Some(other) if *other == device => NameConflict::Own { name, device },
        Some(other) => NameConflict::Device {
            name,
            device,
            other: other.clone(),
        },
    }
}

/// A name that nothing at home has, for a link whose own name is taken: `nd-<n>`, from its index upwards.
pub(crate) fn free_name(index: u32, is_taken: impl Fn(&IfName) -> bool) -> Option<IfName> {
    (index..=u32::MAX)
        .filter_map(|n| format!("nd-{n}").parse().ok())
        .find(|name| !is_taken(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices as `name` or `name+altname`, called d0, d1, …, in a pod that has these names.
    fn check(devices: &[&str], in_pod: &[&str]) -> Result<(), String> {
        let parsed: Vec<(DeviceName, IfName, Vec<Vec<u8>>)> = devices
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let (name, altname) = text.split_once('+').unwrap_or((text, ""));
                let altnames = Some(altname.into()).filter(|name: &Vec<u8>| !name.is_empty());
                (
                    format!("d{index}").parse().unwrap(),
                    name.parse().unwrap(),
                    altnames.into_iter().collect(),
                )
            })
            .collect();
        let names: Vec<_> = parsed
            .iter()
            .map(|(device, name, altnames)| Names {
                device,
                name,
                altnames,
            })
            .collect();
        let in_pod = in_pod.iter().map(|name| name.as_bytes());
        check_names(&names, in_pod).map_err(|conflict| conflict.to_string())
    }

    #[test]
    fn a_name_is_given_once() {
        let ok: [(&[&str], &[&str]); 4] = [
            (&[], &["lo"]),
            (&["net1"], &["lo", "eth0"]),
            (&["net1", "net2"], &["lo", "eth0"]),
            (&["net1+enp1s0", "net2+enp2s0"], &["lo"]),
        ];
        for (devices, in_pod) in ok {
            assert_eq!(
                check(devices, in_pod),
                Ok(()),
                "{devices:?} into {in_pod:?}"
            );
        }
        let refused: [(&[&str], &[&str], &str); 6] = [
            (
                &["eth0"],
                &["lo", "eth0"],
                "eth0 of device d0 is taken in the pod",
            ),
            (&["lo"], &["lo"], "lo of device d0 is taken in the pod"),
            (
                &["a+eth0"],
                &["eth0"],
                "eth0 of device d0 is taken in the pod",
            ),
            (
                &["net1", "net1"],
                &[],
                "net1 of device d1 is taken by device d0",
            ),
            (
                &["net1", "a+net1"],
                &[],
                "net1 of device d1 is taken by device d0",
            ),
            (
                &["net1+net1"],
                &[],
                "net1 of device d0 is one of its alternative names",
            ),
        ];
        for (devices, in_pod, why) in refused {
            let conflict = check(devices, in_pod).unwrap_err();
            assert_eq!(conflict, format!("interface name {why}"));
        }
    }

    #[test]
    fn a_free_name_is_one_that_nothing_has() {
        let taken: Vec<IfName> = vec!["nd-7".parse().unwrap(), "nd-8".parse().unwrap()];
        let name = free_name(7, |name| taken.contains(name));
        assert_eq!(name, "nd-9".parse().ok());
        assert_eq!(free_name(u32::MAX, |_| false).unwrap().as_bytes().len(), 13);
    }
}
