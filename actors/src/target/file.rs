//! The file target: events as JSON lines, appended to files inside one directory.
//!
//! Files do not wait for an answer, so they take a batch a time: rendering, writing and syncing run in one hop on
//! tokio's blocking pool. A hop costs some 10 us, a sync a hundred, and a batch has up to a thousand events; a thread of
//! its own per target would cost its stack all day and save nothing. The arbiter, shared with triggers and other
//! targets, never waits for a disk. A disk that hangs holds one blocking thread per target, since a batch waits for its
//! turn asynchronously. Parts: [`path`] (staying inside), [`writer`] (rotation, sync, repair), [`aside`] (rotated
//! files, compressed in the background).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::format::{Column, Format, Formatter};
use crate::target::http::Compress;
use crate::target::{
    Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Size, Span,
    Target, Template,
};

pub mod aside;
pub mod path;
pub mod writer;

use aside::Rotated;
use writer::{Fsync, Rotate, Shared, Writer};

/// Records and bytes of data in a batch: enough that the sync of a batch costs little per event, little enough that
/// 64 targets writing at once hold no more than 64 MiB.
const BATCH: Mode = Mode::Batch { max_records: 1024, max_bytes: 1 << 20, max_age: Duration::ZERO, concurrency: 1 };
/// How often files are synced under `fsync = "interval"`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The settings of a target of kind `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file, relative to `directory`; a template.
    pub path: String,
    /// The directory that no path leaves. The base directory of hexaFn when absent; a `path` with a template must then
    /// begin with a constant directory (`out/${event.type}.jsonl`), or an event could name any file there.
    pub directory: Option<String>,
    /// What a line holds; `json`.
    pub format: Option<Format>,
    /// The text of `format = "template"`, without its line end.
    pub body: Option<String>,
    /// The columns of `csv`; a new file begins with a row of their names.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// When a new file is begun; never when absent.
    pub rotate: Option<RotateSettings>,
    /// When a line counts as delivered.
    #[serde(default)]
    pub fsync: Fsync,
}

/// `rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSettings {
    /// Before the file would grow beyond this.
    pub size: Option<Size>,
    /// Before a write to a file that is older.
    pub age: Option<Span>,
    /// How many old files are kept; all when absent.
    pub keep: Option<usize>,
    /// Compresses old files, in the background; their names end with `.gz` or `.zst`.
    pub compress: Option<Compress>,
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(FileTarget::new(common, self, context)?))
    }
}

