//! What every kind of target must do: docs/adding-a-target.md, as code. Written once, run for each kind.

use super::PATIENCE;
use super::line::Line;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use hexafn_actors::clock::Wall;
use hexafn_actors::event::Event;
use hexafn_actors::log::{Record, TopicId};
use hexafn_actors::target::kinds::{self, ReadSettings};
use hexafn_actors::target::settings::COMMON;
use hexafn_actors::target::{
    Common, Context, Delivery, Failure, FailureClass, Mode, Outcome, Preview, Secrets, Target, Verdict, attempt,
    attempt_batch,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How late a slow answer is.
pub const SLOW: Duration = Duration::from_millis(200);
/// What every secret is.
pub const SECRET: &str = "s3cr3t-of-the-suite";

/// A kind of target with what it delivers to.
pub trait Subject: Sized {
    /// The name of the kind.
    const KIND: &'static str;
    /// The `timeout` of the target: as short as its server can bear on a busy machine.
    const TIMEOUT: Duration = Duration::from_secs(1);
    /// What may come on top of it: on a busy machine, less than the same time again.
    const MARGIN: Duration = Duration::from_millis(900);
    /// Whether the other side keeps one of two deliveries under the same id.
    const ONCE: bool = false;
    /// Starts the other side.
    async fn start() -> Self;
    /// The settings of the kind, without `name`, `kind` and `timeout`.
    fn toml(&self) -> String;
    /// One of these is in every message about a failure: where it happened.
    fn places(&self) -> Vec<String>;
    /// The line to the server, where there is one.
    fn line(&self) -> Option<&Line> {
        None
    }
    /// The configuration's folder.
    fn base_dir(&self) -> &Path {
        Path::new(".")
    }
    /// The data of an event that is delivered.
    fn good(&self) -> Value;
    /// The data of an event that no attempt can deliver.
    fn bad(&self) -> Value;
    /// Makes the other side refuse an event with the data that is returned; `None` where nothing refuses.
    async fn refuse(&self) -> Option<Value>;
    /// Makes the other side hang; `false` where it cannot.
    async fn hang(&self) -> bool {
        self.line().inspect(|line| line.hang()).is_some()
    }
    /// Waits until an attempt has got as far as the hang.
    async fn reached(&self) {
        self.line().expect("a kind that hangs").reached().await;
    }
    /// Makes the next answer late by [`SLOW`].
    async fn slow(&self) {
        self.line().inspect(|line| line.slow(SLOW));
    }
    /// Ends a hang and a refusal.
    async fn recover(&self) {
        self.line().inspect(|line| line.recover());
    }
    /// The idempotency key of each arrival of an event.
    async fn arrived(&self, id: &str) -> Vec<String>;
}

struct SameSecret;

impl Secrets for SameSecret {
    fn get(&self, _: &str) -> Result<Zeroizing<String>, String> {
        Ok(Zeroizing::new(SECRET.to_owned()))
    }
}

struct Table(toml::Table);

impl ReadSettings for Table {
    fn read<T: DeserializeOwned>(self) -> Option<T> {
        Some(self.0.try_into().unwrap_or_else(|error| panic!("{error}")))
    }
}

/// The target of a subject, made as the configuration makes it.
pub fn build<S: Subject>(subject: &S) -> Arc<dyn Target> {
    build_with(subject, "")
}

/// The same with more settings.
pub fn build_with<S: Subject>(subject: &S, more: &str) -> Arc<dyn Target> {
    let text = format!("name = \"out\"\ntimeout = \"{}ms\"\n{more}\n{}", S::TIMEOUT.as_millis(), subject.toml());
    let whole: toml::Table = toml::from_str(&text).unwrap();
    let common: Common = toml::Value::Table(whole.clone()).try_into().unwrap();
    assert_eq!(common.check(), []);
    let own = whole.into_iter().filter(|(key, _)| !COMMON.contains(&key.as_str())).collect();
    let factory = kinds::read(S::KIND, Table(own)).expect("a kind");
    let loopback = ["127.0.0.0/8".parse().unwrap()];
    let context =
        Context { base_dir: subject.base_dir(), secrets: &SameSecret, allow_networks: &loopback, lookup: None };
    factory.build(&common, &context).unwrap()
}

/// An event with an id of its own.
pub fn record(data: &Value) -> Arc<Record> {
    let event = Event::new("suite", "order", data.to_string().into());
    Arc::new(Record::new("orders".into(), TopicId(1), 1, Wall(0), event))
}

/// The first attempt.
pub fn first(record: &Arc<Record>) -> Delivery<'_> {
    Delivery { record, attempt: 1, now: Wall::now() }
}

/// An attempt with each of these, as the forwarder makes them.
async fn many(target: &dyn Target, records: &[Arc<Record>]) -> Vec<Outcome> {
    match target.mode() {
        Mode::Each { .. } => join_all(records.iter().map(|record| attempt(target, first(record)))).await,
        Mode::Batch { .. } => attempt_batch(target, records, Wall::now()).await,
    }
}

/// An attempt with one.
pub async fn once(target: &dyn Target, record: &Arc<Record>) -> Outcome {
    let mut outcomes = many(target, std::slice::from_ref(record)).await;
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0)
}

