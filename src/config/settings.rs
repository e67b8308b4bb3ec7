//! The sections of single settings: `[server]`, `[storage]`, `[log]`, `[supervision]`, `[targets]`. Each type is its
//! own raw shape; its `Default` is the built-in default. The reason of each default stands at its field, and in
//! `config/reference.toml.example`.

use hexafn_actors::definitions::Told;
use hexafn_actors::supervision::duration::Span as Length;
use hexafn_actors::supervision::strategy::{RawStrategy, RestartStrategy};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

use super::codes;
use super::problem::{Problem, Problems};
use super::read::Reader;
use super::size::Size;
use super::tree::{Node, Step};

/// `[server]`: the address, the doors and their limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Where to listen. `127.0.0.1:8080`: reachable from this machine alone until somebody decides otherwise.
    #[serde(deserialize_with = "listen")]
    #[schemars(extend("pattern" = "^.+:[0-9]{1,5}$"), example = &"127.0.0.1:8080", example = &"[::1]:8080")]
    pub listen: SocketAddr,
    /// Web workers; 0 is one a processor.
    pub workers: usize,
    /// Listen beyond this machine although no token is configured: whoever reaches the address may do everything.
    pub allow_remote_without_tokens: bool,
    /// Names and addresses that the `Host` header may carry, besides the address listened on and, on loopback,
    /// `localhost`. A foreign one is answered 421: it is the mark of a rebinding attack.
    pub allowed_hosts: Vec<String>,
    /// Origins that browsers may open WebSockets from, besides the console's own.
    pub allowed_origins: Vec<String>,
    /// How long running requests and deliveries may take to end at SIGTERM.
    #[serde(with = "length")]
    #[schemars(schema_with = "length::schema")]
    pub drain: Duration,
    /// Limits at the door.
    pub limits: Limits,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            workers: 0,
            allow_remote_without_tokens: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            drain: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// `[server.limits]`: limits at the door.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections open at a time. Each takes an open file; the start raises the limit of the process.
    pub max_connections: usize,
    /// A request's head must be there within this (slow-loris).
    #[serde(with = "length")]
    #[schemars(schema_with = "length::schema")]
    pub head: Duration,
    /// A request's body must be there within this.
    #[serde(with = "length")]
    #[schemars(schema_with = "length::schema")]
    pub body: Duration,
    /// The longest body of a request to the API; a source has its own (`limits.body`).
    pub max_body: Size,
    /// What the bodies of all open requests may hold together; beyond, 503. Without it 2,000 connections would hold
    /// 50 GB of bodies of 25 MiB, sent by anybody.
    pub bodies: Size,
    /// WebSocket streams open at a time.
    pub max_streams: usize,
    /// Requests a second of one token, with bursts of as many; beyond, 429.
    pub token_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 2_000,
            head: Duration::from_secs(5),
            body: Duration::from_secs(10),
            max_body: Size(1 << 20),
            bodies: Size(256 << 20),
            max_streams: 500,
            token_rate: 1_000,
        }
    }
}

/// When an accepted event is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// Before the answer; one fsync for all that wait.
    Always,
    /// Some time after it: a power cut loses what was answered last.
    Lazy,
}

