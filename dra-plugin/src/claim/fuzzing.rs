//! Fuzz targets: claims from the API server, and the parameters in them. See `network-driver-fuzzing`.

use network_driver_common::model::{ClaimRef, DriverName, InterfaceConfig};
use network_driver_fuzzing::Target;
use network_driver_proto::bus;
use serde_json::Value;

use super::AllocatedClaim;
use super::parameters::{InvalidParameters, PartialConfig};

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

/// Reads parameters, and checks what is made of them.
fn read(parameters: &Value) {
    match PartialConfig::parse(parameters, &driver()) {
        Ok(partial) => {
            let mut config = InterfaceConfig::default();
            partial.apply_to(&mut config);
            assert!(config.addresses.len() <= 16 && config.routes.len() <= 32);
            let stored = bus::InterfaceConfig::from(&config);
            assert_eq!(InterfaceConfig::try_from(&stored), Ok(config));
        }
        Err(InvalidParameters(faults)) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.path.is_empty()));
            // What is refused is told in an event and a condition: not much longer than what was said.
            let told: usize = faults.iter().map(|fault| fault.to_string().len()).sum();
            assert!(told < 64 * 1024, "{told} bytes of faults");
        }
    }
}

/// The parameters of a claim or a class.
#[test]
fn config() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "config").run(|bytes| {
        if let Ok(parameters) = serde_json::from_slice(bytes) {
            read(&parameters);
        }
    });
}

/// A ResourceClaim of any version, with the parameters in it.
#[test]
fn claim() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "claim").run(|bytes| {
        let asked = ClaimRef {
            namespace: "default".into(),
            name: "nic".into(),
            uid: "c-1".parse().unwrap(),
        };
        let Ok(object) = serde_json::from_slice::<Value>(bytes) else {
            return;
        };
        let Ok(claim) = AllocatedClaim::parse(&asked, &object, &driver()) else {
            return;
        };
        assert!(claim.results.is_empty() || !claim.pods.is_empty());
        assert!(claim.results.len() <= 32 && claim.configs.len() <= 64);
        for config in &claim.configs {
            read(&config.parameters);
        }
    });
}
