//! The target of kind `s3`: a batch of events as one object in a bucket, for everything that speaks Amazon's S3.
//!
//! Events whose `prefix` is the same go into one object, so that each object lies where all of its events belong. Its
//! name is computed from those events and the target's name: the same batch tried again, after a crash too, overwrites its
//! object instead of adding another. The library signs and speaks S3; the connection is ours ([`wire`]), through the guard
//! and without the library's retries.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{Attribute, Attributes, BackoffConfig, ClientOptions, ObjectStore, PutOptions, RetryConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::dial;
use crate::target::format::{Body, Column, Format, Formatter};
use crate::target::http::Compress;
use crate::target::http::guard::Guard;
use crate::target::http::settings::{TlsSettings, base_client, is_reference, parse_url};
use crate::target::statuses::Retries;
use crate::target::{
    BatchSettings, Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview,
    Size, Span, Target, Template, Verdict,
};

mod wire;

use wire::{Seen, Wire};

/// A batch when none is asked for: objects of some size, and an event is nowhere for at most 10 s.
const BATCH: BatchSettings =
    BatchSettings { max_records: 1000, max_bytes: Size(8 << 20), max_age: Span(Duration::from_secs(10)) };
/// Batches at once: each holds its events and its object in memory.
const CALLS: usize = 4;
/// Objects of one batch at once.
const UPLOADS: usize = 8;
/// The longest key, in bytes (of S3), less the part that is ours.
const MAX_PREFIX: usize = 900;

/// The settings of a target of kind `s3`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bucket; it must be there.
    pub bucket: String,
    /// Its region; `us-east-1`, which servers of others mostly take, too.
    #[serde(default = "region")]
    pub region: String,
    /// The server, for others than Amazon: `https://minio.example.com`.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path of the URL, not in the host; with an `endpoint` true, since few have a name for
    /// each bucket.
    pub path_style: Option<bool>,
    /// Who writes; without it requests are not signed. Nothing is taken from the environment or from the machine's role.
    pub credentials: Option<Credentials>,
    /// How the keys of objects begin, a template: `events/${format_time(event.time, "%Y/%m/%d")}/`. What follows is ours:
    /// the time of the first event, a digest of all of them, and the extension. The target's name and `/` when absent.
    pub prefix: Option<String>,
    /// What an object holds; `jsonl`, an event's data on each line.
    pub format: Option<Format>,
    /// The text of `format = "template"`.
    pub body: Option<String>,
    /// The columns of `csv`; each object begins with a row of their names.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Compresses objects.
    pub compress: Option<Compress>,
    /// The Content-Type, instead of the one of the format.
    pub content_type: Option<String>,
    /// Encryption by the server.
    pub encryption: Option<Encryption>,
    /// The key of `encryption = "aws:kms"`; the account's own when absent.
    pub kms_key_id: Option<String>,
    /// The storage class, such as `STANDARD_IA`; that of the bucket when absent.
    pub storage_class: Option<String>,
    /// The connection alone; 5 s.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Certificates, where those of the system are not enough.
    pub tls: Option<TlsSettings>,
}

/// `credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The id of the key, or a reference to it.
    pub access_key_id: String,
    /// The key by reference.
    pub secret: String,
    /// The token of temporary credentials, by reference.
    pub access_token: Option<String>,
}

/// `encryption`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encryption {
    /// By keys of S3.
    #[serde(rename = "AES256")]
    S3,
    /// By a key of the key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

fn region() -> String {
    "us-east-1".into()
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(S3Target::new(common, self, context)?))
    }
}

/// A target of kind `s3`, ready to write.
#[derive(Debug)]
pub struct S3Target {
    store: AmazonS3,
    bucket: String,
    prefix: Template,
    maker: Arc<Maker>,
    attributes: Attributes,
    mode: Mode,
    timeout: Span,
    retries: Retries,
}

