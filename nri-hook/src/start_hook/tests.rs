use std::process::{Child, Command, Stdio};

use network_driver_netlink::LinkChange;
use network_driver_netlink::testing::Namespace;

use super::*;
use crate::testing::record;

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

fn argument(uid: &str) -> String {
    Wanted::of(&driver(), &record(uid, &[])).to_argument()
}

fn refusal(argument: &str, state: &str) -> String {
    let refused = check(argument, state.as_bytes()).unwrap_err();
    network_driver_common::error::sentence(&refused)
}

/// A container: a process in a network namespace.
struct Container(Child);

impl Container {
    fn in_namespace(namespace: &Namespace) -> Self {
        let child = namespace.netns().run(|| {
            let mut command = Command::new("sleep");
            command.arg("60").stdin(Stdio::null()).spawn()
        });
        Self(child.unwrap().unwrap())
    }

    fn state(&self) -> String {
        format!(
            r#"{{"ociVersion": "1.2.0", "id": "c", "pid": {}}}"#,
            self.0.id()
        )
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_cannot_be_read_starts_nothing() {
    let good = r#"{"pid": 1}"#;
    assert!(refusal("", good).contains("argument cannot be read"));
    assert!(refusal("{}", good).contains("driver"));
    for state in ["", "{}", r#"{"pid": -1}"#, r#"{"pid": "1"}"#] {
        assert!(refusal(&argument("c"), state).contains("state"), "{state}");
    }
    let nobody = refusal(&argument("c"), r#"{"pid": 4294967295}"#);
    assert!(nobody.contains("network namespace"), "{nobody}");
}

#[test]
fn a_container_starts_only_with_its_claims_link() {
    let (pod, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    pod.veth("e-c", &far, "far").unwrap();
    let container = Container::in_namespace(&pod);
    let unmarked = refusal(&argument("c"), &container.state());
    assert!(
        unmarked.contains("claim default/claim-c: device e-c is not in the pod's network"),
        "{unmarked}"
    );

    let record = record("c", &[]);
    let mark = Mark {
        claim: record.claim.uid.clone(),
        device: record.attachments[0].device.name.clone(),
        home_name: "e-c".parse().unwrap(),
    };
    let change = LinkChange {
        alias: Some(mark.to_alias(&driver())),
        ..LinkChange::default()
    };
    let index = pod.link("e-c").unwrap().index;
    pod.socket().unwrap().change_link(index, &change).unwrap();
    check(&argument("c"), container.state().as_bytes()).unwrap();

    let other = refusal(&argument("d"), &container.state());
    assert!(other.contains("device e-d"), "another claim's: {other}");
    let damaged = argument("c").replace(r#""claim_uid":"c""#, r#""claim_uid":"?""#);
    let damaged = refusal(&damaged, &container.state());
    assert!(damaged.contains(r#"claim_uid "?""#), "{damaged}");
}

#[test]
fn the_program_is_put_in_place_whole_and_can_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("bin");
    let path = install(Path::new("/bin/true"), &there).unwrap();
    assert_eq!(path, there.join(FILE_NAME));
    install(Path::new("/bin/true"), &there).unwrap();
    let files = std::fs::read_dir(&there).unwrap().count();
    assert_eq!(files, 1, "nothing unfinished is left");
    assert!(Command::new(&path).status().unwrap().success());

    let text = dir.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    let refused = install(&text, &there).unwrap_err().to_string();
    assert!(refused.contains("noexec"), "{refused}");
    assert!(
        Command::new(&path).status().unwrap().success(),
        "the former one stays"
    );
}
