//! Which call is which event. Runtimes up to NRI 0.11 send pod events as `StateChange`, later ones as methods of
//! their own and fall back to `StateChange` when those are not served.

use network_driver_proto::{nri, ttrpc as wire};
use tracing::debug;

use super::ttrpc::{Code, Failure};
use super::{Container, Pod};

/// The service that we serve.
pub(crate) const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// Kind of an event, as a metric's label and in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The runtime introduces itself.
    Configure,
    /// A part of the list of sandboxes.
    Synchronize,
    /// A sandbox was made.
    RunPodSandbox,
    /// A sandbox was stopped.
    StopPodSandbox,
    /// A sandbox was removed.
    RemovePodSandbox,
    /// A container is about to be created.
    CreateContainer,
    /// Anything else.
    Other,
}

impl Event {
    /// All kinds.
    pub(crate) const ALL: [Self; 7] = [
        Self::Configure,
        Self::Synchronize,
        Self::RunPodSandbox,
        Self::StopPodSandbox,
        Self::RemovePodSandbox,
        Self::CreateContainer,
        Self::Other,
    ];

    /// Name of its method, whichever call it came by.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Configure => "Configure",
            Self::Synchronize => "Synchronize",
            Self::RunPodSandbox => "RunPodSandbox",
            Self::StopPodSandbox => "StopPodSandbox",
            Self::RemovePodSandbox => "RemovePodSandbox",
            Self::CreateContainer => "CreateContainer",
            Self::Other => "StateChange",
        }
    }

    /// The kind as a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Synchronize => "synchronize",
            Self::RunPodSandbox => "run_pod_sandbox",
            Self::StopPodSandbox => "stop_pod_sandbox",
            Self::RemovePodSandbox => "remove_pod_sandbox",
            Self::CreateContainer => "create_container",
            Self::Other => "other",
        }
    }
}

/// A call of the runtime, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    /// The runtime introduces itself.
    Configure(nri::ConfigureRequest),
    /// A part of the list of sandboxes.
    Synchronize(nri::SynchronizeRequest),
    /// A sandbox was made.
    Run(Pod),
    /// A sandbox was stopped.
    Stop(Pod),
    /// A sandbox was removed.
    Remove(Pod),
    /// A container is about to be created.
    Create(Container),
    /// Nothing that we act on.
    Ignored,
}

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// The answer to a call that cannot be read or is not served.
    pub(crate) fn parse(call: &wire::Request) -> Result<Self, Failure> {
        if call.service != SERVICE {
            let text = format!("service {} is not served", call.service);
            return Err(Failure::new(Code::Unimplemented, text));
        }
        match call.method.as_str() {
            "Configure" => decode(call).map(Self::Configure),
            "Synchronize" => decode(call).map(Self::Synchronize),
            "RunPodSandbox" => Ok(Self::of_pod(decode(call)?, Self::Run)),
            "StopPodSandbox" => Ok(Self::of_pod(decode(call)?, Self::Stop)),
            "RemovePodSandbox" => Ok(Self::of_pod(decode(call)?, Self::Remove)),
            "CreateContainer" => {
                let nri::CreateContainerRequest { pod, container } = decode(call)?;
                Ok(Self::Create(Container::of(
                    pod,
                    container.unwrap_or_default(),
                )))
            }
            "StateChange" => Ok(Self::of_state_change(decode(call)?)),
            "Shutdown" => Ok(Self::Ignored),
            method => {
                let text = format!("method {method} is not served");
                Err(Failure::new(Code::Unimplemented, text))
            }
        }
    }

    fn of_state_change(change: nri::StateChangeEvent) -> Self {
        let request = nri::PodSandboxRequest { pod: change.pod };
        match nri::Event::try_from(change.event) {
            Ok(nri::Event::RunPodSandbox) => Self::of_pod(request, Self::Run),
            Ok(nri::Event::StopPodSandbox) => Self::of_pod(request, Self::Stop),
            Ok(nri::Event::RemovePodSandbox) => Self::of_pod(request, Self::Remove),
            Ok(nri::Event::CreateContainer) => {
                let container = change.container.unwrap_or_default();
                Self::Create(Container::of(request.pod, container))
            }
            Ok(nri::Event::Unknown) | Err(_) => Self::Ignored,
        }
    }

    /// An event of a sandbox. One whose ids are none that Kubernetes gives is of no pod that has a claim.
    fn of_pod(request: nri::PodSandboxRequest, event: impl FnOnce(Pod) -> Self) -> Self {
        match request.pod.map(Pod::try_from) {
            Some(Ok(pod)) => event(pod),
            Some(Err(error)) => {
                debug!(%error, "event of a sandbox without usable ids is not ours");
                Self::Ignored
            }
            None => Self::Ignored,
        }
    }

    /// Which kind of event it is.
    pub(crate) fn event(&self) -> Event {
        match self {
            Self::Configure(_) => Event::Configure,
            Self::Synchronize(_) => Event::Synchronize,
            Self::Run(_) => Event::RunPodSandbox,
            Self::Stop(_) => Event::StopPodSandbox,
            Self::Remove(_) => Event::RemovePodSandbox,
            Self::Create(_) => Event::CreateContainer,
            Self::Ignored => Event::Other,
        }
    }
}

