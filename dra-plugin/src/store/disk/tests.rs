use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use network_driver_common::model::Record;

use super::*;
use crate::fixture::{quarantine, record};

impl Disk {
    fn tables(&self) -> &Tables {
        self.tables.as_ref().unwrap()
    }
}

fn put(record: Record) -> Change {
    Change::Put(Arc::new(record))
}

fn uids(contents: &Contents) -> Vec<&str> {
    let uids = contents.records.iter().map(|r| r.claim.uid.as_str());
    uids.collect()
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kept = record("c-1", &["eth1"]);
    let bent = quarantine("eth2");
    {
        let (mut disk, contents) = Disk::open(dir.path()).unwrap();
        assert!(contents.records.is_empty());
        let gone = Arc::new(record("c-2", &["eth2"]));
        disk.commit(&[put(kept.clone()), Change::Put(Arc::clone(&gone))])
            .unwrap();
        let quarantine = Change::Quarantine(Arc::new(bent.clone()));
        disk.commit(&[Change::Remove(gone), quarantine]).unwrap();
        assert!(disk.size_bytes() > 0);
    }
    let (mut disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(contents.records, [kept]);
    assert_eq!(contents.quarantined, [bent]);
    assert!(contents.damaged.is_empty() && contents.replaced.is_none());
    disk.commit(&[Change::Readmit("eth2".parse().unwrap())])
        .unwrap();
    drop(disk);
    let (_disk, contents) = Disk::open(dir.path()).unwrap();
    assert!(contents.quarantined.is_empty());
}

#[test]
fn a_device_stays_in_quarantine_though_its_entry_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let bent = quarantine("eth2");
    let damage = |change: Option<Change>| {
        let (mut disk, _) = Disk::open(dir.path()).unwrap();
        disk.commit(&Vec::from_iter(change)).unwrap();
        disk.tables().quarantine.insert("eth2", "no entry").unwrap();
        disk.tables().sync().unwrap();
    };
    damage(Some(Change::Quarantine(Arc::new(bent.clone()))));
    let (disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(contents.quarantined, [bent], "as its copy says");
    drop(disk);
    damage(None);
    fs::write(dir.path().join(COPIES).join("eth2"), "no copy").unwrap();
    let (_disk, contents) = Disk::open(dir.path()).unwrap();
    let [found] = &contents.quarantined[..] else {
        panic!("{:?}", contents.quarantined)
    };
    assert_eq!(found.device.as_str(), "eth2");
    assert!(found.reason.contains("cannot be read"), "{}", found.reason);
}

#[test]
fn the_database_knows_better_than_a_copy_that_an_earlier_release_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(dir.path()).unwrap();
    let bent = quarantine("eth1");
    let change = Change::Quarantine(Arc::new(bent.clone()));
    disk.commit(&[change]).unwrap();
    // It knows of no copies.
    disk.tables().quarantine.remove("eth1").unwrap();
    disk.tables().sync().unwrap();
    drop(disk);
    let (disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(contents.quarantined, []);
    assert_eq!(disk.copies.read().unwrap(), []);
    // A record that is damaged is a reason to ask all the same.
    disk.copies.keep(&bent).unwrap();
    disk.tables().claims.insert("c-1", "no record").unwrap();
    disk.tables().sync().unwrap();
    drop(disk);
    let (_disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(contents.quarantined, [bent]);
}

#[test]
fn what_is_in_quarantine_outlives_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let [eth1, eth2] = ["eth1", "eth2"].map(quarantine);
    let (mut disk, _) = Disk::open(dir.path()).unwrap();
    let changes = [&eth1, &eth2].map(|bent| Change::Quarantine(Arc::new(bent.clone())));
    disk.commit(&changes).unwrap();
    disk.commit(&[Change::Readmit(eth1.device)]).unwrap();
    let left = [eth2];
    for _ in 0..2 {
        drop(disk);
        fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
        let contents;
        (disk, contents) = Disk::open(dir.path()).unwrap();
        assert_eq!(contents.quarantined, left);
    }
    drop(disk);
    fs::remove_dir_all(dir.path().join(COPIES)).unwrap();
    // Also where only the database has it.
    let (disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(contents.quarantined, left);
    assert_eq!(disk.copies.read().unwrap(), left);
}

#[test]
fn what_cannot_be_copied_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(dir.path()).unwrap();
    fs::remove_dir(dir.path().join(COPIES)).unwrap();
    let bent = Change::Quarantine(Arc::new(quarantine("eth1")));
    let failed = disk.commit(&[bent]).unwrap_err();
    let want = format!("write {}", dir.path().join(COPIES).join("eth1").display());
    assert_eq!(failed.to_string(), want);
    assert!(disk.tables().quarantine.is_empty());
}

#[test]
fn that_records_are_lost_is_known_until_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (_disk, contents) = Disk::open(dir.path()).unwrap();
        assert!(contents.incomplete, "nobody has said that all is there");
    }
    let (mut disk, _) = Disk::open(dir.path()).unwrap();
    disk.commit(&[Change::Whole]).unwrap();
    drop(disk);
    let (_, contents) = Disk::open(dir.path()).unwrap();
    assert!(!contents.incomplete);
}

