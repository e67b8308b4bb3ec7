//! Functions: one input (event and context), one output, one error vocabulary. The language of hexaFn runs here in
//! the trigger's handler, within a budget of steps that its timeout gives; the others run on workers (see
//! [`crate::runtime`]).

use bytes::Bytes;
use hexafn_dsl::json::Doc;
use hexafn_dsl::{Budget, CtxView, Data, EventView, Input, Limits, Program, RuntimeError, Seed, Validator, Value};
use hexafn_runtimes::{Code, Ctx, Done, Level, Line, Usage, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Tick, Wall};
use crate::definitions::{Body, FunctionDefinition};
use crate::event::{Event, Str};
use crate::log::{Record, TopicId};
use crate::metrics::FunctionMetrics;
use crate::runtime::{Hosted, Local, Logging, Workers, event_json};
use crate::topic::{first_place, pattern};

/// The largest output of a function, in bytes.
pub const MAX_OUTPUT: usize = 256 << 10;

/// The most faults of a schema in one message.
const MOST_FAULTS: usize = 8;

/// The module that the log lines of functions are filtered by.
const LOGS: &str = "hexafn::function";

/// Steps of the language that a millisecond of timeout buys: measured at about 30 million a second and halved, so
/// that the budget ends a run before its wall-clock time does on a slow machine too.
const STEPS_PER_MS: u64 = 15_000;

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub struct Produced {
    /// The output, as JSON; `None` when the function decided that there is none.
    pub output: Option<Bytes>,
    /// What it emitted beside it, in order.
    pub emitted: Vec<Emitted>,
    /// What it stored, in order: takes effect with the output.
    pub writes: Vec<Write>,
}

/// An event that a function sends to a topic by itself.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// The topic, as the function names it.
    pub topic: Str,
    /// The ordering key.
    pub key: Option<Str>,
    /// The data, as JSON.
    pub data: Bytes,
}

/// Why a run failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{message}", before(function, code))]
pub struct Error {
    /// The function.
    pub function: Str,
    /// A stable code: `HX…` of the language, or one of [`hexafn_runtimes::Code`], such as `timeout`.
    pub code: Str,
    /// What happened and where.
    pub message: String,
}

/// What a message does not say itself: those of the language begin with the function, the place and the code.
fn before(function: &str, code: &str) -> String {
    if code.starts_with("HX") { String::new() } else { format!("function `{function}`: {code}: ") }
}

/// One run, for the trace and the log.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The function.
    pub function: Str,
    /// The version: the hash of its text.
    pub version: u64,
    /// Its language.
    pub runtime: &'static str,
    /// How long it took, waiting for a worker included.
    pub took: Duration,
    /// What it used, where a worker measured it.
    pub usage: Option<Box<Usage>>,
    /// `None` when it ended well.
    pub error: Option<Error>,
    /// What it logged.
    pub logs: Vec<Line>,
    /// Whether it logged more than it may.
    pub logs_cut: bool,
}

/// A function with its series and its workers.
#[derive(Clone)]
pub struct Function {
    /// The definition.
    pub definition: Arc<FunctionDefinition>,
    /// Its series.
    pub metrics: FunctionMetrics,
    /// Who runs it.
    pub workers: Workers,
}

/// What the expressions see of a record. The data is parsed only when somebody reads it.
pub fn view(record: &Record, reads_data: bool) -> EventView<'_> {
    let event = &record.event;
    let data = match (reads_data, event.data.is_empty()) {
        (false, _) | (_, true) => Data::None,
        (true, false) => match event.doc() {
            Some(doc) => Data::Json(doc),
            None => match std::str::from_utf8(&event.data) {
                Ok(text) => Data::Text(text),
                Err(_) => Data::Bytes(&event.data),
            },
        },
    };
    EventView {
        id: &event.id,
        source: &event.source,
        kind: &event.kind,
        subject: event.subject.as_deref(),
        time_us: event.time.0,
        topic: first_place(record).0,
        seq: record.seq,
        key: event.key.as_deref(),
        content_type: event.content_type.as_deref(),
        trace_id: &event.trace.trace_id,
        headers: &event.headers,
        extensions: &event.extensions,
        data,
    }
}

/// What random numbers follow from: the same when the same record is run again by the same trigger and function, and no other's. The span
/// of its trace was drawn when it was made or came in, here and at no other installation.
pub fn seed<'r>(record: &'r Record, trigger: &'r str, function: &'r str) -> Seed<'r> {
    Seed { texts: [&record.event.trace.span_id, &record.topic, trigger, function], number: record.seq }
}