fn decode<M: prost::Message + Default>(call: &wire::Request) -> Result<M, Failure> {
    M::decode(call.payload.as_slice()).map_err(|error| {
        let text = format!("request of {} cannot be decoded: {error}", call.method);
        Failure::new(Code::InvalidArgument, text)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(method: &str, message: &impl prost::Message) -> wire::Request {
        wire::Request {
            service: SERVICE.into(),
            method: method.into(),
            payload: message.encode_to_vec(),
            ..wire::Request::default()
        }
    }

    fn pod() -> nri::PodSandbox {
        let namespace = |kind: &str, path: &str| nri::LinuxNamespace {
            r#type: kind.into(),
            path: path.into(),
        };
        nri::PodSandbox {
            id: "s1".into(),
            name: "web".into(),
            uid: "p1".into(),
            namespace: "default".into(),
            linux: Some(nri::LinuxPodSandbox {
                namespaces: vec![namespace("pid", "/p"), namespace("network", "/n")],
            }),
            pid: 7,
        }
    }

    #[test]
    fn direct_methods_and_state_changes_are_the_same_events() {
        let request = nri::PodSandboxRequest { pod: Some(pod()) };
        for (number, method, event) in [
            (1, "RunPodSandbox", Event::RunPodSandbox),
            (2, "StopPodSandbox", Event::StopPodSandbox),
            (3, "RemovePodSandbox", Event::RemovePodSandbox),
        ] {
            let change = nri::StateChangeEvent {
                event: number,
                pod: Some(pod()),
                container: None,
            };
            let direct = Call::parse(&call(method, &request)).unwrap();
            assert_eq!(direct.event(), event);
            assert_eq!(direct, Call::parse(&call("StateChange", &change)).unwrap());
        }
    }

    #[test]
    fn the_network_namespace_is_the_path_of_that_type() {
        assert_eq!(Pod::try_from(pod()).unwrap().netns, Some("/n".into()));
        let mut host = pod();
        host.linux.as_mut().unwrap().namespaces.pop();
        assert_eq!(Pod::try_from(host.clone()).unwrap().netns, None);
        host.linux = None;
        assert_eq!(Pod::try_from(host).unwrap().netns, None);
    }

    #[test]
    fn what_we_do_not_serve_is_unimplemented_and_what_we_cannot_read_is_invalid() {
        let code = |call: &wire::Request| Call::parse(call).unwrap_err().code;
        assert_eq!(code(&call("UpdatePodSandbox", &pod())), Code::Unimplemented);
        let mut other = call("Configure", &nri::Empty {});
        other.service = "x".into();
        assert_eq!(code(&other), Code::Unimplemented);
        let mut broken = call("RunPodSandbox", &nri::Empty {});
        broken.payload = vec![0x0a, 0xff];
        assert_eq!(code(&broken), Code::InvalidArgument);
    }

    #[test]
    fn unknown_events_and_sandboxes_without_ids_are_ignored() {
        let mut nameless = pod();
        nameless.uid = "a/b".into();
        for (event, pod) in [(12, Some(pod())), (1, None), (1, Some(nameless)), (0, None)] {
            let change = nri::StateChangeEvent {
                event,
                pod,
                container: None,
            };
            assert_eq!(
                Call::parse(&call("StateChange", &change)),
                Ok(Call::Ignored)
            );
        }
    }

    #[test]
    fn a_container_is_in_the_pod_of_its_message_else_where_it_says() {
        let container = nri::Container {
            pod_sandbox_id: "s2".into(),
            ..nri::Container::default()
        };
        let of = |pod| {
            Container::of(pod, container.clone())
                .sandbox
                .unwrap()
                .to_string()
        };
        assert_eq!(of(Some(pod())), "s1");
        assert_eq!(of(None), "s2");
    }

    proptest! {
        #[test]
        fn no_payload_crashes_the_parser(index in 0_usize..9, payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let methods = ["Configure", "Synchronize", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox",
                "CreateContainer", "StateChange", "Shutdown", "x"];
            let mut call = call(methods[index], &nri::Empty {});
            call.payload = payload;
            drop(Call::parse(&call));
        }
    }
}
