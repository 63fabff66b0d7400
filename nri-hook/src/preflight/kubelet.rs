//! Whether the kubelet's root directory is the one that the driver was told.
//!
//! Seen from a container, any directory of the node looks like a kubelet's: it is made when it is missing. But the
//! kubelet itself has put a file of this pod into the container, the termination log, which lies at
//! `<root>/pods/<uid>/containers/<name>/<id>`. The mount table shows both: they must come from one directory.

use std::path::{Path, PathBuf};

use super::mounts::{Mount, Mounts};
use super::{Finding, Verdict};

const CHECK: &str = "kubelet";

/// The directory that the kubelet watches for plugins' sockets.
const REGISTRY: &str = "plugins_registry";

/// Compares the directory with where the kubelet keeps this pod's own files.
pub(super) fn check(mounts: &Mounts, root: &Path, termination_log: &Path) -> Finding {
    let registry = root.join(REGISTRY);
    let shown = root.display();
    if !registry.is_dir() {
        let text = format!(
            "{} is not there: set kubelet.rootDir, now {shown}, to the kubelet's --root-dir",
            registry.display()
        );
        return Finding::new(Verdict::Fail, CHECK, text);
    }
    let ours = mounts.at(termination_log).and_then(own_root);
    let given = mounts.at(&registry).and_then(registry_root);
    let (Some(ours), Some(given)) = (ours, given) else {
        let text = format!("{shown} is there; whether it is the kubelet's shows in a pod only");
        return Finding::new(Verdict::Warn, CHECK, text);
    };
    if ours == given {
        return Finding::new(Verdict::Ok, CHECK, format!("{shown} is its root directory"));
    }
    let text = format!(
        "{shown} is not its root directory: set kubelet.rootDir to the kubelet's --root-dir; {}",
        hint(&ours, &given)
    );
    Finding::new(Verdict::Fail, CHECK, text)
}

/// A directory, as a path in its file system.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    device: String,
    path: PathBuf,
}

fn hint(ours: &Place, given: &Place) -> String {
    let path = ours.path.display();
    if ours.device == given.device {
        format!("this pod's own files are kept in {path} of the same file system")
    } else {
        format!("this pod's own files are kept in {path} of another file system")
    }
}

/// The kubelet's root, by a file of this pod that it has mounted here.
fn own_root(log: &Mount) -> Option<Place> {
    let pods = log.root.ancestors().nth(4)?;
    pods.ends_with("pods").then_some(())?;
    Some(place(log, pods.parent()?))
}

fn registry_root(registry: &Mount) -> Option<Place> {
    registry.root.ends_with(REGISTRY).then_some(())?;
    Some(place(registry, registry.root.parent()?))
}

fn place(mount: &Mount, path: &Path) -> Place {
    Place {
        device: mount.device.clone(),
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LOG: &str = "/dev/termination-log";

    /// The finding where the kubelet keeps this pod in `own`, and the registry is mounted from `registry`.
    fn found(own: &str, registry: &str) -> Finding {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(REGISTRY)).unwrap();
        let text = format!(
            "1 0 {own} {LOG} rw - ext4 x rw\n2 0 {registry} {}/{REGISTRY} rw - ext4 x rw\n",
            dir.path().display()
        );
        check(&Mounts::parse(text.as_bytes()), dir.path(), Path::new(LOG))
    }

    #[test]
    fn the_root_is_right_when_this_pod_lies_in_it() {
        for (own, registry) in [
            (
                "8:1 /var/lib/kubelet/pods/u/containers/preflight/0a1b",
                "8:1 /var/lib/kubelet/plugins_registry",
            ),
            // The root is a file system of its own.
            (
                "8:2 /pods/u/containers/preflight/0a1b",
                "8:2 /plugins_registry",
            ),
        ] {
            let finding = found(own, registry);
            assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
        }
    }

    #[test]
    fn another_directory_fails_and_the_right_one_is_named() {
        let own = "8:1 /var/lib/k0s/kubelet/pods/u/containers/preflight/0a1b";
        for (registry, where_) in [
            ("8:1 /var/lib/kubelet/plugins_registry", "the same"),
            ("8:2 /var/lib/k0s/kubelet/plugins_registry", "another"),
        ] {
            let finding = found(own, registry);
            assert_eq!(finding.verdict, Verdict::Fail, "{finding}");
            let says = format!("kept in /var/lib/k0s/kubelet of {where_} file system");
            assert!(finding.text.ends_with(&says), "{finding}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_a_warning() {
        for (own, registry) in [
            (
                "8:1 /somewhere/else",
                "8:1 /var/lib/kubelet/plugins_registry",
            ),
            ("8:1 /k/pods/u/containers/c/0", "8:1 /k/registry"),
        ] {
            assert_eq!(found(own, registry).verdict, Verdict::Warn);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_fails() {
        let finding = check(&Mounts::default(), Path::new("/nowhere"), Path::new(LOG));
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.text.contains("kubelet.rootDir, now /nowhere"));
    }
}
