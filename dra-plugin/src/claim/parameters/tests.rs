use proptest::prelude::*;
use serde_json::json;

use super::*;

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

/// Parameters with the right head and these fields.
fn config(mut fields: Value) -> Value {
    fields["apiVersion"] = json!("network.example.com/v1alpha1");
    fields["kind"] = json!("NetworkConfig");
    fields
}

fn parse(parameters: &Value) -> Result<PartialConfig, InvalidParameters> {
    PartialConfig::parse(parameters, &driver())
}

#[test]
fn a_whole_configuration_is_read() {
    let parameters = config(json!({
        "interface": {"name": "net1", "mtu": 1400, "addresses": ["10.1.0.5/24", "fd00::5/64", "10.9.0.0/31"]},
        "routes": [
            {"destination": "0.0.0.0/0", "gateway": "10.1.0.1"},
            {"destination": "fd01::/16", "gateway": "fe80::1"},
            {"destination": "10.2.0.0/16"},
        ],
    }));
    let mut merged = InterfaceConfig::default();
    parse(&parameters).unwrap().apply_to(&mut merged);
    assert_eq!(merged.name, Some("net1".parse().unwrap()));
    assert_eq!(merged.mtu.map(Mtu::get), Some(1400));
    assert_eq!(merged.addresses.len(), 3);
    assert_eq!(merged.routes[0].gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(merged.routes[2].gateway, None);
}

#[test]
fn a_configuration_may_be_empty() {
    let config = parse(&config(json!({}))).unwrap();
    assert_eq!(config, PartialConfig::default());
}

#[test]
fn later_configuration_replaces_the_fields_that_it_sets() {
    let first =
        config(json!({"interface": {"name": "a", "mtu": 1400, "addresses": ["10.0.0.1/8"]}}));
    let second = config(json!({"interface": {"name": "b", "addresses": []}}));
    let mut merged = InterfaceConfig::default();
    parse(&first).unwrap().apply_to(&mut merged);
    parse(&second).unwrap().apply_to(&mut merged);
    assert_eq!(merged.name, Some("b".parse().unwrap()));
    assert_eq!(merged.mtu.map(Mtu::get), Some(1400));
    assert!(merged.addresses.is_empty());
}

fn assert_faults<const N: usize>(cases: [(Value, &str); N]) {
    for (parameters, want) in cases {
        let text = parse(&parameters).unwrap_err().to_string();
        assert!(
            text.starts_with(want),
            "{text:?} does not start with {want:?}"
        );
    }
}

#[test]
fn what_has_not_the_right_form_is_refused_with_its_path() {
    assert_faults([
        (
            json!({"kind": "NetworkConfig"}),
            "apiVersion: \"\" is not known, use network.example.com/v1alpha1",
        ),
        (
            json!({"kind": "Other", "apiVersion": "x"}),
            "kind: \"Other\" is not known, use NetworkConfig",
        ),
        (json!("text"), "parameters: invalid type: string"),
        (Value::Null, "parameters: invalid type: null"),
        (config(json!({"vlan": 3})), "vlan: unknown field `vlan`"),
        (
            config(json!({"interface": {"nmae": "x"}})),
            "interface.nmae: unknown field `nmae`",
        ),
        (
            config(json!({"routes": [{"destination": "10.0.0.0/8", "via": "x"}]})),
            "routes[0].via: unknown field `via`",
        ),
        (
            config(json!({"routes": [{}]})),
            "routes[0]: missing field `destination`",
        ),
        (
            config(json!({"pad": "x".repeat(10 * 1024)})),
            "parameters: 10317 bytes are too many, at most 10240",
        ),
    ]);
}

#[test]
fn faults_of_the_interface_name_their_field() {
    let name = |name: &str| config(json!({"interface": {"name": name}}));
    let mtu = |mtu: Value| config(json!({"interface": {"mtu": mtu}}));
    let quoted = "interface.name: interface name";
    assert_faults([
        (mtu(json!("9000")), "interface.mtu: invalid type: string"),
        (mtu(json!(-1)), "interface.mtu: invalid value"),
        (mtu(json!(67)), "interface.mtu: MTU 67 must be 68 to 65535"),
        (
            mtu(json!(65536)),
            "interface.mtu: MTU 65536 must be 68 to 65535",
        ),
        (name("0123456789abcdef"), quoted),
        (name(""), quoted),
        (
            name("net%d"),
            "interface.name: interface name \"net%d\" must not contain '%'",
        ),
        (
            name("lo"),
            "interface.name: interface name \"lo\" is reserved",
        ),
        (
            name("all"),
            "interface.name: interface name \"all\" is reserved",
        ),
    ]);
}

#[test]
fn faults_of_addresses_name_their_place_in_the_list() {
    let list = |list: Value| config(json!({"interface": {"addresses": list}}));
    let one = |text: &str| list(json!([text]));
    let many: Vec<_> = (1..=17).map(|n| format!("10.0.0.{n}/8")).collect();
    let path = "interface.addresses";
    let cases = [
        (
            one("10.0.0.1"),
            "[0]: \"10.0.0.1\" is not of the form address/prefix",
        ),
        (one("10.0.0.0/8"), "[0]: 10.0.0.0/8 is the network itself"),
        (one("fd00::/64"), "[0]: fd00::/64 is the network itself"),
        (
            one("10.255.255.255/8"),
            "[0]: 10.255.255.255/8 is the broadcast",
        ),
        (one("0.0.0.0/0"), "[0]: 0.0.0.0/0 is no address"),
        (one("::1/128"), "[0]: ::1/128 is no address"),
        (one("224.0.0.1/4"), "[0]: 224.0.0.1/4 is no address"),
        (
            one("::ffff:10.0.0.1/120"),
            "[0]: ::ffff:10.0.0.1/120 is an IPv4",
        ),
        (
            list(json!(["10.0.0.1/8", "10.0.0.1/24"])),
            "[1]: 10.0.0.1 is given twice",
        ),
        (list(json!(many)), ": 17 are too many, at most 16"),
    ];
    for (parameters, want) in cases {
        assert_faults([(parameters, &format!("{path}{want}"))]);
    }
}

#[test]
fn faults_of_routes_name_their_place_in_the_list() {
    let route = |destination: &str, gateway: &str| {
        config(json!({"routes": [
            {"destination": "10.0.0.0/8"}, {"destination": destination, "gateway": gateway},
        ]}))
    };
    let many = vec![json!({"destination": "::/0"}); 33];
    assert_faults([
        (
            route("10.1.2.3/24", "10.0.0.1"),
            "routes[1].destination: 10.1.2.3/24 has bits set after its prefix, use 10.1.2.0/24",
        ),
        (
            route("224.0.0.0/4", "10.0.0.1"),
            "routes[1].destination: 224.0.0.0/4 is no destination",
        ),
        (
            route("10.1.0.0/16", "nope"),
            "routes[1].gateway: \"nope\" is not an IP address",
        ),
        (
            route("10.1.0.0/16", "fd00::1"),
            "routes[1].gateway: fd00::1 is not of the same address family",
        ),
        (
            route("fd00::/8", "0.0.0.0"),
            "routes[1].gateway: 0.0.0.0 is no address of a gateway",
        ),
        (
            route("10.0.0.0/8", "10.0.0.1"),
            "routes[1].destination: 10.0.0.0/8 is given twice",
        ),
        (config(json!({"routes": many})), "routes: 33 are too many"),
    ]);
}

#[test]
fn all_faults_are_reported_together() {
    let parameters = config(json!({
        "interface": {"name": "lo", "mtu": 1, "addresses": ["x", "10.0.0.1/8"]},
        "routes": [{"destination": "10.0.0.1/8", "gateway": "y"}],
    }));
    let InvalidParameters(faults) = parse(&parameters).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "interface.name",
            "interface.mtu",
            "interface.addresses[0]",
            "routes[0].destination",
            "routes[0].gateway",
        ]
    );
}

proptest! {
    #[test]
    fn no_text_crashes_the_reader(name in ".*", address in ".*", destination in ".*", gateway in ".*", mtu in any::<u64>()) {
        let parameters = config(json!({
            "interface": {"name": name, "mtu": mtu, "addresses": [address]},
            "routes": [{"destination": destination, "gateway": gateway}],
        }));
        drop(parse(&parameters));
    }
}
