//! Network namespaces against the real kernel.
#![cfg(test)]

use std::fs::File;
use std::path::Path;

use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{EnterNetnsError, Netns, OpenNetnsError, Socket};

#[test]
fn netns_open_refuses_what_is_no_network_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("netns");
    File::create(&file).unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&file, &pipe, dir.path(), Path::new("/dev/null")].map(AsRef::<Path>::as_ref) {
        let error = Netns::open(path).unwrap_err();
        assert!(
            matches!(error, OpenNetnsError::NotNamespace { .. }),
            "{error:?}"
        );
    }
    for other in ["mnt", "pid", "user", "uts"] {
        let error = Netns::open(&Path::new("/proc/thread-self/ns").join(other)).unwrap_err();
        assert!(
            matches!(error, OpenNetnsError::NotNetwork { .. }),
            "{other}: {error:?}"
        );
    }
    let error = Netns::open(&dir.path().join("nothing")).unwrap_err();
    assert!(matches!(error, OpenNetnsError::Open { .. }), "{error:?}");
}

#[test]
fn netns_a_namespace_is_known_by_what_it_is_and_not_by_its_path() {
    let one = Netns::create().unwrap();
    let other = Netns::create().unwrap();
    let again = Netns::open(&one.path()).unwrap();
    assert_eq!(again.id(), one.id());
    assert_ne!(other.id(), one.id());
    let inside = one.run(|| Netns::current().unwrap().id()).unwrap();
    assert_eq!(inside, one.id());
    assert_ne!(Netns::current().unwrap().id(), one.id());
}

#[test]
fn netns_work_inside_leaves_the_calling_thread_where_it_was() {
    let before = Netns::current().unwrap().id();
    let namespace = Namespace::new().unwrap();
    let links = namespace
        .netns()
        .run(|| Socket::open().unwrap().links().unwrap().len())
        .unwrap();
    assert_eq!(links, 1);
    assert_eq!(Netns::current().unwrap().id(), before);
}

#[test]
fn netns_a_panic_inside_reaches_the_caller_and_nobody_else() {
    let namespace = Netns::create().unwrap();
    let inner = namespace.clone();
    let caught = std::thread::spawn(move || inner.run(|| panic!("inside"))).join();
    assert!(caught.is_err());
    assert!(matches!(namespace.run(|| 7), Ok::<_, EnterNetnsError>(7)));
}

#[test]
fn netns_a_bound_namespace_is_found_by_its_path_until_it_is_unmounted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod");
    File::create(&file).unwrap();
    let namespace = Netns::create().unwrap();
    let none = None::<&str>;
    let bind = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&namespace.path()), &file, none, bind, none).unwrap();
    assert_eq!(Netns::open(&file).unwrap().id(), namespace.id());
    nix::mount::umount(&file).unwrap();
    let error = Netns::open(&file).unwrap_err();
    assert!(
        matches!(error, OpenNetnsError::NotNamespace { .. }),
        "{error:?}"
    );
}
