//! The command line: the same API as everybody's (`HEXAFN_SERVER`, `HEXAFN_TOKEN`), and what works without a service:
//! `check`, `simulate`, `run`, `new`, `demo`, `token`, `schema`, `explain`.
//!
//! Exit codes: 0 done; 1 it was refused or failed; 2 wrong usage; 69 the service cannot be reached;
//! 74 the output cannot be written; 77 not permitted; 78 the configuration is not valid. `serve` also ends with 70 (a part of
//! it is beyond restarting) and 74 (the disk failed).

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

mod adhoc;
mod client;
mod demo;
mod dlq;
mod event;
mod exact;
mod fmt;
mod function;
mod graph;
mod live;
mod logs;
mod new;
mod offline;
mod online;
mod print;
mod repl;
mod run;
pub(crate) mod table;
mod target;
mod test;
mod trace;

use print::{say, tell};

/// The version, and which engines of WebAssembly this build has.
const VERSION: &str = match cfg!(feature = "wasmer") {
    false => concat!(env!("CARGO_PKG_VERSION"), " (WebAssembly: wasmtime)"),
    true => concat!(env!("CARGO_PKG_VERSION"), " (WebAssembly: wasmtime, wasmer)"),
};

/// An event-function runtime: webhooks in, triggers decide, functions run, results are forwarded, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "hexafn", version = VERSION, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    /// The service to talk to.
    #[arg(long, global = true, env = "HEXAFN_SERVER", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    /// A file that holds the token (or set HEXAFN_TOKEN; never on the command line, where others can read it).
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
struct Config {
    /// The folder of the configuration.
    #[arg(long, short, default_value = "config", value_name = "DIR", env = "HEXAFN_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service.
    Serve {
        #[command(flatten)]
        config: Config,
        /// Override a setting: `--set server.listen=127.0.0.1:9000`.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print nothing but logs.
        #[arg(long)]
        quiet: bool,
    },
    /// Start in a temporary folder, send sample events and show what happens.
    Demo,
    /// Write a new configuration, or a function, to start from.
    New(new::New),
    /// Check a configuration: everything that is wrong, at once.
    Check {
        #[command(flatten)]
        config: Config,
    },
    /// Run the tests of a configuration ([[test]]): from a signed request to mocked targets.
    Test(test::Test),
    /// What would fire, run and be forwarded for an event, without any effect.
    Simulate(offline::Simulate),
    /// Run one function on an event.
    Run(run::Run),
    /// Publish an event to a topic.
    Publish {
        /// The topic.
        topic: String,
        /// The data: text, `@FILE`, or `-` for standard input.
        #[arg(long, short)]
        data: String,
        /// Its type.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Its ordering key.
        #[arg(long)]
        key: Option<String>,
        /// Its media type.
        #[arg(long, default_value = "application/json")]
        content_type: String,
    },
    /// Watch topics, or what a target is given, live.
    Tail {
        /// A topic or pattern: `orders.eu`, `orders.*`, `orders.>`, `>`; or `target:NAME`.
        pattern: String,
        /// `new`, `all`, a sequence, or an RFC 3339 time.
        #[arg(long, default_value = "new")]
        from: String,
        /// A condition in the language of hexaFn.
        #[arg(long)]
        filter: Option<String>,
        /// Stop after so many events.
        #[arg(long, short = 'n')]
        count: Option<u64>,
    },
    /// Webhooks.
    #[command(subcommand)]
    Hook(offline::Hook),
    /// Sources.
    #[command(subcommand)]
    Source(online::Ls),
    /// Topics.
    #[command(subcommand)]
    Topic(online::Topic),
    /// Subscriptions.
    #[command(subcommand)]
    Sub(online::Sub),
    /// Triggers.
    #[command(subcommand)]
    Trigger(online::Trigger),
    /// Functions.
    #[command(subcommand)]
    Function(function::Function),
    /// Targets.
    #[command(subcommand)]
    Target(target::Target),
    /// Dead letters: what was given up.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Actors: the supervision tree.
    #[command(subcommand)]
    Actors(online::Actors),
    /// A picture of the flow with its rates, as DOT or Mermaid.
    Graph(graph::Graph),
    /// Traces: the journeys of events.
    #[command(subcommand)]
    Trace(trace::Trace),
    /// Log lines as they are written; and which are.
    Logs(logs::Logs),
    /// Take over changes of the configuration: all of them, or none.
    Reload,
    /// Tokens for the API.
    #[command(subcommand)]
    Token(offline::Token),
    /// Print a JSON Schema of configuration files, for editors.
    Schema,
    /// What an error code means.
    Explain {
        /// E.g. HX0203.
        code: String,
    },
    /// Lay out programs (*.hexa).
    Fmt(fmt::Fmt),
    /// Try the language, line by line.
    Repl(repl::Repl),
    /// The language server, for editors: over standard input and output.
    Lsp,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why a command ended badly: an exit code, and what to say.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
    /// For `--output json`.
    json: Option<serde_json::Value>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), json: None }
    }

    fn tell(&self, output: Output) {
        match output {
            _ if self.message.is_empty() => {}
            Output::Table => tell(self.message.trim_end()),
            Output::Json => {
                let fallback = || serde_json::json!({ "error": self.message, "exit": self.code });
                tell(self.json.clone().unwrap_or_else(fallback).to_string());
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::new(1, e.to_string())
    }
}

type Done = Result<(), Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // A worker of a function, started by the service: not for people, and ready at once.
    if std::env::args_os().nth(1).is_some_and(|command| command == "worker") {
        return worker();
    }
    let (output, done) = match Cli::try_parse() {
        Ok(cli) => (cli.output, run(cli)),
        Err(said) => {
            print::usage(&said);
            (Output::Table, if said.use_stderr() { Err(Failure::new(2, "")) } else { Ok(()) })
        }
    };
    // What the command came to is the code, also where nobody can be told of it.
    let mut code = 0;
    for failure in done.err().into_iter().chain(print::failed()) {
        failure.tell(output);
        code = if code == 0 { failure.code } else { code };
    }
    ExitCode::from(code)
}