/// Makes the objects.
#[derive(Debug)]
struct Maker {
    /// The target's name.
    target: Str,
    formatter: Formatter,
    compress: Option<Compress>,
}

/// An object to write.
#[derive(Debug)]
struct Object {
    key: Path,
    bytes: Bytes,
    content_type: Option<Cow<'static, str>>,
    /// The positions of its events in the batch.
    members: Vec<usize>,
}

impl S3Target {
    /// Checks the settings and sets up the client.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |field: &str, message: String| Error::setting(name, field, message);
        check_bucket(&settings.bucket).map_err(|e| bad("bucket", e))?;
        if settings.region.is_empty() || settings.region.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(bad("region", "expected a region, e.g. `eu-central-1`".into()));
        }
        if settings.connect_timeout.0.is_zero() {
            return Err(bad("connect_timeout", "expected more than 0".into()));
        }
        let text = settings.prefix.clone().unwrap_or_else(|| format!("{name}/"));
        let prefix = Template::compile(name, "prefix", &text)?;
        if let Some(constant) = prefix.constant() {
            key(constant, "0").map_err(|e| bad("prefix", e))?;
        }
        let formatter =
            Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Jsonl)?;
        let formatter = formatter.for_batches(name)?;
        let attributes = attributes(settings).map_err(|(field, message)| bad(field, message))?;
        let guard = dial::guard(name, &settings.allow_networks, context)?;
        let store = store(common, settings, &guard, context)?;
        Ok(Self {
            store,
            bucket: settings.bucket.clone(),
            prefix,
            maker: Arc::new(Maker { target: name.clone(), formatter, compress: settings.compress }),
            attributes,
            mode: common.batch.unwrap_or(BATCH).mode(common.concurrency.min(CALLS)),
            timeout: common.timeout,
            retries: Retries::new(&common.retry, true),
        })
    }

    /// Where an event belongs.
    fn prefix_for(&self, delivery: Delivery<'_>) -> Result<Cow<'_, str>, Failure> {
        let unusable = |message: String| {
            let message = format!("`prefix` of the target cannot be used for this event: {message}");
            Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter)
        };
        let prefix = self.prefix.render(delivery).map_err(unusable)?;
        key(&prefix, "0").map_err(unusable)?;
        Ok(prefix)
    }

    async fn write(&self, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
        let started = Instant::now();
        // An object begins within the time-out of the batch, and has one of its own; one begins however late it is.
        let batch = (started, AtomicBool::new(false));
        let mut outcomes: Vec<Option<Outcome>> = vec![None; records.len()];
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            match self.prefix_for(Delivery { record, attempt: 1, now }) {
                Ok(prefix) => {
                    let group = *known.entry(prefix.into_owned()).or_insert_with_key(|prefix| {
                        groups.push((prefix.clone(), Vec::new()));
                        groups.len() - 1
                    });
                    groups[group].1.push(at);
                }
                Err(failure) => outcomes[at] = Some(Outcome::Failed(failure)),
            }
        }
        let uploads = groups.into_iter().map(|(prefix, members)| self.upload(prefix, members, records, now, &batch));
        let mut uploads = futures_util::stream::iter(uploads).buffer_unordered(UPLOADS);
        while let Some(written) = uploads.next().await {
            for (at, outcome) in written {
                outcomes[at] = Some(outcome);
            }
        }
        let missing = || Outcome::Failed(Failure::new(FailureClass::Io, "the record was not reached"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// Writes the object of events that belong together; what became of each.
    async fn upload(
        &self,
        prefix: String,
        members: Vec<usize>,
        records: &[Arc<Record>],
        now: Wall,
        batch: &(Instant, AtomicBool),
    ) -> Vec<(usize, Outcome)> {
        let started = Instant::now();
        let mine: Vec<Arc<Record>> = members.iter().map(|&at| records[at].clone()).collect();
        let maker = self.maker.clone();
        // Off the arbiter: 8 MiB take a while to render and to compress.
        let made = tokio::task::spawn_blocking(move || maker.make(&prefix, &members, &mine, now));
        let (object, failed) = match made.await {
            Ok(made) => made,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Vec::new(),
        };
        let mut outcomes: Vec<_> = failed.into_iter().map(|(at, failure)| (at, Outcome::Failed(failure))).collect();
        let Some(object) = object else { return outcomes };
        let mut detail = Detail { path: Some(object.key.as_ref().into()), ..Detail::default() };
        let late = batch.0.elapsed() >= self.timeout.0;
        let result = if batch.1.swap(true, Ordering::Relaxed) && late {
            Err(Failure::not_sent("other objects of its batch took the time (`timeout`)"))
        } else {
            self.put(&object, now, &mut detail).await
        };
        detail.took = started.elapsed();
        let count = object.members.len().max(1) as u64;
        for at in object.members {
            // The object's bytes are those of all: each is told its share.
            let detail =
                Detail { sent: if result.is_ok() { object.bytes.len() as u64 / count } else { 0 }, ..detail.clone() };
            outcomes.push((
                at,
                match &result {
                    Ok(()) => Outcome::Delivered { detail },
                    Err(failure) => Outcome::Failed(Failure { detail, ..failure.clone() }),
                },
            ));
        }
        outcomes
    }

    async fn put(&self, object: &Object, now: Wall, detail: &mut Detail) -> Result<(), Failure> {
        let mut attributes = self.attributes.clone();
        if attributes.get(&Attribute::ContentType).is_none()
            && let Some(content_type) = &object.content_type
        {
            attributes.insert(Attribute::ContentType, content_type.clone().into_owned().into());
        }
        let seen = Seen::default();
        let mut options = PutOptions { attributes, ..PutOptions::default() };
        options.extensions.insert(seen.clone());
        let sent = self.store.put_opts(&object.key, object.bytes.clone().into(), options);
        let result = tokio::time::timeout(self.timeout.0, sent).await;
        seen.describe(detail);
        match result {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let failure = seen.failure(&self.bucket, now).unwrap_or_else(|| {
                    Failure::new(FailureClass::Protocol, format!("the bucket `{}`: {error}", self.bucket))
                });
                let asked = detail.status.and_then(|status| self.retries.by_status(status));
                Err(failure.verdict(asked.unwrap_or(Verdict::Retry)))
            }
            Err(_) => {
                let limit = self.timeout;
                let message =
                    format!("the bucket `{}` did not take the object within {limit} (`timeout`)", self.bucket);
                Err(Failure::new(FailureClass::Timeout, message))
            }
        }
    }
}