impl Function {
    /// A function that runs on the caller's thread, whatever its language: for dry runs and the command line.
    pub fn local(definition: Arc<FunctionDefinition>, metrics: FunctionMetrics) -> Self {
        let workers = match definition.hosted() {
            None => Workers::Own,
            Some(hosted) => Workers::Local(Arc::new(Local::new(hosted.clone()))),
        };
        Self { definition, metrics, workers }
    }

    /// Whether a run needs no waiting.
    pub fn is_inline(&self) -> bool {
        !matches!(self.workers, Workers::Pool(_))
    }

    /// Runs the function once. Ready at the first poll when [`Function::is_inline`].
    pub async fn run(
        &self,
        record: &Record,
        trigger: &str,
        attempt: u32,
        now: Wall,
    ) -> (Result<Produced, Error>, Execution) {
        let definition = &self.definition;
        let started = Instant::now();
        let (mut usage, mut logs, mut logs_cut) = (None, Vec::new(), false);
        let result = match self.fits(definition.input.as_deref(), Code::Input, "its input", &record.event.data) {
            Err(error) => Err(error),
            Ok(()) => match &definition.body {
                Body::Dsl(program) => {
                    let result = self.run_program(program, record, trigger, attempt, now);
                    match result {
                        Ok(_) if started.elapsed() > definition.timeout => Err(self.error(
                            Code::Timeout,
                            format!(
                                "took {:?}, longer than its timeout of {:?}",
                                started.elapsed(),
                                definition.timeout
                            ),
                        )),
                        other => other,
                    }
                }
                Body::Hosted(hosted) => {
                    let done = self.call(hosted, record, trigger, attempt, now).await;
                    usage = Some(Box::new(done.usage));
                    (logs, logs_cut) = (done.logs, done.logs_cut);
                    self.log(&hosted.logging, &logs, logs_cut, record, trigger);
                    self.refused(&hosted.logging, done.usage.logs_refused);
                    self.hosted(done.result)
                }
            },
        };
        let result = result.and_then(|produced| {
            let output = produced.output.as_deref();
            output.map_or(Ok(()), |o| self.fits(definition.output.as_deref(), Code::OutputSchema, "its output", o))?;
            Ok(produced)
        });
        let took = started.elapsed();
        self.metrics.seconds.observe(took.as_secs_f64());
        match &result {
            Ok(_) => self.metrics.ok.inc(),
            Err(e) if &*e.code == "timeout" => self.metrics.timeout.inc(),
            Err(_) => self.metrics.failed.inc(),
        }
        if let Err(error) = &result {
            self.metrics.errors.with_label_values(&[&*definition.name, &*error.code]).inc();
        }
        if let Some(usage) = &usage {
            self.metrics.cpu.inc_by(usage.cpu.map_or(0.0, |cpu| cpu.as_secs_f64()));
            self.metrics.host_calls.inc_by(usage.host_calls);
            if let Some(fuel) = usage.fuel {
                self.metrics.fuel.with_label_values(&[&*definition.name]).inc_by(fuel);
            }
            if let Some(peak) = usage.peak_memory {
                let highest = self.metrics.memory.with_label_values(&[&*definition.name]);
                highest.set(highest.get().max(i64::try_from(peak).unwrap_or(i64::MAX)));
            }
        }
        let execution = Execution {
            function: definition.name.clone(),
            version: definition.fingerprint,
            took,
            usage,
            error: result.as_ref().err().cloned(),
            runtime: definition.language(),
            logs,
            logs_cut,
        };
        (result, execution)
    }

