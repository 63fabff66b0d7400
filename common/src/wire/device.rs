//! Devices, identities, attributes, protected destinations.

use network_driver_proto::bus;

use super::{InvalidMessage, each, field, required};
use crate::model::{
    AttributeName, AttributeValue, Device, HardwareAddress, IfName, LinkIdentity, Protected,
};

impl From<&LinkIdentity> for bus::LinkIdentity {
    fn from(identity: &LinkIdentity) -> Self {
        use bus::link_identity::Identity;
        let identity = match identity {
            LinkIdentity::Pci { address, dev_port } => Identity::Pci(bus::PciIdentity {
                address: address.to_string(),
                dev_port: *dev_port,
            }),
            LinkIdentity::Other {
                kind,
                hardware_address,
                home_name,
            } => Identity::Other(bus::OtherIdentity {
                kind: kind.clone(),
                hardware_address: hardware_address.as_bytes().to_vec(),
                home_name: home_name.as_bytes().to_vec(),
            }),
        };
        Self {
            identity: Some(identity),
        }
    }
}

impl TryFrom<&bus::LinkIdentity> for LinkIdentity {
    type Error = InvalidMessage;

    fn try_from(message: &bus::LinkIdentity) -> Result<Self, InvalidMessage> {
        use bus::link_identity::Identity;
        Ok(match required("identity", message.identity.as_ref())? {
            Identity::Pci(pci) => Self::Pci {
                address: field("pci.address", pci.address.parse())?,
                dev_port: pci.dev_port,
            },
            Identity::Other(other) => Self::Other {
                kind: other.kind.clone(),
                hardware_address: field(
                    "other.hardware_address",
                    HardwareAddress::try_from(other.hardware_address.as_slice()),
                )?,
                home_name: field(
                    "other.home_name",
                    IfName::try_from(other.home_name.as_slice()),
                )?,
            },
        })
    }
}

impl From<&AttributeValue> for bus::AttributeValue {
    fn from(value: &AttributeValue) -> Self {
        use bus::attribute_value::Value;
        let value = match value {
            AttributeValue::Int(int) => Value::Int(*int),
            AttributeValue::Bool(bool) => Value::Bool(*bool),
            AttributeValue::Text(text) => Value::String(text.to_string()),
            AttributeValue::Version(text) => Value::Version(text.to_string()),
        };
        Self { value: Some(value) }
    }
}

impl TryFrom<&bus::AttributeValue> for AttributeValue {
    type Error = InvalidMessage;

    fn try_from(message: &bus::AttributeValue) -> Result<Self, InvalidMessage> {
        use bus::attribute_value::Value;
        Ok(match required("value", message.value.as_ref())? {
            Value::Int(int) => Self::Int(*int),
            Value::Bool(bool) => Self::Bool(*bool),
            Value::String(text) => Self::text(text),
            Value::Version(text) => Self::Version(text.as_str().into()),
        })
    }
}

impl From<&Device> for bus::Device {
    fn from(device: &Device) -> Self {
        let attributes = device.attributes.iter();
        Self {
            name: device.name.to_string(),
            identity: Some((&device.identity).into()),
            interface_name: device.interface.as_bytes().to_vec(),
            attributes: attributes
                .map(|(name, value)| (name.to_string(), value.into()))
                .collect(),
            capacity: device.capacity.clone(),
        }
    }
}

impl TryFrom<&bus::Device> for Device {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Device) -> Result<Self, InvalidMessage> {
        let attribute = |(name, value): (&String, &bus::AttributeValue)| {
            let key = field(name, name.parse::<AttributeName>())?;
            Ok((
                key,
                value
                    .try_into()
                    .map_err(|error: InvalidMessage| error.within(name))?,
            ))
        };
        let identity = required("identity", message.identity.as_ref())?;
        Ok(Self {
            name: field("name", message.name.parse())?,
            identity: identity.try_into()?,
            interface: field(
                "interface_name",
                IfName::try_from(message.interface_name.as_slice()),
            )?,
            attributes: each("attributes", &message.attributes, attribute)?
                .into_iter()
                .collect(),
            capacity: message.capacity.clone(),
        })
    }
}

impl From<&Protected> for bus::Protected {
    fn from(protected: &Protected) -> Self {
        Self {
            destinations: protected
                .destinations
                .iter()
                .map(ToString::to_string)
                .collect(),
            interface_names: protected
                .interfaces
                .iter()
                .map(|n| n.as_bytes().to_vec())
                .collect(),
        }
    }
}

impl TryFrom<&bus::Protected> for Protected {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Protected) -> Result<Self, InvalidMessage> {
        let address = |text: &String| field("address", text.parse());
        let name = |bytes: &Vec<u8>| field("name", IfName::try_from(bytes.as_slice()));
        Ok(Self {
            destinations: each("destinations", &message.destinations, address)?
                .into_iter()
                .collect(),
            interfaces: each("interface_names", &message.interface_names, name)?
                .into_iter()
                .collect(),
        })
    }
}