/// A target of kind `file`, ready to write.
#[derive(Debug)]
pub struct FileTarget {
    shared: Arc<Inner>,
    writer: Shared,
    /// One file is compressed at a time.
    compressing: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Inner {
    path: Template,
    formatter: Formatter,
    mode: Mode,
    fsync: Fsync,
    sync_planned: AtomicBool,
}

impl FileTarget {
    /// Checks the settings. The directory is made and opened at the first write.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |field: &str, message: String| Error::setting(name, field, message);
        let template = Template::compile(name, "path", &settings.path)?;
        match template.constant() {
            Some(text) => drop(path::check(text).map_err(|e| bad("path", e))?),
            None => check_prefix(name, settings, template.prefix())?,
        }
        let directory = settings.directory.as_deref().unwrap_or_default();
        if directory.contains('\0') || directory.contains("${") {
            return Err(bad("directory", "expected a constant path; a template goes into `path`".into()));
        }
        let rotate = settings.rotate.as_ref().map(|r| rotation(name, r)).transpose()?.unwrap_or_default();
        let formatter =
            Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Json)?;
        let base: PathBuf = context.base_dir.join(directory);
        let inner = Inner {
            path: template,
            formatter,
            mode: common.batch.map_or(BATCH, |batch| batch.mode(1)),
            fsync: settings.fsync,
            sync_planned: AtomicBool::new(false),
        };
        let writer = Writer::new(base, rotate, settings.fsync);
        let writer = match inner.formatter.format() {
            Format::Csv | Format::Template | Format::Form => writer.of_text(inner.formatter.head().unwrap_or_default()),
            _ => writer,
        };
        Ok(Self { shared: Arc::new(inner), writer: Arc::new(Mutex::new(writer)), compressing: Arc::default() })
    }

    async fn write(&self, records: Vec<Arc<Record>>, now: Wall) -> Vec<Outcome> {
        let count = records.len();
        let mut guard = Arc::clone(&self.writer).lock_owned().await;
        let inner = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let outcomes = inner.write(&mut guard, &records, now);
            (outcomes, guard.is_dirty(), guard.take_rotated())
        });
        match written.await {
            Ok((outcomes, dirty, rotated)) => {
                if dirty {
                    self.plan_sync();
                }
                if !rotated.is_empty() {
                    self.compress(rotated);
                }
                outcomes
            }
            Err(error) => {
                // Files in an unknown state are opened and repaired anew.
                self.writer.lock().await.forget();
                let failure = if error.is_panic() {
                    super::panicked(error.into_panic().as_ref())
                } else {
                    Failure::new(FailureClass::Io, "hexaFn is stopping; the lines are written after the next start")
                };
                vec![Outcome::Failed(failure); count]
            }
        }
    }

    /// Compresses rotated files, off the way of deliveries. What a stop interrupts is finished after the next start.
    fn compress(&self, rotated: Vec<Rotated>) {
        let turn = Arc::clone(&self.compressing);
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            for file in rotated {
                let compressed =
                    tokio::task::spawn_blocking(move || file.compress().map_err(|e| (file.name().to_owned(), e)));
                match compressed.await {
                    Ok(Ok(())) => {}
                    Ok(Err((file, error))) => {
                        tracing::warn!(file, %error, "a rotated file could not be compressed; it is tried again at the next start");
                    }
                    Err(error) => tracing::warn!(%error, "compressing rotated files was interrupted"),
                }
            }
        });
    }

    /// Under `interval`: one sync is on its way at any time while there is something to sync.
    fn plan_sync(&self) {
        if self.shared.sync_planned.swap(true, AcqRel) {
            return;
        }
        let (writer, inner) = (Arc::clone(&self.writer), Arc::clone(&self.shared));
        tokio::spawn(async move {
            tokio::time::sleep(SYNC_EVERY).await;
            inner.sync_planned.store(false, std::sync::atomic::Ordering::Release);
            sync(&writer).await;
        });
    }
}

async fn sync(writer: &Shared) {
    let mut guard = Arc::clone(writer).lock_owned().await;
    match tokio::task::spawn_blocking(move || guard.sync()).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::error!(
            error = &*failure.message,
            "lines that were acknowledged under `fsync = \"interval\"` may be lost; `fsync = \"always\"` prevents this"
        ),
        Err(error) => tracing::error!(%error, "syncing the files of a target was interrupted"),
    }
}

