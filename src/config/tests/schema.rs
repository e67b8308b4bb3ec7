//! The schema for editors and the reader agree: on all that is shipped, and on what is wrong.

use super::*;
use crate::config::layers::{KINDS, SECTIONS};
use crate::config::schema::document;
use jsonschema::Validator;
use serde_json::Value;

fn validator() -> Validator {
    jsonschema::draft202012::new(&document()).unwrap()
}

/// What the schema has against a file, as an editor asks it: with moments as texts.
fn complaints(validator: &Validator, toml: &str) -> Vec<String> {
    fn plain(value: toml::Value) -> toml::Value {
        match value {
            toml::Value::Datetime(moment) => moment.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(plain).collect::<Vec<_>>().into(),
            toml::Value::Table(table) => {
                toml::Value::Table(table.into_iter().map(|(key, value)| (key, plain(value))).collect())
            }
            other => other,
        }
    }
    let file = plain(toml::Value::Table(toml.parse().unwrap()));
    let json = serde_json::to_value(file).unwrap();
    validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn toml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            toml_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn all_that_is_shipped_satisfies_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("config/reference.toml.example")];
    toml_files(&root.join("config"), &mut files);
    toml_files(&root.join("tests/scenarios"), &mut files);
    assert!(files.len() > 10, "{files:?}");
    let validator = validator();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(complaints(&validator, &text), Vec::<String>::new(), "{}", path.display());
    }
}

const SECTION: &str = "[server]\nworkers = 2\ndrain = '5s'\n[server.limits]\nmax_body = '2MiB'\n[storage]\nsync = 'lazy'\n\
    [log]\nlevel = 'info,hexafn_actors::topic=debug'\n[targets]\nallow_networks = ['10.0.0.0/8']\n\
    [supervision.actor]\nintensity = { failures = 5, within = '60s' }\non_exhausted = 'quarantine'\n";
const WEBHOOK: &str = "[[source]]\nname = 'a'\nkind = 'webhook'\ndescription = 'orders'\ntopic = 'a'\nmethods = ['PUT']\n\
    verify = { scheme = 'hmac', header = 'X-Sign', secrets = ['env:S'], algorithm = 'sha512', tolerance = '1m' }\n\
    limits = { body = 4096, depth = 3 }\nrate = { per_second = 5 }\n";
const TIMER: &str = "[[source]]\nname = 'a'\nkind = 'timer'\ntopic = 'a'\nevery = '30s'\nmissed = 'once'\ndata = [1]\n";
const KAFKA: &str = "[[source]]\nname = 'a'\nkind = 'kafka'\nbrokers = ['kafka.example.com:9092']\ntopics = ['t']\ngroup = 'g'\n\
    topic = 'a'\nstart = 'latest'\nmax_record = '2MiB'\nfetch = { max_records = 10 }\nsession_timeout = '10s'\n\
    [[target]]\nname = 'k'\nkind = 'kafka'\nbrokers = ['kafka.example.com:9092']\ntopic = 't'\ncompression = 'zstd'\n\
    tls = {}\nsasl = { mechanism = 'SCRAM-SHA-512', username = 'u', password = 'env:S' }\n";
const NATS: &str = "[[source]]\nname = 'a'\nkind = 'nats'\nservers = ['nats.example.com']\nstream = 's'\ntopic = 'a'\n\
    dedupe_window = '1h'\n[[target]]\nname = 'n'\nkind = 'nats'\nservers = ['nats.example.com']\nsubject = 's'\n\
    delivery = 'core'\nauth = { access_token = 'env:S' }\n";
const TOPIC: &str = "[[topic]]\nname = 'a.b'\ndurability = 'memory'\nretention = { age = '7d', count = 'unlimited' }\n";
const FUNCTION: &str =
    "[[function]]\nname = 'f'\nruntime = 'dsl'\ncode = 'event.data'\ntimeout = '1s'\nfallback = []\n";
const TRIGGER: &str = "[[trigger]]\nname = 't'\non = 'a.*'\nwhen = 'true'\nto = 'out'\npriority = -1\nordering = 'key'\n\
    [[target]]\nname = 'out'\nkind = 'topic'\ntopic = 'b'\n";
