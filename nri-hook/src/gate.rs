//! The gate at CreateContainer: a container that a claim was given to is not created while the claim's devices are
//! not in its sandbox.
//!
//! The runtime resolves CDI ids before it asks, so a container's claims show in its environment on every runtime,
//! where the ids themselves do not. The gate only refuses; attaching late is the hook's work elsewhere.

use network_driver_common::model::ClaimUid;

/// Begin of the variable that a claim's CDI edit sets.
const PREFIX: &str = "NETWORK_DRIVER_CLAIM_";

/// The variable that shows a claim in a container's environment.
pub(crate) fn variable(claim: &ClaimUid) -> String {
    format!("{PREFIX}{}", claim.as_str().replace('-', "_"))
}

/// The claims that a container was given, by its environment (`KEY=value`).
pub(crate) fn claims(env: &[String]) -> impl Iterator<Item = ClaimUid> + '_ {
    let names = env
        .iter()
        .filter_map(|entry| entry.strip_prefix(PREFIX)?.split('=').next());
    names.filter_map(|name| name.replace('_', "-").parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn claims_are_read_from_the_variables_that_name_them() {
        let claim: ClaimUid = "0f5b-1c9e".parse().unwrap();
        let env = [
            format!("{}=net1,net2", variable(&claim)),
            "PATH=/bin".into(),
            "NETWORK_DRIVER_CLAIM_=x".into(),
            "XNETWORK_DRIVER_CLAIM_a=x".into(),
            "NETWORK_DRIVER_CLAIM_b".into(),
        ];
        let found: Vec<_> = claims(&env).map(|claim| claim.to_string()).collect();
        assert_eq!(found, ["0f5b-1c9e", "b"]);
    }

    proptest! {
        #[test]
        fn every_claim_is_found_again(uid in "[A-Za-z0-9-]{1,63}") {
            let claim: ClaimUid = uid.parse().unwrap();
            let env = [format!("{}=x", variable(&claim))];
            prop_assert_eq!(claims(&env).collect::<Vec<_>>(), [claim]);
        }

        #[test]
        fn no_environment_crashes_the_gate(env in prop::collection::vec(".*", 0..5)) {
            prop_assert!(claims(&env).count() <= env.len());
        }
    }
}
