//! Asks the runtime who it is, without becoming its plugin.
//!
//! A runtime introduces itself to a plugin that registers, and only then, in `Configure`. Here that call is answered by
//! a refusal, so the runtime gives the plugin up before it is counted among those that get events: no pod is held up and
//! no list of pods is sent. What stays is one line in the runtime's log that says what it was.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::call::Call;
use super::mux::{self, Channel};
use super::session::{Identity, REGISTER_STREAM, SessionError};
use super::ttrpc::{self, Code, Failure, Message};

/// What the runtime's log shows.
const FAREWELL: &str = "nothing is wrong: it only asked which runtime this is";

/// Time that the runtime gets to close the connection: closed by us with an answer unread, ours might be lost.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// What a runtime says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeInfo {
    /// `containerd`, `cri-o`.
    pub(crate) name: String,
    /// Its version, as it writes it: `v2.4.2`, `1.36.1`.
    pub(crate) version: String,
    /// How long it waits for the answer to an event; `None` when it does not say (NRI before 0.7).
    pub(crate) request_timeout: Option<Duration>,
}

/// Asks the runtime behind this socket. It accepts plugins one after another, so the answer may take long: the time
/// limit is the caller's.
///
/// # Errors
/// It cannot be reached, or refuses the name.
pub(crate) async fn ask(socket: &Path, identity: &Identity) -> Result<RuntimeInfo, SessionError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| SessionError::Connect {
        path: socket.to_owned(),
        source,
    })?;
    converse(stream, identity).await
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    identity: &Identity,
) -> Result<RuntimeInfo, SessionError> {
    let registration = identity.registration();
    let written = stream.write_all(&registration).await;
    written.map_err(SessionError::Write)?;
    let (mut calls, mut answers) = (ttrpc::Decoder::default(), ttrpc::Decoder::default());
    while let Some(frame) = mux::read_frame(&mut stream).await? {
        match frame.channel {
            Channel::Plugin => {
                calls.feed(&frame.payload);
                while let Some(message) = calls.next_message()? {
                    if let Some((call, runtime)) = introduction(&message) {
                        say_goodbye(stream, call).await?;
                        return Ok(runtime);
                    }
                }
            }
            Channel::Runtime => {
                answers.feed(&frame.payload);
                while let Some(message) = answers.next_message()? {
                    accepted(message)?;
                }
            }
        }
    }
    Err(SessionError::Closed)
}

/// The call in which the runtime introduces itself, and what it says.
fn introduction(message: &Message) -> Option<(u32, RuntimeInfo)> {
    let Message::Request { stream, request } = message else {
        return None;
    };
    let Ok(Call::Configure(configure)) = Call::parse(request) else {
        return None;
    };
    let millis = u64::try_from(configure.request_timeout).ok();
    let info = RuntimeInfo {
        name: configure.runtime_name,
        version: configure.runtime_version,
        request_timeout: millis.filter(|ms| *ms > 0).map(Duration::from_millis),
    };
    Some((*stream, info))
}

/// Whether the runtime takes plugins at all; the answer may come before or after its introduction.
fn accepted(message: Message) -> Result<(), SessionError> {
    match message {
        Message::Response {
            stream: REGISTER_STREAM,
            response,
        } => match response.status.filter(|status| status.code != 0) {
            Some(status) => Err(SessionError::Refused {
                code: status.code,
                message: status.message,
            }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn say_goodbye(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    call: u32,
) -> Result<(), SessionError> {
    let refusal = ttrpc::response(Err(Failure::new(Code::Unknown, FAREWELL)));
    let frames = mux::frames(Channel::Plugin, &ttrpc::encode_response(call, &refusal));
    stream
        .write_all(&frames)
        .await
        .map_err(SessionError::Write)?;
    let closed = async { while let Ok(Some(_)) = mux::read_frame(&mut stream).await {} };
    // A runtime that does not close has been told all the same.
    drop(tokio::time::timeout(FAREWELL_TIME, closed).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use network_driver_proto::{nri, ttrpc as wire};

    use super::*;
    use crate::nri::testing::FakeRuntime;

    fn identity() -> Identity {
        Identity::new("network-driver-preflight", "10").unwrap()
    }

    /// Asks a runtime that behaves as `runtime` does.
    async fn asked<F>(runtime: impl FnOnce(FakeRuntime) -> F) -> Result<RuntimeInfo, SessionError>
    where
        F: Future<Output = ()>,
    {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let identity = identity();
        let (answer, ()) =
            tokio::join!(converse(ours, &identity), runtime(FakeRuntime::new(theirs)));
        answer
    }

    fn configure(request_timeout: i64) -> nri::ConfigureRequest {
        nri::ConfigureRequest {
            runtime_name: "containerd".into(),
            runtime_version: "v2.4.2".into(),
            request_timeout,
            ..nri::ConfigureRequest::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_runtime_introduces_itself_and_is_refused_with_a_reason() {
        for (before, timeout, want) in
            [(true, 2000, Some(Duration::from_secs(2))), (false, 0, None)]
        {
            let answer = asked(async |runtime| {
                assert_eq!(
                    runtime.registration().await.plugin_name,
                    "network-driver-preflight"
                );
                if before {
                    runtime.accept(None).await;
                }
                let refusal = runtime.call("Configure", &configure(timeout)).await;
                let status = refusal.unwrap().status.unwrap();
                assert_eq!(status.message, FAREWELL);
                if !before {
                    runtime.accept(None).await;
                }
            });
            let info = answer.await.unwrap();
            assert_eq!(info.name, "containerd");
            assert_eq!(info.version, "v2.4.2");
            assert_eq!(info.request_timeout, want);
        }
    }

    #[tokio::test]
    async fn a_runtime_that_takes_no_plugins_says_so() {
        let answer = asked(async |runtime| {
            let message = "plugins are off".to_owned();
            runtime
                .accept(Some(wire::Status { code: 2, message }))
                .await;
        });
        let error = answer.await.unwrap_err().to_string();
        assert!(error.contains("plugins are off"), "{error}");
    }

    #[tokio::test]
    async fn somebody_else_at_the_socket_is_an_error() {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
            let answer = asked(async |runtime| {
                runtime.registration().await;
                runtime.write(bytes).await;
            });
            answer.await.unwrap_err();
        }
    }
}
