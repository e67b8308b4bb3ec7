//! The configuration: TOML in layers (built-in defaults, the `*.toml` files of one folder, the environment, flags), read
//! into checked [`Definitions`] that a service is built from.
//!
//! Everything that is wrong is found in one go and told with file, line, column, excerpt, what exists and what was
//! probably meant; nothing of a wrong configuration is used. The way: [`layers`] puts texts together into [`tree`]s that
//! know their places; [`read`] makes types of them by serde and reports every fault; [`checked`] resolves names,
//! compiles expressions and finds secrets.
//!
//! Invariant: a secret is never part of a message, an excerpt or the JSON of a problem.

mod checked;
pub mod codes;
mod de;
pub(crate) mod embedded;
mod files;
mod fingerprint;
mod layers;
pub mod modules;
pub(crate) mod names;
pub mod problem;
mod read;
mod render;
pub mod schema;
mod secrets;
pub mod settings;
pub mod size;
pub mod texts;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use hexafn_actors::definitions::Definitions;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use files::Root;
use layers::{Layers, Override};
use problem::{Problem, Problems};
use secrets::Vault;
use texts::Texts;
use tree::{Node, Step};

pub use checked::{Answer, Counted, ExpectSettings, MockSettings, SendSettings, TestSettings, TokenSettings};
pub(crate) use checked::{RawLimits, is_timeout};
pub use files::Shown;
pub use problem::{ConfigErrors, Severity, Warnings};
pub use secrets::{SAMPLE, SecretMode};
pub use settings::{
    FunctionsSettings, LogFormat, LogSettings, ServerSettings, StorageSettings, SupervisionSettings, Sync,
    TargetsSettings, TelemetrySettings,
};

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder whose `*.toml` files are read.
    pub dir: PathBuf,
    /// The folder that relative paths of data (`storage.path`, file targets) start from: the working directory.
    pub base_dir: PathBuf,
    /// Settings of the command line, dotted key and value: `("server.listen", "0.0.0.0:80")`. They win over all others.
    pub overrides: Vec<(String, String)>,
    /// The environment: `HEXAFN_SERVER__LISTEN=…`, the variables of functions, and secrets.
    pub env: BTreeMap<String, String>,
    /// Whether secrets must be there.
    pub secrets: SecretMode,
    /// Texts that stand in for files of the folder: what an editor shows and has not saved.
    pub shown: Shown,
    /// Whether programs count which of their branches are taken: for tests.
    pub coverage: bool,
    /// Whether the data folder is made for compiled code when it is not there: for the service.
    pub keeps_compiled: bool,
}

impl Options {
    /// A folder, with the environment of this process.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        // Variables that are not UTF-8 cannot be settings; whoever names one is told that it is not set.
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self {
            dir: dir.into(),
            base_dir: PathBuf::from("."),
            overrides: Vec::new(),
            env: env.collect(),
            secrets: SecretMode::Required,
            shown: Shown::new(),
            coverage: false,
            keeps_compiled: false,
        }
    }
}

