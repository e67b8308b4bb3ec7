//! A log line: a JSON object of the fields of an event of `tracing`, with its time, level, module (`target`) and the actor whose work
//! it was. Spans of libraries are left out.

use crate::cli::table::{plain, plain_lines};
use hexafn_actors::clock::Wall;
use hexafn_actors::supervision::running;
use serde_json::{Map, Value};
use std::fmt::Debug;
use std::io::Write as _;
use std::sync::Arc;
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// A line for those who watch.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its fields.
    pub fields: Arc<Map<String, Value>>,
}

/// The layer of JSON lines: to standard error, to those who watch, or both.
pub struct Lines {
    written: bool,
    live: broadcast::Sender<Line>,
}

impl Lines {
    /// `written` says whether lines go to standard error.
    pub fn new(written: bool, live: broadcast::Sender<Line>) -> Self {
        Self { written, live }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let watched = self.live.receiver_count() > 0;
        if !self.written && !watched {
            return;
        }
        let fields = fields(event);
        if self.written {
            let mut line = serde_json::to_vec(&fields).unwrap_or_default();
            line.push(b'\n');
            // In one write, so that lines of several threads do not mix. Nobody can be told that nobody can be told.
            std::io::stderr().lock().write_all(&line).ok();
        }
        if watched {
            // The last of them may have gone meanwhile.
            self.live.send(Line { level: *event.metadata().level(), fields: Arc::new(fields) }).ok();
        }
    }
}

/// The keys that a line has of itself; a field of the same name gets an underscore. An actor that is named is the line's where
/// no actor is at work.
const OWN: [&str; 4] = ["timestamp", "level", "target", "actor"];

fn fields(event: &Event<'_>) -> Map<String, Value> {
    let metadata = event.metadata();
    let mut fields = Map::new();
    fields.insert("timestamp".into(), Wall::now().rfc3339().into());
    fields.insert("level".into(), metadata.level().as_str().into());
    fields.insert("target".into(), metadata.target().into());
    if let Some(actor) = running::actor() {
        fields.insert("actor".into(), (*actor).into());
    }
    event.record(&mut Fields { fields: &mut fields, of_log: metadata.target() == "log" });
    fields
}

struct Fields<'a> {
    fields: &'a mut Map<String, Value>,
    /// It came over the crate `log`, which says in fields where it comes from.
    of_log: bool,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if self.of_log
            && let Some(of_log) = name.strip_prefix("log.")
        {
            if of_log == "target" {
                self.fields.insert("target".into(), value);
            }
            return;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        let key =
            if OWN.contains(&name) && self.fields.contains_key(name) { format!("{name}_") } else { name.to_owned() };
        self.fields.insert(key, value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// How fields are written for people: what they say comes from outside as often as not, and makes no lines of its own and gives
/// the terminal no orders. A message may have several lines (a diagnostic with its place has); those after the first are indented, as no
/// line of the log begins.
pub struct Escaped;

impl<'w> FormatFields<'w> for Escaped {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut text = EscapedText { writer, begun: false, result: Ok(()) };
        fields.record(&mut text);
        text.result
    }
}

struct EscapedText<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: std::fmt::Result,
}

impl Visit for EscapedText<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        // Where a line of the crate `log` comes from is at its beginning.
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let (gap, value) = (if self.begun { " " } else { "" }, format!("{value:?}"));
        self.begun = true;
        self.result = match name {
            "message" => write!(self.writer, "{gap}{}", plain_lines(value.trim_end()).replace('\n', "\n    ")),
            name => write!(self.writer, "{gap}{}={}", name.strip_prefix("r#").unwrap_or(name), plain(&value)),
        };
    }
}

/// Lines for people: as `tracing` writes them, with the actor at the end.
pub struct Text(Format<Full>);

impl Text {
    /// With colours, or without.
    pub fn new(colours: bool) -> Self {
        Self(Format::default().with_ansi(colours))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some(actor) = running::actor() else { return self.0.format_event(context, writer, event) };
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writeln!(writer, "{} actor={actor}", text.trim_end_matches('\n'))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_line_has_the_fields_with_their_types_and_the_actor_whose_work_it_is() {
        let (live, mut seen) = broadcast::channel(8);
        let subscriber = tracing_subscriber::registry().with(Lines::new(false, live));
        tracing::subscriber::with_default(subscriber, || {
            let named = running::Named::new(&"/triggers/a".into());
            tracing::warn!(target: "a::b", n = 7u64, ok = true, level = "own", why = %"x\ny", nothing = None::<u64>, "said");
            drop(named);
            tracing::debug!("after");
        });
        let line = seen.try_recv().unwrap();
        assert_eq!(line.level, Level::WARN);
        let mut fields = (*line.fields).clone();
        assert!(fields.remove("timestamp").is_some_and(|at| at.as_str().unwrap().ends_with('Z')));
        let expected = serde_json::json!({
            "level": "WARN", "target": "a::b", "actor": "/triggers/a",
            "message": "said", "n": 7, "ok": true, "level_": "own", "why": "x\ny",
        });
        assert_eq!(Value::Object(fields), expected);
        assert_eq!(seen.try_recv().unwrap().fields.get("actor"), None);
    }

    /// What is written for people.
    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_told_to_people_makes_no_lines_of_its_own() {
        let written = Written::default();
        let to = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || to.clone()).event_format(Text::new(false));
        let subscriber = tracing_subscriber::registry().with(layer.fmt_fields(Escaped));
        tracing::subscriber::with_default(subscriber, || {
            let named = running::Named::new(&"/triggers/a".into());
            tracing::warn!(target: "a::b", error = %"x\n\u{1b}[31my", n = 7u64, r#type = "t", "said {}", "one\n2026 \u{1b}two\n");
            drop(named);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let rest =
            "WARN a::b: said one\n    2026 \\u{1b}two error=x\\u{a}\\u{1b}[31my n=7 type=\"t\" actor=/triggers/a\n";
        assert!(text.ends_with(rest) && text.matches('\n').count() == 2, "{text}");
    }
}
