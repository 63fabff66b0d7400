//! A plugin's way in: register, configure, synchronise; then its events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use network_driver_proto::nri::{
    ConfigureRequest, ConfigureResponse, Event, RegisterPluginRequest, StateChangeEvent,
    SynchronizeResponse,
};
use network_driver_proto::ttrpc as envelope;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::link::{CallError, Incoming, Link, UNIMPLEMENTED};
use super::pod::{nested, shown_in_sync};

/// How long a plugin may take to register after it has connected.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Plugins get at most one call of one event at a time; `RegisterPlugin` is bare.
const REGISTER: &str = "RegisterPlugin";

/// A registered and synchronised plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    /// `<index>-<name>`.
    pub(super) id: String,
    link: Arc<Link>,
    /// Events it asked for, as a mask.
    events: u32,
    /// Whether events still go by calls of their own.
    direct: AtomicBool,
}

impl Plugin {
    pub(super) fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    pub(super) fn close(&self) {
        self.link.close();
    }

    pub(super) async fn send_raw(&self, bytes: &[u8]) {
        self.link.send_raw(bytes).await;
    }

    pub(super) fn wants(&self, event: Event) -> bool {
        let shift = u32::try_from((event as i32).saturating_sub(1)).unwrap_or(31);
        self.events & 1_u32.wrapping_shl(shift) != 0
    }

    /// Tells of a pod event, as this runtime does it.
    pub(super) async fn pod_event(
        &self,
        event: Event,
        pod: &[u8],
        limit: Duration,
    ) -> Result<(), CallError> {
        let method = match event {
            Event::RunPodSandbox => "RunPodSandbox",
            Event::StopPodSandbox => "StopPodSandbox",
            _ => "RemovePodSandbox",
        };
        if self.direct.load(Ordering::Relaxed) {
            match self.link.call(method, nested(1, pod), limit).await {
                Err(CallError::Refused { code, .. }) if code == UNIMPLEMENTED => {
                    self.direct.store(false, Ordering::Relaxed);
                }
                other => return other.map(drop),
            }
        }
        let mut message = StateChangeEvent {
            event: event as i32,
            pod: None,
            container: None,
        }
        .encode_to_vec();
        message.extend(nested(2, pod));
        self.link
            .call("StateChange", message, limit)
            .await
            .map(drop)
    }

    pub(super) async fn call(
        &self,
        method: &str,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        self.link.call(method, payload, limit).await
    }
}

/// Takes a connection through registration; the accept loop waits for it, as the real one does.
pub(super) async fn admit(shared: &Arc<Shared>, stream: UnixStream) -> anyhow::Result<()> {
    let (link, mut incoming) = Link::open(stream);
    let admitted = introduce(shared, &link, &mut incoming).await;
    if admitted.is_err() {
        link.close();
    }
    admitted?;
    tokio::spawn(async move {
        while let Some(Incoming { stream, request }) = incoming.recv().await {
            let message = format!("{} is not served", request.method);
            let code = UNIMPLEMENTED;
            link.answer(stream, Some(envelope::Status { code, message }))
                .await;
        }
    });
    Ok(())
}

async fn introduce(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    incoming: &mut mpsc::UnboundedReceiver<Incoming>,
) -> anyhow::Result<()> {
    let first = timeout(REGISTRATION_TIMEOUT, incoming.recv()).await;
    let Incoming { stream, request } = first
        .context("plugin registration timed out")?
        .context("the plugin left before it registered")?;
    let id = match check_registration(&request) {
        Ok(id) => id,
        Err(error) => {
            let message = error.to_string();
            link.answer(stream, Some(envelope::Status { code: 2, message }))
                .await;
            return Err(error);
        }
    };
    let events = if shared.style.configures_first {
        let (events, ()) = tokio::join!(configure(shared, link), async {
            // The answer follows the request for configuration onto the wire.
            tokio::task::yield_now().await;
            link.answer(stream, None).await;
        });
        events?
    } else {
        link.answer(stream, None).await;
        configure(shared, link).await?
    };
    // No pod starts or ends between Synchronize and the first event.
    let _quiet = shared.lifecycle.lock().await;
    synchronise(shared, link).await?;
    let plugin = Plugin {
        id: id.clone(),
        link: Arc::clone(link),
        events,
        direct: AtomicBool::new(shared.style.direct_calls),
    };
    let mut state = shared.lock();
    state.plugins.retain(|plugin| !plugin.is_closed());
    state.plugins.push(Arc::new(plugin));
    state.plugins.sort_by(|a, b| a.id.cmp(&b.id));
    state.registrations = state.registrations.saturating_add(1);
    state.log.push(format!("plugin {id} connected"));
    Ok(())
}

