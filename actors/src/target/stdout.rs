//! The target of kind `stdout`: events as lines on the standard output of the process, for containers whose platform
//! collects it. The log goes to the standard error, so that the two never mix.
//!
//! The standard output is one for the whole process: all targets of this kind write through one [`Out`], a batch at a
//! time, in one hop on tokio's blocking pool. It is written to past the buffer of the standard library, since a line
//! counts as delivered when the system has it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use crate::clock::Wall;
use crate::log::Record;
use crate::target::format::{Column, Format, Formatter};
use crate::target::{
    Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Span, Target,
};

/// As many as a file takes at a time: the pipe is written to in few steps, and 1 MiB is held at most.
const BATCH: Mode = Mode::Batch { max_records: 1024, max_bytes: 1 << 20, max_age: Duration::ZERO, concurrency: 1 };

/// The settings of a target of kind `stdout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What a line holds; `json`, the data on one line.
    pub format: Option<Format>,
    /// The text of `format = "template"`, without its line end.
    pub body: Option<String>,
    /// The columns of `csv`; no row of names is written, since a stream has no beginning.
    #[serde(default)]
    pub columns: Vec<Column>,
}

impl Factory for Settings {
    fn build(&self, common: &Common, _: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        let formatter = Formatter::new(&common.name, self.format, self.body.as_deref(), &self.columns, Format::Json)?;
        let mode = common.batch.map_or(BATCH, |batch| batch.mode(1));
        Ok(Arc::new(StdoutTarget { formatter: Arc::new(formatter), mode, timeout: common.timeout, out: shared() }))
    }
}

/// A target of kind `stdout`, ready to write.
#[derive(Debug)]
pub struct StdoutTarget {
    formatter: Arc<Formatter>,
    mode: Mode,
    timeout: Span,
    out: Arc<Mutex<Out>>,
}

/// The one way to the standard output.
fn shared() -> Arc<Mutex<Out>> {
    static OUT: OnceLock<Arc<Mutex<Out>>> = OnceLock::new();
    OUT.get_or_init(|| Arc::new(Mutex::new(Out { file: None, torn: false }))).clone()
}

/// Where lines are written to.
#[derive(Debug)]
struct Out {
    /// A handle of its own of the same open file; made at the first write.
    file: Option<File>,
    /// The last write ended within a line.
    torn: bool,
}

impl Out {
    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(File::from(io::stdout().as_fd().try_clone_to_owned()?));
        }
        self.file.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Writes lines; beside an error stands how many of them went out whole.
    fn write(&mut self, lines: &[u8], ends: &[usize]) -> Result<(), (usize, io::Error)> {
        let torn = self.torn;
        let file = self.file().map_err(|e| (0, e))?;
        if torn {
            // The rest of a line that was cut off stands alone, and the next one begins at a beginning.
            file.write_all(b"\n").map_err(|e| (0, e))?;
            self.torn = false;
        }
        let mut done = 0;
        while done < lines.len() {
            let written = match self.file().and_then(|file| file.write(&lines[done..])) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            match written {
                Ok(count) => done += count,
                Err(error) => {
                    let whole = ends.partition_point(|&end| end <= done);
                    self.torn = done > 0 && lines[done - 1] != b'\n';
                    return Err((whole, error));
                }
            }
        }
        Ok(())
    }
}

impl StdoutTarget {
    async fn write(&self, records: Vec<Arc<Record>>, now: Wall) -> Vec<Outcome> {
        let (count, started) = (records.len(), Instant::now());
        let (out, formatter) = (Arc::clone(&self.out), Arc::clone(&self.formatter));
        let written = async move {
            let mut guard = out.lock_owned().await;
            tokio::task::spawn_blocking(move || write(&mut guard, &formatter, &records, now, started)).await
        };
        let failure = match tokio::time::timeout(self.timeout.0, written).await {
            Ok(Ok(outcomes)) => return outcomes,
            Ok(Err(error)) if error.is_panic() => super::panicked(error.into_panic().as_ref()),
            Ok(Err(_)) => {
                Failure::new(FailureClass::Io, "hexaFn is stopping; the lines are written after the next start")
            }
            // What is being written goes on, and holds the way until somebody reads: nothing is written twice at once.
            Err(_) => {
                let message = format!("nobody reads the standard output: nothing was taken within {}", self.timeout);
                Failure::new(FailureClass::Timeout, message)
            }
        };
        vec![Outcome::Failed(failure); count]
    }
}

