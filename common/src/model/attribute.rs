//! What is said of a device: names and values within the limits of the API (`resource.k8s.io`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::shared::shared;

/// Most attributes and capacities that one device may carry together.
pub const MAX_ATTRIBUTES: usize = 32;

/// Longest text or version value in bytes (`DeviceAttributeMaxValueLength`).
pub const MAX_VALUE_BYTES: usize = 64;

/// Attributes by name, in a stable order.
pub type Attributes = BTreeMap<AttributeName, AttributeValue>;

/// Name of an attribute: `[domain/]id`, where the id is a C identifier of at most 32 characters and a missing
/// domain means the driver's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeName(Arc<str>);

/// Text that is no attribute name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attribute name {0:?} is not of the form [domain/]id")]
pub struct InvalidAttribute(String);

impl AttributeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Domain and id; no domain means the driver's own.
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.0.split_once('/') {
            Some((domain, id)) => (Some(domain), id),
            None => (None, &self.0),
        }
    }
}

impl FromStr for AttributeName {
    type Err = InvalidAttribute;

    fn from_str(text: &str) -> Result<Self, InvalidAttribute> {
        let (domain, id) = match text.split_once('/') {
            Some((domain, id)) => (Some(domain), id),
            None => (None, text),
        };
        let domain_fits = domain.is_none_or(|d| d.parse::<super::DriverName>().is_ok());
        if domain_fits && is_c_identifier(id) {
            Ok(Self(shared(text)))
        } else {
            Err(InvalidAttribute(text.chars().take(100).collect()))
        }
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_c_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 32
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Text of at most [`MAX_VALUE_BYTES`]; make it with [`AttributeValue::text`].
    Text(Box<str>),
    /// A semantic version 2.0.0 of at most [`MAX_VALUE_BYTES`].
    Version(Box<str>),
}

impl AttributeValue {
    /// A text, cut to the API's limit on the edge of a character: a value that is too long would refuse the whole
    /// slice.
    pub fn text(value: &str) -> Self {
        let mut end = value.len().min(MAX_VALUE_BYTES);
        while !value.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        Self::Text(value.get(..end).unwrap_or_default().into())
    }

    /// A list as one text: items in the given order, joined by ',', as many as fit whole.
    pub fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> Self {
        let mut joined = String::new();
        for item in items {
            let item = item.to_string();
            let comma = usize::from(!joined.is_empty());
            if joined
                .len()
                .saturating_add(comma)
                .saturating_add(item.len())
                > MAX_VALUE_BYTES
            {
                break;
            }
            if comma == 1 {
                joined.push(',');
            }
            joined.push_str(&item);
        }
        Self::text(&joined)
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(value) | Self::Version(value) => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_api() {
        for good in ["ifName", "resource.kubernetes.io/pcieRoot", "_a1"] {
            assert!(good.parse::<AttributeName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "if-name",
            "1a",
            "a/b/c",
            "/a",
            "resource.kubernetes.io/",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<AttributeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let AttributeValue::Text(text) = AttributeValue::text(&"ü".repeat(40)) else {
            panic!()
        };
        assert_eq!(text.len(), 64);
        let AttributeValue::Text(text) = AttributeValue::text(&format!("a{}", "ü".repeat(40)))
        else {
            panic!()
        };
        assert_eq!(text.len(), 63);
    }

    #[test]
    fn lists_keep_whole_items_only() {
        let AttributeValue::Text(text) =
            AttributeValue::list((0..30).map(|n| format!("10.0.0.{n}/24")))
        else {
            panic!()
        };
        assert_eq!(
            &*text,
            "10.0.0.0/24,10.0.0.1/24,10.0.0.2/24,10.0.0.3/24,10.0.0.4/24"
        );
    }
}
