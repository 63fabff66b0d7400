//! Bad parameters by hand: each field with each kind of wrong value. Every one is refused with the field's path.

use serde_json::{Value, json};

use super::{InvalidParameters, PartialConfig};

/// A case: the parameters, and the path that must be named.
type Case = (Value, String);

/// Parameters that have all fields, all right.
fn good() -> Value {
    json!({
        "apiVersion": "network.example.com/v1alpha1",
        "kind": "NetworkConfig",
        "interface": {"name": "net1", "mtu": 1400, "addresses": ["10.1.0.5/24", "fd00::5/64"]},
        "routes": [
            {"destination": "10.2.0.0/16", "gateway": "10.1.0.1"},
            {"destination": "fd01::/16", "gateway": "fe80::1"},
        ],
    })
}

/// The good parameters with another value at this place (a JSON pointer).
fn with(pointer: &str, value: Value) -> Value {
    let mut parameters = good();
    *parameters.pointer_mut(pointer).unwrap() = value;
    parameters
}

/// The same for many values.
fn each(pointer: &str, path: &str, values: impl IntoIterator<Item = Value>) -> Vec<Case> {
    let values = values.into_iter();
    values
        .map(|value| (with(pointer, value), path.to_owned()))
        .collect()
}

fn texts(list: &[&str]) -> Vec<Value> {
    list.iter().map(|text| json!(text)).collect()
}

/// A value of every type of JSON but these.
fn other_types(fine: &[&str]) -> Vec<Value> {
    let all = [
        ("bool", json!(true)),
        ("bool", json!(false)),
        ("number", json!(7)),
        ("fraction", json!(1.5)),
        ("negative", json!(-1)),
        ("text", json!("net1")),
        ("text", json!("")),
        ("list", json!([])),
        ("list", json!([1])),
        ("object", json!({})),
        ("object", json!({"a": 1})),
    ];
    let wrong = all.into_iter().filter(|(kind, _)| !fine.contains(kind));
    wrong.map(|(_, value)| value).collect()
}

fn head() -> Vec<Case> {
    let versions = [
        "",
        "v1alpha1",
        "network.example.com",
        "network.example.com/",
        "network.example.com/v1",
        "network.example.com/v1alpha2",
        "network.example.com/V1alpha1",
        "network.example.com/v1alpha1 ",
        " network.example.com/v1alpha1",
        "Network.example.com/v1alpha1",
        "other.example.com/v1alpha1",
        "network.example.com/v1alpha1/x",
        "network.example.com/v1alpha1\n",
        "resource.k8s.io/v1",
    ];
    let kinds = [
        "",
        "networkconfig",
        "NetworkConfigs",
        "NetworkConfig ",
        "Networkconfig",
        "ResourceClaim",
        "NETWORKCONFIG",
        "Network Config",
        "NetworkConfig\0",
    ];
    let mut cases = each("/apiVersion", "apiVersion", texts(&versions));
    cases.extend(each("/apiVersion", "apiVersion", other_types(&["text"])));
    cases.extend(each("/apiVersion", "apiVersion", [Value::Null]));
    cases.extend(each("/kind", "kind", texts(&kinds)));
    cases.extend(each("/kind", "kind", other_types(&["text"])));
    cases.extend(each("/kind", "kind", [Value::Null]));
    // Not even an object.
    let fields = json!(["network.example.com/v1alpha1", "NetworkConfig"]);
    cases.extend(each("", "parameters", other_types(&["object"])));
    cases.extend(each("", "parameters", [Value::Null, fields]));
    // An object that is none of ours: what it should be is asked first.
    cases.extend(each("", "kind", [json!({}), json!({"a": 1})]));
    cases
}

