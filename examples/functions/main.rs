//! What a call of a function costs, for `scripts/bench functions`: the same transform of a push event of 1 KiB in each
//! language, through hexaFn and on the bare engine. Prints a line of JSON for each way, after its result was compared.
//!
//! ```sh
//! functions FOLDER MODULE BODY SECONDS     # five.* of scripts/bench.d/functions, five.wasm, the event's data
//! ```
#![allow(clippy::print_stdout)]

mod bare;
mod measure;

use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hexafn_dsl::{Budget, Data, Input, ProgramKind, SourceText, json};
use hexafn_runtimes::process::{Launcher, Process};
use hexafn_runtimes::wasm::{Options, WasmRuntime, Wasmtime};
use hexafn_runtimes::{
    Ctx, Done, Instance, JsRuntime, Language, LuaRuntime, NoHost, Runtime, Session, Settings, Source,
};

use measure::{Callee, Figures, Way, in_flight, in_threads, in_turns, median, one_by_one};

/// That of the product, for hexaFn and for the bare engines.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Calls that wait or run at once where there are processes.
const IN_FLIGHT: usize = 16;
/// How often a start is tried.
const STARTS: usize = 21;

/// What all ways are given.
struct Job {
    folder: PathBuf,
    module: Vec<u8>,
    /// The event, as functions get it.
    event: Vec<u8>,
    /// Its data alone.
    data: Vec<u8>,
    wanted: serde_json::Value,
    time: Duration,
    /// As many as a pool has workers, or as there are processors.
    threads: usize,
}

impl Job {
    fn text(&self, end: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join(format!("five.{end}")))?)
    }

    /// Whether a way gave what all give.
    fn holds(&self, engine: &str, got: &[u8]) -> Result<()> {
        if serde_json::from_slice::<serde_json::Value>(got)? == self.wanted {
            return Ok(());
        }
        Err(format!("{engine} gave {}", String::from_utf8_lossy(got)).into())
    }

    /// One way, on one thread.
    fn alone<'a>(
        &self,
        engine: &str,
        way: &'static str,
        mut call: impl FnMut() -> Result<Vec<u8>> + 'a,
    ) -> Result<Way<'a>> {
        self.holds(engine, &call()?)?;
        Ok((way, Box::new(move |time| one_by_one(time, || call().map(drop)))))
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["worker"] {
        let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let bell = UnixStream::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        return Ok(hexafn_runtimes::worker::serve(socket, bell, |name| Language::named(name).map(Language::runtime))?);
    }
    let [folder, module, body, seconds] = words.as_slice() else {
        return Err("expected FOLDER MODULE BODY SECONDS; scripts/bench functions gives them".into());
    };
    let data = std::fs::read(body)?;
    let parsed: serde_json::Value = serde_json::from_slice(&data)?;
    let job = Job {
        folder: folder.into(),
        module: std::fs::read(module)?,
        event: [br#"{"id":"01J","source":"git","type":"push","data":"#, &*data, b"}"].concat(),
        wanted: bare::rust(&parsed),
        data,
        time: Duration::from_secs_f64(seconds.parse()?),
        threads: std::thread::available_parallelism()?.get().min(2),
    };
    dsl(&job)?;
    wasm(&job)?;
    script(&job, &JsRuntime, "js")?;
    script(&job, &LuaRuntime, "lua")
}

/// The language of hexaFn: from the bytes of the data to the bytes of the result.
fn dsl(job: &Job) -> Result<()> {
    let text = job.text("hexa")?;
    let program = hexafn_dsl::compile(&SourceText { name: "five", text: &text }, ProgramKind::Function)?;
    let (limits, data) = (json::Limits::default(), bytes::Bytes::from(job.data.clone()));
    let thread = job.alone("dsl", "thread", || {
        let doc = json::Doc::parse(data.clone(), &limits)?;
        let mut input = Input::EMPTY;
        input.event.data = Data::Json(&doc);
        Ok(program.eval(&input, &mut Budget::default())?.to_json(1 << 20)?.into())
    })?;
    let bare =
        job.alone("dsl", "bare", || Ok(serde_json::to_vec(&bare::rust(&serde_json::from_slice(&job.data)?))?))?;
    in_turns("dsl", job.time, &mut [thread, bare])
}

fn source(code: &[u8]) -> Source {
    Source { name: "five".into(), file: "five".into(), code: code.into() }
}

fn output(done: Done) -> Result<Vec<u8>> {
    Ok(done.result?.value.ok_or("it dropped the event")?.into())
}

/// One call through the contract of all languages, and what a worker does behind it.
fn through(instance: &mut dyn Instance, settings: &Arc<Settings>, ctx: &Arc<Ctx>, event: &[u8]) -> Result<Vec<u8>> {
    let session = Session::new(Arc::clone(settings), Arc::clone(ctx), Arc::new(NoHost));
    let output = output(hexafn_runtimes::run(instance, event, session));
    instance.rest();
    output
}

/// In a thread, as the workers of trusted functions and of WebAssembly run it.
fn thread<'a>(job: &'a Job, runtime: &dyn Runtime, engine: &str, code: &[u8]) -> Result<Way<'a>> {
    let (settings, ctx) = (Arc::new(Settings::default()), Arc::new(Ctx::default()));
    let mut instance = runtime.compile(&source(code), &settings)?.open()?;
    job.alone(engine, "thread", move || through(&mut *instance, &settings, &ctx, &job.event))
}

