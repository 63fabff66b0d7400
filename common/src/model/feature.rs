//! The offload features of a link.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use super::shared::{Pool, shared};

/// Name of an offload feature as the kernel and `ethtool -k` have it: `tx-checksum-ipv4`, `rx-gro`
/// (`netdev_features_strings`, net/ethtool/common.c). Names stay where the numbers of features do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Feature(Arc<str>);

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an offload feature must be 1 to {} bytes of printable ASCII without spaces",
    Feature::MAX_BYTES
)]
pub struct InvalidFeature;

impl Feature {
    /// Longest name in bytes: `ETH_GSTRING_LEN` (linux/ethtool.h) less the closing NUL.
    pub const MAX_BYTES: usize = 31;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Feature {
    type Err = InvalidFeature;

    fn from_str(text: &str) -> Result<Self, InvalidFeature> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(shared(text)))
        } else {
            Err(InvalidFeature)
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Features of a link, and whether each is wanted. Links of one driver mostly have the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedFeatures(Arc<BTreeMap<Feature, bool>>);

/// As many as a node may have kinds of links that are set up otherwise.
static SETS: Pool<BTreeMap<Feature, bool>> = Pool::new(256);

impl From<BTreeMap<Feature, bool>> for WantedFeatures {
    fn from(features: BTreeMap<Feature, bool>) -> Self {
        Self(SETS.share(features))
    }
}

impl Deref for WantedFeatures {
    type Target = BTreeMap<Feature, bool>;

    fn deref(&self) -> &BTreeMap<Feature, bool> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_with_the_same_features_share_them() {
        let set = |on| WantedFeatures::from(BTreeMap::from([("rx-gro".parse().unwrap(), on)]));
        assert!(Arc::ptr_eq(&set(true).0, &set(true).0));
        assert_ne!(set(true), set(false));
    }

    #[test]
    fn a_feature_has_a_name_of_the_kernels_form() {
        for good in ["tx-udp_tnl-csum-segmentation", "rx-gro", &"a".repeat(31)] {
            assert_eq!(good.parse::<Feature>().unwrap().as_str(), good);
        }
        for bad in ["", "rx gro", "rx\n", "grö", &"a".repeat(32)] {
            assert_eq!(bad.parse::<Feature>(), Err(InvalidFeature), "{bad}");
        }
    }
}
