//! Functions with their runs since the start of the process.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::definitions::{FunctionDefinition, TriggerDefinition};
use hexafn_actors::event::Str;
use hexafn_actors::metrics::Times;
use hexafn_actors::runtime::{Hosted, Isolation};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::App;
use super::super::problem::Problem;

pub(super) async fn functions(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "functions", "read", "*")?;
    let definitions = app.system.definitions();
    Ok(HttpResponse::Ok().json(definitions.functions.values().map(|f| status(&app, f)).collect::<Vec<_>>()))
}

pub(super) async fn function(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "functions", "read", &name)?;
    let definitions = app.system.definitions();
    let Some(f) = definitions.functions.get(name.as_str()) else {
        let near = hexafn_actors::names::near(&name, definitions.functions.keys().map(|known| &**known));
        return Err(Problem::unknown("function", &name, near));
    };
    let runs = |t: &&Arc<TriggerDefinition>| t.run.of.contains(&f.name);
    Ok(HttpResponse::Ok().json(Shown {
        status: status(&app, f),
        triggers: definitions.triggers.values().filter(runs).map(|t| t.name.clone()).collect(),
        input: f.input.is_some(),
        output: f.output.is_some(),
        hosted: f.hosted().map(Settings::of),
    }))
}

fn status(app: &App, f: &FunctionDefinition) -> FunctionStatus {
    let metrics = app.system.metrics();
    let counted = |outcome| metrics.function_runs.with_label_values(&[&*f.name, outcome]).get();
    let run_seconds = Times::from(&metrics.function_seconds.with_label_values(&[&*f.name]));
    let ms = |q| run_seconds.quantile(q).map(|seconds| (seconds * 1e6).round() / 1e3);
    let pool = app.system.pool(&f.name);
    FunctionStatus {
        name: f.name.clone(),
        runtime: f.language(),
        timeout_ms: u64::try_from(f.timeout.as_millis()).unwrap_or(u64::MAX),
        fallback: f.fallback.clone(),
        env: f.env.iter().map(|(name, _)| name.clone()).collect(),
        version: format!("{:016x}", f.fingerprint),
        ok: counted("ok"),
        failed: counted("failed"),
        timed_out: counted("timeout"),
        errors: metrics.errors_of(&f.name),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        cpu_seconds: f.hosted().map(|_| metrics.function_cpu.with_label_values(&[&*f.name]).get()),
        peak_memory: f.hosted().map(|_| metrics.function_memory.with_label_values(&[&*f.name]).get()),
        workers: pool.as_ref().map(|pool| pool.seats().len()),
        waiting: pool.as_ref().map(|pool| pool.pending()),
        run_seconds,
    }
}

/// A function with its runs since the start.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct FunctionStatus {
    name: Str,
    runtime: &'static str,
    timeout_ms: u64,
    fallback: Vec<Str>,
    /// The environment variables that it may read.
    env: Vec<Str>,
    version: String,
    ok: u64,
    failed: u64,
    timed_out: u64,
    /// Runs that failed, by the code of the error.
    errors: BTreeMap<String, u64>,
    /// Half of the runs took no longer, estimated from `run_seconds`; null before the first.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Processor time of its workers; null for one in the language of hexaFn, which has none.
    cpu_seconds: Option<f64>,
    /// The most memory that one run used, in bytes; null for one in the language of hexaFn.
    peak_memory: Option<i64>,
    /// Its workers; null where it has none.
    workers: Option<usize>,
    /// Calls that are running or wait for a worker.
    waiting: Option<usize>,
    run_seconds: Times,
}

/// One function, with what it may do and use.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Shown {
    #[serde(flatten)]
    status: FunctionStatus,
    /// The triggers that run it.
    triggers: Vec<Str>,
    /// Whether its events are held against a schema.
    input: bool,
    /// Whether its results are.
    output: bool,
    /// Of one in another language than hexaFn's.
    #[serde(flatten)]
    hosted: Option<Settings>,
}

/// What a function in JavaScript, Lua or WebAssembly may do and use.
#[derive(Debug, Serialize, JsonSchema)]
struct Settings {
    /// `thread` of the service or `process` of its own.
    isolation: &'static str,
    /// Topics that it may emit to.
    emit: Vec<String>,
    /// Namespaces of values.
    kv: Vec<String>,
    /// Hosts that it may send requests to.
    http: Vec<String>,
    log: bool,
    time: bool,
    random: bool,
    limits: Limits,
    pool: Pool,
}

/// Bytes, and numbers of calls; the time is `timeout_ms`.
#[derive(Debug, Serialize, JsonSchema)]
struct Limits {
    /// Null is none, or that of WebAssembly by itself.
    fuel: Option<u64>,
    memory: usize,
    stack: usize,
    output: usize,
    logs: usize,
    host_calls: u64,
    emits: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pool {
    workers: usize,
    warm: usize,
    queue: usize,
    recycle_after: u64,
}

impl Settings {
    fn of(hosted: &Arc<Hosted>) -> Self {
        let hexafn_runtimes::Grants { emit, kv, http, log, time, random } = hosted.settings.grants.clone();
        let hexafn_runtimes::Limits { wall: _, fuel, memory, stack, output, logs, host_calls, emits } =
            hosted.settings.limits.clone();
        let hexafn_actors::runtime::PoolSettings { workers, warm, queue, recycle_after } = hosted.pool;
        let isolation = match hosted.isolation {
            Isolation::Thread => "thread",
            Isolation::Process => "process",
        };
        let limits = Limits { fuel, memory, stack, output, logs, host_calls, emits };
        let pool = Pool { workers, warm, queue, recycle_after };
        Self { isolation, emit, kv, http, log, time, random, limits, pool }
    }
}
