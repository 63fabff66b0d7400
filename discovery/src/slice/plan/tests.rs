//! The numbers are those of the conformance list for DRA drivers that the tests answer.

use super::*;

fn owner() -> Owner {
    Owner {
        api: ResourceApi::V1,
        driver: "network.example.com".parse().unwrap(),
        node: "node-1".to_owned(),
        node_uid: "u-1".to_owned(),
    }
}

fn device(name: impl std::fmt::Display) -> Value {
    json!({ "name": name.to_string(), "attributes": { "mtu": { "int": 1500 } } })
}

fn devices(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| device(format_args!("d{n:04}")))
        .collect()
}

/// A server: it applies what is planned and answers with what then stands.
#[derive(Default)]
struct Server {
    standing: Vec<Standing>,
    version: u64,
    /// Attributes that it drops without a word.
    drops: Option<&'static str>,
    /// Drops taints too.
    drops_taints: bool,
}

impl Server {
    fn stored(&mut self, mut object: DynamicObject) -> (Standing, DynamicObject) {
        self.version = self.version.saturating_add(1);
        let version = self.version;
        let metadata = &mut object.metadata;
        metadata.resource_version = Some(version.to_string());
        if metadata.name.is_none() {
            let base = metadata.generate_name.clone().unwrap();
            metadata.name = Some(format!("{}{version:05}", &base[..base.len().min(58)]));
            metadata.uid = Some(format!("uid-{version}"));
        }
        if let Some(drops) = self.drops
            && let Some(devices) = object.data["spec"]["devices"].as_array_mut()
        {
            for device in devices {
                device["attributes"].as_object_mut().unwrap().remove(drops);
            }
        }
        let devices = object.data.pointer_mut("/spec/devices");
        let devices = devices.and_then(Value::as_array_mut);
        for device in devices.into_iter().flatten().filter(|_| self.drops_taints) {
            device.as_object_mut().unwrap().remove("taints");
        }
        let standing = Standing {
            metadata: object.metadata.clone(),
            spec: object.data["spec"].clone(),
        };
        (standing, object)
    }

    /// Carries the plan out and returns its kinds and the lowered state.
    fn apply(&mut self, wanted: &[Value], lowered: &mut Lowered) -> String {
        let mut said = Vec::new();
        let standing: Vec<_> = self.standing.iter().collect();
        for write in plan(&owner(), &standing, wanted, lowered) {
            match write {
                Write::Delete {
                    name,
                    uid,
                    resource_version,
                } => {
                    let at = self.standing.iter().position(|slice| {
                        let metadata = &slice.metadata;
                        metadata.name.as_ref() == Some(&name)
                            && metadata.uid == uid
                            && metadata.resource_version == resource_version
                    });
                    self.standing.remove(at.expect("deletes what it saw"));
                    said.push(format!("delete {name}"));
                }
                Write::Update { index, object } => {
                    let name = object.metadata.name.clone();
                    let sent = convert::devices(&object.data["spec"]).to_vec();
                    let (standing, stored) = self.stored(*object);
                    let at = self.standing.iter().position(|s| s.metadata.name == name);
                    self.standing[at.unwrap()] = standing;
                    lower(lowered, index, sent, &stored);
                    said.push(format!("update {index}"));
                }
                Write::Create { index, object } => {
                    let sent = convert::devices(&object.data["spec"]).to_vec();
                    let (standing, stored) = self.stored(*object);
                    self.standing.push(standing);
                    lower(lowered, index, sent, &stored);
                    said.push(format!("create {index}"));
                }
            }
        }
        said.join(", ")
    }

    fn publish(&mut self, wanted: &[Value]) -> String {
        self.apply(wanted, &mut Lowered::new())
    }

    /// Generation, count and number of devices of each slice, by name.
    fn shape(&self) -> Vec<(i64, i64, usize)> {
        let mut slices: Vec<_> = self.standing.iter().collect();
        slices.sort_by_key(|slice| slice.metadata.name.clone());
        let shape = slices.iter().map(|slice| {
            let count = slice.spec["pool"]["resourceSliceCount"].as_i64().unwrap();
            let devices = convert::devices(&slice.spec).len();
            (convert::generation(&slice.spec).unwrap(), count, devices)
        });
        shape.collect()
    }
}

fn lower(lowered: &mut Lowered, index: usize, sent: Vec<Value>, stored: &DynamicObject) {
    let stored = convert::devices(&stored.data["spec"]).to_vec();
    if sent != stored {
        lowered.insert(index, (sent, stored));
    }
}

#[test]
fn item_35_the_first_publication_is_owned_by_the_node() {
    let mut server = Server::default();
    assert_eq!(server.publish(&devices(2)), "create 0");
    let slice = &server.standing[0];
    let name = slice.metadata.name.as_deref().unwrap();
    assert!(
        name.starts_with("00000-network.example.com-node-1-"),
        "{name}"
    );
    let reference = &slice.metadata.owner_references.as_deref().unwrap()[0];
    assert_eq!(
        (
            reference.kind.as_str(),
            reference.name.as_str(),
            reference.uid.as_str()
        ),
        ("Node", "node-1", "u-1")
    );
    assert_eq!(reference.controller, Some(true));
    assert_eq!(slice.spec["nodeName"], "node-1");
    assert_eq!(
        slice.spec["pool"],
        json!({ "name": "node-1", "generation": 1, "resourceSliceCount": 1 })
    );
}