const HTTP: &str = "[[target]]\nname = 'h'\nkind = 'http'\nurl = 'https://example.com/'\nmethod = 'PUT'\nformat = 'json'\n\
    timeout = '1m 30s'\nrate = '100/s'\nheaders = { x-team = 'shop' }\nsign = { secrets = ['env:S'] }\nbreaker = { failures = 3 }\n";
const FILE: &str =
    "[[target]]\nname = 'f'\nkind = 'file'\npath = 'out.jsonl'\nformat = 'cloudevents'\nrotate = { size = '1GB' }\n";
const TOKEN: &str = "[[token]]\nname = 'ops'\nsha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n\
    scopes = ['topics:read:*']\nexpires = 2030-01-01T00:00:00Z\n";
const TEST: &str = "[[topic]]\nname = 'a'\n[[test]]\nname = 'It works.'\nnow = '2026-01-01T00:00:00Z'\n\
    send = { topic = 'a', data = { n = 1 }, after = '1m' }\nexpect = [{ topic = 'a', count = 1 }]\n";

/// Each is right, and wrong with the one change.
const CHANGES: [(&str, &str, &str); 61] = [
    (KAFKA, "group = 'g'\n", ""),
    (KAFKA, "'latest'", "'newest'"),
    (KAFKA, "topics = ['t']", "topics = 't'"),
    (KAFKA, "'2MiB'", "'2MB'"),
    (KAFKA, "max_records", "max_record"),
    (KAFKA, "'zstd'", "'rar'"),
    (KAFKA, "SCRAM-SHA-512", "SCRAM"),
    (NATS, "subject = 's'\n", ""),
    (NATS, "'core'", "'once'"),
    (NATS, "access_token", "token"),
    (NATS, "'1h'", "3600"),
    (SECTION, "[server]", "[sever]"),
    (SECTION, "workers = 2", "workers = '2'"),
    (SECTION, "workers = 2", "workers = -2"),
    (SECTION, "workers = 2", "wokers = 2"),
    (SECTION, "'5s'", "5"),
    (SECTION, "'5s'", "'5 seconds'"),
    (SECTION, "'2MiB'", "'2MB'"),
    (SECTION, "'lazy'", "'never'"),
    (SECTION, "topic=debug", "topic=loud"),
    (SECTION, "['10.0.0.0/8']", "'10.0.0.0/8'"),
    (SECTION, "failures = 5, ", ""),
    (SECTION, "'quarantine'", "'give_up'"),
    (WEBHOOK, "[[source]]", "[source]"),
    (WEBHOOK, "name = 'a'\n", ""),
    (WEBHOOK, "name = 'a'", "name = 'a b'"),
    (WEBHOOK, "kind = 'webhook'\n", ""),
    (WEBHOOK, "'webhook'", "'web'"),
    (WEBHOOK, "topic = 'a'\n", ""),
    (WEBHOOK, "topic = 'a'", "topic = 'a'\ntopic_expr = 'a'"),
    (WEBHOOK, "topic = 'a'", "topic = 'a'\nevery = '30s'"),
    (WEBHOOK, "topic = 'a'", "topic = 'a'\nschema = 7"),
    (WEBHOOK, "topic = 'a'", "topic = 'a'\nvalidate = 'yes'"),
    (WEBHOOK, "'PUT'", "'FETCH'"),
    (WEBHOOK, "'hmac'", "'mac'"),
    (WEBHOOK, "header = 'X-Sign', ", ""),
    (WEBHOOK, "['env:S']", "['the secret itself']"),
    (WEBHOOK, "['env:S']", "[]"),
    (WEBHOOK, "algorithm", "algoritm"),
    (WEBHOOK, "depth = 3", "depth = 5000000000"),
    (WEBHOOK, "per_second = 5", "per_second = 0.5"),
    (TIMER, "every = '30s'\n", ""),
    (TIMER, "'once'", "'twice'"),
    (TOPIC, "'a.b'", "'a..b'"),
    (TOPIC, "'unlimited'", "'endless'"),
    (FUNCTION, "'dsl'", "'perl'"),
    (FUNCTION, "code = 'event.data'\n", ""),
    (FUNCTION, "'event.data'", "'event.data'\nfile = 'f.hexa'"),
    (TRIGGER, "on = 'a.*'\n", ""),
    (TRIGGER, "'a.*'", "'a.>.b'"),
    (TRIGGER, "'a.*'", "{ evry = '5m' }"),
    (TRIGGER, "to = 'out'", "to = 1"),
    (HTTP, "url = 'https://example.com/'\n", ""),
    (HTTP, "'1m 30s'", "'90'"),
    (HTTP, "'100/s'", "'100'"),
    (HTTP, "'json'", "'event'"),
    (FILE, "'cloudevents'", "'event'"),
    (TOKEN, "'e3b0", "'"),
    (TOKEN, "'topics:read:*'", "'topics:read'"),
    (TEST, "expect = [{ topic = 'a', count = 1 }]\n", ""),
    (TEST, "topic = 'a', data", "data"),
];