#[test]
fn a_device_is_in_one_record_even_when_nobody_looked_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(dir.path()).unwrap();
    disk.commit(&[put(record("c-1", &["eth1"]))]).unwrap();
    let both = [put(record("c-3", &["eth3"])), put(record("c-2", &["eth1"]))];
    let error = disk.commit(&both).unwrap_err().to_string();
    assert_eq!(
        error,
        "device eth1 is in the record of claim UID c-1 already"
    );
    drop(disk);
    let (_disk, contents) = Disk::open(dir.path()).unwrap();
    assert_eq!(uids(&contents), ["c-1"], "all changes are made or none");
}

#[test]
fn a_second_opener_is_refused_with_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (_disk, _) = Disk::open(dir.path()).unwrap();
    let error = Disk::open(dir.path()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let text = error.to_string();
    assert!(
        text.ends_with("is in use by another process: only one dra-plugin may run on a node"),
        "{text}"
    );
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut disk, _) = Disk::open(dir.path()).unwrap();
        disk.commit(&[put(record("c-1", &["eth1"]))]).unwrap();
        disk.tables()
            .db
            .insert(SCHEMA_KEY, &7u32.to_be_bytes())
            .unwrap();
        disk.tables().sync().unwrap();
    }
    let error = Disk::open(dir.path()).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(
        error
            .to_string()
            .contains("has schema 7, this build knows up to 1")
    );
    let db = sled::open(dir.path().join(FOLDER)).unwrap();
    assert_eq!(db.open_tree("claims").unwrap().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Disk::open(&file.join("state")).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(
        error.to_string().contains("file/state (--state-dir)"),
        "{error}"
    );
}

#[test]
fn a_damaged_record_is_set_aside_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut disk, _) = Disk::open(dir.path()).unwrap();
        let records = ["c-1", "c-2", "c-3"].map(|uid| put(record(uid, &[])));
        disk.commit(&records).unwrap();
        let mut bytes = disk.tables().claims.get("c-2").unwrap().unwrap().to_vec();
        bytes[20] ^= 1;
        disk.tables().claims.insert("c-2", bytes).unwrap();
        let other = disk.tables().claims.get("c-1").unwrap().unwrap();
        disk.tables().claims.insert("not-its-key", other).unwrap();
        disk.tables().devices.insert("eth9", "c-2").unwrap();
        disk.tables().sync().unwrap();
    }
    for found in [2, 0] {
        let (disk, contents) = Disk::open(dir.path()).unwrap();
        assert_eq!(uids(&contents), ["c-1", "c-3"]);
        assert_eq!(contents.damaged.len(), found, "said once");
        assert!(
            disk.tables().devices.is_empty(),
            "the index follows from the records"
        );
        let kept = disk.tables().db.open_tree("damaged").unwrap();
        assert_eq!(kept.len(), 2, "kept for inspection");
    }
}

#[test]
fn a_database_of_garbage_is_moved_aside_and_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut disk, _) = Disk::open(dir.path()).unwrap();
        for n in 0..50 {
            disk.commit(&[put(record(&format!("c-{n}"), &[]))]).unwrap();
        }
    }
    for garbage in [&[0xff; 512][..], &[0x00; 512][..]] {
        let mut conf = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(dir.path().join(FOLDER).join("conf"))
            .unwrap();
        conf.write_all(garbage).unwrap();
        drop(conf);
        let (mut disk, contents) = Disk::open(dir.path()).unwrap();
        assert!(contents.records.is_empty());
        assert!(contents.replaced.unwrap().exists(), "kept for inspection");
        disk.commit(&[put(record("c-1", &[]))]).unwrap();
    }
}

