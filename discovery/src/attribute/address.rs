//! Addresses of the link at home. Link-local ones are left out: every link makes its own, and nobody chooses by them.

use std::net::IpAddr;

use ipnet::IpNet;
use network_driver_common::model::AttributeValue;

use super::{AttributeProvider, Draft, Subject};

/// `ipv4` and `ipv6`: `address/prefix`, joined by commas, as many as fit whole.
#[derive(Debug)]
pub(super) struct AddressAttributes;

impl AttributeProvider for AddressAttributes {
    fn sample(&self, draft: &mut Draft) {
        draft.set_text("ipv4", "192.0.2.1/24");
        draft.set_text("ipv6", "2001:db8::1/64");
    }

    fn of_link(&self, subject: &Subject<'_>, draft: &mut Draft) {
        let of = |is_family: fn(&IpNet) -> bool| {
            let addresses = subject.addresses.iter();
            addresses.filter(move |net| is_family(net) && !is_link_local(net.addr()))
        };
        let ipv4 = of(|net| net.addr().is_ipv4());
        let ipv6 = of(|net| net.addr().is_ipv6());
        if ipv4.clone().next().is_some() {
            draft.set("ipv4", AttributeValue::list(ipv4));
        }
        if ipv6.clone().next().is_some() {
            draft.set("ipv6", AttributeValue::list(ipv6));
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
