//! The kubelet's plugin watcher: each socket in the registry directory is one registration.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use network_driver_proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, registration_client::RegistrationClient,
};
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;

use super::{DraVersion, Plugin, State, dial};

/// How often the directory is looked at.
const PACE: Duration = Duration::from_millis(20);
/// First wait after a failed registration; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait after a failed registration.
const LAST_RETRY: Duration = Duration::from_secs(122);

/// A socket that has been seen: a new one under the same name is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketId(u64, i64, i64);

/// What was made of a socket so far.
#[derive(Debug)]
struct Seen {
    id: SocketId,
    /// When to try again; `None` once it is registered.
    retry: Option<(Instant, Duration)>,
}

/// Registers what appears, unregisters what goes. Never ends by itself.
pub(super) async fn watch(
    registry: PathBuf,
    knows: &'static [DraVersion],
    state: Arc<Mutex<State>>,
) {
    let mut seen: BTreeMap<PathBuf, Seen> = BTreeMap::new();
    loop {
        let present = sockets(&registry);
        seen.retain(|path, was| {
            let stays = present.get(path) == Some(&was.id);
            if !stays {
                lock(&state).plugins.remove(path);
            }
            stays
        });
        for (path, id) in present {
            let now = Instant::now();
            let earlier = seen.get(&path).map(|was| was.retry);
            let pause = match earlier {
                None => FIRST_RETRY,
                Some(Some((due, pause))) if due <= now => pause.saturating_mul(2).min(LAST_RETRY),
                Some(_) => continue,
            };
            let retry = match register(&path, knows, &state).await {
                Ok(()) => None,
                Err(error) => {
                    let text = format!("{error:#}");
                    lock(&state).faults.insert(path.clone(), text);
                    now.checked_add(pause).map(|due| (due, pause))
                }
            };
            seen.insert(path, Seen { id, retry });
        }
        tokio::time::sleep(PACE).await;
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sockets of the directory; names with a leading dot and other files are ignored.
fn sockets(registry: &Path) -> BTreeMap<PathBuf, SocketId> {
    let entries = std::fs::read_dir(registry).into_iter().flatten().flatten();
    let socket = |entry: std::fs::DirEntry| {
        let meta = entry.metadata().ok()?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let wanted = meta.file_type().is_socket() && !hidden;
        let id = SocketId(meta.ino(), meta.ctime(), meta.ctime_nsec());
        wanted.then(|| (entry.path(), id))
    };
    entries.filter_map(socket).collect()
}

async fn register(path: &Path, knows: &[DraVersion], state: &Mutex<State>) -> anyhow::Result<()> {
    let channel = dial::registration_socket(path).await?;
    let mut client = RegistrationClient::new(channel);
    let info = timeout(Duration::from_secs(1), client.get_info(InfoRequest {}))
        .await
        .context("GetInfo took more than 1 s")??
        .into_inner();
    match validate(&info, knows) {
        Ok(version) => {
            add(path, &info, version, state)?;
            let told = notify(&mut client, true, String::new()).await;
            if told.is_err() {
                lock(state).plugins.remove(path);
            }
            told.context("the plugin did not take its registration")
        }
        Err(error) => {
            // Whatever it answers: it was told, and will be asked again.
            drop(notify(&mut client, false, error.to_string()).await);
            Err(error)
        }
    }
}

fn validate(info: &PluginInfo, knows: &[DraVersion]) -> anyhow::Result<DraVersion> {
    ensure!(
        info.r#type == "DRAPlugin",
        "no handler for type {:?}",
        info.r#type
    );
    ensure!(!info.name.is_empty(), "the plugin has no name");
    ensure!(
        Path::new(&info.endpoint).is_absolute(),
        "endpoint {:?} is not an absolute path",
        info.endpoint
    );
    let mut offered = info.supported_versions.iter();
    let first = offered.find_map(|text| DraVersion::parse(text).filter(|v| knows.contains(v)));
    match first {
        Some(version) => Ok(version),
        None => bail!(
            "none of the versions {:?} is known",
            info.supported_versions
        ),
    }
}

fn add(
    path: &Path,
    info: &PluginInfo,
    version: DraVersion,
    state: &Mutex<State>,
) -> anyhow::Result<()> {
    let channel = dial::dra_socket(Path::new(&info.endpoint), version)?;
    let mut state = lock(state);
    let count = state.registrations.entry(info.name.clone()).or_default();
    *count = count.saturating_add(1);
    let plugin = Plugin {
        driver: info.name.clone(),
        version,
        registrations: *count,
        channel,
    };
    state.plugins.insert(path.to_owned(), plugin);
    Ok(())
}

async fn notify(
    client: &mut RegistrationClient<Channel>,
    plugin_registered: bool,
    error: String,
) -> anyhow::Result<()> {
    let status = RegistrationStatus {
        plugin_registered,
        error,
    };
    timeout(
        Duration::from_secs(5),
        client.notify_registration_status(status),
    )
    .await
    .context("NotifyRegistrationStatus took more than 5 s")??;
    Ok(())
}
