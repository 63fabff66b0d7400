//! The files that define the claims' CDI ids. A runtime cannot create a container whose id nobody defines, so an id
//! is defined only while its claim's devices are attached: also with every daemon of ours dead, no container starts
//! without them.
//!
//! Format: Container Device Interface 0.5.0, the first whose device names may begin with a digit.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use network_driver_common::model::{ClaimUid, DriverName, Record};
use network_driver_common::wire::AttachedInterface;
use serde_json::json;

use crate::gate;
use crate::start_hook::{self, Wanted};

const VERSION: &str = "0.5.0";

/// The directory of CDI files, and ours in it.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    dir: PathBuf,
    driver: DriverName,
    /// Begin of the names of our files.
    prefix: String,
    /// Where the start hook lies on the node; `None` leaves it out.
    start_hook: Option<PathBuf>,
}

/// A driver name that no CDI vendor can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("driver name {0} must begin with a letter to be a CDI vendor")]
pub(crate) struct InvalidVendor(DriverName);

/// A CDI file that could not be written, removed or listed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

impl Directory {
    /// Our files in this directory, which need not exist yet.
    ///
    /// # Errors
    /// The driver's name is no CDI vendor.
    pub(crate) fn new(
        dir: PathBuf,
        driver: DriverName,
        start_hook: Option<PathBuf>,
    ) -> Result<Self, InvalidVendor> {
        // What else CDI asks of a vendor, every driver name is (cdi `parser.ValidateVendorName`).
        if !driver
            .as_str()
            .starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Err(InvalidVendor(driver));
        }
        let prefix = format!("{}-claim-", driver.as_str().replace(['/', '.'], "-"));
        Ok(Self {
            dir,
            driver,
            prefix,
            start_hook,
        })
    }

    /// Defines the id `<driver>/claim=<uid>` of an attached claim: all of its file, or nothing. One that is defined so
    /// already is left alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn define(
        &self,
        record: &Record,
        interfaces: &[AttachedInterface],
    ) -> Result<(), FileError> {
        let claim = &record.claim.uid;
        let names: Vec<_> = interfaces.iter().map(|i| i.name.to_string()).collect();
        let variable = format!("{}={}", gate::variable(claim), names.join(","));
        let mut edits = json!({ "env": [variable] });
        if let (Some(program), Some(edits)) = (&self.start_hook, edits.as_object_mut()) {
            let hook = json!({
                "hookName": "createRuntime",
                "path": program,
                "args": [start_hook::FILE_NAME, Wanted::of(&self.driver, record).to_argument()],
                "timeout": start_hook::TIMEOUT_SECONDS,
            });
            edits.insert("hooks".to_owned(), json!([hook]));
        }
        let spec = json!({
            "cdiVersion": VERSION,
            "kind": format!("{}/claim", self.driver),
            "devices": [{ "name": claim.as_str(), "containerEdits": edits }],
        });
        let (path, text) = (self.path(claim), spec.to_string());
        // Runtimes read the whole directory again at each change of it.
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        fs::create_dir_all(&self.dir).map_err(FileError::new("make directory", &self.dir))?;
        // Runtimes read `*.json` and `*.yaml` only.
        let unfinished = path.with_extension("tmp");
        fs::write(&unfinished, text).map_err(FileError::new("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(FileError::new("put in place", &path))
    }

    /// Takes a claim's id away. One that is not defined is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn remove(&self, claim: &ClaimUid) -> Result<(), FileError> {
        let path = self.path(claim);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::new("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The claims whose ids are defined: attached and verified by us, or by our predecessor.
    ///
    /// # Errors
    /// The directory cannot be read; one that is not there is empty.
    pub(crate) fn defined(&self) -> Result<BTreeSet<ClaimUid>, FileError> {
        let failed = || FileError::new("list", &self.dir);
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut claims = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed())?.file_name();
            let ours = name
                .to_str()
                .and_then(|name| name.strip_prefix(&self.prefix));
            let uid = ours.and_then(|rest| rest.strip_suffix(".json"));
            claims.extend(uid.and_then(|uid| uid.parse().ok()));
        }
        Ok(claims)
    }

    fn path(&self, claim: &ClaimUid) -> PathBuf {
        self.dir.join(format!("{}{claim}.json", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::testing::{claim, interface, record};

    fn directory(dir: &Path) -> Directory {
        Directory::new(
            dir.join("cdi"),
            "network.example.com".parse().unwrap(),
            None,
        )
        .unwrap()
    }

    #[test]
    fn an_id_is_a_file_with_the_claims_variable() {
        let dir = tempfile::tempdir().unwrap();
        let cdi = directory(dir.path());
        cdi.define(
            &record("0f-1", &[]),
            &[interface("net1"), interface("net2")],
        )
        .unwrap();
        let path = dir.path().join("cdi/network-example-com-claim-0f-1.json");
        let spec: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(
            spec,
            json!({
                "cdiVersion": "0.5.0",
                "kind": "network.example.com/claim",
                "devices": [{
                    "name": "0f-1",
                    "containerEdits": { "env": ["NETWORK_DRIVER_CLAIM_0f_1=net1,net2"] },
                }],
            })
        );
        assert_eq!(
            fs::read_dir(dir.path().join("cdi")).unwrap().count(),
            1,
            "nothing else"
        );
    }

    #[test]
    fn an_id_names_the_start_hook_with_what_it_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut cdi = directory(dir.path());
        cdi.start_hook = Some("/opt/start-hook".into());
        cdi.define(&record("a", &[]), &[interface("net1")]).unwrap();
        let text = fs::read(cdi.path(&claim("a"))).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let hooks = &spec["devices"][0]["containerEdits"]["hooks"];
        let wanted = hooks[0]["args"][1].as_str().unwrap().to_owned();
        assert_eq!(
            hooks,
            &json!([{
                "hookName": "createRuntime",
                "path": "/opt/start-hook",
                "args": ["network-driver-start-hook-1", wanted],
                "timeout": 10,
            }])
        );
        let wanted: Wanted = serde_json::from_str(&wanted).unwrap();
        let driver = "network.example.com".parse().unwrap();
        assert_eq!(wanted, Wanted::of(&driver, &record("a", &[])));
    }

    #[test]
    fn a_file_is_never_seen_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let cdi = directory(dir.path());
        cdi.define(&record("a", &[]), &[interface("net1")]).unwrap();
        let path = cdi.path(&claim("a"));
        let before = fs::read(&path).unwrap();
        let mut reader = fs::File::open(&path).unwrap();
        cdi.define(&record("a", &[]), &[interface("net2")]).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, before, "replaced, not written over");
        assert_ne!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn an_id_that_is_defined_already_changes_nothing_in_the_directory() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().unwrap();
        let cdi = directory(dir.path());
        let file = || fs::metadata(cdi.path(&claim("a"))).unwrap().ino();
        cdi.define(&record("a", &[]), &[interface("net1")]).unwrap();
        // Held, so that its number is not given to another file.
        let _open = fs::File::open(cdi.path(&claim("a"))).unwrap();
        let before = file();
        cdi.define(&record("a", &[]), &[interface("net1")]).unwrap();
        assert_eq!(file(), before);
        cdi.define(&record("a", &[]), &[interface("net2")]).unwrap();
        assert_ne!(file(), before);
    }

    #[test]
    fn ids_are_listed_and_removed_and_other_files_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cdi = directory(dir.path());
        assert!(cdi.defined().unwrap().is_empty());
        cdi.remove(&claim("a")).unwrap();
        for uid in ["a", "b"] {
            cdi.define(&record(uid, &[]), &[]).unwrap();
        }
        for other in [
            "vendor.json",
            "network-example-com-claim-x.tmp",
            "gpu-claim-a.json",
        ] {
            fs::write(dir.path().join("cdi").join(other), "").unwrap();
        }
        cdi.remove(&claim("a")).unwrap();
        assert_eq!(cdi.defined().unwrap(), BTreeSet::from([claim("b")]));
        assert_eq!(fs::read_dir(dir.path().join("cdi")).unwrap().count(), 4);
    }

    #[test]
    fn a_driver_name_that_is_no_vendor_is_refused() {
        assert!(Directory::new("/x".into(), "9p.example.com".parse().unwrap(), None).is_err());
    }
}