/// How often a test does what it does: as the variable says, else `default` times.
fn rounds(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn bits_that_change_in_the_log_and_cuts_of_it_crash_nothing_and_invent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    {
        let (mut disk, _) = Disk::open(&whole).unwrap();
        for n in 0..20 {
            disk.commit(&[put(record(&format!("c-{n}"), &[]))]).unwrap();
        }
    }
    let length = fs::metadata(whole.join(FOLDER).join("db")).unwrap().len();
    let rounds = rounds("NETWORK_DRIVER_TEST_STORE_DAMAGES", 16);
    for round in 0..rounds {
        let state = dir.path().join("damaged");
        copy(&whole, &state);
        let mut log = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(state.join(FOLDER).join("db"))
            .unwrap();
        let at = (round * 7919 * 13) % length.min(20_000);
        if round % 4 == 3 {
            log.set_len(at).unwrap();
        } else {
            let mut byte = [0];
            log.seek(SeekFrom::Start(at)).unwrap();
            log.read_exact(&mut byte).unwrap();
            log.seek(SeekFrom::Start(at)).unwrap();
            log.write_all(&[byte[0] ^ (1 << (round % 8))]).unwrap();
        }
        drop(log);
        let (mut disk, contents) = Disk::open(&state).unwrap();
        for found in &contents.records {
            assert_eq!(*found, record(found.claim.uid.as_str(), &[]), "byte {at}");
        }
        disk.commit(&[put(record("after", &[]))]).unwrap();
        drop(disk);
        fs::remove_dir_all(&state).unwrap();
    }
    println!("store, cut or a bit flipped: {rounds} of {rounds} opened rightly or rebuilt");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Where a child process finds its small disk; unset in an ordinary run.
const SMALL: &str = "STORE_FULL_TEST_DIR";

/// Runs only in the child: fills the disk, and goes on once there is room.
#[test]
fn child_whose_disk_is_full() {
    let Some(dir) = std::env::var_os(SMALL) else {
        return;
    };
    let (state, filler) = (
        Path::new(&dir).join("state"),
        Path::new(&dir).join("filler"),
    );
    let (mut disk, _) = Disk::open(&state).unwrap();
    let number = |n: usize| put(record(&format!("c-{n:06}"), &[&format!("eth{n}")]));
    disk.commit(&[number(0)]).unwrap();
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let full = (1..10_000).find_map(|n| Some((n, disk.commit(&[number(n)]).err()?)));
    let (failed, error) = full.unwrap();
    assert!(
        matches!(error, CommitError::Write(_) | CommitError::Sync(_)),
        "{error:?}"
    );
    disk.commit(&[number(failed)]).unwrap_err();
    disk.reload().unwrap_err();
    disk.commit(&[number(failed)]).unwrap_err();
    fs::remove_file(&filler).unwrap();
    disk.reload().unwrap();
    disk.commit(&[number(failed)]).unwrap();
    drop(disk);
    let (_disk, contents) = Disk::open(&state).unwrap();
    assert!(contents.damaged.is_empty() && contents.replaced.is_none());
    assert_eq!(contents.records.len(), failed + 1);
}

#[test]
fn netns_after_a_full_disk_has_room_again_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m small "$STORE_FULL_TEST_DIR" && exec "$@""#;
    let exe = std::env::current_exe().unwrap();
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(exe)
        .args([
            "--exact",
            "--nocapture",
            "store::disk::tests::child_whose_disk_is_full",
        ])
        .env(SMALL, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let erred = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}{erred}"
    );
}

/// Where a child process finds its database; unset in an ordinary run.
const CHILD: &str = "STORE_KILL_TEST_DIR";
/// How many commits must be acknowledged before the child is killed.
const ACKNOWLEDGED: usize = 40;

/// Runs only in the child: writes for ever, and says so after each commit.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let (mut disk, contents) = Disk::open(Path::new(&dir)).unwrap();
    let first = contents.records.len();
    for n in first.. {
        let uid = format!("c-{n:06}");
        disk.commit(&[put(record(&uid, &[&format!("eth{n}")]))])
            .unwrap();
        // Past the test harness, which would keep it until the end.
        let mut out = io::stderr();
        writeln!(out, "kept {uid}").unwrap();
    }
}

#[test]
fn whatever_was_acknowledged_survives_a_kill() {
    let kills = rounds("NETWORK_DRIVER_TEST_STORE_KILLS", 3);
    let (mut dir, mut acknowledged) = (tempfile::tempdir().unwrap(), Vec::new());
    for kill in 0..kills {
        if kill % 10 == 9 {
            (dir, acknowledged) = (tempfile::tempdir().unwrap(), Vec::new());
        }
        acknowledged.extend(acknowledged_by_a_child_that_is_killed(dir.path()));
        let (_disk, contents) = Disk::open(dir.path()).unwrap();
        assert!(contents.damaged.is_empty() && contents.replaced.is_none());
        let found = uids(&contents);
        assert!(acknowledged.len() >= ACKNOWLEDGED);
        for uid in &acknowledged {
            assert!(
                found.contains(&uid.as_str()),
                "{uid} was acknowledged and is lost"
            );
        }
    }
    println!("store, killed while it writes: {kills} of {kills}, every acknowledged record there");
}

fn acknowledged_by_a_child_that_is_killed(dir: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::disk::tests::child_that_writes_until_it_is_killed")
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let kept = |line: io::Result<String>| {
        let line = line.unwrap();
        line.strip_prefix("kept ").map(str::to_owned)
    };
    let mut acknowledged: Vec<_> = lines.by_ref().filter_map(kept).take(ACKNOWLEDGED).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died.
    acknowledged.extend(lines.filter_map(kept));
    acknowledged
}