impl Maker {
    /// The object of these events, and those that cannot be in it. `members` are their positions in the batch.
    fn make(
        &self,
        prefix: &str,
        members: &[usize],
        records: &[Arc<Record>],
        now: Wall,
    ) -> (Option<Object>, Vec<(usize, Failure)>) {
        let (Body { bytes, content_type }, failed) = self.formatter.batch(records, now);
        let failed: HashMap<usize, Failure> = failed.into_iter().collect();
        let good: Vec<usize> = (0..records.len()).filter(|at| !failed.contains_key(at)).collect();
        let mut failed: Vec<_> = failed.into_iter().map(|(at, failure)| (members[at], failure)).collect();
        let Some(&first) = good.first() else { return (None, failed) };
        let name = self.name(good.iter().map(|&at| &records[at]), &records[first]);
        let made = key(prefix, &name).and_then(|key| {
            let bytes = compressed(bytes, self.compress).map_err(|e| format!("compressing: {e}"))?;
            Ok(Object { key, bytes, content_type, members: good.iter().map(|&at| members[at]).collect() })
        });
        match made {
            Ok(object) => (Some(object), failed),
            Err(message) => {
                let failure = Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter);
                failed.extend(good.into_iter().map(|at| (members[at], failure.clone())));
                (None, failed)
            }
        }
    }

    /// The part of a key that is ours: when, what, and how it is written. The same for the same events.
    fn name<'a>(&self, records: impl Iterator<Item = &'a Arc<Record>>, first: &Record) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        // Another target may write the same events to the same place in another form.
        add(self.target.as_bytes());
        for record in records {
            let event = &record.event;
            // The data, too: a source that repeats an id for something else must not overwrite what it sent before.
            for part in [event.source.as_bytes(), event.id.as_bytes(), &event.data[..]] {
                add(part);
            }
        }
        let digest = hex::encode(&digest.finalize()[..16]);
        let time = jiff::Timestamp::from_microsecond(first.event.time.0).unwrap_or_default();
        let extension = match self.formatter.format() {
            Format::Json | Format::Cloudevents => "json",
            Format::Csv => "csv",
            Format::Template => "txt",
            _ => "jsonl",
        };
        let compressed = match self.compress {
            None => "",
            Some(Compress::Gzip) => ".gz",
            Some(Compress::Zstd) => ".zst",
        };
        format!("{}-{digest}.{extension}{compressed}", time.strftime("%Y%m%dT%H%M%SZ"))
    }
}