/// From the text to the first answer, in milliseconds, the median of many.
fn start(job: &Job, engine: &str, way: &str, mut once: impl FnMut() -> Result<Vec<u8>>) -> Result<()> {
    let times = (0..STARTS).map(|_| {
        let began = Instant::now();
        let got = once()?;
        let took = began.elapsed();
        job.holds(engine, &got)?;
        Ok(took)
    });
    let took = median(times.collect::<Result<_>>()?);
    println!("{}", serde_json::json!({"engine": engine, "way": way, "ms": took.as_secs_f64() * 1e3}));
    Ok(())
}

fn first_answer(job: &Job, runtime: &dyn Runtime, code: &[u8]) -> Result<Vec<u8>> {
    let (settings, ctx) = (Arc::new(Settings::default()), Arc::new(Ctx::default()));
    let mut instance = runtime.compile(&source(code), &settings)?.open()?;
    through(&mut *instance, &settings, &ctx, &job.event)
}

fn wasm(job: &Job) -> Result<()> {
    let runtime = WasmRuntime::new(Wasmtime::new(Options::default())?);
    let mut call = bare::wasmtime(&job.module)?;
    let bare = job.alone("wasmtime", "bare", || call(&job.event))?;
    in_turns("wasmtime", job.time, &mut [thread(job, &runtime, "wasmtime", &job.module)?, bare])?;
    #[cfg(feature = "wasmer")]
    {
        let runtime = WasmRuntime::new(hexafn_runtimes::wasm::Wasmer::new(Options::default()));
        let mut call = bare::wasmer(&job.module)?;
        let bare = job.alone("wasmer", "bare", || call(&job.event))?;
        in_turns("wasmer", job.time, &mut [thread(job, &runtime, "wasmer", &job.module)?, bare])?;
        start(job, "wasmer", "start", || first_answer(job, &runtime, &job.module))?;
    }
    // The engine is there before its functions are, as in a service that starts: a module pays for itself alone.
    let cache = tempfile::tempdir()?;
    let kept = || Wasmtime::new(Options { cache: Some(cache.path().join("code")), ..Options::default() });
    first_answer(job, &WasmRuntime::new(kept()?), &job.module)?;
    let runtime = WasmRuntime::new(kept()?);
    runtime.compile(&source(b"(module (func (export \"_start\")))"), &Arc::default())?;
    start(job, "wasmtime", "start from the cache", || first_answer(job, &runtime, &job.module))
}

/// A scripting language: in a thread, in processes, and bare in both numbers of threads.
fn script(job: &Job, runtime: &dyn Runtime, engine: &str) -> Result<()> {
    let code = job.text(engine)?;
    let made = |fresh| match engine {
        "js" => bare::js(&code, fresh),
        _ => bare::lua(&code, fresh),
    };
    let (mut fresh, mut kept) = (made(true)?, made(false)?);
    in_turns(
        engine,
        job.time,
        &mut [
            thread(job, runtime, engine, code.as_bytes())?,
            job.alone(engine, "bare", || fresh(&job.event))?,
            job.alone(engine, "bare, state kept", || kept(&job.event))?,
        ],
    )?;
    let bare = |time| {
        in_threads(job.threads, time, || {
            let mut call = made(true)?;
            Ok(move || call(&job.event).map(drop))
        })
    };
    let processes = |time| processes(job, engine, &code, time);
    in_turns(engine, job.time, &mut [("bare threads", Box::new(bare) as Box<_>), ("processes", Box::new(processes))])?;
    start(job, engine, "start", || first_answer(job, runtime, code.as_bytes()))?;
    let (launcher, settings) = (launcher()?, Arc::new(Settings::default()));
    start(job, engine, "start of a process", || {
        let mut process = Process::start(&launcher, engine, &source(code.as_bytes()), &settings)?;
        process
            .call(&job.event, &Ctx::default(), &NoHost)
            .map_err(|lost| lost.done.result)
            .map_or_else(|failed| Err(format!("{failed:?}").into()), output)
    })
}

/// This program as a worker process.
fn launcher() -> Result<Launcher> {
    Ok(Launcher { program: std::env::current_exe()?, args: vec!["worker".to_owned()] })
}

/// In worker processes, as functions that are not trusted run, with so many calls in flight.
fn processes(job: &Job, engine: &str, code: &str, time: Duration) -> Result<Figures> {
    let (launcher, settings) = (launcher()?, Arc::new(Settings::default()));
    in_flight(IN_FLIGHT, job.threads, time, || {
        let process = Process::start(&launcher, engine, &source(code.as_bytes()), &settings)?;
        let mut worker = Worker { process, event: &job.event, ctx: Ctx::default() };
        worker.give()?;
        job.holds(engine, &worker.answered()?)?;
        Ok(worker)
    })
}

struct Worker<'a> {
    process: Process,
    event: &'a [u8],
    ctx: Ctx,
}

impl Worker<'_> {
    fn answered(&mut self) -> Result<Vec<u8>> {
        match self.process.answer(&NoHost).ok_or("it had no call")? {
            Ok(done) => output(done),
            Err(lost) => Err(format!("{:?}", lost.done.result).into()),
        }
    }
}

impl Callee for Worker<'_> {
    fn has_room(&self) -> bool {
        self.process.has_room(self.event)
    }

    fn give(&mut self) -> Result<()> {
        Ok(self.process.send(self.event, &self.ctx)?)
    }

    fn answer(&mut self) -> Result<()> {
        self.answered().map(drop)
    }
}