#[test]
fn item_36_no_devices_are_one_empty_slice() {
    let mut server = Server::default();
    assert_eq!(server.publish(&[]), "create 0");
    assert_eq!(server.shape(), [(1, 1, 0)]);
    assert_eq!(server.publish(&devices(1)), "update 0");
    assert_eq!(server.publish(&[]), "update 0");
    assert_eq!(server.shape(), [(1, 1, 0)]);
}

#[test]
fn item_37_more_than_128_devices_are_several_slices_of_one_generation() {
    for (count, want) in [
        (128, vec![(1, 1, 128)]),
        (129, vec![(1, 2, 128), (1, 2, 1)]),
        (300, vec![(1, 3, 128), (1, 3, 128), (1, 3, 44)]),
    ] {
        let mut server = Server::default();
        server.publish(&devices(count));
        assert_eq!(server.shape(), want, "{count}");
    }
}

#[test]
fn item_38_and_46_what_stands_as_wanted_is_not_written() {
    let mut server = Server::default();
    server.publish(&devices(300));
    assert_eq!(server.publish(&devices(300)), "");
    // After a restart too, in whatever order the slices come.
    server.standing.reverse();
    assert_eq!(server.publish(&devices(300)), "");
}

#[test]
fn item_39_one_changed_slice_keeps_the_generation_and_more_raise_it() {
    let mut server = Server::default();
    let mut wanted = devices(300);
    server.publish(&wanted);
    wanted[290] = json!({ "name": "d0290" });
    assert_eq!(server.publish(&wanted), "update 2");
    assert_eq!(server.shape(), [(1, 3, 128), (1, 3, 128), (1, 3, 44)]);
    wanted.insert(0, device("d"));
    assert_eq!(server.publish(&wanted), "update 0, update 1, update 2");
    assert_eq!(server.shape(), [(2, 3, 128), (2, 3, 128), (2, 3, 45)]);
    assert_eq!(
        server.publish(&devices(500)),
        "update 0, update 1, update 2, create 3"
    );
    assert_eq!(server.shape().last(), Some(&(3, 4, 116)));
    let writes = server.publish(&devices(10));
    assert!(writes.starts_with("delete "), "{writes}");
    assert!(writes.ends_with(", update 0"), "{writes}");
    assert_eq!(server.shape(), [(4, 1, 10)]);
}

#[test]
fn item_40_what_others_edit_add_or_delete_is_repaired() {
    type Harm = fn(&mut Server);
    let cases: [(&str, Harm, &str); 7] = [
        (
            "device edited",
            |s| s.standing[0].spec["devices"][0]["attributes"] = json!({}),
            "update 0",
        ),
        (
            "field added",
            |s| s.standing[0].spec["allNodes"] = json!(true),
            "update 0",
        ),
        (
            "owner removed",
            |s| s.standing[1].metadata.owner_references = None,
            "update 1",
        ),
        (
            "count edited",
            |s| s.standing[0].spec["pool"]["resourceSliceCount"] = json!(7),
            "update 0, update 1",
        ),
        (
            "generation raised",
            |s| s.standing[0].spec["pool"]["generation"] = json!(41),
            "update 1",
        ),
        (
            "slice deleted",
            |s| drop(s.standing.remove(1)),
            "update 0, create 1",
        ),
        (
            "slice added",
            |s| {
                let mut extra = s.standing[0].clone();
                extra.metadata.name = Some("mine".to_owned());
                s.standing.push(extra);
            },
            "delete mine",
        ),
    ];
    for (name, harm, want) in cases {
        let mut server = Server::default();
        server.publish(&devices(200));
        harm(&mut server);
        assert_eq!(server.publish(&devices(200)), want, "{name}");
        assert_eq!(
            server.publish(&devices(200)),
            "",
            "{name}: repaired in one go"
        );
        assert_eq!(server.standing.len(), 2, "{name}");
        let generations: std::collections::BTreeSet<_> =
            server.shape().iter().map(|shape| shape.0).collect();
        assert_eq!(generations.len(), 1, "{name}");
    }
}

#[test]
fn item_40_labels_that_others_put_on_a_slice_stay() {
    let mut server = Server::default();
    server.publish(&devices(1));
    let label = ("team".to_owned(), "net".to_owned());
    server.standing[0].metadata.labels = Some([label.clone()].into());
    assert_eq!(server.publish(&devices(1)), "");
    server.publish(&devices(2));
    assert_eq!(server.standing[0].metadata.labels, Some([label].into()));
}

