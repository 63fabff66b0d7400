//! The model's form on the bus and on disk: every conversion between [`crate::model`] and
//! `network_driver.bus.v1`, in one place.
//!
//! Model → wire cannot fail. Wire → model checks everything and names the field that is wrong.

mod device;
mod health;
mod record;
mod snapshot;

pub use record::{AttachedInterface, attached_interface, from_unix_nanos, to_unix_nanos};

/// A message of the bus, or a record on disk, that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidMessage {
    /// Path of the field, e.g. `attachments[1].device.name`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidMessage {
    /// A field that is wrong for a reason.
    pub fn new(field: &str, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// The same fault, seen from the message that holds the field.
    #[must_use]
    pub fn within(mut self, outer: impl std::fmt::Display) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

/// Checks one field.
fn field<T, E: ToString>(name: &str, value: Result<T, E>) -> Result<T, InvalidMessage> {
    value.map_err(|error| InvalidMessage::new(name, error.to_string()))
}

/// A message field that has to be there.
fn required<T>(name: &str, value: Option<T>) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::new(name, "is missing"))
}

/// Converts each item, naming the one that fails.
fn each<I, T>(
    name: &str,
    items: impl IntoIterator<Item = I, IntoIter: ExactSizeIterator>,
    convert: impl Fn(I) -> Result<T, InvalidMessage>,
) -> Result<Vec<T>, InvalidMessage> {
    let items = items.into_iter();
    // Not collected: of a list of one item that would make room for four.
    let mut converted = Vec::with_capacity(items.len());
    for (index, item) in items.enumerate() {
        let item = convert(item).map_err(|error| error.within(format!("{name}[{index}]")))?;
        converted.push(item);
    }
    Ok(converted)
}

/// An optional text field: empty means absent.
fn optional<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, InvalidMessage>
where
    T::Err: ToString,
{
    if text.is_empty() {
        Ok(None)
    } else {
        field(name, text.parse()).map(Some)
    }
}

/// The text of an optional value: empty when absent.
fn text_or_empty(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