/// `[storage]`: the log on disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSettings {
    /// The data folder, from the working directory.
    pub path: PathBuf,
    /// When an accepted event is on disk.
    pub sync: Sync,
    /// All records together take at most this; beyond, new events are answered 507. As much as there is when absent.
    pub max_size: Option<Size>,
    /// With less free space on the disk, new events are answered 507, so that reads and deliveries can go on.
    pub min_free: Size,
    /// Memory for reading and writing the log: enough for the recent tail, small beside an idle process.
    pub memory: Size,
    /// Start although acknowledged data is missing or damaged, with what is left. For one start, by hand.
    pub accept_loss: bool,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            path: "data".into(),
            sync: Sync::Always,
            max_size: None,
            min_free: Size(256 << 20),
            memory: Size(32 << 20),
            accept_loss: false,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text to a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `[log]`: what the process says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,hexafn_actors::topic=debug`.
    #[serde(deserialize_with = "level")]
    #[schemars(schema_with = "levels")]
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// `[telemetry]`: traces for others.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Where spans go: the address of a collector of OpenTelemetry that speaks OTLP over HTTP. `/v1/traces` is added to it. Absent:
    /// there are none.
    #[serde(deserialize_with = "collector")]
    #[schemars(with = "Option<String>", extend("pattern" = "^https?://"), example = &"http://127.0.0.1:4318")]
    pub otlp: Option<Url>,
    /// How many of the traces that begin here are sampled, from 0 to 1. A trace that comes with an event was decided on by its sender.
    pub sample: f64,
    /// The name that this service has there.
    pub service: String,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { otlp: None, sample: 1.0, service: "hexafn".into() }
    }
}

/// Reads `[telemetry]` and checks its bounds.
pub fn telemetry(node: &Node, problems: &mut Problems) -> TelemetrySettings {
    let reader = Reader::new(node, "[telemetry]");
    let settings = reader.read_what_fits::<TelemetrySettings>(problems).0.unwrap_or_default();
    let mut bound = |key, ok: bool, expected: &str| {
        if !ok {
            let message = format!("`{key}` of [telemetry] must be {expected}");
            problems.push(Problem::error(&codes::VALUE, node.span_of(&[Step::Key(key)]), message));
        }
    };
    bound("sample", (0.0..=1.0).contains(&settings.sample), "from 0 (none) to 1 (all)");
    let name = settings.service.trim();
    bound("service", !name.is_empty() && name.len() <= 255, "a name of 1 to 255 bytes, e.g. \"hexafn\"");
    settings
}

fn collector<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let expected = "not the address of a collector; write for example \"http://127.0.0.1:4318\"";
    let url: Url = String::deserialize(from)?.parse().map_err(|_| de::Error::custom(expected))?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(de::Error::custom(format!("{expected} (http or https, without a user, a query or a fragment)")));
    }
    Ok(Some(url))
}

/// `[targets]`: what holds for all of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetsSettings {
    /// Private networks that HTTP targets may reach; all others that are not public are refused.
    #[serde(deserialize_with = "networks")]
    #[schemars(with = "Vec<String>", example = ["127.0.0.0/8", "10.1.0.0/16"])]
    pub allow_networks: Vec<IpNet>,
    /// What is told of deliveries on the topic `hexafn.outcomes`, where triggers can listen.
    pub outcomes: Told,
}

/// `[functions]`: what holds for all of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionsSettings {
    /// What is told of their runs on the topic `hexafn.executions`, where triggers can listen.
    pub executions: Told,
}

/// `[supervision]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionSettings {
    /// Restarts of an actor.
    pub actor: RestartStrategy,
    /// Restarts of a group of actors.
    pub parent: RestartStrategy,
}

impl Default for SupervisionSettings {
    fn default() -> Self {
        Self { actor: RestartStrategy::actor(), parent: RestartStrategy::parent() }
    }
}

/// `[supervision]`: restarts of actors.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSupervision {
    /// Restarts of an actor.
    actor: RawStrategy,
    /// Restarts of a group of actors, counted in escalations of its children.
    parent: RawStrategy,
}

impl SupervisionSettings {
    /// Reads the section.
    pub fn read(node: &Node, problems: &mut Problems) -> Self {
        let Some(raw) = super::read::read::<RawSupervision>(node, "[supervision]", problems) else {
            return Self::default();
        };
        let of = |key, raw: &RawStrategy, base: RestartStrategy, problems: &mut Problems| {
            strategy(node, &[Step::Key(key)], &format!("`{key}` of [supervision]"), raw, base, problems)
        };
        Self {
            actor: of("actor", &raw.actor, RestartStrategy::actor(), problems),
            parent: of("parent", &raw.parent, RestartStrategy::parent(), problems),
        }
    }
}