/// Appends an event as one line. JSON and forms are one already; a `body` and columns hold whatever events hold, and would
/// let who sends them write lines of the log of the platform.
fn put_line(formatter: &Formatter, out: &mut Vec<u8>, delivery: Delivery<'_>) -> Result<(), Failure> {
    let begin = out.len();
    formatter.put_line(out, delivery)?;
    if matches!(formatter.format(), Format::Template | Format::Csv) {
        let rendered = out.split_off(begin);
        let mut line = String::with_capacity(rendered.len());
        for c in String::from_utf8_lossy(&rendered).trim_end_matches(['\r', '\n']).chars() {
            match c {
                '\t' => line.push(c),
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

/// Renders and writes a batch; one outcome for each record, in their order.
fn write(out: &mut Out, formatter: &Formatter, records: &[Arc<Record>], now: Wall, started: Instant) -> Vec<Outcome> {
    let mut lines = Vec::with_capacity(records.iter().map(|r| r.event.data.len() + 256).sum());
    let (mut ends, mut outcomes) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
    for record in records {
        let begin = lines.len();
        match put_line(formatter, &mut lines, Delivery { record, attempt: 1, now }) {
            Ok(()) => {
                ends.push(lines.len());
                let sent = (lines.len() - begin) as u64;
                outcomes.push(Outcome::Delivered { detail: Detail { sent, ..Detail::default() } });
            }
            Err(failure) => {
                lines.truncate(begin);
                outcomes.push(Outcome::Failed(failure));
            }
        }
    }
    let result = out.write(&lines, &ends);
    let took = started.elapsed();
    let (whole, failure) = match result {
        Ok(()) => (ends.len(), None),
        Err((whole, error)) => (whole, Some(broken(&error))),
    };
    let mut position = 0;
    for outcome in &mut outcomes {
        let Outcome::Delivered { detail } = outcome else { continue };
        detail.took = took;
        if let Some(failure) = failure.as_ref().filter(|_| position >= whole) {
            *outcome = Outcome::Failed(failure.clone());
        }
        position += 1;
    }
    outcomes
}

fn broken(error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::BrokenPipe => ": who read it has gone; start hexaFn with a standard output that is read",
        io::ErrorKind::StorageFull => ": the disk that it is redirected to is full",
        _ => "",
    };
    Failure::new(FailureClass::Io, format!("writing to the standard output failed: {error}{hint}"))
}

impl Target for StdoutTarget {
    fn kind(&self) -> &'static str {
        "stdout"
    }

    fn destination(&self) -> String {
        "standard output".into()
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let mut line = Vec::with_capacity(delivery.record.event.data.len() + 256);
        put_line(&self.formatter, &mut line, delivery)?;
        let body = String::from_utf8_lossy(&line).into_owned();
        Ok(Preview { destination: self.destination(), headers: Vec::new(), body })
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Event;
    use crate::log::TopicId;
    use crate::target::attempt_batch;
    use std::io::{BufRead, BufReader, Read};
    use std::os::fd::OwnedFd;

    fn record(seq: u64, data: &str) -> Arc<Record> {
        let event = Event::new("s", "t", bytes::Bytes::copy_from_slice(data.as_bytes()));
        Arc::new(Record::new("t".into(), TopicId(1), seq, Wall(0), event))
    }

    fn to(file: impl Into<OwnedFd>, timeout: Duration) -> StdoutTarget {
        writing(file, timeout, None, &[])
    }

    fn writing(file: impl Into<OwnedFd>, timeout: Duration, body: Option<&str>, columns: &[Column]) -> StdoutTarget {
        let formatter = Formatter::new(&"t".into(), None, body, columns, Format::Json).unwrap();
        let out = Arc::new(Mutex::new(Out { file: Some(File::from(file.into())), torn: false }));
        StdoutTarget { formatter: Arc::new(formatter), mode: BATCH, timeout: Span(timeout), out }
    }

    #[tokio::test]
    async fn a_batch_is_lines_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let target = to(writer, Duration::from_secs(5));
        let outcomes = attempt_batch(&target, &[record(1, "{\"a\":1}"), record(2, "{\n\"a\":2}")], Wall(0)).await;
        assert!(outcomes.iter().all(Outcome::is_delivered));
        assert_eq!(outcomes[0].detail().sent, 8);
        drop(target);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"a\":2}\n");
    }

    #[tokio::test]
    async fn an_event_is_one_line_that_no_terminal_obeys_in_every_format() {
        let column = |name: &str, value: &str| Column { name: name.into(), value: value.into() };
        let columns = [column("m", "${event.data.m}"), column("n", "${event.data.n}")];
        let data = r#"{"m":"a\nuser root logged in\u001b[2J\u009b2J\r","n":"x\ty"}"#;
        for (body, columns, expected) in [
            (
                Some("user ${event.data.m}\t${event.data.n}\n"),
                &[][..],
                "user a\\nuser root logged in\\u{1b}[2J\\u{9b}2J\\r\tx\ty\n",
            ),
            (None, &columns[..], "\"a\\nuser root logged in\\u{1b}[2J\\u{9b}2J\\r\",x\ty\n"),
        ] {
            let (reader, writer) = io::pipe().unwrap();
            let target = writing(writer, Duration::from_secs(5), body, columns);
            assert!(attempt_batch(&target, &[record(1, data)], Wall(0)).await[0].is_delivered());
            let shown = target.preview(Delivery { record: &record(1, data), attempt: 1, now: Wall(0) }).unwrap();
            drop(target);
            assert_eq!(io::read_to_string(reader).unwrap(), expected);
            assert_eq!(shown.body, expected);
        }
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_a_failure() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let target = to(writer, Duration::from_secs(5));
        let outcomes = attempt_batch(&target, &[record(1, "1")], Wall(0)).await;
        let Outcome::Failed(failure) = &outcomes[0] else { panic!("delivered") };
        assert_eq!(failure.class, FailureClass::Io);
        assert!(failure.message.contains("who read it has gone"), "{failure:?}");
    }

    #[tokio::test]
    async fn what_went_out_before_an_error_is_delivered_and_the_rest_of_a_line_stands_alone() {
        let (reader, writer) = io::pipe().unwrap();
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&writer, flags).unwrap();
        let target = to(writer, Duration::from_secs(5));
        let data = format!("\"{}\"", "x".repeat(30_000));
        let batch: Vec<_> = (0..10).map(|n| record(n, &data)).collect();
        let outcomes = attempt_batch(&target, &batch, Wall(0)).await;
        let delivered = outcomes.iter().filter(|o| o.is_delivered()).count();
        assert!((1..10).contains(&delivered), "a pipe that nobody reads takes some: {delivered}");
        assert!(outcomes[..delivered].iter().all(Outcome::is_delivered), "the first ones");

        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        for _ in 0..delivered {
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line.len(), data.len() + 1);
        }
        let rest = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            rest
        });
        // The pipe is full until the reader has taken what was left of the line.
        let end = Instant::now() + Duration::from_secs(10);
        while !attempt_batch(&target, &[record(11, "{\"last\":1}")], Wall(0)).await[0].is_delivered() {
            assert!(Instant::now() < end, "the reader reads");
            tokio::task::yield_now().await;
        }
        drop(target);
        let rest = rest.await.unwrap();
        assert_eq!(rest.lines().last(), Some("{\"last\":1}"));
        assert!(rest.lines().count() <= 2, "the cut line and the new one");
    }

    #[tokio::test]
    async fn nobody_reading_is_a_time_out_and_what_was_begun_is_written_once() {
        let (reader, writer) = io::pipe().unwrap();
        let target = to(writer, Duration::from_millis(50));
        let data = format!("\"{}\"", "x".repeat(200_000));
        let outcomes = attempt_batch(&target, &[record(1, &data)], Wall(0)).await;
        let Outcome::Failed(failure) = &outcomes[0] else { panic!("delivered") };
        assert_eq!(failure.class, FailureClass::Timeout, "{failure:?}");
        let again = attempt_batch(&target, &[record(2, "2")], Wall(0)).await;
        assert!(!again[0].is_delivered(), "the way is taken");
        drop(target);
        let text = tokio::task::spawn_blocking(move || io::read_to_string(reader).unwrap()).await.unwrap();
        assert_eq!(text.lines().next().unwrap().len(), data.len());
    }
}
