//! Logs: text on a terminal, JSON lines elsewhere; the level can be changed while running.

use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::settings::{LogFormat, LogSettings};

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The client of NATS calls each connection that it does not get an error, and the verifier of certificates each that it does
/// not trust, beside the failure of who wanted it, which says more; a directive of the configuration shows what they say.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("async_nats=off,rustls_platform_verifier=off,{level}"))
}

/// Starts logging to standard error. Called once; a second call changes the level only.
pub fn start(settings: &LogSettings) {
    if LEVEL.get().is_some() {
        return set_level(&settings.level);
    }
    let (filter, handle) = reload::Layer::new(filter(&settings.level));
    let text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if text {
        registry.with(fmt::layer().with_writer(std::io::stderr).with_target(true)).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    };
    // Somebody else's subscriber (a test's) is in place: it stays.
    if started.is_ok() && LEVEL.set(handle).is_err() {
        tracing::debug!("logging was started twice");
    }
}

/// Changes the level; directives were checked with the configuration.
pub fn set_level(level: &str) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::warn!(%error, level, "the log level could not be changed");
    }
}