fn check_registration(request: &envelope::Request) -> anyhow::Result<String> {
    ensure!(
        request.service == "nri.pkg.api.v1alpha1.Runtime" && request.method == REGISTER,
        "expected registration, got {}/{}",
        request.service,
        request.method
    );
    let wanted = RegisterPluginRequest::decode(request.payload.as_slice())?;
    let index = wanted.plugin_idx.as_bytes();
    ensure!(
        index.len() == 2 && index.iter().all(u8::is_ascii_digit),
        "invalid plugin index {:?}",
        wanted.plugin_idx
    );
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    ensure!(
        !wanted.plugin_name.is_empty() && wanted.plugin_name.bytes().all(allowed),
        "invalid plugin name {:?}",
        wanted.plugin_name
    );
    Ok(format!("{}-{}", wanted.plugin_idx, wanted.plugin_name))
}

async fn configure(shared: &Shared, link: &Link) -> anyhow::Result<u32> {
    let style = &shared.style;
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let mut request = ConfigureRequest {
        runtime_name: style.name.into(),
        runtime_version: style.version.into(),
        nri_version: style.nri_version.into(),
        ..ConfigureRequest::default()
    };
    if style.sends_timeouts {
        request.registration_timeout = millis(REGISTRATION_TIMEOUT);
        request.request_timeout = millis(style.request_timeout);
    }
    let answer = link
        .call("Configure", request.encode_to_vec(), style.request_timeout)
        .await?;
    let events = ConfigureResponse::decode(answer.as_slice())?.events;
    let known = 1_u32.wrapping_shl(style.last_event).wrapping_sub(1);
    let events = u32::try_from(events).context("a negative event mask")?;
    ensure!(
        events & !known == 0,
        "invalid plugin events: {:#x}",
        events & !known
    );
    Ok(if events == 0 { known } else { events })
}

/// Sends all pods, in parts where the style has them; the parts share one time-out.
async fn synchronise(shared: &Shared, link: &Link) -> anyhow::Result<()> {
    let style = &shared.style;
    let pods = shown_in_sync(style, shared.lock().sandboxes.values());
    let size = if style.pods_per_part == 0 {
        usize::MAX
    } else {
        style.pods_per_part
    };
    let mut parts: Vec<&[Vec<u8>]> = pods.chunks(size).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let started = Instant::now();
    let count = parts.len();
    for (index, part) in parts.into_iter().enumerate() {
        let more = index.saturating_add(1) < count;
        let mut request: Vec<u8> = part.iter().flat_map(|pod| nested(1, pod)).collect();
        if more {
            request.extend([3 << 3, 1]);
        }
        let left = style.request_timeout.saturating_sub(started.elapsed());
        let answer = link
            .call("Synchronize", request, left)
            .await
            .context("Synchronize")?;
        if SynchronizeResponse::decode(answer.as_slice())?.more != more
            || starts_with_update(&answer)
        {
            bail!("plugin does not handle split sync requests");
        }
    }
    Ok(())
}

/// Whether an answer carries container updates (field 1, length-delimited).
fn starts_with_update(answer: &[u8]) -> bool {
    answer.first() == Some(&((1 << 3) | 2))
}
