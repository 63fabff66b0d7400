//! The three daemons of a cluster: their command lines, their starts and ends, whether they are ready.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::{Context as _, ensure};
use network_driver_common::bus::{self, Component};
use network_driver_common::fail;
use network_driver_proto::bus::ReadinessRequest;
use network_driver_proto::bus::admin_client::AdminClient;

use super::{Cluster, DRIVER, NODE, PATIENCE};
use crate::daemon::{ALL, Daemon};
use crate::wait::until;

impl Cluster {
    fn arguments(&self, component: Component) -> Vec<String> {
        let mut arguments = vec![
            ("--driver-name", DRIVER.into()),
            ("--node-name", NODE.into()),
            ("--bus-dir", self.bus_dir()),
            ("--log-level", self.log_level.into()),
            ("--log-format", "text".into()),
        ];
        match component {
            Component::Discovery => arguments.extend([
                ("--kubeconfig", self.at("kubeconfig")),
                ("--offer-kinds", "veth".into()),
                (
                    "--publish-interval",
                    self.publish_interval.as_secs_f64().to_string().into(),
                ),
                ("--sysfs-root", self.at("sys")),
            ]),
            Component::DraPlugin => arguments.extend([
                ("--kubeconfig", self.at("kubeconfig")),
                ("--kubelet-root-dir", self.kubelet.root().to_owned()),
                ("--state-dir", self.at("state")),
            ]),
            Component::NriHook => arguments.extend([
                ("--nri-socket", self.runtime.nri_socket().to_owned()),
                ("--cdi-dir", self.runtime.cdi_dir().to_owned()),
                ("--state-dir", self.at("hook")),
            ]),
        }
        if component == Component::NriHook && self.start_hook {
            arguments.push(("--start-hook-dir", self.at("bin")));
        }
        if let Some(collector) = &self.traces_to {
            arguments.push(("--otlp-endpoint", collector.into()));
        }
        let pairs = arguments.into_iter();
        let mut flat: Vec<String> = pairs
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_string_lossy().into_owned()])
            .collect();
        if component == Component::Discovery {
            flat.push("--offer-down".to_owned());
        }
        flat
    }

    /// Starts a daemon that does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_daemon(&self, component: Component) -> anyhow::Result<()> {
        self.start_armed(component, "")
    }

    /// The same with fail points switched on, which its binary must have: see [`network_driver_common::fail`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_armed(&self, component: Component, switches: &str) -> anyhow::Result<()> {
        let daemon = self.spawn(component, switches)?;
        self.daemons().push(daemon);
        Ok(())
    }

    /// How a daemon ended that has ended by itself. It does not run any more then and may be started again.
    pub fn reap(&self, component: Component) -> Option<ExitStatus> {
        let mut daemons = self.daemons();
        let index = daemons.iter().position(|d| d.component() == component)?;
        let status = daemons.get_mut(index)?.ended().ok()??;
        drop(daemons.swap_remove(index));
        Some(status)
    }

    /// Starts a second process of a daemon and waits for its end; its exit code.
    ///
    /// # Errors
    /// It goes on.
    pub async fn second_process(&self, component: Component) -> anyhow::Result<Option<i32>> {
        let mut daemon = self.spawn(component, "")?;
        let ended = async || daemon.ended().ok().flatten();
        let status = until("the second process to end", PATIENCE, ended).await?;
        Ok(status.code())
    }

    fn spawn(&self, component: Component, switches: &str) -> anyhow::Result<Daemon> {
        let log = self.log_file(component);
        Daemon::start(
            component,
            &self.binary(component),
            &self.arguments(component),
            self.node.home().netns(),
            &self.at("sys"),
            &log,
            &[
                (
                    "OTEL_BSP_SCHEDULE_DELAY",
                    self.export_delay.as_millis().to_string(),
                ),
                (
                    "NETWORK_DRIVER_CDI_CONFIRMED",
                    self.cdi_confirmed.to_string(),
                ),
                (fail::VARIABLE, switches.to_owned()),
            ],
        )
    }

    fn log_file(&self, component: Component) -> PathBuf {
        self.at("log").join(component.as_str())
    }

    /// Everything that a daemon has logged since the start of the cluster.
    pub fn log(&self, component: Component) -> String {
        let bytes = std::fs::read(self.log_file(component)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process of a running daemon.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, component: Component) -> anyhow::Result<u32> {
        let daemons = self.daemons();
        let daemon = daemons.iter().find(|d| d.component() == component);
        let daemon = daemon.with_context(|| format!("{} does not run", component.as_str()))?;
        Ok(daemon.pid())
    }

    fn take_daemon(&self, component: Component) -> anyhow::Result<Daemon> {
        let mut daemons = self.daemons();
        let index = daemons.iter().position(|d| d.component() == component);
        let index = index.with_context(|| format!("{} does not run", component.as_str()))?;
        Ok(daemons.swap_remove(index))
    }

    /// Kills a daemon, as a crash does.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_daemon(&self, component: Component) -> anyhow::Result<()> {
        self.take_daemon(component)?.kill()
    }

    /// Asks a daemon to end and waits; it has to end well.
    ///
    /// # Errors
    /// It does not run, did not end, or ended with a failure.
    pub fn stop_daemon(&self, component: Component) -> anyhow::Result<()> {
        let status = self.take_daemon(component)?.stop()?;
        ensure!(
            status.success(),
            "{} ended with {status}",
            component.as_str()
        );
        Ok(())
    }

    /// Kills a daemon, starts it again and waits until all are ready.
    ///
    /// # Errors
    /// They did not become ready.
    pub async fn restart_daemon(&self, component: Component) -> anyhow::Result<()> {
        let registrations = self.runtime.registrations();
        self.kill_daemon(component)?;
        self.start_daemon(component)?;
        if component == Component::NriHook {
            let next = registrations.saturating_add(1);
            self.runtime.synchronised(next, PATIENCE).await?;
        }
        self.ready().await
    }

    /// Waits until all three daemons say that they are ready, the kubelet knows the driver, and the runtime the hook.
    ///
    /// # Errors
    /// Which of them is not, and why.
    pub async fn ready(&self) -> anyhow::Result<()> {
        for component in ALL {
            self.daemon_ready(component).await?;
        }
        self.kubelet.registered(DRIVER, PATIENCE).await?;
        self.runtime.synchronised(1, PATIENCE).await
    }

    /// Waits until a daemon says that it is ready.
    ///
    /// # Errors
    /// It does not, and why.
    pub async fn daemon_ready(&self, component: Component) -> anyhow::Result<()> {
        let name = component.as_str();
        let mut client = AdminClient::new(bus::channel(&self.bus_dir(), component));
        let mut missing = String::new();
        let what = format!("{name} to be ready");
        let waited = until(&what, PATIENCE, async || {
            if let Some((who, how)) = self.ended() {
                missing = format!("{} ended with {how}\n{}", who.as_str(), self.tail(who));
                return Some(false);
            }
            match client.readiness(ReadinessRequest {}).await {
                Ok(answer) if answer.get_ref().ready => Some(true),
                Ok(answer) => {
                    let parts = answer.into_inner().parts.into_iter().filter(|p| !p.ready);
                    missing = parts
                        .map(|p| format!("{}: {}; ", p.name, p.reason))
                        .collect();
                    None
                }
                Err(status) => {
                    missing = status.to_string();
                    None
                }
            }
        });
        let ready = waited.await.unwrap_or(false);
        let log = self.tail(component);
        ensure!(ready, "{name} is not ready: {missing}\n{log}");
        Ok(())
    }

    /// What a daemon's HTTP server answers in the node's home: status and body.
    ///
    /// # Errors
    /// It does not answer.
    pub fn http(&self, component: Component, path: &str) -> anyhow::Result<(u16, String)> {
        let port = match component {
            Component::Discovery => 9411,
            Component::DraPlugin => 9412,
            Component::NriHook => 9413,
        };
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let answer = self.node.home().netns().run(move || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        })??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// Whether a daemon that was started has ended by itself, and not been started again.
    pub fn has_ended(&self, component: Component) -> bool {
        let mut daemons = self.daemons();
        let mut these = daemons.iter_mut().filter(|d| d.component() == component);
        these.any(|daemon| daemon.ended().is_ok_and(|status| status.is_some()))
    }

    /// A daemon that has ended by itself, and how.
    fn ended(&self) -> Option<(Component, ExitStatus)> {
        let mut daemons = self.daemons();
        let ended = |daemon: &mut Daemon| Some((daemon.component(), daemon.ended().ok()??));
        daemons.iter_mut().find_map(ended)
    }

    pub(crate) fn tail(&self, component: Component) -> String {
        let log = self.log(component);
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
