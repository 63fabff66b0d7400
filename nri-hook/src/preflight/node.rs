//! The kernel, and the links of the node: facts to begin with, rarely a reason to fail.

use std::fs;

use network_driver_netlink::{WriteSettingError, check_setting_files};

use super::{Finding, Verdict};
use crate::links::{Survey, survey};

const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// First kernel whose links say which device they belong to (`IFLA_PARENT_DEV_NAME`).
const OLDEST: (u32, u32) = (5, 14);

/// Most protected links that are named.
const NAMED: usize = 4;

/// Which kernel it is.
pub(super) fn kernel() -> Finding {
    let release = fs::read_to_string(RELEASE).unwrap_or_default();
    judge_kernel(release.trim())
}

fn judge_kernel(release: &str) -> Finding {
    let (verdict, text) = match version(release) {
        Some(version) if version >= OLDEST => (Verdict::Ok, format!("Linux {release}")),
        Some(_) => (
            Verdict::Warn,
            format!(
                "Linux {release} is older than {}.{}: it does not say which device a link belongs to, so hardware is not recognised",
                OLDEST.0, OLDEST.1
            ),
        ),
        None => (
            Verdict::Warn,
            format!("{RELEASE} holds no version: {release:?}"),
        ),
    };
    Finding::new(verdict, "kernel", text)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Whether the settings of links can be put back as they were.
pub(super) fn settings() -> Finding {
    judge_settings(check_setting_files())
}

fn judge_settings(checked: Result<(), WriteSettingError>) -> Finding {
    let Err(error) = checked else {
        return Finding::new(Verdict::Ok, "settings", "those of links can be written");
    };
    let text = format!(
        "IPv6 settings of a link that a pod has changed cannot be put back: {}; mount the node's /proc/sys/net at \
         /host/proc/sys/net",
        crate::chain(&error)
    );
    Finding::new(Verdict::Warn, "settings", text)
}

/// Which links there are, and which of them the node itself needs.
pub(super) fn links() -> Finding {
    match survey() {
        Ok(survey) => judge_links(&survey),
        Err(error) => {
            let text = format!("cannot be read: {}", crate::chain(&error));
            Finding::new(Verdict::Fail, "links", text)
        }
    }
}

fn judge_links(survey: &Survey) -> Finding {
    let Survey {
        protected,
        free,
        free_hardware,
    } = survey;
    let total = protected.len().saturating_add(*free);
    let mut named: Vec<_> = protected.iter().take(NAMED).cloned().collect();
    if protected.len() > NAMED {
        named.push("…".to_owned());
    }
    let needed = if named.is_empty() {
        String::new()
    } else {
        format!(" ({})", named.join("; "))
    };
    let text = format!(
        "{total} besides the loopback: {} needed by the node{needed}",
        protected.len()
    );
    if *free == 0 {
        let text = format!("{text}; none is left to give away");
        return Finding::new(Verdict::Warn, "links", text);
    }
    let text = format!(
        "{text}, {free} left, {free_hardware} of them hardware; `discovery links` shows which are offered"
    );
    Finding::new(Verdict::Ok, "links", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_first_two_numbers() {
        for (release, verdict) in [
            ("6.12.48+deb13-amd64", Verdict::Ok),
            ("5.14.0-570.el9.x86_64", Verdict::Ok),
            ("5.4.0-216-generic", Verdict::Warn),
            ("4.18", Verdict::Warn),
            ("odd", Verdict::Warn),
        ] {
            assert_eq!(judge_kernel(release).verdict, verdict, "{release}");
        }
        assert!(kernel().text.starts_with("Linux "), "{}", kernel());
    }

    #[test]
    fn settings_that_cannot_be_written_are_a_warning_with_the_cure() {
        assert_eq!(judge_settings(Ok(())).verdict, Verdict::Ok);
        let finding = judge_settings(Err(WriteSettingError::File {
            path: "/proc/sys/net/x".into(),
            source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
        }));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(
            finding.text,
            "IPv6 settings of a link that a pod has changed cannot be put back: write /proc/sys/net/x: read-only \
             filesystem or storage medium; mount the node's /proc/sys/net at /host/proc/sys/net"
        );
    }

    #[test]
    fn links_are_counted_and_the_nodes_own_named() {
        let survey = |protected: usize, free: usize| Survey {
            protected: (0..protected)
                .map(|n| format!("eth{n} carries the default route"))
                .collect(),
            free,
            free_hardware: free,
        };
        let finding = judge_links(&survey(1, 2));
        assert_eq!(finding.verdict, Verdict::Ok);
        assert_eq!(
            finding.text,
            "3 besides the loopback: 1 needed by the node (eth0 carries the default route), 2 left, 2 of them \
             hardware; `discovery links` shows which are offered"
        );
        let finding = judge_links(&survey(6, 0));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.text.contains("eth3 carries the default route; …)"));
        assert!(finding.text.ends_with("; none is left to give away"));
    }
}
