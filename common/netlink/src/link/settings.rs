//! Settings of a link that a snapshot keeps besides what every [`super::Link`] says.
//!
//! Those that the kernel keeps in each network namespace: a link that comes to another one has that one's defaults, and
//! so has one that comes home. And numbers that travel with the link.
//!
//! Read from what every link dump says of IPv4 and IPv6 (`IFLA_AF_SPEC`), without a file opened. IPv4's are written the
//! same way; IPv6 takes only one so, and all others through `/proc/sys/net`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use neli::consts::nl::NlmF;
use neli::consts::rtnl::Rtm;
use network_driver_common::model::{IfName, LinkParameter, Settings};

use super::parameter::Parameters;
use super::sysctl::Sysctl;
use super::{HEADER, attribute as ifla, request};
use crate::error::{BuildError, Malformed, RequestError};
use crate::message::{self, INET, INET6, u32_at};
use crate::netns::{EnterNetnsError, Netns};
use crate::request::{Attributes, Request};

/// Where a container finds the node's `/proc/sys/net` if it is mounted there, since its own is read-only.
const MOUNTED: &str = "/host/proc/sys/net";
const OWN: &str = "/proc/sys/net";

/// Within `AF_INET` and `AF_INET6` of `IFLA_AF_SPEC` (linux/if_link.h).
const INET_CONF: u16 = 1;
const INET6_CONF: u16 = 2;
const INET6_ADDR_GEN_MODE: u16 = 8;

/// The one of IPv6 that can be written over netlink.
const ADDR_GEN_MODE: &str = "addr_gen_mode";
const IPV6_OVER_NETLINK: (&str, &str) = ("ipv6", ADDR_GEN_MODE);

/// Names by `IPV4_DEVCONF_*` less 1 (linux/ip.h). Empty is what cannot be written: `mc_forwarding`.
const IPV4: &[&str] = &[
    "forwarding",
    "",
    "proxy_arp",
    "accept_redirects",
    "secure_redirects",
    "send_redirects",
    "shared_media",
    "rp_filter",
    "accept_source_route",
    "bootp_relay",
    "log_martians",
    "tag",
    "arp_filter",
    "medium_id",
    "disable_xfrm",
    "disable_policy",
    "force_igmp_version",
    "arp_announce",
    "arp_ignore",
    "promote_secondaries",
    "arp_accept",
    "arp_notify",
    "accept_local",
    "src_valid_mark",
    "proxy_arp_pvlan",
    "route_localnet",
    "igmpv2_unsolicited_report_interval",
    "igmpv3_unsolicited_report_interval",
    "ignore_routes_with_linkdown",
    "drop_unicast_in_l2_multicast",
    "drop_gratuitous_arp",
    "bc_forwarding",
    "arp_evict_nocarrier",
];

/// Names by `DEVCONF_*` (linux/ipv6.h). Empty is what is not someone's setting: `hop_limit` and `mtu`, which routers
/// change; `mc_forwarding`, which cannot be written; `stable_secret`, which is no number.
const IPV6: &[&str] = &[
    "forwarding",
    "",
    "",
    "accept_ra",
    "accept_redirects",
    "autoconf",
    "dad_transmits",
    "router_solicitations",
    "router_solicitation_interval",
    "router_solicitation_delay",
    "use_tempaddr",
    "temp_valid_lft",
    "temp_prefered_lft",
    "regen_max_retry",
    "max_desync_factor",
    "max_addresses",
    "force_mld_version",
    "accept_ra_defrtr",
    "accept_ra_pinfo",
    "accept_ra_rtr_pref",
    "router_probe_interval",
    "accept_ra_rt_info_max_plen",
    "proxy_ndp",
    "optimistic_dad",
    "accept_source_route",
    "",
    "disable_ipv6",
    "accept_dad",
    "force_tllao",
    "ndisc_notify",
    "mldv1_unsolicited_report_interval",
    "mldv2_unsolicited_report_interval",
    "suppress_frag_ndisc",
    "accept_ra_from_local",
    "use_optimistic",
    "accept_ra_mtu",
    "",
    "use_oif_addrs_only",
    "accept_ra_min_hop_limit",
    "ignore_routes_with_linkdown",
    "drop_unicast_in_l2_multicast",
    "drop_unsolicited_na",
    "keep_addr_on_down",
    "router_solicitation_max_interval",
    "seg6_enabled",
    "seg6_require_hmac",
    "enhanced_dad",
    ADDR_GEN_MODE,
    "disable_policy",
    "accept_ra_rt_info_min_plen",
    "ndisc_tclass",
    "rpl_seg_enabled",
    "ra_defrtr_metric",
    "ioam6_enabled",
    "ioam6_id",
    "ioam6_id_wide",
    "ndisc_evict_nocarrier",
    "accept_untracked_na",
    "accept_ra_min_lft",
    "force_forwarding",
];

