//! `hexafn run`: one function on one event, once or at each change of its files.

use clap::{ArgGroup, Args};
use hexafn_actors::clock::Wall;
use hexafn_actors::definitions::FunctionDefinition;
use hexafn_actors::function::{Execution, Function};
use hexafn_actors::log::Record;
use hexafn_actors::metrics::Metrics;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::adhoc::{self, Given};
use super::offline::{json_data, load, unaccepted};
use super::{Config, Done, Failure, Output, event, exact, print, say, table, tell};
use crate::changes;
use crate::web::simulate::Trial;

/// `hexafn run`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").args(["data", "event"]).required(true)))]
pub struct Run {
    #[command(flatten)]
    config: Config,
    /// The function, by name; or a file: `score.js`, `score.lua`, `score.wasm`, `score.wat`, `score.hexa`.
    function: String,
    /// The language of a file whose name does not tell: `dsl`, `js`, `lua`, `wasm`.
    #[arg(long, value_name = "LANGUAGE")]
    runtime: Option<String>,
    /// What the function of a file may use, as `timeout` and `limits` of the configuration:
    /// `memory=64MiB,timeout=1s`.
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',')]
    limits: Vec<String>,
    /// A topic, or a pattern, that the function of a file may emit to, as `emit` of the configuration.
    #[arg(long, value_name = "TOPIC")]
    emit: Vec<String>,
    /// The data of the event: text, `@FILE`, or `-` for standard input.
    #[arg(long, short)]
    data: Option<String>,
    /// The type of the event.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "event")]
    kind: Option<String>,
    /// The whole event: a file with the JSON that functions get, or that `hexafn tail -o json` prints; `-` for standard
    /// input.
    #[arg(long, short, value_name = "FILE")]
    event: Option<String>,
    /// Runs again when a file that it was made of has changed, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

/// Runs one function.
pub fn run(args: &Run, output: Output) -> Done {
    if args.watch { watch(args, output) } else { once(args, output) }
}

impl Run {
    /// The file of the function, when it is one.
    fn file(&self) -> Option<&Path> {
        let file = Path::new(&self.function);
        (file.extension().is_some() || self.runtime.is_some()).then_some(file)
    }

    fn definition(&self) -> Result<Arc<FunctionDefinition>, Failure> {
        if let Some(file) = self.file() {
            let given = Given { runtime: self.runtime.as_deref(), limits: &self.limits, emit: &self.emit };
            return adhoc::function(file, &given).map(Arc::new);
        }
        for (option, given) in [("limits", !self.limits.is_empty()), ("emit", !self.emit.is_empty())] {
            if given {
                let message = format!(
                    "--{option} is for the function of a file; `{}` has its own in the configuration",
                    self.function
                );
                return Err(Failure::new(2, message));
            }
        }
        let loaded = load(&self.config.config)?;
        let functions = &loaded.definitions.functions;
        functions.get(self.function.as_str()).cloned().ok_or_else(|| {
            let near = hexafn_actors::names::near(&self.function, functions.keys().map(|k| &**k));
            Failure::new(1, format!("there is no function `{}`; {near}", self.function))
        })
    }

    fn record(&self) -> Result<Record, Failure> {
        if let Some(file) = &self.event {
            return event::read(file);
        }
        let data = json_data(self.data.as_deref().unwrap_or_default())?;
        let trial = Trial { topic: "run".into(), kind: self.kind.clone(), subject: None, key: None, data };
        trial.record().map_err(|e| unaccepted(&e))
    }

    /// What a run reads: files, and a configuration with all that is in its folder.
    fn reads(&self) -> Result<(Vec<PathBuf>, Option<PathBuf>), Failure> {
        let mut files = Vec::new();
        let input = match (&self.event, &self.data) {
            (Some(event), _) => Some(event.as_str()),
            (None, data) => {
                data.as_deref().and_then(|data| if data == "-" { Some("-") } else { data.strip_prefix('@') })
            }
        };
        match input {
            Some("-") => {
                let message = "--watch runs again and again, and standard input can be read once: write it to a file";
                return Err(Failure::new(2, message));
            }
            Some(file) => files.push(absolute(Path::new(file))?),
            None => {}
        }
        let folder = match self.file() {
            Some(file) => {
                files.push(absolute(file)?);
                // What a link names may change without it.
                files.extend(file.canonicalize().ok());
                None
            }
            None => Some(self.config.config.canonicalize().map_err(|e| at(&self.config.config, &e))?),
        };
        Ok((files, folder))
    }
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(1, format!("{}: {error}", path.display()))
}

/// The path that a watcher reports for a file: it may be replaced by a rename, so its folder is what is followed.
fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| at(file, &e))?;
    Ok(folder.join(file.file_name().unwrap_or_default()))
}