fn name() -> Vec<Case> {
    let path = "interface.name";
    let names = [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "/eth0",
        "a:b",
        "eth0:1",
        ":",
        " ",
        "a b",
        " eth0",
        "eth0 ",
        "a\tb",
        "a\nb",
        "eth0\n",
        "a\rb",
        "a\u{b}b",
        "a\u{c}b",
        "a\0b",
        "\0",
        "0123456789abcdef",
        "net0123456789012345678901234567890",
        "üüüüüüüü",
        "à",
        "eth\u{a0}0",
        "%",
        "%d",
        "net%d",
        "%s%s%s",
        "100%",
        "lo",
        "all",
        "default",
    ];
    let mut cases = each("/interface/name", path, texts(&names));
    cases.extend(each("/interface/name", path, other_types(&["text"])));
    cases
}

fn mtu() -> Vec<Case> {
    let path = "interface.mtu";
    let numbers = [
        0,
        1,
        2,
        3,
        42,
        67,
        65_536,
        65_537,
        100_000,
        1_000_000,
        4_294_967_295,
        4_294_967_296,
        4_294_968_696,
        9_223_372_036_854_775_807,
        18_446_744_073_709_551_615_u64,
    ];
    let mut cases = each("/interface/mtu", path, numbers.map(|number| json!(number)));
    // As deep as JSON is read at all.
    let nested = (0..120).fold(json!(1400), |inner, _| json!([inner]));
    cases.extend(each("/interface/mtu", path, [nested]));
    let odd = [
        json!(-68),
        json!(-1400),
        json!(i64::MIN),
        json!(1400.0),
        json!(1400.5),
        json!(1e300),
        json!("1400"),
        json!("9000"),
        json!("0x578"),
        json!([1400]),
        json!({"bytes": 1400}),
    ];
    cases.extend(each("/interface/mtu", path, odd));
    cases.extend(each("/interface/mtu", path, other_types(&["number"])));
    cases
}

/// Addresses that no interface can have, or that are no addresses.
const BAD_ADDRESSES: [&str; 52] = [
    "",
    " ",
    "/",
    "/24",
    "10.0.0.1",
    "10.0.0.1/",
    "10.0.0.1/33",
    "10.0.0.1/-1",
    "10.0.0.1/+8",
    "10.0.0.1/255.0.0.0",
    "10.0.0.1/ 8",
    "10.0.0.1 /8",
    " 10.0.0.1/8",
    "10.0.0.1/8 ",
    "10.0.0.1/8/8",
    "10.0.0/8",
    "10/8",
    "10.0.0.256/8",
    "10.0.0.1.1/8",
    "010.0.0.1/8",
    "10.0.0.01/8",
    "10.0.0.1/08",
    "0x0a.0.0.1/8",
    "167772161/8",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "192.168.1.0/24",
    "10.255.255.255/8",
    "192.168.1.255/24",
    "0.0.0.0/0",
    "0.0.0.0/32",
    "127.0.0.1/8",
    "127.1.2.3/32",
    "224.0.0.1/4",
    "239.255.255.250/32",
    "::/0",
    "::/128",
    "::1/128",
    "::1",
    "fd00::/64",
    "fd00::5",
    "fd00::5/129",
    "fd00::5/-64",
    "fd00::5%eth0/64",
    "fd00::5/64%eth0",
    "[fd00::5]/64",
    "fd00:::5/64",
    "ff02::1/128",
    "ff00::/8",
    "::ffff:10.0.0.1/120",
    "::ffff:10.0.0.1/128",
    "localhost/8",
];