/// A configuration that can be used.
#[derive(Clone)]
pub struct Loaded {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[[token]]`.
    pub tokens: Vec<TokenSettings>,
    /// `[[test]]`, for `hexafn test`.
    pub tests: Vec<TestSettings>,
    /// `[storage]`.
    pub storage: StorageSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// `[telemetry]`.
    pub telemetry: TelemetrySettings,
    /// `[supervision]`.
    pub supervision: SupervisionSettings,
    /// `[targets]`.
    pub targets: TargetsSettings,
    /// Sources, topics, triggers, functions, targets.
    pub definitions: Definitions,
    /// Every file that was read, with a hash of its text: whether a reload has anything to do.
    pub files: Vec<(PathBuf, u64)>,
    /// What somebody should know.
    pub warnings: Warnings,
    /// Conditions and functions that count their branches, when [`Options::coverage`] asks for it.
    pub counted: Vec<Counted>,
}

impl Loaded {
    /// Tells it from another one that was loaded by this process: its files, and what they name that is none of them (secrets,
    /// certificates).
    pub fn mark(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut mark = DefaultHasher::new();
        self.files.hash(&mut mark);
        self.definitions.sources.values().for_each(|source| source.fingerprint.hash(&mut mark));
        self.definitions.targets.values().for_each(|target| target.fingerprint.hash(&mut mark));
        mark.finish()
    }
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(options: &Options) -> Result<Loaded, ConfigErrors> {
    let (mut texts, mut problems, mut layers) = (Texts::default(), Problems::default(), Layers::default());
    let root = Root { dir: &options.dir, shown: &options.shown };
    layers::read_folder(root, &mut layers, &mut texts, &mut problems);
    let flags = options.overrides.iter().map(|(key, value)| Override {
        key: key.clone(),
        value,
        written: key,
        place: "command line",
    });
    for over in layers::from_environment(&options.env).chain(flags) {
        layers::apply(&over, &mut layers, &mut texts, &mut problems);
    }

    let section = |name: &str| layers.section(name);
    let server = settings::server(&section("server"), &mut problems);
    let storage = settings::storage(&section("storage"), &mut problems);
    // What a start compiled, the next one need not: in the data folder, which is hexaFn's alone. The service makes it for the
    // first module; others use it once it is there.
    let data = options.base_dir.join(&storage.path);
    let data = if options.keeps_compiled { std::path::absolute(&data) } else { std::fs::canonicalize(&data) };
    if let Ok(data) = data {
        hexafn_runtimes::keep_compiled_in(data.join("compiled"));
    }
    let log = read::read(&section("log"), "[log]", &mut problems).unwrap_or_default();
    let targets: TargetsSettings = read::read(&section("targets"), "[targets]", &mut problems).unwrap_or_default();
    let functions: FunctionsSettings =
        read::read(&section("functions"), "[functions]", &mut problems).unwrap_or_default();
    let telemetry = settings::telemetry(&section("telemetry"), &mut problems);
    let supervision = SupervisionSettings::read(&section("supervision"), &mut problems);
    let open = !server.listen.ip().to_canonical().is_loopback();
    if open {
        check_open(&server, &section("server"), &layers, &options.dir, &mut problems);
    }

    let mut vault = Vault::new(options.dir.clone(), options.env.clone(), options.secrets);
    layers.definitions.values().flatten().for_each(|node| vault.learn(node));
    let checker = checked::Checker::new(
        root,
        &options.base_dir,
        &mut texts,
        &mut problems,
        &vault,
        &targets.allow_networks,
        open,
    );
    let mut checked = checker.counting(options.coverage).check(&layers);
    checked.definitions.outcomes = targets.outcomes;
    checked.definitions.executions = functions.executions;

    problems.without_consequences(&layers.broken);
    let failed = problems.errors() > 0;
    let problems = problems.into_sorted();
    if failed {
        return Err(ConfigErrors { texts, problems });
    }
    let files = layers.files.iter().chain(&checked.function_files);
    let files = files.map(|(path, text)| (path.clone(), fingerprint::of_text(text))).collect();
    Ok(Loaded {
        server,
        tokens: checked.tokens,
        tests: checked.tests,
        storage,
        log,
        telemetry,
        supervision,
        targets,
        definitions: checked.definitions,
        files,
        warnings: Warnings { texts, problems },
        counted: checked.counted,
    })
}

/// Whoever listens beyond this machine needs a token, or says in so many words that none is needed.
fn check_open(server: &ServerSettings, node: &Node, layers: &Layers, dir: &Path, problems: &mut Problems) {
    let listen = [Step::Key("listen")];
    if server.allow_remote_without_tokens {
        let key = Step::Key("allow_remote_without_tokens");
        problems.push(
            Problem::warning(
                &codes::LISTEN_OPEN,
                node.span_of(&[key]),
                "whoever reaches this address may do everything",
            )
            .help("keep this only where something else asks who comes, e.g. a proxy that authenticates"),
        );
    } else if layers.of_kind("token").is_empty() {
        let tokens = dir.join("tokens.toml");
        let message = format!("{} is reached from other machines, and no token is configured", server.listen);
        problems.push(
            Problem::error(&codes::LISTEN_OPEN, node.span_of(&listen), message)
                .label("the API would be open to everybody who reaches this address")
                .help(format!("add a token: `hexafn token new admin --scope \"*:*:*\" >> {}`", tokens.display()))
                .help("or listen on this machine alone: listen = \"127.0.0.1:8080\"")
                .help("or add to [server] the line: allow_remote_without_tokens = true"),
        );
    }
}
