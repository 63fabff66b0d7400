//! Puts the start hook in place: the one thing that preflight changes on the node, for every container that names a
//! claim needs it.

use std::path::Path;

use super::{Finding, Verdict};
use crate::chain;
use crate::start_hook;

const CHECK: &str = "gate";

/// Installs the program into a directory of the node; without one there is no start hook.
pub(super) fn install(program: &Path, dir: Option<&Path>) -> Finding {
    let Some(dir) = dir else {
        let text = "no start hook (gate.startHook): a sandbox that is made again while the whole driver is away may run without its interfaces";
        return Finding::new(Verdict::Warn, CHECK, text);
    };
    match start_hook::install(program, dir) {
        Ok(path) => Finding::new(Verdict::Ok, CHECK, format!("start hook {}", path.display())),
        Err(failed) => Finding::new(Verdict::Fail, CHECK, chain(&failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_place_or_a_fail_says_why_and_without_it_one_is_warned() {
        let dir = tempfile::tempdir().unwrap();
        let found = |program: &str, dir| install(Path::new(program), dir);
        assert_eq!(found("/bin/true", Some(dir.path())).verdict, Verdict::Ok);
        let absent = found("/absent", Some(dir.path()));
        assert_eq!(absent.verdict, Verdict::Fail);
        assert!(absent.text.contains("copy /absent"), "{absent}");
        let off = found("/bin/true", None);
        assert_eq!(off.verdict, Verdict::Warn);
        assert!(off.text.contains("gate.startHook"), "{off}");
    }
}