/// Lays a written strategy over a default; what cannot be meant is reported, and the default kept.
pub fn strategy(
    node: &Node,
    path: &[Step<'_>],
    what: &str,
    raw: &RawStrategy,
    base: RestartStrategy,
    problems: &mut Problems,
) -> RestartStrategy {
    match raw.over(base.clone()) {
        Ok(strategy) => strategy,
        Err(error) => {
            let steps: Vec<Step<'_>> = path.iter().copied().chain(error.field.split('.').map(Step::Key)).collect();
            let message = format!("{what}: {}: {}", error.field, error.problem);
            problems.push(Problem::error(&codes::VALUE, node.span_of(&steps), message).help(error.advice));
            base
        }
    }
}

/// Reads `[server]` and checks its bounds.
pub fn server(node: &Node, problems: &mut Problems) -> ServerSettings {
    let reader = Reader::new(node, "[server]");
    let settings = reader.read_what_fits::<ServerSettings>(problems).0.unwrap_or_default();
    let limits = &settings.limits;
    let seconds = Duration::from_secs;
    let mut bound = |path: &[Step<'_>], ok: bool, expected: &str| {
        if !ok {
            let name: Vec<&str> =
                path.iter().filter_map(|s| if let Step::Key(k) = s { Some(*k) } else { None }).collect();
            let message = format!("`{}` of [server] must be {expected}", name.join("."));
            problems.push(Problem::error(&codes::VALUE, node.span_of(path), message));
        }
    };
    let limit = |name| [Step::Key("limits"), Step::Key(name)];
    bound(&["workers".into()], settings.workers <= 1_024, "at most 1024 (0 is one a processor)");
    bound(&["drain".into()], settings.drain <= seconds(3_600), "at most \"1h\"");
    let connections = (1..=1_000_000).contains(&limits.max_connections);
    bound(&limit("max_connections"), connections, "from 1 to 1000000");
    bound(&limit("max_streams"), limits.max_streams <= 1_000_000, "at most 1000000");
    bound(&limit("token_rate"), limits.token_rate > 0, "at least 1");
    let time = |d: Duration| d >= Duration::from_millis(100) && d <= seconds(600);
    bound(&limit("head"), time(limits.head), "from \"100ms\" to \"10m\"");
    bound(&limit("body"), time(limits.body), "from \"100ms\" to \"10m\"");
    let body = (1 << 10..=25 << 20).contains(&limits.max_body.0);
    bound(&limit("max_body"), body, "from \"1KiB\" to \"25MiB\"");
    // At least one of the longest that a source may take.
    let bodies = (25 << 20..=1 << 40).contains(&limits.bodies.0);
    bound(&limit("bodies"), bodies, "from \"25MiB\" to \"1TiB\"");
    for (index, host) in settings.allowed_hosts.iter().enumerate() {
        let plain = !host.is_empty() && !host.contains(['/', '*', ' ', '@']);
        bound(
            &["allowed_hosts".into(), index.into()],
            plain,
            "host names as a browser sends them, e.g. \"hooks.example.org\" (no scheme, no path, no wildcard)",
        );
    }
    for (index, origin) in settings.allowed_origins.iter().enumerate() {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain = rest.is_some_and(|r| !r.is_empty() && !r.contains(['/', '*', ' ', '@']));
        bound(
            &["allowed_origins".into(), index.into()],
            plain,
            "origins such as \"https://console.example.org\" (a scheme, no path, no wildcard)",
        );
    }
    settings
}

/// Reads `[storage]` and checks its bounds.
pub fn storage(node: &Node, problems: &mut Problems) -> StorageSettings {
    let reader = Reader::new(node, "[storage]");
    let settings = reader.read_what_fits::<StorageSettings>(problems).0.unwrap_or_default();
    let mut bound = |key, ok: bool, expected: &str| {
        if !ok {
            let message = format!("`{key}` of [storage] must be {expected}");
            problems.push(Problem::error(&codes::VALUE, node.span_of(&[Step::Key(key)]), message));
        }
    };
    bound("path", !settings.path.as_os_str().is_empty(), "a folder, e.g. \"data\"");
    bound("max_size", settings.max_size.is_none_or(|s| s.0 >= 16 << 20), "at least \"16MiB\"");
    bound("memory", (4 << 20..=64 << 30).contains(&settings.memory.0), "from \"4MiB\" to \"64GiB\"");
    settings
}

/// A length of time with its unit: `#[serde(with = "length")]`.
pub mod length {
    use super::Length;
    use schemars::{JsonSchema, Schema, SchemaGenerator};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Reads `"5m"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Length::deserialize(from).map(|span| span.0)
    }

    /// Writes it again, for the defaults in the schema.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Length(*duration))
    }

    /// What an editor is told.
    pub fn schema(generator: &mut SchemaGenerator) -> Schema {
        Length::json_schema(generator)
    }
}

fn listen<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let loopback = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    loopback.unwrap_or_else(|| text.clone()).parse().map_err(|_| {
        de::Error::custom(
            "not an address and a port; write for example \"127.0.0.1:8080\", \"[::1]:8080\" or \"0.0.0.0:8080\"",
        )
    })
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let text = String::deserialize(from)?;
            let one = text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or(one).map(Self).map_err(|_| {
                de::Error::custom("not a network; write for example \"127.0.0.0/8\", \"10.0.0.0/8\" or \"fd00::/8\"")
            })
        }
    }
    Ok(Vec::<Network>::deserialize(from)?.into_iter().map(|n| n.0).collect())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn levels(_: &mut SchemaGenerator) -> Schema {
    let words = LEVELS.join("|");
    json_schema!({
        "anyOf": [
            { "type": "string", "enum": LEVELS },
            { "type": "string", "pattern": format!(r"^([^,]*=)?\s*({words})\s*(,([^,]*=)?\s*({words})\s*)*$") },
        ],
    })
}

fn level<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let known = text.split(',').all(|directive| {
        let level = directive.rsplit('=').next().unwrap_or(directive).trim();
        LEVELS.contains(&level)
    });
    if known {
        return Ok(text);
    }
    Err(de::Error::custom(
        "not a log level; write error, warn, info, debug or trace, also for one module: \"info,hexafn_actors::topic=debug\"",
    ))
}