#[test]
fn item_41_after_the_kubelets_wipe_everything_is_created_anew() {
    let mut server = Server::default();
    server.publish(&devices(129));
    server.standing.clear();
    assert_eq!(server.publish(&devices(129)), "create 0, create 1");
}

#[test]
fn item_43_dropped_fields_are_not_sent_again_and_again() {
    let mut server = Server {
        drops: Some("mtu"),
        ..Server::default()
    };
    let mut lowered = Lowered::new();
    assert_eq!(server.apply(&devices(3), &mut lowered), "create 0");
    assert_eq!(lowered.len(), 1);
    assert_eq!(server.apply(&devices(3), &mut lowered), "");
    // A real change goes out, and an edit by others is still seen.
    assert_eq!(server.apply(&devices(4), &mut lowered), "update 0");
    assert_eq!(server.apply(&devices(4), &mut lowered), "");
    server.standing[0].spec["devices"] = json!([]);
    assert_eq!(server.apply(&devices(4), &mut lowered), "update 0");
}

#[test]
fn obsolete_slices_of_ours_are_deleted_before_anything_else() {
    let mut server = Server::default();
    server.publish(&devices(1));
    let mut other_pool = server.standing[0].clone();
    other_pool.metadata.name = Some("00000-network.example.com-node-1-zzzzz".to_owned());
    other_pool.spec["pool"]["name"] = json!("old-pool");
    let mut second = server.standing[0].clone();
    second.metadata.name = Some("00000-network.example.com-node-1-aaaaa".to_owned());
    let mut old_name = server.standing[0].clone();
    old_name.metadata.name = Some("node-1-network.example.com-abcde".to_owned());
    server.standing.extend([other_pool, second, old_name]);
    let writes = server.publish(&devices(2));
    assert_eq!(
        writes,
        "delete 00000-network.example.com-node-1-zzzzz, \
         delete 00000-network.example.com-node-1-00001, \
         delete node-1-network.example.com-abcde, update 0"
    );
    assert_eq!(server.publish(&devices(2)), "");
}

#[test]
fn a_long_name_is_cut_by_the_server_and_still_ours() {
    let mut owner = owner();
    owner.node = "a-node-with-a-very-long-name.in-a-data-centre.example.com".to_owned();
    let Some(Write::Create { object, .. }) = plan(&owner, &[], &[], &Lowered::new()).pop() else {
        panic!("nothing is created");
    };
    let mut server = Server::default();
    let (standing, _) = server.stored(*object);
    assert_eq!(owner.index(&standing), Some(0));
    assert_eq!(plan(&owner, &[&standing], &[], &Lowered::new()), []);
}

#[test]
fn entries_that_stand_are_read_from_the_newest_generation_only() {
    let mut server = Server::default();
    server.publish(&devices(130));
    let mut old = server.standing[0].clone();
    old.metadata.name = Some("00000-network.example.com-node-1-old".to_owned());
    old.spec["pool"]["generation"] = json!(0);
    old.spec["devices"] = json!([device("gone")]);
    server.standing.push(old);
    let names = owner().standing_devices(&server.standing.iter().collect::<Vec<_>>());
    assert_eq!(names.len(), 130);
    assert!(!names.contains_key("gone"));
}

/// 37
#[test]
fn a_slice_with_taints_holds_half_as_many_devices() {
    let pool = |tainted: &[usize], count: usize| {
        let mut devices = devices(count);
        for index in tainted {
            let taint = json!({ "key": "k", "effect": "NoSchedule" });
            convert::set_taints(ResourceApi::V1, &mut devices[*index], vec![taint]);
        }
        let mut server = Server::default();
        server.publish(&devices);
        let sizes = server.shape().into_iter().map(|(.., devices)| devices);
        let published = server
            .standing
            .iter()
            .flat_map(|s| convert::devices(&s.spec));
        assert_eq!(published.count(), count);
        sizes.collect::<Vec<_>>()
    };
    for (tainted, count, want) in [
        (&[0][..], 64, &[64][..]),
        (&[0], 65, &[64, 1]),
        (&[63], 128, &[64, 64]),
        (&[64], 128, &[64, 64]),
        (&[127], 128, &[127, 1]),
        (&[], 128, &[128]),
        (&[0], 200, &[64, 128, 8]),
        (&[0, 70], 200, &[64, 64, 72]),
        (&[199], 200, &[128, 71, 1]),
    ] {
        assert_eq!(pool(tainted, count), want, "{tainted:?} of {count}");
    }
}

#[test]
fn a_taint_that_the_server_drops_is_not_sent_again() {
    let mut wanted = devices(3);
    let taint = json!({ "key": "k", "effect": "NoSchedule" });
    convert::set_taints(ResourceApi::V1, &mut wanted[1], vec![taint]);
    let mut server = Server {
        drops_taints: true,
        ..Server::default()
    };
    let mut lowered = Lowered::new();
    assert_eq!(server.apply(&wanted, &mut lowered), "create 0");
    assert_eq!(server.apply(&wanted, &mut lowered), "");
    assert_eq!(server.apply(&devices(3), &mut lowered), "");
}