/// What only the reader can see, since it takes more than one place, or a meaning.
const BEYOND: [(&str, &str, &str); 6] = [
    (TRIGGER, "'out'\npriority", "'nowhere'\npriority"),
    (TRIGGER, "when = 'true'", "when = 'true +'"),
    (FUNCTION, "'1s'", "'1h'"),
    (TIMER, "every = '30s'", "cron = 'never'"),
    (TOPIC, "'a.b'", "'hexafn.b'"),
    (SECTION, "'10.0.0.0/8'", "'10.0.0.0/99'"),
];

#[test]
fn it_refuses_what_the_reader_refuses() {
    let validator = validator();
    let schema = |toml: &str| complaints(&validator, toml);
    let reader = |toml: &str| match Case::toml(toml).without_secrets().load() {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    };
    for (right, from, _) in CHANGES.into_iter().chain(BEYOND) {
        assert_eq!((schema(right), reader(right)), (vec![], String::new()), "{right}");
        assert_eq!(right.matches(from).count(), 1, "`{from}` in {right}");
    }
    for (right, from, to) in CHANGES {
        let wrong = right.replace(from, to);
        assert!(!schema(&wrong).is_empty(), "the schema accepts `{to}` in place of `{from}`");
        assert!(!reader(&wrong).is_empty(), "the reader accepts `{to}` in place of `{from}`");
    }
    for (right, from, to) in BEYOND {
        let wrong = right.replace(from, to);
        assert_eq!(schema(&wrong), Vec::<String>::new(), "`{to}` in place of `{from}`");
        assert!(!reader(&wrong).is_empty(), "the reader accepts `{to}` in place of `{from}`");
    }
}

/// Times, sizes and rates have readers of their own, and each a pattern that must follow it.
#[test]
fn patterns_are_those_of_the_readers() {
    let times = [
        "5s",
        " 5s ",
        "5 s",
        "1h30m",
        "1h 30m",
        "1h 30 m",
        "5",
        "5S",
        "1.5s",
        "-5s",
        "",
        "7d",
        "90000ms",
        "5000000us",
        "1y",
    ];
    let sizes =
        ["64KiB", "64 KiB", " 64KiB", "64KiB ", "64kib", "64KB", "64", "1GiB", "0.5MiB", "-1B", "", "1048576B", "KiB"];
    let rates =
        ["100/s", "100 / s", " 100/s ", "0/s", "007/s", "+5/s", "100", "100/min", "100/m", "100/2s", "/s", "-1/s"];
    let file = "[[target]]\nname = 'f'\nkind = 'file'\npath = 'a'\n";
    let webhook = "[[source]]\nname = 'a'\nkind = 'webhook'\ntopic = 'a'\nverify = { scheme = 'none' }\n";
    let validator = validator();
    for (before, texts, after) in [
        ("[[topic]]\nname = 'a'\nretention.age = '".to_owned(), &times[..], "'"),
        (format!("{webhook}dedupe_window = '"), &times[..], "'"),
        (format!("{file}breaker.window = '"), &times[..], "'"),
        ("[storage]\nmin_free = '".to_owned(), &sizes[..], "'"),
        (format!("{file}rotate.size = '"), &sizes[..], "'"),
        (format!("{file}rate = '"), &rates[..], "'"),
        ("[storage]\nmin_free = ".to_owned(), &["4096", "-1", "1.5", "true"], ""),
        (format!("{webhook}limits.body = "), &["4096", "-1", "1.5", "'64 KiB'", "'64KB'", "'64'"], ""),
    ] {
        for text in texts {
            let toml = format!("{before}{text}{after}");
            let (schema, reader) = (complaints(&validator, &toml), Case::toml(&toml).load());
            assert_eq!(
                schema.is_empty(),
                reader.is_ok(),
                "{toml}\n{schema:?}\n{}",
                reader.err().map_or_else(String::new, |e| e.to_string())
            );
        }
    }
}

