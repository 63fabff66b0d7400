//! The driver's nouns as types that cannot be wrong: each has one way in, which checks it.

mod attribute;
mod device;
mod fault;
mod feature;
mod flags;
mod health;
mod id;
mod interface;
mod link;
mod mark;
mod parameter;
mod pci;
mod quarantine;
mod record;
mod setting;
mod shared;
mod snapshot;

pub use attribute::{
    AttributeName, AttributeValue, Attributes, InvalidAttribute, MAX_ATTRIBUTES, MAX_VALUE_BYTES,
};
pub use device::{Device, DeviceName, InvalidDeviceName};
pub use fault::{DeviceFault, FaultReason};
pub use feature::{Feature, InvalidFeature, WantedFeatures};
pub use flags::SettableFlags;
pub use health::DeviceHealth;
pub use id::{ClaimRef, ClaimUid, DriverName, InvalidId, PodRef, PodUid, SandboxId};
pub use interface::{InterfaceConfig, InvalidMtu, Mtu, Route};
pub use link::{HardwareAddress, IfName, InvalidHardwareAddress, InvalidIfName, LinkIdentity};
pub use mark::Mark;
pub use parameter::{LinkParameter, UnknownLinkParameter};
pub use pci::{InvalidPciAddress, PciAddress};
pub use quarantine::Quarantine;
pub use record::{Attachment, Protected, Record};
pub use setting::Settings;
pub use snapshot::{RouteOptions, Snapshot, SnapshotAddress, SnapshotNeighbor, SnapshotRoute};