fn compressed(bytes: Bytes, by: Option<Compress>) -> std::io::Result<Bytes> {
    Ok(match by {
        None => bytes,
        // No time and no name in its head, so that the same events are the same bytes.
        Some(Compress::Gzip) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&bytes)?;
            encoder.finish()?.into()
        }
        Some(Compress::Zstd) => zstd::bulk::compress(&bytes, 0)?.into(),
    })
}

/// The key of an object, or why there can be none.
fn key(prefix: &str, name: &str) -> Result<Path, String> {
    let shown = || prefix.chars().take(100).flat_map(char::escape_debug).collect::<String>();
    if prefix.len() > MAX_PREFIX {
        return Err(format!("{} bytes; a key has room for {MAX_PREFIX}", prefix.len()));
    }
    if prefix.starts_with('/') {
        return Err(format!("`{}` begins with `/`, which would be a folder without a name", shown()));
    }
    Path::parse(format!("{prefix}{name}")).map_err(|_| {
        format!("`{}` is no beginning of a key: no empty parts, no `.` or `..`, no control characters", shown())
    })
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if (3..=63).contains(&bucket.len()) && bucket.chars().all(plain) && !bucket.contains("..") {
        Ok(())
    } else {
        Err("expected the name of a bucket: 3 to 63 of a-z, 0-9, `-` and `.`".into())
    }
}

fn attributes(settings: &Settings) -> Result<Attributes, (&'static str, String)> {
    let mut attributes = Attributes::new();
    let visible = |field, text: &str| {
        if text.is_empty() || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err((field, "expected visible ASCII".to_owned()));
        }
        Ok(text.to_owned())
    };
    if let Some(text) = &settings.content_type {
        attributes.insert(Attribute::ContentType, visible("content_type", text)?.into());
    }
    if let Some(class) = &settings.storage_class {
        attributes.insert(Attribute::StorageClass, visible("storage_class", class)?.into());
    }
    match settings.compress {
        None => {}
        Some(Compress::Gzip) => drop(attributes.insert(Attribute::ContentEncoding, "gzip".into())),
        Some(Compress::Zstd) => drop(attributes.insert(Attribute::ContentEncoding, "zstd".into())),
    }
    Ok(attributes)
}