fn addresses() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, other) in [(0, "fd00::9/64"), (1, "10.9.0.9/24")] {
        let path = format!("interface.addresses[{index}]");
        let list = |bad: Value| {
            let mut list = vec![json!(other), json!(other)];
            list[index] = bad;
            Value::Array(list)
        };
        let wrong = texts(&BAD_ADDRESSES).into_iter().map(list);
        cases.extend(each("/interface/addresses", &path, wrong));
        let wrong = other_types(&["text"]).into_iter().chain([Value::Null]);
        let wrong = wrong.map(list);
        cases.extend(each("/interface/addresses", &path, wrong));
    }
    let twice = [
        json!(["10.0.0.1/8", "10.0.0.1/8"]),
        json!(["10.0.0.1/8", "10.0.0.1/24"]),
        json!(["fd00::5/64", "fd00:0:0::5/64"]),
    ];
    cases.extend(each(
        "/interface/addresses",
        "interface.addresses[1]",
        twice,
    ));
    let path = "interface.addresses";
    let lists = [17, 18, 100].map(|count| {
        let list: Vec<_> = (1..=count).map(|n| format!("10.0.0.{n}/8")).collect();
        json!(list)
    });
    cases.extend(each("/interface/addresses", path, lists));
    cases.extend(each("/interface/addresses", path, other_types(&["list"])));
    cases
}

fn destinations() -> Vec<Case> {
    let bad = [
        "",
        " ",
        "default",
        "any",
        "0.0.0.0",
        "0/0",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-8",
        "10.0.0.0/255.0.0.0",
        " 10.0.0.0/8",
        "10.0.0.0/8 ",
        "10.0.0.1/8",
        "10.1.2.3/24",
        "1.0.0.0/0",
        "224.0.0.0/4",
        "239.1.0.0/16",
        "127.0.0.0/8",
        "127.0.0.1/32",
        "::",
        "::1/128",
        "fd00::1/64",
        "fd00::/129",
        "ff00::/8",
        "ff02::/16",
        "fd00::%1/64",
        "10.256.0.0/16",
        "010.0.0.0/8",
        "10.0.0.0/08",
        "example.com/8",
    ];
    let mut cases = Vec::new();
    for index in 0..2 {
        let pointer = format!("/routes/{index}");
        let path = format!("routes[{index}].destination");
        let wrong = texts(&bad).into_iter();
        let wrong = wrong.map(|bad| json!({"destination": bad}));
        cases.extend(each(&pointer, &path, wrong));
        let wrong = other_types(&["text"]).into_iter().chain([Value::Null]);
        let wrong = wrong.map(|bad| json!({"destination": bad}));
        cases.extend(each(&pointer, &path, wrong));
    }
    let twice = [
        json!([{"destination": "10.0.0.0/8"}, {"destination": "10.0.0.0/8"}]),
        json!([{"destination": "::/0"}, {"destination": "::/0", "gateway": "fe80::1"}]),
    ];
    cases.extend(each("/routes", "routes[1].destination", twice));
    cases
}

fn gateways() -> Vec<Case> {
    let bad = [
        "",
        " ",
        "gw",
        "10.0.0.1/8",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        " 10.0.0.1",
        "10.0.0.1 ",
        "0.0.0.0",
        "127.0.0.1",
        "127.255.0.1",
        "224.0.0.1",
        "239.0.0.1",
        "::",
        "::1",
        "ff02::1",
        "fe80::1%eth0",
        "[fe80::1]",
        "fe80::1::2",
        "10.0.0.1:80",
    ];
    let mut cases = Vec::new();
    for (index, other_family) in [(0, "fe80::1"), (1, "10.0.0.1")] {
        let pointer = format!("/routes/{index}/gateway");
        let path = format!("routes[{index}].gateway");
        cases.extend(each(&pointer, &path, texts(&bad)));
        cases.extend(each(&pointer, &path, [json!(other_family)]));
        cases.extend(each(&pointer, &path, other_types(&["text"])));
    }
    cases
}

