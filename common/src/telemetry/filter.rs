//! Which log lines are written, changed while the process runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::{Registry, reload};

/// Libraries that log what we report better ourselves.
const QUIET: &str = "warn,kube_client=off,kube_runtime=off,opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,";

/// The log filter of this process. Clones change the same one.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

/// Text that is no log filter.
#[derive(Debug, thiserror::Error)]
#[error("log filter {text:?} is neither a level nor a list of directives")]
pub struct InvalidLogFilter {
    text: String,
    #[source]
    source: Option<ParseError>,
}

impl LogFilter {
    /// The filter and the layer that it controls.
    pub(super) fn new(
        text: &str,
    ) -> Result<(Self, reload::Layer<EnvFilter, Registry>), InvalidLogFilter> {
        let (layer, handle) = reload::Layer::new(parse(text)?);
        let text = Arc::new(Mutex::new(text.to_owned()));
        Ok((
            Self {
                text,
                handle: Some(handle),
            },
            layer,
        ))
    }

    /// A filter that controls nothing: for tests of what holds one.
    pub fn detached() -> Self {
        Self {
            text: Arc::new(Mutex::new("info".to_owned())),
            handle: None,
        }
    }

    /// Puts a new filter in force and returns the text of the former one.
    ///
    /// # Errors
    /// Text that is no filter; the former one stays.
    pub fn set(&self, text: &str) -> Result<String, InvalidLogFilter> {
        let filter = parse(text)?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &self.handle {
            let gone = |_| InvalidLogFilter {
                text: text.to_owned(),
                source: None,
            };
            handle.reload(filter).map_err(gone)?;
        }
        Ok(std::mem::replace(&mut *current, text.to_owned()))
    }
}

/// A bare level is that of our own lines; libraries stay at warnings. Directives are taken as they are.
fn parse(text: &str) -> Result<EnvFilter, InvalidLogFilter> {
    let text = text.trim();
    let directives = match text.parse::<LevelFilter>() {
        Ok(level) if !text.is_empty() => format!("{QUIET}network_driver={level}"),
        _ => text.to_owned(),
    };
    let invalid = |source| InvalidLogFilter {
        text: text.chars().take(200).collect(),
        source,
    };
    if directives.is_empty() || !directives.split(',').all(looks_like_a_directive) {
        return Err(invalid(None));
    }
    EnvFilter::try_new(directives).map_err(|source| invalid(Some(source)))
}

/// A lone word that is no level would be taken for a target with every level on: most likely a typing mistake.
fn looks_like_a_directive(directive: &str) -> bool {
    directive.contains(['=', '[']) || directive.trim().parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_typing_mistakes_are_not() {
        for good in [
            "debug",
            "INFO",
            "off",
            "info,network_driver_netlink=trace",
            "warn,kube=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,kube=loud", "debg"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_filter_leaves_the_former_one() {
        let filter = LogFilter::detached();
        assert!(filter.set("loud").is_err());
        assert_eq!(filter.set("debug").unwrap(), "info");
        assert_eq!(filter.set("info").unwrap(), "debug");
    }
}
