//! `hexafn serve`: opens the log, starts the tree, applies the definitions, listens, and drains at SIGTERM.

use actix_web::middleware::from_fn;
use actix_web::{App as WebApp, HttpServer, web};
use hexafn_actors::definitions::{SourceKind, TargetKind};
use hexafn_actors::log::Durability;
use hexafn_actors::log::rocks::RocksOptions;
use hexafn_actors::metrics::Metrics;
use hexafn_actors::system::{System, SystemOptions};
use notify::{RecursiveMode, Watcher};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::auth::Auth;
use crate::changes;
use crate::config::{self, Loaded, Options, ServerSettings};
use crate::reload::Reloader;
use crate::telemetry::spans::Spans;
use crate::web::body::Bodies;
use crate::web::hooks::Sources;
use crate::web::{self as surface, App, link};

/// Why the service ended, as an exit code of `sysexits.h` and a sentence.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub code: u8,
    /// What happened.
    pub message: String,
}

impl Failed {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Traces kept in memory.
const TRACES: usize = 10_000;
/// How long the collector of spans has for the last ones at the end.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Runs until it is told to stop. Returns after an orderly drain.
pub fn run(options: Options, quiet: bool) -> Result<(), Failed> {
    let runtime = actix_web::rt::System::new();
    // Before what takes its time: one that comes during the start is heard after it, and does not end the process.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) });
    let hangup = hangup.map_err(|e| Failed::new(70, e.to_string()))?;
    let options = Options { keeps_compiled: true, ..options };
    let loaded = config::load(&options).map_err(|errors| Failed::new(78, errors.render(false)))?;
    crate::telemetry::start(&loaded.log);
    if !loaded.warnings.is_empty() {
        tracing::warn!("configuration\n{}", loaded.warnings.render(false));
    }
    crate::descriptors::raise(&loaded.server.limits);
    // Bound first: a port that is taken is known before the log is opened.
    let listener = TcpListener::bind(loaded.server.listen).map_err(|e| {
        Failed::new(
            69,
            format!("cannot listen on {}: {e}; is another hexaFn running? Set server.listen", loaded.server.listen),
        )
    })?;
    runtime.block_on(serve(options, loaded, listener, hangup, quiet))
}

async fn serve(
    options: Options,
    loaded: Loaded,
    listener: TcpListener,
    hangup: Signal,
    quiet: bool,
) -> Result<(), Failed> {
    let fatal: Arc<Mutex<Option<(i32, String)>>> = Arc::default();
    let (fatal_tx, mut fatal_rx) = tokio::sync::mpsc::unbounded_channel();
    let first = fatal.clone();
    let on_fatal = Arc::new(move |code: i32, why: &str| {
        tracing::error!(code, why, "the service cannot go on");
        first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert((code, why.to_owned()));
        // The main task is gone only when the process is ending anyway.
        fatal_tx.send(()).ok();
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let metrics = Arc::new(Metrics::new());
    let spans = Spans::start(&loaded.telemetry, &metrics).map_err(|why| Failed::new(70, why))?;
    let system = System::start(SystemOptions {
        rocks: rocks(&loaded),
        threads: (cores / 2).max(1),
        traces: TRACES,
        memory_topic: 64 << 20,
        durability: match loaded.storage.sync {
            config::Sync::Always => Durability::Synced,
            config::Sync::Lazy => Durability::Lazy,
        },
        max_bytes: loaded.storage.max_size.map(|s| s.0),
        actor: loaded.supervision.actor.clone(),
        parent: loaded.supervision.parent.clone(),
        tap: spans.as_ref().map(|spans| spans.tap(&metrics)),
        metrics,
        on_fatal,
    })
    .await
    .map_err(|e| Failed::new(74, e.to_string()))?;
    let failed = |e: &dyn std::fmt::Display| Failed::new(70, e.to_string());
    system.watch().await.map_err(|e| failed(&e))?;
    system.cast().configure(loaded.definitions.topics.values().cloned());
    system.cast().open_all().await.map_err(|e| failed(&e))?;
    system.open_registered().await.map_err(|e| failed(&e))?;
    let no_sources = Sources::build(&system, &Default::default(), None).await.map_err(|e| failed(&e))?;
    let app = web::Data::new(App {
        auth: Auth::default(),
        // Port 0 asks for any free one; what is announced is the one that was given.
        server: ServerSettings {
            listen: listener.local_addr().map_err(|e| Failed::new(69, e.to_string()))?,
            ..loaded.server.clone()
        },
        sources: RwLock::new(Arc::new(no_sources)),
        reloader: Reloader::new(options, &loaded),
        draining: AtomicBool::new(false),
        drain: tokio::sync::Notify::new(),
        streams: AtomicUsize::new(0),
        bodies: Bodies::new(loaded.server.limits.bodies.0),
        system,
    });
    app.reloader.apply(&app, &loaded).await.map_err(|e| failed(&e))?;

    let server = listen(&app, &loaded, listener).map_err(|e| Failed::new(69, e.to_string()))?;
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let _watcher = watch_files(&app);
    reload_on(hangup, &app);
    if !quiet {
        announce(&app, &loaded);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| failed(&e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| failed(&e))?;
    tokio::select! {
        (told, _) = told_to_end(&mut terminate, &mut interrupt) => {
            tracing::info!("{told}: draining");
            actix_web::rt::spawn(async move {
                let (told, code) = told_to_end(&mut terminate, &mut interrupt).await;
                // What was promised is on disk; what runs is done again, as after a crash.
                tracing::warn!("{told} once more: ending without waiting");
                std::process::exit(code);
            });
        }
        _ = fatal_rx.recv() => {}
    }
    app.begin_drain();
    let drained = tokio::time::timeout(app.server.drain, handle.stop(true)).await;
    if drained.is_err() {
        tracing::warn!("requests were still running at the end of server.drain");
    }
    let forced = app.system.shutdown(app.server.drain).await;
    if !forced.is_empty() {
        tracing::warn!(?forced, "actors did not stop in time");
    }
    running.abort();
    if let Some(spans) = spans {
        spans.finish(LAST_SPANS).await;
    }
    let fatal = fatal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match fatal {
        None => {
            tracing::info!("drained");
            Ok(())
        }
        Some((code, why)) => Err(Failed::new(u8::try_from(code).unwrap_or(70), why)),
    }
}

fn rocks(loaded: &Loaded) -> RocksOptions {
    let storage = &loaded.storage;
    RocksOptions {
        reserve: storage.min_free.0,
        accept_loss: storage.accept_loss,
        memtable: usize::try_from(storage.memory.0).unwrap_or(usize::MAX),
        ..RocksOptions::new(&storage.path)
    }
}

/// How long a connection is kept on which nothing is said after an answer: longer than the minute after which most balancers close
/// theirs, so that a request rarely meets a connection that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

fn listen(app: &web::Data<App>, loaded: &Loaded, listener: TcpListener) -> std::io::Result<actix_web::dev::Server> {
    let shared = app.clone();
    let server = &loaded.server;
    let workers = match server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let app = move || WebApp::new().wrap(from_fn(link::follow)).configure(|c| surface::configure(c, shared.clone()));
    let http = HttpServer::new(app)
        .workers(workers)
        .max_connections(server.limits.max_connections.div_ceil(workers))
        .client_request_timeout(server.limits.head)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(server.drain.as_secs())
        .disable_signals()
        .on_connect(link::connected(KEEP_ALIVE + server.limits.head))
        .listen(listener)?;
    Ok(http.run())
}

/// A change of a file in the configuration folder reloads, once the writes have settled.
fn watch_files(app: &web::Data<App>) -> Option<notify::RecommendedWatcher> {
    let (tx, mut rx) = tokio::sync::mpsc::channel::<()>(1);
    let watcher = changes::watcher(move |_| {
        // A full channel holds a change already.
        tx.try_send(()).ok();
    });
    let watched = watcher.and_then(|mut w| w.watch(app.reloader.dir(), RecursiveMode::Recursive).map(|()| w));
    let watcher = match watched {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "file changes are not noticed; use `hexafn reload`");
            return None;
        }
    };
    let app = app.clone();
    actix_web::rt::spawn(async move {
        while rx.recv().await.is_some() {
            while tokio::time::timeout(changes::SETTLE, rx.recv()).await.is_ok_and(|e| e.is_some()) {}
            // What is wrong was logged, and is shown by `GET /admin/config`.
            drop(app.reloader.reload(&app, "file change").await);
        }
    });
    Some(watcher)
}

fn reload_on(mut hangup: Signal, app: &web::Data<App>) {
    let app = app.clone();
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            drop(app.reloader.reload(&app, "SIGHUP").await);
        }
    });
}

