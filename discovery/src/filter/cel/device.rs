//! A device as CEL sees it. `device.attributes` and `device.capacity` answer for a domain they do not know with an
//! empty map, as in Kubernetes, so that `has(device.attributes["other"].x)` is false and not an error.

use std::collections::{BTreeMap, HashMap};

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Sizer};
use cel::common::types::{CelBool, CelInt, CelMap, CelString, Type};
use cel::common::value::{CowVal, Val};
use network_driver_common::model::{AttributeValue, Attributes, DriverName};

use super::functions::Semver;

type Fields = HashMap<cel::common::types::CelMapKey<'static>, Box<dyn Val>>;

/// The variable `device`.
pub(super) fn value(
    driver: &DriverName,
    attributes: &Attributes,
    capacity: &BTreeMap<String, String>,
) -> Box<dyn Val> {
    let mut said: BTreeMap<&str, Fields> = BTreeMap::new();
    for (name, value) in attributes {
        let (domain, id) = name.parts();
        let fields = said.entry(domain.unwrap_or(driver.as_str()));
        fields
            .or_default()
            .insert(id.to_owned().into(), attribute(value));
    }
    let mut had: BTreeMap<&str, Fields> = BTreeMap::new();
    for (name, quantity) in capacity {
        let (domain, id) = name.split_once('/').unwrap_or((driver.as_str(), name));
        let quantity: Box<dyn Val> = Box::new(CelString::from(quantity.clone()));
        let fields = had.entry(domain).or_default();
        fields.insert(id.to_owned().into(), quantity);
    }
    let driver: Box<dyn Val> = Box::new(CelString::from(driver.to_string()));
    let fields: Fields = HashMap::from([
        ("driver".to_owned().into(), driver),
        ("attributes".to_owned().into(), Domains::boxed(said)),
        ("capacity".to_owned().into(), Domains::boxed(had)),
    ]);
    Box::new(CelMap::from(fields))
}

fn attribute(value: &AttributeValue) -> Box<dyn Val> {
    match value {
        AttributeValue::Int(int) => Box::new(CelInt::from(*int)),
        AttributeValue::Bool(bool) => Box::new(CelBool::from(*bool)),
        AttributeValue::Text(text) => Box::new(CelString::from(text.to_string())),
        AttributeValue::Version(text) => {
            let version = Semver::parse(text).ok().map(Semver::into_value);
            let version: Option<Box<dyn Val>> = version.and_then(|v| v.try_into().ok());
            version.unwrap_or_else(|| Box::new(CelString::from(text.to_string())))
        }
    }
}

/// A map of domains that has all of them.
#[derive(Debug, Clone)]
struct Domains {
    known: CelMap<'static>,
}

impl Domains {
    fn boxed(domains: BTreeMap<&str, Fields>) -> Box<dyn Val> {
        let map = |fields| -> Box<dyn Val> { Box::new(CelMap::from(fields)) };
        let known = domains.into_iter();
        let known = known.map(|(domain, fields)| (domain.to_owned().into(), map(fields)));
        let known: Fields = known.collect();
        Box::new(Self {
            known: CelMap::from(known),
        })
    }
}

impl Val for Domains {
    fn get_type(&self) -> &Type {
        self.known.get_type()
    }

    fn cel_type() -> &'static Type {
        <CelMap<'static> as Val>::cel_type()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.known.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        self.known.as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.known.as_sizer()
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.known.equals(other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
}

impl Indexer for Domains {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match Indexer::get(&self.known, key) {
            Err(ExecutionError::NoSuchKey(_)) => Ok(CowVal::owned(CelMap::default())),
            found => found,
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}