fn forms() -> Vec<Case> {
    let mut cases = each("/interface", "interface", other_types(&["object"]));
    let listed = [
        json!(["net1"]),
        json!(["net1", 1400, ["10.1.0.5/24"]]),
        json!([null, null, null]),
    ];
    cases.extend(each("/interface", "interface", listed));
    cases.extend(each("/routes", "routes", other_types(&["list"])));
    let many = [33, 34, 200].map(|count| json!(vec![json!({"destination": "::/0"}); count]));
    cases.extend(each("/routes", "routes", many));
    for index in 0..2 {
        let pointer = format!("/routes/{index}");
        let path = format!("routes[{index}]");
        let wrong = other_types(&["object"]).into_iter();
        cases.extend(each(&pointer, &path, wrong.chain([Value::Null])));
        let listed = [
            json!({}),
            json!({"gateway": "10.1.0.1"}),
            json!(["10.2.0.0/16"]),
            json!(["10.2.0.0/16", "10.1.0.1"]),
            json!(["10.2.0.0/16", null]),
        ];
        cases.extend(each(&pointer, &path, listed));
    }
    cases
}

/// A field that nobody knows, at each level: what is misspelled must not be passed over.
fn unknown_fields() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut nameless = good();
    nameless[""] = json!(1);
    cases.push((nameless, "parameters".to_owned()));
    for (pointer, prefix, names) in [
        (
            "",
            "",
            &[
                "vlan",
                "route",
                "Routes",
                "interfaces",
                "Interface",
                "spec",
                "metadata",
                "mtu",
                "name",
                "addresses",
                "rules",
                "sysctls",
                "dhcp",
                "ethtool",
            ][..],
        ),
        (
            "/interface",
            "interface.",
            &[
                "nmae",
                "Name",
                "MTU",
                "mtuBytes",
                "address",
                "mac",
                "hardwareAddress",
                "up",
                "alias",
                "vrf",
                "dhcp",
                "routes",
                "",
            ][..],
        ),
        (
            "/routes/0",
            "routes[0].",
            &[
                "via", "Gateway", "dest", "table", "metric", "source", "scope", "onlink", "dev",
            ][..],
        ),
        (
            "/routes/1",
            "routes[1].",
            &["via", "gw", "table", "type"][..],
        ),
    ] {
        for name in names {
            let mut parameters = good();
            parameters.pointer_mut(pointer).unwrap()[name] = json!("x");
            cases.push((parameters, format!("{prefix}{name}")));
        }
    }
    cases
}

fn sizes() -> Vec<Case> {
    let pad = "x".repeat(10 * 1024);
    let long = [
        ("/interface/name", json!(pad)),
        ("/interface/addresses/0", json!(pad)),
        ("/routes/0/gateway", json!(pad)),
        ("/kind", json!(pad)),
        ("/apiVersion", json!(pad)),
        ("/interface", json!({ pad.as_str(): 1 })),
        ("/routes", json!(vec![0; 10_000])),
        (
            "/routes",
            json!(vec![json!({"destination": "10.0.0.0/8"}); 400]),
        ),
    ];
    let long = long.into_iter();
    long.map(|(pointer, value)| (with(pointer, value), "parameters".to_owned()))
        .collect()
}

#[test]
fn every_wrong_value_of_every_field_is_refused_with_its_path() {
    let driver = "network.example.com".parse().unwrap();
    PartialConfig::parse(&good(), &driver).expect("what the cases are made of is right");
    let cases = [
        head(),
        name(),
        mtu(),
        addresses(),
        destinations(),
        gateways(),
        forms(),
        unknown_fields(),
        sizes(),
    ]
    .concat();
    let total = cases.len();
    let is_refused = |(parameters, path): &Case| {
        let shown: String = parameters.to_string().chars().take(400).collect();
        match PartialConfig::parse(parameters, &driver) {
            Ok(_) => println!("taken, not refused at {path}: {shown}"),
            Err(InvalidParameters(faults)) if faults.iter().any(|fault| fault.path == *path) => {
                return true;
            }
            Err(faults) => println!("refused, but not at {path}: {faults}: {shown}"),
        }
        false
    };
    let refused = cases.iter().filter(|case| is_refused(case)).count();
    println!("bad configs: {refused} of {total} refused with their field's path");
    assert!(total >= 300, "{total}");
    assert_eq!(refused, total);
}