/// Begins one.
fn begin<'a>(target: &'a dyn Target, record: &'a Arc<Record>) -> BoxFuture<'a, ()> {
    match target.mode() {
        Mode::Each { .. } => target.deliver(first(record)).map(drop).boxed(),
        Mode::Batch { .. } => target.deliver_batch(std::slice::from_ref(record), Wall::now()).map(drop).boxed(),
    }
}

/// Says in which clause a panic was.
struct Clause(&'static str, &'static str);

impl Drop for Clause {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the contract is broken by `{}`: {}", self.0, self.1);
        }
    }
}

fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered { .. } => panic!("it was delivered"),
    }
}

fn delivered(outcome: &Outcome) {
    assert!(outcome.is_delivered(), "{outcome:?}");
}

/// Where it was, and no secret.
fn is_told_well<S: Subject>(subject: &S, failure: &Failure) {
    assert!(!failure.message.contains(SECRET), "{failure:?}");
    assert!(!failure.message.chars().any(char::is_control), "{failure:?}");
    let places = subject.places();
    assert!(places.iter().any(|place| failure.message.contains(place)), "it names none of {places:?}: {failure:?}");
}

async fn arrives<S: Subject>(subject: &S, record: &Record) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let keys = subject.arrived(&record.event.id).await;
        if !keys.is_empty() {
            return keys;
        }
        assert!(Instant::now() < end, "{} was delivered and did not arrive", record.event.id);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Holds a kind to the contract.
pub async fn holds<S: Subject>() {
    let clause = |what| Clause(S::KIND, what);
    let subject = S::start().await;
    {
        let _clause = clause("preview says where to, shows no secret, and connects to nothing");
        previews(&subject);
    }
    let target = build(&subject);
    {
        let _clause = clause("an event arrives, with its id as idempotency key");
        delivers(&subject, &*target).await;
    }
    {
        let _clause = clause("a slow answer within `timeout` is a delivery");
        takes_its_time(&subject, &*target).await;
    }
    {
        let _clause = clause("a hang ends within `timeout`, and the next attempt succeeds");
        ends_a_hang(&subject, &*target).await;
    }
    {
        let _clause = clause("a refusal is told, and the next attempt succeeds");
        tells_a_refusal(&subject, &*target).await;
    }
    {
        let _clause = clause("an attempt that is dropped leaves nothing behind");
        is_dropped(&subject, &*target).await;
    }
    {
        let _clause = clause("a panic is a failure, and the next attempt succeeds");
        panics(&subject, &target).await;
    }
    {
        let _clause = clause("one outcome for each record, in their order; a bad one fails alone");
        sends_many(&subject, &*target).await;
    }
    {
        let _clause = clause("it closes in mid-delivery");
        closes(&subject, target).await;
    }
    {
        let _clause = clause("an event that is delivered again after a crash comes under the same id");
        comes_again(&subject).await;
    }
}

fn previews<S: Subject>(subject: &S) {
    let before = subject.line().map(Line::accepted);
    let target = build(subject);
    assert_eq!(target.kind(), S::KIND);
    let preview = target.preview(first(&record(&subject.good()))).unwrap();
    let shown = format!("{preview:?} {}", target.destination());
    assert!(!shown.contains(SECRET), "{shown}");
    let places = subject.places();
    for destination in [&preview.destination, &target.destination()] {
        assert!(places.iter().any(|place| destination.contains(place)), "{destination} names none of {places:?}");
    }
    assert!(!preview.body.is_empty(), "{preview:?}");
    let failure = target.preview(first(&record(&subject.bad()))).expect_err("an event that cannot be delivered");
    assert_eq!(failure.verdict, Verdict::DeadLetter, "{failure:?}");
    assert_eq!(subject.line().map(Line::accepted), before, "it connected");
}

async fn delivers<S: Subject>(subject: &S, target: &dyn Target) {
    let record = record(&subject.good());
    delivered(&once(target, &record).await);
    assert_eq!(arrives(subject, &record).await.len(), 1);
}

async fn takes_its_time<S: Subject>(subject: &S, target: &dyn Target) {
    let record = record(&subject.good());
    subject.slow().await;
    delivered(&once(target, &record).await);
    assert_eq!(arrives(subject, &record).await.len(), 1);
}

async fn ends_a_hang<S: Subject>(subject: &S, target: &dyn Target) {
    if !subject.hang().await {
        return;
    }
    let record = record(&subject.good());
    // Over the connection that is there, and over none: whichever the first one left.
    for _ in 0..2 {
        let began = Instant::now();
        let failure = failed(once(target, &record).await);
        let took = began.elapsed();
        assert!(took < S::TIMEOUT + S::MARGIN, "it took {took:?}: {failure:?}");
        let timely = matches!(failure.class, FailureClass::Timeout | FailureClass::Connect);
        assert!(timely && failure.verdict == Verdict::Retry, "{failure:?}");
        is_told_well(subject, &failure);
    }
    subject.recover().await;
    delivered(&once(target, &record).await);
    same_key(&arrives(subject, &record).await);
}

