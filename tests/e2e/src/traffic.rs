//! Traffic from the world outside to pods, all the while that something else happens.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, ensure};

use crate::node::signal;

/// Ten packets a second to one address.
#[derive(Debug)]
pub(crate) struct Traffic {
    address: String,
    ping: Ping,
    /// Reads what it prints as it comes: a pipe that is full would stop it.
    said: JoinHandle<io::Result<String>>,
}

impl Traffic {
    /// Begins.
    ///
    /// # Errors
    /// `ping` cannot be run.
    pub(crate) fn begin(address: &str) -> Result<Self> {
        let arguments = [
            "netns", "exec", "ext", "busybox", "ping", "-i", "0.1", address,
        ];
        let ping = Command::new("ip")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        let mut ping = ping.context("ping")?;
        let mut output = ping.stdout.take().context("ping's output")?;
        let said = thread::spawn(move || {
            let mut said = String::new();
            output.read_to_string(&mut said).map(|_| said)
        });
        Ok(Self {
            address: address.to_owned(),
            ping: Ping(ping),
            said,
        })
    }

    /// Ends; returns the number of packets that were sent, all of which were answered.
    ///
    /// # Errors
    /// One was not.
    pub(crate) fn end(mut self) -> Result<u32> {
        signal("INT", &self.ping.0.id().to_string())?;
        self.ping.0.wait()?;
        let said = self.said.join().ok().context("reading panicked")??;
        whole(&said).with_context(|| format!("packets to {}", self.address))
    }
}

/// Ends with its owner.
#[derive(Debug)]
struct Ping(Child);

impl Drop for Ping {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The number of packets that were sent, by what `ping` printed, if all were answered. That the last one of all was not
/// yet when `ping` had to end is no loss.
fn whole(said: &str) -> Result<u32> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let sent = said.lines().find_map(|line| {
        let (sent, _) = line.split_once(" packets transmitted")?;
        number(Some(sent))
    });
    let sent = sent.with_context(|| format!("no statistics: {said}"))?;
    let answered: BTreeSet<_> = said
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(" seq=")?;
            number(rest.split_whitespace().next())
        })
        .collect();
    let lost = (0..sent.saturating_sub(1)).filter(|packet| !answered.contains(packet));
    let lost: Vec<_> = lost.collect();
    ensure!(lost.is_empty(), "lost of {sent}: {lost:?}");
    ensure!(sent > 1, "none was sent");
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answered: &[u32], sent: u32) -> String {
        let line = |seq: &u32| format!("64 bytes from 10.0.0.2: seq={seq} ttl=64 time=0.048 ms\n");
        let lines: String = answered.iter().map(line).collect();
        format!(
            "{lines}\n{sent} packets transmitted, {} packets received\n",
            answered.len()
        )
    }

    #[test]
    fn every_packet_but_the_last_must_be_answered() {
        assert_eq!(whole(&said(&[0, 1, 2], 3)).unwrap(), 3);
        assert_eq!(whole(&said(&[0, 1], 3)).unwrap(), 3);
        for lossy in [
            said(&[0, 2], 3),
            said(&[1, 2], 3),
            said(&[0], 3),
            said(&[], 2),
        ] {
            assert!(whole(&lossy).is_err(), "{lossy}");
        }
        assert!(whole("ping: unreachable").is_err());
        assert!(whole(&said(&[], 0)).is_err());
    }
}
