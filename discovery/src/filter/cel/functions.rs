//! What Kubernetes adds to CEL for devices: `semver("1.2.3")` and `quantity("25G")`, with `isGreaterThan`,
//! `isLessThan` and `compareTo`.

use std::cmp::Ordering;
use std::sync::Arc;

use cel::extractors::This;
use cel::objects::Opaque;
use cel::{Context, DeclarationError, ExecutionError, Value};

/// Makes the functions known to a context.
pub(super) fn add(context: &mut Context<'_, '_>) -> Result<(), DeclarationError> {
    context.add_function("semver", |text: Arc<String>| {
        Semver::parse(&text)
            .map(Semver::into_value)
            .map_err(|error| ExecutionError::function_error("semver", error))
    })?;
    context.add_function("quantity", |text: Arc<String>| {
        Quantity::parse(&text)
            .map(|quantity| Value::Opaque(Arc::new(quantity)))
            .map_err(|error| ExecutionError::function_error("quantity", error))
    })?;
    context.add_function("compareTo", |This(a): This<Value>, b: Value| {
        compare("compareTo", &a, &b).map(|order| order as i64)
    })?;
    context.add_function("isGreaterThan", |This(a): This<Value>, b: Value| {
        compare("isGreaterThan", &a, &b).map(Ordering::is_gt)
    })?;
    context.add_function("isLessThan", |This(a): This<Value>, b: Value| {
        compare("isLessThan", &a, &b).map(Ordering::is_lt)
    })
}

/// Compares two of a kind. A capacity is a text here and a quantity in Kubernetes, so texts count as quantities.
fn compare(function: &str, a: &Value, b: &Value) -> Result<Ordering, ExecutionError> {
    let mixed = || ExecutionError::function_error(function, "needs two versions or two quantities");
    if let (Some(a), Some(b)) = (opaque::<Semver>(a), opaque::<Semver>(b)) {
        return Ok(a.cmp(b));
    }
    match (quantity(a), quantity(b)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => Err(mixed()),
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        value => opaque::<Quantity>(value).copied(),
    }
}

fn opaque<T: 'static>(value: &Value) -> Option<&T> {
    match value {
        Value::Opaque(opaque) => opaque.downcast_ref(),
        _ => None,
    }
}

/// A semantic version 2.0.0; build data does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Semver {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
}

/// Part of a pre-release: numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Semver {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no semantic version such as 1.2.3");
        let (version, _build) = text.split_once('+').unwrap_or((text, ""));
        let (core, pre) = match version.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (version, None),
        };
        let numbers: Result<Vec<u64>, _> = core.split('.').map(str::parse).collect();
        let numbers = numbers.ok().and_then(|n| <[u64; 3]>::try_from(n).ok());
        let identifier = |part: &str| match part.parse() {
            Ok(number) => Identifier::Number(number),
            Err(_) => Identifier::Word(part.to_owned()),
        };
        Ok(Self {
            numbers: numbers.ok_or_else(wrong)?,
            pre_release: pre
                .map(|pre| pre.split('.').map(identifier).collect())
                .unwrap_or_default(),
        })
    }

    pub(super) fn into_value(self) -> Value {
        Value::Opaque(Arc::new(self))
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(
            || match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => self.pre_release.cmp(&other.pre_release),
            },
        )
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Opaque for Semver {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Semver"
    }
}

/// A Kubernetes quantity, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

/// Suffixes with their worth in billionths.
const SUFFIXES: [(&str, i128); 16] = [
    ("Ki", 1_000_000_000 << 10),
    ("Mi", 1_000_000_000 << 20),
    ("Gi", 1_000_000_000 << 30),
    ("Ti", 1_000_000_000 << 40),
    ("Pi", 1_000_000_000 << 50),
    ("Ei", 1_000_000_000 << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", 1_000_000_000_000),
    ("M", 1_000_000_000_000_000),
    ("G", 1_000_000_000_000_000_000),
    ("T", 1_000_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000_000_000),
    ("", 1_000_000_000),
];

impl Quantity {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed = SUFFIXES.iter().find_map(|(suffix, worth)| {
            let number = text.strip_suffix(suffix)?;
            decimal(number, *worth)
        });
        let wrong = || format!("{text:?} is no quantity such as 25G or 1.5Mi");
        parsed.map(Self).ok_or_else(wrong)
    }
}

/// A decimal number times a worth, without its remainder.
fn decimal(text: &str, worth: i128) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut value = whole.parse::<i128>().ok()?.checked_mul(worth)?;
    let mut unit = worth;
    for digit in fraction.bytes() {
        unit = unit.checked_div(10)?;
        let digit = i128::from(digit.checked_sub(b'0')?);
        value = value.checked_add(unit.checked_mul(digit)?)?;
    }
    if negative {
        value.checked_neg()
    } else {
        Some(value)
    }
}

impl Opaque for Quantity {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }
}