async fn tells_a_refusal<S: Subject>(subject: &S, target: &dyn Target) {
    let Some(data) = subject.refuse().await else { return };
    let began = Instant::now();
    let failure = failed(once(target, &record(&data)).await);
    let took = began.elapsed();
    assert!(took < S::TIMEOUT + S::MARGIN, "it took {took:?}: {failure:?}");
    let of_ours = matches!(failure.class, FailureClass::Panic | FailureClass::Timeout | FailureClass::Connect);
    assert!(!of_ours, "{failure:?}");
    is_told_well(subject, &failure);
    subject.recover().await;
    delivered(&once(target, &record(&subject.good())).await);
}

async fn is_dropped<S: Subject>(subject: &S, target: &dyn Target) {
    let record = record(&subject.good());
    let hangs = subject.hang().await;
    {
        let mut dropped = begin(target, &record);
        if hangs {
            tokio::select! {
                () = &mut dropped => panic!("it ended in a hang"),
                () = subject.reached() => {}
            }
        } else {
            let _begun = futures_util::poll!(&mut dropped);
        }
    }
    subject.recover().await;
    delivered(&once(target, &record).await);
    same_key(&arrives(subject, &record).await);
}

/// A target that panics while it delivers.
#[derive(Debug)]
struct Panics(Arc<dyn Target>);

impl Target for Panics {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn destination(&self) -> String {
        self.0.destination()
    }

    fn mode(&self) -> Mode {
        self.0.mode()
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        self.0.preview(delivery)
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let mut begun = self.0.deliver(delivery);
            drop(futures_util::poll!(&mut begun));
            panic!("a defect")
        }
        .boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        async move {
            let mut begun = self.0.deliver_batch(records, now);
            drop(futures_util::poll!(&mut begun));
            panic!("a defect")
        }
        .boxed()
    }
}

async fn panics<S: Subject>(subject: &S, target: &Arc<dyn Target>) {
    let panicking = Panics(target.clone());
    let records = [record(&subject.good()), record(&subject.good())];
    let mut outcomes = attempt_batch(&panicking, &records, Wall::now()).await;
    assert_eq!(outcomes.len(), records.len());
    // Another one: what came of the batch may be one object, which holds both.
    let alone = record(&subject.good());
    outcomes.push(attempt(&panicking, first(&alone)).await);
    for outcome in outcomes {
        let failure = failed(outcome);
        assert_eq!((failure.class, failure.verdict), (FailureClass::Panic, Verdict::Retry), "{failure:?}");
    }
    delivered(&once(&**target, &alone).await);
    same_key(&arrives(subject, &alone).await);
}

async fn sends_many<S: Subject>(subject: &S, target: &dyn Target) {
    let records = [record(&subject.good()), record(&subject.bad()), record(&subject.good())];
    let outcomes = many(target, &records).await;
    let [before, bad, after] = &outcomes[..] else { panic!("{outcomes:?}") };
    delivered(before);
    delivered(after);
    let bad = failed(bad.clone());
    assert_eq!(bad.verdict, Verdict::DeadLetter, "{bad:?}");
    assert!(!bad.message.contains(SECRET), "{bad:?}");
    for good in [&records[0], &records[2]] {
        assert_eq!(arrives(subject, good).await.len(), 1);
    }
    assert!(subject.arrived(&records[1].event.id).await.is_empty(), "the bad one arrived");
}

async fn closes<S: Subject>(subject: &S, target: Arc<dyn Target>) {
    let record = record(&subject.good());
    let hangs = subject.hang().await;
    let (delivering, sent) = (target.clone(), record.clone());
    let delivery = tokio::spawn(async move { once(&*delivering, &sent).await });
    if hangs {
        subject.reached().await;
    }
    let closed = tokio::time::timeout(S::TIMEOUT + S::MARGIN, target.close()).await;
    assert!(closed.is_ok(), "closing did not end in time");
    let ended = tokio::time::timeout(S::TIMEOUT + S::MARGIN, delivery).await;
    let outcome = ended.expect("the delivery did not end in time").unwrap();
    if let Outcome::Failed(failure) = &outcome {
        assert_eq!(failure.verdict, Verdict::Retry, "{failure:?}");
        is_told_well(subject, failure);
    }
    drop(target);
    subject.recover().await;
    delivered(&once(&*build(subject), &record).await);
    same_key(&arrives(subject, &record).await);
}

async fn comes_again<S: Subject>(subject: &S) {
    let record = record(&subject.good());
    for _ in 0..2 {
        // What a crash leaves is the event, as it is stored, and nothing of the target.
        let target = build(subject);
        delivered(&once(&*target, &record).await);
    }
    let end = Instant::now() + PATIENCE;
    let expected = if S::ONCE { 1 } else { 2 };
    loop {
        let keys = arrives(subject, &record).await;
        if keys.len() >= expected {
            assert_eq!(keys.len(), expected, "{keys:?}");
            same_key(&keys);
            return;
        }
        assert!(Instant::now() < end, "{keys:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn same_key(keys: &[String]) {
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "one event came under several ids: {keys:?}");
}
