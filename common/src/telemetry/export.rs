//! A collector that is away is told of once, and costs nobody anything: what cannot be sent is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{debug, info, warn};

/// Sends spans by another exporter and keeps its failures from being logged one by one.
#[derive(Debug)]
pub(super) struct Patient<E> {
    inner: E,
    endpoint: String,
    away: AtomicBool,
}

impl<E> Patient<E> {
    pub(super) fn new(inner: E, endpoint: &str) -> Self {
        Self {
            inner,
            endpoint: endpoint.to_owned(),
            away: AtomicBool::new(false),
        }
    }

    fn tell(&self, sent: &OTelSdkResult, spans: usize) {
        let endpoint = &self.endpoint;
        let was_away = self.away.swap(sent.is_err(), Ordering::Relaxed);
        match (sent, was_away) {
            (Ok(()), false) => {}
            (Ok(()), true) => info!(endpoint, "traces are sent again"),
            (Err(error), false) => warn!(
                endpoint,
                err = %error,
                "traces cannot be sent and are dropped until they can; nothing else is affected"
            ),
            (Err(error), true) => {
                debug!(endpoint, err = %error, spans, "traces still cannot be sent");
            }
        }
    }
}

impl<E: SpanExporter> SpanExporter for Patient<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.inner.export(batch).await;
        self.tell(&sent, spans);
        // The SDK would log the error of every batch.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;
    use opentelemetry_sdk::error::OTelSdkError;
    use tracing::{Level, Subscriber};
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    #[derive(Debug, Default)]
    struct Fickle(AtomicBool);

    impl SpanExporter for Fickle {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.0.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err(OTelSdkError::InternalFailure("connection refused".into()))
            }
        }
    }

    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Levels {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn a_collector_that_is_away_is_warned_of_once() {
        let levels = Arc::default();
        let exporter = Patient::new(Fickle::default(), "http://nowhere:4317");
        let send = || exporter.export(Vec::new()).now_or_never().unwrap();
        let subscriber = Registry::default().with(Levels(Arc::clone(&levels)));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                send().unwrap();
            }
            exporter.inner.0.store(true, Ordering::Relaxed);
            send().unwrap();
            send().unwrap();
        });
        let seen = levels.lock().unwrap().clone();
        assert_eq!(seen, [Level::WARN, Level::DEBUG, Level::DEBUG, Level::INFO]);
    }
}
