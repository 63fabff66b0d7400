//! What an operator may ask of each daemon, and the sub-commands that ask it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use network_driver_proto::bus::admin_client::AdminClient;
use network_driver_proto::bus::admin_server::{Admin, AdminServer};
use network_driver_proto::bus::{
    DumpRequest, DumpResponse, ReadinessPart, ReadinessRequest, ReadinessResponse,
    SetLogFilterRequest, SetLogFilterResponse, VersionRequest, VersionResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::bus::{self, Component};
use crate::health::Health;
use crate::telemetry::LogFilter;

/// Deadline of a question that a person asks a running daemon.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The `Admin` service of a daemon; `dump` gives its inner state as JSON.
pub fn service<D>(
    component: Component,
    health: Health,
    log_filter: LogFilter,
    dump: D,
) -> AdminServer<impl Admin>
where
    D: Fn() -> serde_json::Value + Send + Sync + 'static,
{
    AdminServer::new(Server {
        component,
        health,
        log_filter,
        dump,
    })
}

struct Server<D> {
    component: Component,
    health: Health,
    log_filter: LogFilter,
    dump: D,
}

#[tonic::async_trait]
impl<D> Admin for Server<D>
where
    D: Fn() -> serde_json::Value + Send + Sync + 'static,
{
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        let component = self.component.to_string();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(VersionResponse { component, version }))
    }

    async fn readiness(
        &self,
        _: Request<ReadinessRequest>,
    ) -> Result<Response<ReadinessResponse>, Status> {
        let parts = self.health.parts().into_iter().map(|part| ReadinessPart {
            name: part.name.to_owned(),
            ready: part.reason.is_none(),
            reason: part.reason.unwrap_or_default(),
        });
        let parts: Vec<_> = parts.collect();
        let ready = parts.iter().all(|part| part.ready);
        Ok(Response::new(ReadinessResponse { ready, parts }))
    }

    async fn set_log_filter(
        &self,
        request: Request<SetLogFilterRequest>,
    ) -> Result<Response<SetLogFilterResponse>, Status> {
        let filter = request.into_inner().filter;
        let refused = |error| Status::invalid_argument(format!("{error}"));
        let previous = self.log_filter.set(&filter).map_err(refused)?;
        tracing::info!(filter, previous, "log filter changed");
        Ok(Response::new(SetLogFilterResponse { previous }))
    }

    async fn dump(&self, _: Request<DumpRequest>) -> Result<Response<DumpResponse>, Status> {
        let json = (self.dump)().to_string();
        Ok(Response::new(DumpResponse { json }))
    }
}

impl<D> fmt::Debug for Server<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

/// Sub-commands that every daemon's binary has. They ask the running daemon over the bus.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum AdminCommand {
    /// Print whether the running daemon is ready, a line per part
    Ready,
    /// Change the log filter of the running daemon
    LogLevel {
        /// As --log-level
        filter: String,
    },
    /// Print the inner state of the running daemon as JSON
    Dump,
}

/// A question to a running daemon that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The call failed.
    #[error("ask {component} on {socket} (is it running? --bus-dir)")]
    Call {
        /// Whom.
        component: Component,
        /// Where.
        socket: String,
        /// Why.
        #[source]
        source: Status,
    },
    /// It was reached, and refused what was asked for.
    #[error("{component} refused: {reason}")]
    Refused {
        /// Which daemon.
        component: Component,
        /// Why, as a sentence.
        reason: String,
    },
    /// It answered that it is not ready.
    #[error("{component} is not ready: {reasons}")]
    NotReady {
        /// Which daemon.
        component: Component,
        /// Parts that are not ready, each with its reason.
        reasons: String,
    },
}

impl AskError {
    /// A call to the component that failed, or was refused.
    pub fn call(dir: &Path, component: Component, source: Status) -> Self {
        let refused = [
            Code::NotFound,
            Code::FailedPrecondition,
            Code::InvalidArgument,
        ];
        if refused.contains(&source.code()) {
            let reason = source.message().to_owned();
            return Self::Refused { component, reason };
        }
        let socket = bus::socket_path(dir, component).display().to_string();
        Self::Call {
            component,
            socket,
            source,
        }
    }
}

/// Asks the running daemon and returns what is to be printed.
///
/// # Errors
/// The daemon cannot be reached or refuses, or is not ready.
pub async fn ask(
    dir: &Path,
    component: Component,
    command: AdminCommand,
) -> Result<String, AskError> {
    let mut client = AdminClient::new(bus::channel(dir, component));
    let failed = |status| AskError::call(dir, component, status);
    Ok(match command {
        AdminCommand::Ready => {
            let request = bus::with_trace(ReadinessRequest {}, DEADLINE);
            let readiness = client
                .readiness(request)
                .await
                .map_err(failed)?
                .into_inner();
            if !readiness.ready {
                return Err(AskError::NotReady {
                    component,
                    reasons: reasons(&readiness),
                });
            }
            readiness_lines(&readiness)
        }
        AdminCommand::LogLevel { filter } => {
            let request = bus::with_trace(SetLogFilterRequest { filter }, DEADLINE);
            let previous = client
                .set_log_filter(request)
                .await
                .map_err(failed)?
                .into_inner()
                .previous;
            format!("log filter changed, was {previous}\n")
        }
        AdminCommand::Dump => {
            let request = bus::with_trace(DumpRequest {}, DEADLINE);
            client
                .dump(request)
                .await
                .map_err(failed)?
                .into_inner()
                .json
                + "\n"
        }
    })
}

fn readiness_lines(readiness: &ReadinessResponse) -> String {
    readiness
        .parts
        .iter()
        .map(|part| format!("{}: ok\n", part.name))
        .collect()
}

fn reasons(readiness: &ReadinessResponse) -> String {
    let unready = readiness.parts.iter().filter(|part| !part.ready);
    let reasons: Vec<_> = unready
        .map(|part| format!("{}: {}", part.name, part.reason))
        .collect();
    reasons.join("; ")
}
