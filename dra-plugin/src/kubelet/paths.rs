//! Where the kubelet's sockets are, and what they may be called.

use std::path::{Path, PathBuf};

use network_driver_common::model::DriverName;

/// Longest path of a Unix socket in bytes (`sun_path` less its closing NUL).
const MAX_PATH: usize = 107;

/// The two sockets.
///
/// Both have an `@` in the file's name. A kubelet that dials a socket by its bare path, as all do for registration and
/// those before 1.34 for the calls too, sends the percent-encoded path as HTTP/2 authority, whose host an ordinary server
/// takes for malformed. All before an `@` counts as user information, where percent signs are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketPaths {
    /// Where the kubelet calls the driver.
    pub dra: PathBuf,
    /// Where the kubelet finds the driver.
    pub registration: PathBuf,
}

/// A socket's path is too long for the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "socket {path} has {length} bytes, but a socket's path has at most {MAX_PATH}: shorten --driver-name or --kubelet-root-dir"
)]
pub(crate) struct SocketPathError {
    path: String,
    length: usize,
}

impl SocketPaths {
    /// The sockets of a driver below the kubelet's root directory.
    ///
    /// # Errors
    /// A path is too long.
    pub(crate) fn new(kubelet_root: &Path, driver: &DriverName) -> Result<Self, SocketPathError> {
        let plugin = kubelet_root.join("plugins").join(driver.as_str());
        let registry = kubelet_root.join("plugins_registry");
        Ok(Self {
            dra: fitting(plugin.join("plugin@dra.sock"))?,
            registration: fitting(registry.join(format!("{driver}@reg.sock")))?,
        })
    }
}

fn fitting(path: PathBuf) -> Result<PathBuf, SocketPathError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        let path = path.display().to_string();
        return Err(SocketPathError { path, length });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_where_the_kubelet_looks_for_them() {
        let driver = "network.example.com".parse().unwrap();
        let paths = SocketPaths::new(Path::new("/var/lib/kubelet"), &driver).unwrap();
        let dra = "/var/lib/kubelet/plugins/network.example.com/plugin@dra.sock";
        let registration = "/var/lib/kubelet/plugins_registry/network.example.com@reg.sock";
        assert_eq!(paths.dra, Path::new(dra));
        assert_eq!(paths.registration, Path::new(registration));
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_with_what_to_shorten() {
        let driver = "network.example.com".parse().unwrap();
        let fixed = "/plugins_registry/network.example.com@reg.sock".len();
        let root = |length: usize| format!("/{}", "k".repeat(length - fixed - 1));
        assert!(SocketPaths::new(Path::new(&root(107)), &driver).is_ok());
        let error = SocketPaths::new(Path::new(&root(108)), &driver).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("has 108 bytes") && text.contains("--driver-name"),
            "{text}"
        );
    }
}
