use network_driver_common::model::AttributeValue;

use super::*;
use crate::attribute::{providers, sample};

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

fn new(text: &str) -> Result<CelFilter, InvalidFilter> {
    CelFilter::new(text, &driver(), sample(&providers()))
}

/// What a condition says of a device with these attributes and a capacity.
fn evaluate(text: &str) -> Result<Value, String> {
    let attributes = Attributes::from([
        ("mtu".parse().unwrap(), AttributeValue::Int(9000)),
        ("ifName".parse().unwrap(), AttributeValue::text("eth0")),
        ("virtual".parse().unwrap(), AttributeValue::Bool(false)),
        (
            "firmware".parse().unwrap(),
            AttributeValue::Version("1.10.0".into()),
        ),
        (
            "resource.kubernetes.io/pcieRoot".parse().unwrap(),
            AttributeValue::text("pci0000:40"),
        ),
    ]);
    let capacity = Capacity::from([("bandwidth".to_owned(), "25G".to_owned())]);
    let condition = Condition {
        program: Env::stdlib().compile(text).map_err(|e| e.to_string())?,
        env: Arc::new(Env::stdlib()),
        driver: driver(),
    };
    condition.evaluate(&attributes, &capacity)
}

#[test]
fn conditions_are_written_as_in_a_device_class() {
    for (text, want) in [
        (r#"device.driver == "network.example.com""#, true),
        (
            r#"device.attributes["network.example.com"].mtu >= 9000"#,
            true,
        ),
        (
            r#"device.attributes["network.example.com"].ifName.startsWith("eth")"#,
            true,
        ),
        (
            r#"device.attributes["network.example.com"].ifName in ["a", "b"]"#,
            false,
        ),
        (r#"!device.attributes["network.example.com"].virtual"#, true),
        (
            r#"device.attributes["resource.kubernetes.io"].pcieRoot == "pci0000:40""#,
            true,
        ),
        (
            r#"has(device.attributes["network.example.com"].nope)"#,
            false,
        ),
        (r#"has(device.attributes["other.example.com"].x)"#, false),
        (
            r#"device.attributes["other.example.com"].?x.orValue(true)"#,
            true,
        ),
        (r#""network.example.com" in device.attributes"#, true),
        (r#""other.example.com" in device.attributes"#, false),
        ("device.attributes.size() == 2", true),
        (
            r#"device.attributes["network.example.com"].firmware.isGreaterThan(semver("1.9.0"))"#,
            true,
        ),
        (r#"semver("1.0.0-rc.1").isLessThan(semver("1.0.0"))"#, true),
        (
            r#"semver("1.0.0-rc.2").compareTo(semver("1.0.0-rc.10")) == -1"#,
            true,
        ),
        (
            r#"semver("1.0.0+b1").compareTo(semver("1.0.0+b2")) == 0"#,
            true,
        ),
        (
            r#"device.capacity["network.example.com"].bandwidth.compareTo(quantity("10G")) > 0"#,
            true,
        ),
        (r#"quantity("1Gi").isGreaterThan(quantity("1G"))"#, true),
        (r#"quantity("1.5k").compareTo(quantity("1500")) == 0"#, true),
        (r#"quantity("-1").isLessThan(quantity("0.5m"))"#, true),
    ] {
        assert_eq!(evaluate(text), Ok(Value::Bool(want)), "{text}");
    }
    for bad in [
        r#"semver("1.2").isLessThan(semver("1.0.0"))"#,
        r#"quantity("1X").isLessThan(quantity("1"))"#,
        r#"quantity("").isLessThan(quantity("1"))"#,
        r#"quantity("1").isLessThan(semver("1.0.0"))"#,
        r#"device.attributes["other.example.com"].x"#,
        "9223372036854775807 + 1 == 0",
    ] {
        assert!(evaluate(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_wrong_condition_is_refused_with_what_is_wrong() {
    type Check = fn(&InvalidFilter) -> bool;
    let cases: [(String, Check); 8] = [
        ("device.".into(), |e| matches!(e, InvalidFilter::Syntax(_))),
        ("device.nope == 1".into(), |e| {
            matches!(e, InvalidFilter::Evaluation(_))
        }),
        (
            r#"device.attributes["network.example.com"].mtv > 1"#.into(),
            |e| matches!(e, InvalidFilter::Evaluation(text) if text.contains("mtv")),
        ),
        (
            r#"device.attributes["network.example.com"].mtu > "a""#.into(),
            |e| matches!(e, InvalidFilter::Evaluation(_)),
        ),
        (
            "1 + 1".into(),
            |e| matches!(e, InvalidFilter::NotBool(kind) if kind == "int"),
        ),
        ("(".repeat(17), |e| {
            matches!(
                e,
                InvalidFilter::TooBig {
                    what: "nested brackets",
                    found: 17,
                    max: 16
                }
            )
        }),
        (format!("1{} == 200", "+1".repeat(200)), |e| {
            matches!(
                e,
                InvalidFilter::TooBig {
                    what: "signs of operators",
                    ..
                }
            )
        }),
        (" ".repeat(2049), |e| {
            matches!(e, InvalidFilter::TooBig { what: "bytes", .. })
        }),
    ];
    for (text, is_right) in cases {
        let error = new(&text).unwrap_err();
        assert!(is_right(&error), "{text} gives {error:?}");
    }
}

#[test]
fn conditions_as_big_as_allowed_are_evaluated() {
    for text in [
        format!("1{} == 63", "+1".repeat(62)),
        format!("{}true{}", "(".repeat(16), ")".repeat(16)),
        format!("{}true", "!".repeat(128)),
        format!("device{} == 1 || true", ".a".repeat(256)),
        vec!["true"; 64].join("&&"),
    ] {
        assert!(new(&text).is_ok(), "{text}: {:?}", new(&text).err());
    }
}
