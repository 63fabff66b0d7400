//! What this process has mounted where (`/proc/self/mountinfo`, proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tracing::warn;

const FILE: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `major:minor` of the file system.
    pub(super) device: String,
    /// What of the file system is mounted, as a path in it.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// Kind of the file system: `ext4`, `tmpfs`, ….
    pub(super) kind: String,
    options: String,
}

impl Mount {
    /// Whether programs on it cannot be started.
    pub(super) fn noexec(&self) -> bool {
        self.options.split(',').any(|option| option == "noexec")
    }
}

/// All mounts, later ones above earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads them; there are none where that fails, and then nothing can be told from them.
    pub(super) fn read() -> Self {
        match fs::read(FILE) {
            Ok(text) => Self::parse(&text),
            Err(err) => {
                warn!(%err, "{FILE} cannot be read");
                Self::default()
            }
        }
    }

    /// Reads the kernel's text; a line of another form is left out.
    pub(super) fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        Self(lines.filter_map(mount).collect())
    }

    /// What is mounted at exactly this place.
    pub(super) fn at(&self, point: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.point == point)
    }

    /// The mount that a file of this path lies on.
    pub(super) fn holding(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|place| self.at(place))
    }
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let device = text(fields.nth(2)?);
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    let options = text(fields.next()?);
    // Optional fields, then a lone hyphen.
    let kind = text(fields.skip_while(|field| *field != b"-").nth(1)?);
    Some(Mount {
        device,
        root,
        point,
        kind,
        options,
    })
}

/// A path as the kernel writes it: blanks and backslashes as `\040` and the like.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match after.split_first_chunk::<3>() {
            Some((octal, after)) if byte == b'\\' && is_octal(*octal) => {
                let digits = octal.iter().map(|digit| digit.wrapping_sub(b'0'));
                bytes.push(digits.fold(0_u8, |value, digit| value.wrapping_shl(3) | digit));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn is_octal(digits: [u8; 3]) -> bool {
    digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
21 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a
22 21 8:1 /var/lib/kubelet/pods/u/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw
23 21 0:5 / /run rw,nosuid,noexec shared:7 master:1 - tmpfs tmpfs rw
24 23 8:1 /odd\\040name\\134 /run/with\\040blank ro - ext4 /dev/sda1 rw
25 23 0:9 / /run rw - tmpfs tmpfs rw
nonsense
";

    #[test]
    fn mounts_are_found_by_their_place_and_by_what_lies_on_them() {
        let mounts = Mounts::parse(TEXT);
        let at = |path: &str| mounts.at(Path::new(path));
        let hosts = at("/etc/hosts").unwrap();
        assert_eq!(hosts.device, "8:1");
        assert_eq!(hosts.root, Path::new("/var/lib/kubelet/pods/u/etc-hosts"));
        assert_eq!(hosts.kind, "ext4");
        assert!(at("/etc").is_none());
        let holding = |path: &str| &mounts.holding(Path::new(path)).unwrap().point;
        assert_eq!(holding("/etc/passwd"), Path::new("/"));
        assert_eq!(holding("/run/a/b"), Path::new("/run"));
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one_and_odd_names_are_read() {
        let mounts = Mounts::parse(TEXT);
        let run = mounts.at(Path::new("/run")).unwrap();
        assert_eq!(run.device, "0:9");
        assert!(!run.noexec());
        assert!(mounts.0[2].noexec());
        let odd = mounts.at(Path::new("/run/with blank")).unwrap();
        assert_eq!(odd.root, Path::new("/odd name\\"));
    }

    #[test]
    fn the_kernels_own_text_is_read() {
        let text = fs::read(FILE).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
        assert_eq!(Mounts::read().0.len(), lines.count());
    }
}