impl Inner {
    /// Renders and writes a batch; one outcome for each record, in their order.
    fn write(&self, writer: &mut Writer, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
        let start = Instant::now();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; records.len()];
        for (relative, named) in self.by_path(records, now, &mut outcomes) {
            let size: usize = named.iter().map(|&i| records[i].event.data.len() + 512).sum();
            let mut lines = Vec::with_capacity(size);
            let (mut ends, mut members) = (Vec::with_capacity(named.len()), Vec::with_capacity(named.len()));
            for i in named {
                let delivery = Delivery { record: &records[i], attempt: 1, now };
                let begin = lines.len();
                match self.formatter.put_line(&mut lines, delivery) {
                    Ok(()) => {
                        ends.push(lines.len());
                        members.push(i);
                    }
                    Err(failure) => {
                        lines.truncate(begin);
                        outcomes[i] = Some(Outcome::Failed(failure));
                    }
                }
            }
            let result = writer.append(&relative, &lines, &ends, now);
            let path: Str = relative.into();
            let (safe, failure) = match result {
                Ok(()) => (members.len(), None),
                Err((safe, failure)) => (safe, Some(failure)),
            };
            let mut before = 0;
            for (position, &i) in members.iter().enumerate() {
                let sent = (ends[position] - before) as u64;
                before = ends[position];
                let detail = Detail { sent, path: Some(path.clone()), took: start.elapsed(), ..Detail::default() };
                outcomes[i] = Some(match &failure {
                    Some(failure) if position >= safe => {
                        Outcome::Failed(Failure { detail: Detail { sent: 0, ..detail }, ..failure.clone() })
                    }
                    _ => Outcome::Delivered { detail },
                });
            }
        }
        let missing = || Outcome::Failed(Failure::new(FailureClass::Io, "the record was not reached"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// The file of a record.
    fn path_for(&self, delivery: Delivery<'_>) -> Result<Cow<'_, str>, Failure> {
        let text = self.path.render(delivery).map_err(|e| super::unusable("path", &e))?;
        let steps = path::check(&text).map_err(|e| path::refused_path(&e))?;
        // A folder of such a name would be counted, too.
        if self.path.constant().is_none() && steps.into_iter().any(aside::is_like_one) {
            let shown = text.escape_debug();
            return Err(path::refused_path(&format!("`{shown}` holds the name of a file that was put aside")));
        }
        Ok(text)
    }

    /// The records of each file, in their order; records whose path cannot be used have failed.
    fn by_path(
        &self,
        records: &[Arc<Record>],
        now: Wall,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<(String, Vec<usize>)> {
        if let Some(constant) = self.path.constant() {
            return vec![(constant.to_owned(), (0..records.len()).collect())];
        }
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (i, record) in records.iter().enumerate() {
            match self.path_for(Delivery { record, attempt: 1, now }) {
                Ok(text) => {
                    let at = *known.entry(text.into_owned()).or_insert_with_key(|text| {
                        groups.push((text.clone(), Vec::new()));
                        groups.len() - 1
                    });
                    groups[at].1.push(i);
                }
                Err(failure) => outcomes[i] = Some(Outcome::Failed(failure)),
            }
        }
        groups
    }
}

impl Target for FileTarget {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn destination(&self) -> String {
        self.shared.path.source().to_owned()
    }

    fn mode(&self) -> Mode {
        self.shared.mode
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let destination = self.shared.path_for(delivery)?.into_owned();
        let mut line = Vec::with_capacity(delivery.record.event.data.len() + 512);
        self.shared.formatter.put_line(&mut line, delivery)?;
        Ok(Preview { destination, headers: Vec::new(), body: String::from_utf8_lossy(&line).into_owned() })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let mut outcomes = self.write(vec![Arc::clone(delivery.record)], delivery.now).await;
            outcomes.pop().unwrap_or_else(|| Outcome::Failed(Failure::new(FailureClass::Io, "nothing was written")))
        }
        .boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        self.write(records.to_vec(), now).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if self.shared.fsync == Fsync::Interval {
                sync(&self.writer).await;
            }
            // With the files their locks: a reload may have made another target of the same file.
            self.writer.lock().await.forget();
        }
        .boxed()
    }
}

/// A path that depends on the event needs a directory that does not.
fn check_prefix(name: &Str, settings: &Settings, prefix: &str) -> Result<(), Error> {
    let bad = |message: String| Error::setting(name, "path", message);
    match (prefix.rfind('/'), &settings.directory) {
        (Some(0), _) => Err(bad("an absolute path; set `directory` and a path relative to it".into())),
        (Some(slash), _) => path::check(&prefix[..slash]).map(drop).map_err(bad),
        (None, Some(_)) => Ok(()),
        (None, None) => {
            Err(bad("begins with a template, so an event could name any file of hexaFn; begin it with a directory \
             (`out/${…}.jsonl`) or set `directory`"
                .into()))
        }
    }
}

fn rotation(name: &Str, settings: &RotateSettings) -> Result<Rotate, Error> {
    let bad = |field: &str, message: &str| Err(Error::setting(name, field, message));
    if settings.size.is_none() && settings.age.is_none() {
        return bad("rotate", "needs `size`, `age` or both, e.g. `rotate = { size = \"64MiB\", keep = 10 }`");
    }
    if settings.size.is_some_and(|size| size.0 < 1024) {
        return bad("rotate.size", "expected at least 1KiB");
    }
    if settings.age.is_some_and(|age| age.0 < Duration::from_secs(1)) {
        return bad("rotate.age", "expected at least 1s");
    }
    Ok(Rotate {
        size: settings.size.map(|s| s.0),
        age: settings.age.map(|a| a.0),
        keep: settings.keep,
        compress: settings.compress,
    })
}

#[cfg(test)]
mod tests;