/// Waits for SIGTERM or Ctrl-C: its name, and the exit code of a process that it ends.
async fn told_to_end(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 143),
        _ = interrupt.recv() => ("interrupted", 130),
    }
}

/// What to try first. A reader that has gone (a closed pipe) is no reason to end the service.
fn announce(app: &App, loaded: &Loaded) {
    use std::io::Write;
    let base = format!("http://{}", app.server.listen);
    let mut text = format!("hexaFn {} listens on {base}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |l: String| {
        text.push_str(&l);
        text.push('\n');
    };
    line(format!("  configuration  {}", app.reloader.dir().display()));
    line(format!("  data           {}", loaded.storage.path.display()));
    line(format!("  console        {base}/"));
    line(format!("  API            {base}/admin/openapi.json   metrics {base}/metrics   health {base}/health/ready"));
    for (name, source) in &loaded.definitions.sources {
        if let SourceKind::Webhook { settings, .. } = &source.kind {
            line(format!("  webhook        {} {base}/hooks/{name}", settings.methods.join(" or ")));
        }
    }
    let config = shell_word(app.reloader.dir());
    line("Try:".to_owned());
    let server = if app.server.listen.port() == 8080 { String::new() } else { format!(" --server {base}") };
    let program = program();
    if let Some(source) = app.sources().names().first() {
        let data = r#"'{"text": "hello"}'"#;
        line(format!("  {program} hook send {source} --config {config}{server} --data {data}"));
    }
    line(format!("  {program} tail '>'{server}         # what arrives and what comes of it, live"));
    line(format!("  {program} trace ls{server}         # and then: {program} trace show <event-id>"));
    // Where events go to the standard output there is nothing else.
    let events = loaded.definitions.targets.values();
    let taken = events.filter_map(|t| match &t.kind {
        TargetKind::Outside(target) => Some(target.kind()),
        TargetKind::Topic(_) => None,
    });
    let written = if taken.into_iter().any(|kind| kind == "stdout") {
        std::io::stderr().lock().write_all(text.as_bytes())
    } else {
        std::io::stdout().lock().write_all(text.as_bytes())
    };
    if let Err(error) = written {
        tracing::debug!(%error, "nobody reads the announcement");
    }
}

/// How this program is called from another shell: by its name where that finds it, else by its path.
fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "hexafn".to_owned() };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join("hexafn")).find(|path| path.is_file());
    let same = found.is_some_and(|path| path.canonicalize().is_ok_and(|path| path == own));
    if same { "hexafn".to_owned() } else { shell_word(&own) }
}

fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