/// Those of IPv6 that netlink gives in milliseconds and the file in seconds.
const IN_SECONDS: [&str; 4] = [
    "router_solicitation_interval",
    "router_solicitation_delay",
    "router_probe_interval",
    "router_solicitation_max_interval",
];
/// Those of IPv6 without a sign.
const UNSIGNED: [&str; 2] = ["ra_defrtr_metric", "ioam6_id_wide"];

/// What a snapshot keeps of a link besides what every [`super::Link`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkSettings {
    /// Those that are kept per namespace, but 0 for each that is not someone's setting.
    pub settings: Settings,
    parameters: Parameters,
}

/// A setting that was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteSettingError {
    /// The namespace was not entered.
    #[error("write settings of the link")]
    Enter(#[source] EnterNetnsError),
    /// The kernel refused the request.
    #[error("change {sysctl} of the link")]
    Request {
        /// Which setting.
        sysctl: Sysctl,
        /// Why.
        #[source]
        source: RequestError,
    },
    /// The kernel refused, or the file system is read-only.
    #[error("write {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LinkSettings {
    /// Reads them from the body of an `RTM_NEWLINK`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut settings = Self::default();
        for attribute in message::Attributes::behind(body, HEADER)? {
            match attribute? {
                (ifla::AF_SPEC, families) => settings.take_families(families)?,
                (kind, value) => settings.parameters.take(kind, value)?,
            }
        }
        Ok(settings)
    }

    fn take_families(&mut self, families: &[u8]) -> Result<(), Malformed> {
        for family in message::Attributes::new(families) {
            let (family, facts) = family?;
            for fact in message::Attributes::new(facts) {
                match (u8::try_from(family), fact?) {
                    (Ok(INET), (INET_CONF, value)) => self.settings.ipv4 = numbers(IPV4, value),
                    (Ok(INET6), (INET6_CONF, value)) => self.settings.ipv6 = numbers(IPV6, value),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The numbers that travel with the link, as many as the kernel gives.
    pub fn parameters(&self) -> BTreeMap<LinkParameter, u32> {
        self.parameters.by_name()
    }
}

/// Settings by their names, as many as are known here and can be written.
pub fn settings_by_name(settings: &Settings) -> BTreeMap<Sysctl, i32> {
    let of = |family: &'static str, names: &'static [&str], values: &[i32]| {
        let named = names.iter().zip(values.to_vec());
        let known = named.filter(|(name, _)| !name.is_empty());
        known.filter_map(move |(name, value)| {
            Some((format!("{family}/{name}").parse().ok()?, value))
        })
    };
    of("ipv4", IPV4, &settings.ipv4)
        .chain(of("ipv6", IPV6, &settings.ipv6))
        .collect()
}

/// The numbers that have a name here.
fn numbers(names: &[&str], value: &[u8]) -> Box<[i32]> {
    let numbers = value.chunks_exact(4).filter_map(|four| u32_at(four, 0));
    numbers
        .zip(names)
        .map(|(number, name)| {
            if name.is_empty() {
                0
            } else {
                number.cast_signed()
            }
        })
        .collect()
}

/// Whether a setting can be written with [`write()`], as one of IPv4 or of the generation of IPv6 addresses.
pub(crate) fn over_netlink(sysctl: &Sysctl) -> bool {
    sysctl.parts().0 == "ipv4" || sysctl.parts() == IPV6_OVER_NETLINK
}

/// A change of one setting, if it can be made over netlink.
pub(crate) fn write(index: u32, sysctl: &Sysctl, value: i32) -> Result<Request, BuildError> {
    let number = match sysctl.parts() {
        ("ipv4", name) => IPV4.iter().position(|known| *known == name),
        _ => None,
    };
    let number = number.and_then(|place| u16::try_from(place).ok()?.checked_add(1));
    let (family, facts) = match (number, u8::try_from(value)) {
        (Some(number), _) => {
            let conf = Attributes::new().bytes(number, &value.to_ne_bytes())?;
            (INET, Attributes::new().nest(INET_CONF, &[], conf)?)
        }
        (None, Ok(mode)) if sysctl.parts() == IPV6_OVER_NETLINK => (
            INET6,
            Attributes::new().bytes(INET6_ADDR_GEN_MODE, &[mode])?,
        ),
        _ => return Err(BuildError::of(format!("{sysctl} is not known here"))),
    };
    let families = Attributes::new().nest(family.into(), &[], facts)?;
    let attributes = Attributes::new().nest(ifla::AF_SPEC, &[], families)?;
    let body = request::body(index, attributes, None)?;
    Request::change(
        "change a setting of a link",
        Rtm::Setlink,
        NlmF::empty(),
        body,
    )
}

fn root() -> &'static Path {
    let mounted = Path::new(MOUNTED);
    if mounted.is_dir() {
        mounted
    } else {
        Path::new(OWN)
    }
}

/// Looks whether this process may write the settings of links that only files take, and changes none. A node without IPv6
/// has no such settings.
///
/// # Errors
/// The file that it may not write, and why.
pub fn check_setting_files() -> Result<(), WriteSettingError> {
    check_files(root())
}

fn check_files(root: &Path) -> Result<(), WriteSettingError> {
    let path = root.join("ipv6/conf/default/accept_ra");
    match File::options().write(true).open(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(WriteSettingError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// Writes settings of a link of a namespace through files. Returns those that were not written.
pub(crate) fn write_files(
    netns: &Netns,
    link: &IfName,
    settings: Vec<(Sysctl, i32)>,
) -> Vec<WriteSettingError> {
    let (root, link) = (root(), link.clone());
    // What the files mean goes by the thread's namespace, not by where they are mounted.
    let written = netns.run(move || {
        let written = settings.iter().map(|(sysctl, value)| {
            let path = file(root, &link, sysctl);
            std::fs::write(&path, text(sysctl, *value))
                .map_err(|source| WriteSettingError::File { path, source })
        });
        written.filter_map(Result::err).collect()
    });
    written.unwrap_or_else(|error| vec![WriteSettingError::Enter(error)])
}

fn file(root: &Path, link: &IfName, sysctl: &Sysctl) -> PathBuf {
    let (family, name) = sysctl.parts();
    let link = OsStr::from_bytes(link.as_bytes());
    root.join(family).join("conf").join(link).join(name)
}

/// A value of IPv6 as its file takes it.
fn text(sysctl: &Sysctl, value: i32) -> String {
    let (_, name) = sysctl.parts();
    if IN_SECONDS.contains(&name) {
        value.checked_div(1000).unwrap_or_default().to_string()
    } else if UNSIGNED.contains(&name) {
        value.cast_unsigned().to_string()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    #[test]
    fn a_file_that_may_not_be_written_is_named_and_none_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        check_files(dir.path()).unwrap();
        let conf = dir.path().join("ipv6/conf/default");
        std::fs::create_dir_all(&conf).unwrap();
        let file = conf.join("accept_ra");
        std::fs::write(&file, "1").unwrap();
        check_files(dir.path()).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"1");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap(); // also refused to root
        let error = check_files(dir.path()).unwrap_err().to_string();
        assert_eq!(error, format!("write {}", file.display()));
    }

    #[test]
    fn settings_are_read_with_their_names_and_what_nobody_sets_is_left_out() {
        let bytes = recorded::bytes(recorded::LINKS);
        let messages = recorded::messages(&bytes);
        let settings = LinkSettings::parse(messages[0].body).unwrap();
        let named = settings_by_name(&settings.settings);
        assert_eq!(named.get(&"ipv4/forwarding".parse().unwrap()), Some(&0));
        assert_eq!(named.get(&"ipv6/mtu".parse().unwrap()), None);
        assert!(
            named.keys().any(|name| name.parts().0 == "ipv6"),
            "{named:?}"
        );
    }

    #[test]
    fn a_file_gets_what_it_takes() {
        let cases = [
            ("ipv6/accept_ra", -1, "-1"),
            ("ipv6/router_solicitation_interval", 4000, "4"),
            ("ipv6/ioam6_id_wide", -1, "4294967295"),
        ];
        for (sysctl, value, want) in cases {
            assert_eq!(text(&sysctl.parse().unwrap(), value), want);
        }
        let link = IfName::try_from(&b"a.b"[..]).unwrap();
        let path = file(Path::new(OWN), &link, &"ipv6/accept_ra".parse().unwrap());
        assert_eq!(path, Path::new("/proc/sys/net/ipv6/conf/a.b/accept_ra"));
    }
}
