//! Reload: by REST, CLI, SIGHUP and file change. The whole set is read and checked before anything is touched; only
//! what changed is replaced, so live traffic and the cursors of what is unchanged go on.

use hexafn_actors::clock::Wall;
use hexafn_actors::system::Applied;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{
    self, Loaded, LogFormat, Options, ServerSettings, StorageSettings, SupervisionSettings, TelemetrySettings,
};
use crate::web::App;
use crate::web::hooks::Sources;
use crate::web::problem::Problem;

/// Reads the configuration anew, and applies it.
pub struct Reloader {
    options: Options,
    /// What only a restart can change, as it was at the start.
    fixed: Fixed,
    state: Mutex<Status>,
    /// What runs, as [`Loaded::mark`]; none after a reload that ended half way, so that whatever comes next is applied.
    mark: Mutex<Option<u64>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

/// The settings that are read once.
#[derive(Debug, PartialEq)]
struct Fixed {
    server: ServerSettings,
    storage: StorageSettings,
    supervision: SupervisionSettings,
    telemetry: TelemetrySettings,
    format: LogFormat,
}

impl Fixed {
    fn of(loaded: &Loaded) -> Self {
        let mut server = loaded.server.clone();
        // Taken over by `Auth::replace`.
        server.limits.token_rate = 0;
        Self {
            server,
            storage: loaded.storage.clone(),
            supervision: loaded.supervision.clone(),
            telemetry: loaded.telemetry.clone(),
            format: loaded.log.format,
        }
    }

    /// The sections that differ.
    fn differs(&self, other: &Self) -> Vec<&'static str> {
        let sections = [
            ("server", self.server != other.server),
            ("storage", self.storage != other.storage),
            ("supervision", self.supervision != other.supervision),
            ("telemetry", self.telemetry != other.telemetry),
            ("log.format", self.format != other.format),
        ];
        sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// What a reload did, and what it could not do.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Reloaded {
    /// What was started, replaced and stopped.
    #[serde(flatten)]
    pub applied: Applied,
    /// Sections whose changes take effect when the service is started again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restart_needed: Vec<&'static str>,
    /// What whoever reloaded should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is loaded, and how the last reload went.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Status {
    /// The folder.
    pub dir: PathBuf,
    /// Every file that was read, with a hash of its text.
    pub files: Vec<FileStatus>,
    /// Reloads that were applied.
    pub reloads: u64,
    /// The last one, applied or not.
    pub last: Option<LastReload>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FileStatus {
    /// Its path.
    pub path: PathBuf,
    /// A hash of its text.
    pub hash: String,
}

/// How a reload went.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct LastReload {
    /// When.
    pub at: String,
    /// Who asked: `REST`, `SIGHUP`, `file change`.
    pub by: String,
    /// Whether it was applied.
    pub applied: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<serde_json::Value>,
}

impl Reloader {
    /// A reloader of what was loaded at the start.
    pub fn new(options: Options, loaded: &Loaded) -> Self {
        let status = Status { dir: options.dir.clone(), files: files_of(loaded), ..Status::default() };
        Self {
            options,
            fixed: Fixed::of(loaded),
            state: Mutex::new(status),
            mark: Mutex::new(Some(loaded.mark())),
            one_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &std::path::Path {
        &self.options.dir
    }

    /// What is loaded.
    pub fn status(&self) -> Status {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, by: &str, applied: bool, errors: Option<serde_json::Value>, files: Option<Vec<FileStatus>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = files {
            state.files = files;
            state.reloads += 1;
        }
        state.last = Some(LastReload { at: Wall::now().rfc3339(), by: by.to_owned(), applied, errors });
    }

    fn runs(&self, mark: Option<u64>) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// Whether a file, a secret or a certificate differs from what runs.
    fn has_changed(&self, loaded: &Loaded) -> bool {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) != Some(loaded.mark())
    }

    /// All or nothing, as far as anything of it can be refused: see [`System::apply`](hexafn_actors::system::System::apply).
    pub async fn reload(&self, app: &App, by: &str) -> Result<Reloaded, Problem> {
        let _guard = self.one_at_a_time.lock().await;
        let options = self.options.clone();
        let loaded = tokio::task::spawn_blocking(move || config::load(&options)).await;
        let loaded = loaded.map_err(|e| Problem::new(500, "thread", e.to_string()))?;
        let loaded = loaded.map_err(|errors| {
            let json = errors.to_json()["errors"].take();
            tracing::error!(by, "reload refused; nothing was changed\n{}", errors.render(false));
            self.note(by, false, Some(json.clone()), None);
            Problem::new(422, "config-invalid", "the configuration is not valid; nothing was changed").errors(json)
        })?;
        if by == "file change" && !self.has_changed(&loaded) {
            return Ok(Reloaded::default());
        }
        let had_tokens = app.auth.has_tokens();
        let applied = self.apply(app, &loaded).await.inspect_err(|problem| {
            tracing::error!(by, %problem, "reload failed");
            self.note(by, false, Some(serde_json::json!(problem)), None);
            self.runs(None);
        })?;
        self.note(by, true, None, Some(files_of(&loaded)));
        self.runs(Some(loaded.mark()));
        tracing::info!(
            by,
            added = applied.added.len(),
            changed = applied.changed.len(),
            removed = applied.removed.len(),
            unchanged = applied.unchanged,
            "reloaded"
        );
        let mut reloaded = Reloaded { applied, ..Reloaded::default() };
        reloaded.restart_needed = self.fixed.differs(&Fixed::of(&loaded));
        if !reloaded.restart_needed.is_empty() {
            tracing::warn!(sections = ?reloaded.restart_needed, "these changes take effect at the next start");
        }
        if had_tokens && !app.auth.has_tokens() {
            let open = format!("no token is left: everybody who can reach {} may use the API", app.server.listen);
            tracing::warn!("{open}");
            reloaded.notes.push(open);
        }
        Ok(reloaded)
    }

    /// Puts a checked configuration in place: triggers and targets before the sources that feed them. Before all that who may
    /// enter: a token that was taken out is refused, whatever becomes of the rest.
    pub async fn apply(&self, app: &App, loaded: &Loaded) -> Result<Applied, Problem> {
        app.auth.replace(&loaded.tokens, loaded.server.limits.token_rate);
        crate::telemetry::levels::configure(&loaded.log.level);
        let applied = app.system.apply(loaded.definitions.clone()).await?;
        let before = app.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        let sources = Arc::new(Sources::build(&app.system, &loaded.definitions, Some(&before)).await?);
        *app.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
        Ok(applied)
    }
}

fn files_of(loaded: &Loaded) -> Vec<FileStatus> {
    loaded.files.iter().map(|(path, hash)| FileStatus { path: path.clone(), hash: format!("{hash:016x}") }).collect()
}
