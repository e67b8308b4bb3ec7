//! What the process says: logs as text on a terminal and as JSON lines elsewhere, live for whoever watches, with levels that can
//! be changed while it runs; and spans for a collector of OpenTelemetry.

use std::io::IsTerminal;
use std::sync::OnceLock;
use tokio::sync::broadcast;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::settings::{LogFormat, LogSettings};
use lines::{Line, Lines, Text};

pub mod levels;
pub mod lines;
pub mod spans;

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static LIVE: OnceLock<broadcast::Sender<Line>> = OnceLock::new();

/// Lines that somebody who watches the log may be behind.
const BEHIND: usize = 1_024;

/// Starts logging to standard error. Called once; a second call changes the level only.
pub fn start(settings: &LogSettings) {
    if LEVEL.get().is_some() {
        return levels::configure(&settings.level);
    }
    let (filter, handle) = reload::Layer::new(EnvFilter::new(levels::begin(&settings.level)));
    let terminal = std::io::stderr().is_terminal();
    let text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let (live, _) = broadcast::channel(BEHIND);
    let registry = tracing_subscriber::registry().with(filter).with(Lines::new(!text, live.clone()));
    let started = if text {
        let layer = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(terminal)
            .event_format(Text::new(terminal))
            .fmt_fields(lines::Escaped);
        registry.with(layer).try_init()
    } else {
        registry.try_init()
    };
    // Somebody else's subscriber (a test's) is in place: it stays.
    if started.is_ok() && (LEVEL.set(handle).is_err() || LIVE.set(live).is_err()) {
        tracing::debug!("logging was started twice");
    }
}

/// The lines from now on; `None` where somebody else's subscriber has them.
pub fn watch() -> Option<broadcast::Receiver<Line>> {
    LIVE.get().map(broadcast::Sender::subscribe)
}

/// Puts directives in place, which were checked before.
fn apply(directives: &str) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(EnvFilter::new(directives))
    {
        tracing::warn!(%error, directives, "the log level could not be changed");
    }
}
