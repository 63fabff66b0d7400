//! What is built for nodes holds nothing that is there for tests.

use std::fs;
use std::path::Path;

use network_driver_common::fail;
use network_driver_tests::daemon::{ALL, Binaries};
use network_driver_tests::torture::has_fail_points;

#[test]
fn daemons_that_are_built_as_for_a_node_have_no_fail_points() {
    let binaries = Binaries::find(None).unwrap();
    for component in ALL {
        let path = binaries.path(component);
        let found = has_fail_points(&path).unwrap();
        assert!(!found, "{} has fail points", path.display());
    }
}

/// What the test above looks for is what a daemon with fail points has: `make torture` asserts it of its own.
#[test]
fn fail_points_are_known_by_the_name_of_their_variable() {
    let dir = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        let path = dir.path().join("binary");
        fs::write(&path, format!("\x7fELF \0{text}\0")).unwrap();
        has_fail_points(Path::new(&path)).unwrap()
    };
    assert!(with(fail::VARIABLE));
    assert!(!with("NETWORK_DRIVER_BUS_DIR"));
}