fn store(common: &Common, settings: &Settings, guard: &Guard, context: &Context<'_>) -> Result<AmazonS3, Error> {
    let name = &common.name;
    let bad = |field: &str, message: String| Error::setting(name, field, message);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        // The forwarder's restart strategy is the only retry there is.
        .with_retry(RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO });
    let path_style = settings.path_style.unwrap_or(settings.endpoint.is_some());
    builder = builder.with_virtual_hosted_style_request(!path_style);
    if let Some(text) = &settings.endpoint {
        let mut url = parse_url(text).map_err(|e| bad("endpoint", e))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("endpoint", "an address of a server, without a query".into()));
        }
        guard.check_url(&url).map_err(|e| bad("endpoint", e.to_string()))?;
        if !path_style {
            with_bucket(&mut url, &settings.bucket).map_err(|e| bad("path_style", e))?;
        }
        let plain = url.scheme() == "http";
        builder = builder
            .with_endpoint(url.as_str().trim_end_matches('/'))
            .with_client_options(ClientOptions::new().with_allow_http(plain));
    }
    builder = match &settings.credentials {
        None => builder.with_skip_signature(true),
        Some(credentials) => {
            let secret = |field: &str, reference: &String| {
                if !is_reference(reference) {
                    return Err(bad(
                        field,
                        "expected a reference, `env:NAME` or `file:PATH`, not the secret itself".into(),
                    ));
                }
                let text = context.secrets.get(reference).map_err(|e| bad(field, e))?;
                Ok(text.trim().to_owned())
            };
            let id = &credentials.access_key_id;
            let id = if is_reference(id) { secret("credentials.access_key_id", id)? } else { id.clone() };
            let key = secret("credentials.secret", &credentials.secret)?;
            let builder = builder.with_access_key_id(id).with_secret_access_key(key);
            match &credentials.access_token {
                Some(token) => builder.with_token(secret("credentials.access_token", token)?),
                None => builder,
            }
        }
    };
    let unusable = |error: object_store::Error| Error::Client { target: name.clone(), message: error.to_string() };
    builder = match (settings.encryption, &settings.kms_key_id) {
        (None, None) => builder,
        (Some(Encryption::Kms), Some(id)) => builder.with_sse_kms_encryption(id),
        (Some(encryption), None) => {
            let kind = if encryption == Encryption::Kms { "aws:kms" } else { "AES256" };
            let setting: AmazonS3ConfigKey = "aws_server_side_encryption".parse().map_err(unusable)?;
            builder.with_config(setting, kind)
        }
        (_, Some(_)) => return Err(bad("kms_key_id", "goes with `encryption = \"aws:kms\"` only".into())),
    };
    let client = base_client(guard, settings.connect_timeout, common.concurrency.min(CALLS) * UPLOADS);
    let tls = Arc::unwrap_or_clone(dial::tls(name, settings.tls.as_ref(), context)?);
    let client = client.tls_backend_preconfigured(tls).build();
    let client = client.map_err(|e| Error::Client { target: name.clone(), message: e.without_url().to_string() })?;
    builder.with_http_connector(Wire(client)).build().map_err(unusable)
}

/// Puts the bucket into the host.
fn with_bucket(url: &mut Url, bucket: &str) -> Result<(), String> {
    let Some(url::Host::Domain(host)) = url.host() else {
        return Err("a bucket cannot be put into the host of an address; set `path_style = true`".into());
    };
    let host = format!("{bucket}.{host}");
    url.set_host(Some(&host)).map_err(|e| e.to_string())
}

impl Target for S3Target {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn destination(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.source())
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let prefix = self.prefix_for(delivery)?;
        let (body, mut failed) = self.maker.formatter.batch(std::slice::from_ref(delivery.record), delivery.now);
        if let Some((_, failure)) = failed.pop() {
            return Err(failure);
        }
        let name = self.maker.name(std::iter::once(delivery.record), delivery.record);
        Ok(Preview {
            destination: format!("s3://{}/{prefix}{name}", self.bucket),
            headers: Vec::new(),
            body: String::from_utf8_lossy(&body.bytes).into_owned(),
        })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let mut outcomes = self.write(std::slice::from_ref(delivery.record), delivery.now).await;
            outcomes.pop().unwrap_or_else(|| Outcome::Failed(Failure::new(FailureClass::Io, "nothing was written")))
        }
        .boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        self.write(records, now).boxed()
    }
}

#[cfg(test)]
mod tests;
