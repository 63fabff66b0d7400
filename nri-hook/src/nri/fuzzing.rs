//! Fuzz targets: what comes from the runtime. See `network-driver-fuzzing`.

use bytes::Bytes;
use network_driver_fuzzing::Target;
use network_driver_proto::ttrpc as wire;

use super::call::{Call, SERVICE};
use super::mux::{Channel, Frame, frames, read_frame};
use super::ttrpc::{Decoder, Message, encode_request, encode_response};
use crate::gate;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// All that a connection says before it cannot be followed any further, and how many bytes came in frames.
fn follow(mut bytes: &[u8]) -> (Vec<Message>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let (mut plugin, mut ours) = (Decoder::default(), Decoder::default());
        let (mut messages, mut framed) = (Vec::new(), 0_usize);
        while let Ok(Some(Frame { channel, payload })) = read_frame(&mut bytes).await {
            let decoder = match channel {
                Channel::Plugin => &mut plugin,
                Channel::Runtime => &mut ours,
            };
            decoder.feed(&payload);
            framed = payload.len().saturating_add(framed);
            while let Ok(Some(message)) = decoder.next_message() {
                messages.push(message);
            }
        }
        (messages, framed)
    })
}

fn encode(message: &Message) -> Bytes {
    match message {
        Message::Request { stream, request } => encode_request(*stream, request),
        Message::Response { stream, response } => encode_response(*stream, response),
    }
}

/// Reads a call as the service does, and what the gate makes of a container.
fn read(request: &wire::Request) {
    match Call::parse(request) {
        Ok(call) => {
            if let Call::Create(container) = &call {
                assert!(gate::claims(&container.env).count() <= container.env.len());
            }
            assert!(!call.event().method().is_empty());
        }
        Err(failure) => assert!(failure.message.len() <= 1024),
    }
}

/// The bytes of a connection: frames, the messages in them, the calls in those. What was read, written again, is read
/// as the same.
#[test]
fn nri_frames() {
    target("nri_frames").run(|bytes| {
        let (messages, framed) = follow(bytes);
        assert!(framed <= bytes.len());
        assert!(messages.len() <= framed / 10);
        let mut written = Vec::new();
        for message in &messages {
            if let Message::Request { request, .. } = message {
                read(request);
            }
            written.extend_from_slice(&frames(Channel::Plugin, &encode(message)));
        }
        assert_eq!(follow(&written).0, messages);
    });
}

/// The payload of a call; its first byte says of which.
#[test]
fn nri_call() {
    target("nri_call").run(|bytes| {
        let methods = [
            "Configure",
            "Synchronize",
            "RunPodSandbox",
            "StopPodSandbox",
            "RemovePodSandbox",
            "CreateContainer",
            "StateChange",
            "Shutdown",
        ];
        let Some((first, payload)) = bytes.split_first() else {
            return;
        };
        let method = methods[usize::from(*first) % methods.len()];
        read(&wire::Request {
            service: SERVICE.into(),
            method: method.into(),
            payload: payload.to_vec(),
            ..wire::Request::default()
        });
    });
}