fn once(args: &Run, output: Output) -> Done {
    let definition = args.definition()?;
    let record = args.record()?;
    let metrics = Metrics::new().function(&definition.name);
    let function = Function::local(definition, metrics);
    let (result, execution) = futures_executor::block_on(function.run(&record, "", 1, Wall::now()));
    if output == Output::Table {
        lines(&execution);
    }
    let produced = result.map_err(|error| {
        let error = error.to_string();
        let json = serde_json::json!({
            "error": error,
            "exit": 1,
            "logs": execution.logs,
            "usage": used(&execution),
        });
        Failure { json: Some(json), ..Failure::new(1, table::plain_lines(&error)) }
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // A program is given what there is; to a terminal nobody writes but us.
    let for_people = std::io::stdout().is_terminal();
    let shown = |bytes: &[u8]| if for_people { table::plain(&text(bytes)) } else { text(bytes) };
    if output == Output::Json {
        // What it gave is JSON, as its bytes are: no number of it is read.
        let emitted = produced.emitted.iter().map(|e| {
            let (topic, key) = (serde_json::json!(e.topic), serde_json::json!(e.key));
            format!("{{\"topic\":{topic},\"key\":{key},\"data\":{}}}", text(&e.data))
        });
        let emitted: Vec<String> = emitted.collect();
        let result = produced.output.as_deref().map_or_else(|| "null".to_owned(), text);
        let (dropped, emitted) = (produced.output.is_none(), emitted.join(","));
        let (logs, usage) = (serde_json::json!(execution.logs), used(&execution));
        say(exact::compact(&format!(
            "{{\"dropped\":{dropped},\"output\":{result},\"emitted\":[{emitted}],\"logs\":{logs},\"usage\":{usage}}}"
        )));
    } else {
        for event in &produced.emitted {
            let key = event.key.as_ref().map_or_else(String::new, |key| format!(" key {}", table::plain(key)));
            say(format!("emit {}{key}: {}", event.topic, shown(&event.data)));
        }
        let dropped = || "dropped: the function gives no output".to_owned();
        say(produced.output.as_deref().map_or_else(dropped, shown));
    }
    Ok(())
}

/// What it logged, on the standard error, which is not what it gave.
fn lines(execution: &Execution) {
    for line in &execution.logs {
        let level = format!("{:?}", line.level).to_lowercase();
        for text in line.message.lines().chain(line.message.is_empty().then_some("")) {
            tell(format!("{level:<5}  {}", table::plain(text)));
        }
    }
    if execution.logs_cut {
        tell("warn   it logged more than `limits.logs` allows; the rest is cut");
    }
}

/// What it used.
fn used(execution: &Execution) -> serde_json::Value {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let usage = execution.usage.as_deref();
    serde_json::json!({
        "took_us": micros(execution.took),
        "cpu_us": usage.and_then(|u| u.cpu).map(micros),
        "fuel": usage.and_then(|u| u.fuel),
        "peak_memory": usage.and_then(|u| u.peak_memory),
        "host_calls": usage.map(|u| u.host_calls),
        "output_bytes": usage.map(|u| u.output_bytes),
    })
}

/// Runs, and runs again at each change. What fails is told and waits for the next change, too.
fn watch(args: &Run, output: Output) -> Done {
    let (files, folder) = args.reads()?;
    let names: BTreeSet<String> = folder.iter().chain(&files).map(|path| path.display().to_string()).collect();
    let names: Vec<String> = names.into_iter().collect();
    // What changes during a run is a reason for the next.
    let (_watcher, changed) = follow(files, folder).map_err(|e| Failure::new(1, format!("--watch: {e}")))?;
    loop {
        if let Err(failure) = once(args, output) {
            failure.tell(output);
        }
        if print::is_closed() {
            return Ok(());
        }
        tell(format!("-- waiting for a change of {} (Ctrl-C ends)", names.join(", ")));
        changed.recv().map_err(|_| Failure::new(1, "--watch: the system reports no more changes"))?;
        while changed.recv_timeout(changes::SETTLE).is_ok() {}
    }
}

/// Follows files, and a folder with all that is in it.
fn follow(files: Vec<PathBuf>, folder: Option<PathBuf>) -> notify::Result<(RecommendedWatcher, Receiver<()>)> {
    let (tx, rx) = sync_channel(1);
    let folders: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
    let root = folder.clone();
    let mut watcher = changes::watcher(move |paths| {
        let matters = |path: &PathBuf| files.contains(path) || root.as_ref().is_some_and(|root| path.starts_with(root));
        // A full channel holds a change already.
        if paths.iter().any(matters) {
            tx.try_send(()).ok();
        }
    })?;
    for near in folders.iter().filter(|near| folder.as_ref().is_none_or(|root| !near.starts_with(root))) {
        watcher.watch(near, RecursiveMode::NonRecursive)?;
    }
    if let Some(root) = &folder {
        watcher.watch(root, RecursiveMode::Recursive)?;
    }
    Ok((watcher, rx))
}