/// Also where a word decides what else may stand there, the complaint is about the place that is wrong.
#[test]
fn complaints_are_about_the_place() {
    let validator = validator();
    let told = complaints(&validator, &WEBHOOK.replace("algorithm", "algoritm"));
    assert!(told.iter().any(|t| t.contains("/source/0/verify") && t.contains("'algoritm' was unexpected")), "{told:?}");
    let told = complaints(&validator, &HTTP.replace("url =", "uri ="));
    assert!(told.iter().any(|t| t.contains("/target/0") && t.contains("'uri' was unexpected")), "{told:?}");
}

/// Everything below a schema that is a schema.
fn visit(schema: &Value, at: &str, see: &mut dyn FnMut(&str, &Value)) {
    see(at, schema);
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            "properties" => {
                value.as_object().into_iter().flatten().for_each(|(k, v)| visit(v, &format!("{at}.{k}"), see))
            }
            "items" | "additionalProperties" | "then" | "else" => visit(value, at, see),
            "anyOf" | "oneOf" => value.as_array().into_iter().flatten().for_each(|v| visit(v, at, see)),
            _ => {}
        }
    }
}

#[test]
fn it_is_a_schema_with_every_section_and_kind() {
    let document = document();
    assert!(jsonschema::meta::is_valid(&document));
    let properties: Vec<&String> = document["properties"].as_object().unwrap().keys().collect();
    assert_eq!(properties, SECTIONS.iter().chain(&KINDS).collect::<Vec<_>>());
}

#[test]
fn it_speaks_of_toml_and_not_of_rust() {
    let document = document();
    visit(&document, "", &mut |at, schema| {
        let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        for rust in ["[`", "](", "::", "None", "serde"] {
            assert!(!text.contains(rust) || text.contains("hexafn_actors::topic"), "{at}: {text}");
        }
        assert!(schema.get("$ref").is_none() && schema.get("type").is_none_or(|t| t != "null"), "{at}");
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let ways = ["anyOf", "oneOf"].into_iter().find_map(|key| property.get(key)?.as_array());
            let told = |s: &Value| s.get("description").is_some();
            // A condition repeats with `true` what the table itself has described.
            let described = told(property) || *property == true || ways.is_some_and(|ways| ways.iter().all(told));
            assert!(described, "{at}.{name} has no description: {property}");
        }
    });
}

#[test]
fn defaults_are_there_and_satisfy_it() {
    let mut defaults = std::collections::BTreeMap::new();
    visit(&document(), "", &mut |at, schema| {
        if let Some(default) = schema.get("default") {
            let own = jsonschema::draft202012::new(schema).unwrap();
            assert!(own.is_valid(default), "{at} = {default}");
            defaults.insert(at.to_owned(), default.clone());
        }
    });
    for (at, default) in [
        (".server.listen", "127.0.0.1:8080"),
        (".server.limits.max_body", "1MiB"),
        (".storage.sync", "always"),
        (".source.dedupe_window", "1d"),
        (".source.verify.tolerance", "5m"),
        (".function.timeout", "1s"),
        (".target.breaker.disable_after", "5d"),
    ] {
        assert_eq!(defaults.get(at), Some(&default.into()), "{at}");
    }
}
