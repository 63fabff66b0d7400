//! Names that Kubernetes and the runtime give to things.

use std::fmt;
use std::str::FromStr;

/// A text that cannot be the identifier it was given as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} must be 1 to {max} characters of {allowed}")]
pub struct InvalidId {
    kind: &'static str,
    value: String,
    max: usize,
    allowed: &'static str,
}

/// Declares an identifier: a checked, immutable text that is safe in file names and log fields.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $allowed:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if value.is_empty() || value.len() > $max || !check(value) {
                    return Err(InvalidId {
                        kind: $kind,
                        value: value.chars().take(80).collect(),
                        max: $max,
                        allowed: $allowed,
                    });
                }
                Ok(Self(value.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_uid(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_sandbox_id(value: &str) -> bool {
    !value.starts_with('.')
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_dns_subdomain(value: &str) -> bool {
    value.split('.').all(super::device::is_dns_label)
}

identifier!(
    /// UID of a ResourceClaim: what identifies a claim; its name is only for people.
    ClaimUid, "claim UID", 63, "letters, digits and '-'", is_uid
);
identifier!(
    /// UID of a pod. A static pod's is a plain hash, so it need not look like a UUID.
    PodUid, "pod UID", 63, "letters, digits and '-'", is_uid
);
identifier!(
    /// The container runtime's identifier of a pod sandbox.
    SandboxId, "sandbox id", 128, "letters, digits, '-', '_' and '.'", is_sandbox_id
);
identifier!(
    /// Name of a DRA driver: a lower-case DNS subdomain of at most 63 characters.
    DriverName, "driver name", 63, "DNS labels joined by '.'", is_dns_subdomain
);

/// A claim as people name it, with the UID that identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimRef {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub name: String,
    /// What identifies it.
    pub uid: ClaimUid,
}

impl fmt::Display for ClaimRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod as people name it, with the UID that identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// What identifies it.
    pub uid: PodUid,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_take_what_kubernetes_gives_and_refuse_paths() {
        for good in ["0f5b1c9e-7d8a-4f2e-9c3b-1a2b3c4d5e6f", "9b8f3f0c2d"] {
            assert_eq!(good.parse::<ClaimUid>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "..", "a b", "ü", &"x".repeat(64)] {
            assert!(bad.parse::<ClaimUid>().is_err(), "{bad:?}");
        }
        assert!("..".parse::<SandboxId>().is_err());
        assert!("network.example.com".parse::<DriverName>().is_ok());
        for bad in ["Network.example.com", ".example.com", "a..b", "a_b"] {
            assert!(bad.parse::<DriverName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_identifier_says_what_is_allowed() {
        let error = "a/b".parse::<PodUid>().unwrap_err().to_string();
        assert_eq!(
            error,
            "pod UID \"a/b\" must be 1 to 63 characters of letters, digits and '-'"
        );
    }
}