    fn run_program(
        &self,
        program: &Program,
        record: &Record,
        trigger: &str,
        attempt: u32,
        now: Wall,
    ) -> Result<Produced, Error> {
        let definition = &self.definition;
        let ctx = CtxView {
            trigger,
            function: &definition.name,
            attempt,
            now_us: now.0,
            env: &definition.env,
            seed: seed(record, trigger, &definition.name),
        };
        let input = Input { event: view(record, program.reads_data()), ctx };
        let millis = u64::try_from(definition.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let limits = Limits { steps: millis.saturating_mul(STEPS_PER_MS), ..Limits::default() };
        let mut budget = Budget::new(limits);
        let outcome = program.run(&input, &mut budget).map_err(|e| self.failed(&e))?;
        let dropped = matches!(outcome.value, Value::Drop);
        let output = if dropped { None } else { Some(self.json(&outcome.value)?) };
        let mut emitted = Vec::with_capacity(outcome.emitted.len());
        for one in &outcome.emitted {
            let key = one.key.as_ref().map(|key| Str::from(&**key));
            emitted.push(Emitted { topic: self.topic(&one.topic)?, key, data: self.json(&one.value)? });
        }
        Ok(Produced { output, emitted, writes: Vec::new() })
    }

    async fn call(&self, hosted: &Hosted, record: &Record, trigger: &str, attempt: u32, now: Wall) -> Done {
        let definition = &self.definition;
        let ctx = Arc::new(Ctx {
            trigger: trigger.to_owned(),
            function: definition.name.to_string(),
            attempt,
            now_ms: now.0.div_euclid(1_000),
            now: now.rfc3339(),
            trace_id: record.event.trace.trace_id.to_string(),
            env: definition.env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            seed: seed(record, trigger, &definition.name).words()[0],
        });
        let event = event_json(record);
        match &self.workers {
            Workers::Pool(pool) => pool.call(event.into(), ctx).await,
            Workers::Local(local) => local.call(&event, &ctx),
            Workers::Own => crate::runtime::pool::unserved(hosted),
        }
    }

    /// Writes what a run logged into the log, as far as the function may.
    fn log(&self, logging: &Logging, lines: &[Line], cut: bool, record: &Record, trigger: &str) {
        let (event, function) = (&record.event, &*self.definition.name);
        let (event_id, trace_id) = (&*event.id, &*event.trace.trace_id);
        let admitted = logging.admit(lines.len(), Tick::now());
        if admitted.left_out > 0 {
            let left_out = admitted.left_out;
            tracing::warn!(target: LOGS, function, left_out, "so many of its lines were left out before this one (`log_rate`)");
        }
        for line in lines.iter().take(admitted.lines) {
            let message = &*line.message;
            match line.level {
                Level::Debug => tracing::debug!(target: LOGS, function, trigger, event_id, trace_id, "{message}"),
                Level::Info => tracing::info!(target: LOGS, function, trigger, event_id, trace_id, "{message}"),
                Level::Warn => tracing::warn!(target: LOGS, function, trigger, event_id, trace_id, "{message}"),
                Level::Error => tracing::error!(target: LOGS, function, trigger, event_id, trace_id, "{message}"),
            }
        }
        let left_out = lines.len() - admitted.lines;
        if left_out > 0 {
            self.metrics.log_lines_dropped.with_label_values(&[function]).inc_by(left_out as u64);
        }
        if admitted.begins {
            tracing::warn!(target: LOGS, function, trigger, event_id,
                "it logs more lines than `log_rate` allows; what is beyond is left out");
        }
        if cut {
            tracing::warn!(target: LOGS, function, trigger, event_id,
                "it logged more than `limits.logs` allows; the rest is cut");
        }
    }

    /// Lines of a function that is not granted to log.
    fn refused(&self, logging: &Logging, lines: u64) {
        if lines == 0 {
            return;
        }
        let function = &*self.definition.name;
        self.metrics.log_lines_dropped.with_label_values(&[function]).inc_by(lines);
        if logging.refuses_first() {
            tracing::warn!(target: LOGS, function, "it logs, and is not granted to: its lines are left out. `log = true` grants it");
        }
    }

    /// What a worker says of a run, in the words of all functions.
    fn hosted(&self, result: Result<hexafn_runtimes::Output, hexafn_runtimes::Error>) -> Result<Produced, Error> {
        let output = result.map_err(|error| self.hosted_error(&error))?;
        let mut emitted = Vec::with_capacity(output.emitted.len());
        for one in output.emitted {
            let key = one.key.map(|key| Str::from(&*key));
            emitted.push(Emitted { topic: self.topic(&one.topic)?, key, data: one.data.into() });
        }
        Ok(Produced { output: output.value.map(|v| Bytes::from(v.into_vec())), emitted, writes: output.writes })
    }

    fn hosted_error(&self, error: &hexafn_runtimes::Error) -> Error {
        let place = match error.position {
            None => String::new(),
            Some(at) if at.column == 0 => format!(" (line {})", at.line),
            Some(at) => format!(" (line {}, column {})", at.line, at.column),
        };
        let stack = error.stack.as_ref().map_or_else(String::new, |stack| format!("\n{stack}"));
        self.error(error.code, format!("{}{place}{stack}", error.message))
    }

    fn topic(&self, name: &str) -> Result<Str, Error> {
        match pattern::check_name(name) {
            Ok(()) => Ok(Str::from(name)),
            Err(e) => Err(self.error(Code::EmitTopic, format!("emitted to a topic that is none: {e}"))),
        }
    }

    /// Holds data against a schema.
    fn fits(&self, schema: Option<&Validator>, code: Code, what: &str, data: &[u8]) -> Result<(), Error> {
        let Some(schema) = schema else { return Ok(()) };
        let faults = schema.faults(data, MOST_FAULTS);
        if faults.is_empty() {
            return Ok(());
        }
        let place = |path: &str| if path.is_empty() { "the whole".to_owned() } else { format!("`{path}`") };
        let list = faults.iter().map(|f| format!("{} {}", place(&f.path), f.message)).collect::<Vec<_>>().join("; ");
        Err(self.error(code, format!("{what} does not match its schema: {list}")))
    }

    fn error(&self, code: Code, message: String) -> Error {
        Error { function: self.definition.name.clone(), code: code.as_str().into(), message }
    }

    fn json(&self, value: &Value<'_>) -> Result<Bytes, Error> {
        let mut out = Vec::with_capacity(256);
        value.write_json(&mut out, MAX_OUTPUT).map_err(|_| Error {
            function: self.definition.name.clone(),
            code: "output-too-large".into(),
            message: format!("the output is larger than {MAX_OUTPUT} bytes"),
        })?;
        Ok(out.into())
    }

    fn failed(&self, error: &RuntimeError) -> Error {
        let code = if error.is_exhausted() { "timeout".into() } else { error.code.to_string().into() };
        Error { function: self.definition.name.clone(), code, message: error.to_string() }
    }
}

/// Data of at least so many bytes is not parsed for a condition that reads a part of it. Below, parsing once for all
/// conditions of a topic costs less than finding the part of each.
const WORTH_A_PART: usize = 8 << 10;

/// What a condition reads of large data that nobody has parsed yet: the rest is passed over.
fn part(condition: &hexafn_dsl::Program, record: &Record) -> Option<Doc> {
    let event = &record.event;
    if event.data.len() < WORTH_A_PART || event.is_parsed() || !event.is_json() || !condition.reads_data() {
        return None;
    }
    let reads = condition.reads();
    if reads.is_whole() {
        return None;
    }
    Doc::parse_part(&event.data, reads, &crate::event::STORED).ok()
}

/// Tests a condition on a record.
pub fn test(
    condition: &hexafn_dsl::Program,
    record: &Record,
    trigger: &str,
    attempt: u32,
) -> Result<bool, RuntimeError> {
    test_within(condition, record, trigger, attempt, 1_000_000)
}

/// Whether the filter of a live stream lets a record through. Its steps are few, some 3 ms, since it is tested on the threads that
/// answer webhooks; one that needs more lets nothing through.
pub fn shows(filter: &hexafn_dsl::Program, record: &Record) -> bool {
    matches!(test_within(filter, record, "", 1, 50_000), Ok(true))
}

fn test_within(
    condition: &hexafn_dsl::Program,
    record: &Record,
    trigger: &str,
    attempt: u32,
    steps: u64,
) -> Result<bool, RuntimeError> {
    let ctx =
        CtxView { trigger, function: "", attempt, now_us: record.stored.0, env: &[], seed: seed(record, trigger, "") };
    let part = part(condition, record);
    let mut event = view(record, condition.reads_data() && part.is_none());
    if let Some(part) = &part {
        event.data = Data::Json(part);
    }
    let input = Input { event, ctx };
    condition.test(&input, &mut Budget::new(Limits { steps, ..Limits::default() }))
}

/// The topic that a source's expression gives an event, and the event back.
pub fn topic_of(expr: &hexafn_dsl::Program, event: Event, now: Wall) -> (Event, Result<String, String>) {
    let record = Record::new("".into(), TopicId(0), 0, now, event);
    let name =
        text(expr, &record, "", 1).map_err(|e| format!("the topic expression of this source failed on the event: {e}"));
    let name = name.and_then(|name| match pattern::check_name(&name) {
        Ok(()) => Ok(name),
        Err(e) => Err(format!("the topic expression of this source gave no topic name: {e}")),
    });
    (record.event, name)
}

/// The text that an expression gives on a record.
///
/// # Errors
/// It failed, or gave something else.
pub fn text(expr: &hexafn_dsl::Program, record: &Record, trigger: &str, attempt: u32) -> Result<String, String> {
    let ctx =
        CtxView { trigger, function: "", attempt, now_us: record.stored.0, env: &[], seed: seed(record, trigger, "") };
    let input = Input { event: view(record, expr.reads_data()), ctx };
    let mut budget = Budget::new(Limits { steps: 1_000_000, ..Limits::default() });
    let value = expr.eval(&input, &mut budget).map_err(|e| e.to_string())?;
    value.as_str().map(|s| s.to_owned()).ok_or_else(|| format!("expected a text, got {}", value.type_name()))
}

/// Which part of a condition decided, with the values: text for people. `None` when it cannot be evaluated.
pub fn explain(condition: &hexafn_dsl::Program, record: &Record, trigger: &str) -> Option<String> {
    explanation(condition, record, trigger).map(|parts| parts.render())
}

/// The same as a tree.
pub fn explanation(condition: &hexafn_dsl::Program, record: &Record, trigger: &str) -> Option<hexafn_dsl::Explanation> {
    let ctx = CtxView {
        trigger,
        function: "",
        attempt: 1,
        now_us: record.stored.0,
        env: &[],
        seed: seed(record, trigger, ""),
    };
    let input = Input { event: view(record, condition.reads_data()), ctx };
    let mut budget = Budget::new(Limits { steps: 1_000_000, ..Limits::default() });
    condition.explain(&input, &mut budget).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hexafn_dsl::{ProgramKind, SourceText};

    #[test]
    fn random_numbers_are_those_of_one_run_and_of_no_other() {
        let source = SourceText { name: "f", text: "[uuid(), uuid(), uuid()]" };
        let program = hexafn_dsl::compile(&source, ProgramKind::Function).unwrap();
        let run = |record: &Record, trigger: &str, function: &str| {
            let ctx =
                CtxView { trigger, function, attempt: 1, now_us: 0, env: &[], seed: seed(record, trigger, function) };
            let input = Input { event: view(record, false), ctx };
            let mut json = Vec::new();
            program
                .run(&input, &mut Budget::new(Limits::default()))
                .unwrap()
                .value
                .write_json(&mut json, 1 << 10)
                .unwrap();
            serde_json::from_slice::<Vec<String>>(&json).unwrap()
        };
        let record =
            |topic: &str, seq| Record::new(topic.into(), TopicId(1), seq, Wall(0), Event::new("s", "t", "{}".into()));
        let records: Vec<Record> = (1..200).flat_map(|seq| [record("a", seq), record("b", seq)]).collect();
        let mut seen = std::collections::HashSet::new();
        for record in &records {
            for (trigger, function) in [("one", "f"), ("two", "f"), ("one", "g"), ("onef", "")] {
                let drawn = run(record, trigger, function);
                assert_eq!(drawn, run(record, trigger, function), "the same again");
                seen.extend(drawn);
            }
        }
        assert_eq!(seen.len(), records.len() * 4 * 3);
    }

    #[test]
    fn a_condition_on_large_data_reads_its_part_and_decides_the_same() {
        let filler = "x".repeat(WORTH_A_PART);
        let text = format!(r#"{{"filler":"{filler}","order":{{"total":7}},"tail":[1]}}"#);
        let record = || {
            let mut event = Event::new("s", "t", text.clone().into());
            event.content_type = Some("application/json".into());
            Record::new("t".into(), TopicId(1), 1, Wall(0), event)
        };
        for (condition, holds) in [
            ("event.data.order.total == 7", true),
            ("event.data.order.total > 7", false),
            ("event.data.nothing == null and event.data.tail[0] == 1", true),
            ("len(event.data) == 3", true),
        ] {
            let program =
                hexafn_dsl::compile(&SourceText { name: "t", text: condition }, ProgramKind::Condition).unwrap();
            let raw = record();
            assert_eq!(test(&program, &raw, "", 1).unwrap(), holds, "{condition}");
            assert_eq!(
                raw.event.is_parsed(),
                program.reads().is_whole(),
                "{condition}: the whole is parsed only if it is read"
            );
            let parsed = record();
            parsed.event.doc().unwrap();
            assert_eq!(test(&program, &parsed, "", 1).unwrap(), holds, "{condition}");
        }
    }
}