/// Serves the function that comes over standard input, which is a socket, until that closes; standard output is the bell.
fn worker() -> ExitCode {
    use nix::sys::signal::{SigSet, Signal};
    use std::io::ErrorKind;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    // Whoever ends a service as a group (systemd does) means that it finishes what runs. It ends its workers itself, and they end with it.
    let left_to_it = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect::<SigSet>();
    if let Err(error) = left_to_it.thread_block() {
        tell(format!("hexafn worker: {error}: it ends when others of its group are told to"));
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let bell = std::io::stdout().as_fd().try_clone_to_owned().map(UnixStream::from);
    let find = |name: &str| hexafn_runtimes::Language::named(name).map(hexafn_runtimes::Language::runtime);
    match socket.and_then(|socket| hexafn_runtimes::worker::serve(socket, bell?, find)) {
        Ok(()) => ExitCode::SUCCESS,
        // The service has ended with calls that this process had not come to.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format!("hexafn worker: {error}; it is started by `hexafn serve`, not by hand"));
            ExitCode::from(70)
        }
    }
}

fn run(cli: Cli) -> Done {
    let client = client::Client::new(&cli.server, cli.token_file.as_deref(), cli.output);
    match cli.command {
        Command::Serve { config, set, quiet } => offline::serve(&config.config, &set, quiet),
        Command::Demo => demo::run(),
        Command::New(args) => new::new(args),
        Command::Check { config } => offline::check(&config.config, cli.output),
        Command::Test(args) => test::test(&args, cli.output),
        Command::Simulate(args) => offline::simulate(args, cli.output),
        Command::Run(args) => run::run(&args, cli.output),
        Command::Publish { topic, data, kind, key, content_type } => {
            online::publish(&client?, &topic, &data, kind, key, &content_type)
        }
        Command::Tail { pattern, from, filter, count } => live::tail(&client?, &pattern, &from, filter, count),
        Command::Hook(hook) => offline::hook(hook, &client?),
        Command::Source(ls) => online::sources(&client?, ls),
        Command::Topic(topic) => online::topic(&client?, topic),
        Command::Sub(sub) => online::sub(&client?, sub),
        Command::Trigger(trigger) => online::trigger(&client?, trigger),
        Command::Function(f) => function::function(&client?, &f),
        Command::Target(target) => target::target(&client?, target),
        Command::Dlq(dlq) => dlq::dlq(&client?, dlq),
        Command::Actors(actors) => online::actors(&client?, actors),
        Command::Graph(args) => graph::graph(&client?, &args),
        Command::Trace(trace) => trace::run(&client?, trace),
        Command::Logs(args) => logs::logs(&client?, args),
        Command::Reload => online::reload(&client?),
        Command::Token(token) => offline::token(token),
        Command::Schema => offline::schema(),
        Command::Explain { code } => offline::explain(&code),
        Command::Fmt(args) => fmt::fmt(&args),
        Command::Repl(args) => repl::repl(&args),
        Command::Lsp => crate::lsp::run().map_err(|e| Failure::new(1, e.to_string())),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hexafn", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}

/// The longest data that is read from standard input, in bytes: more than the largest body of an event.
const LONGEST: u64 = 26 << 20;

/// What standard input holds. A part of it would look like the whole.
fn input(longest: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(longest + 1).read_to_end(&mut bytes)?;
    if read as u64 > longest {
        return Err(Failure::new(1, format!("standard input is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// Data as given: text, `@FILE`, or `-` for standard input.
fn data(given: &str) -> Result<Vec<u8>, Failure> {
    if given == "-" {
        return input(LONGEST);
    }
    match given.strip_prefix('@') {
        None => Ok(given.as_bytes().to_vec()),
        Some(path) => std::fs::read(path).map_err(|e| Failure::new(1, format!("{path}: {e}"))),
    }
}
