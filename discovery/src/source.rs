//! Where facts about links come from. Names, flags, addresses and routes come from rtnetlink (`network_driver_netlink`,
//! fed to the inventory by [`crate::scan`]); what stands behind a link, from [`sysfs`]. A further source (device tree,
//! cloud metadata) is a further file here and what [`crate::attribute`] makes of it.

pub mod sysfs;
