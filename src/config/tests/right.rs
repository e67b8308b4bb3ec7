//! Configurations that can be used, and what is made of them.

use super::*;
use hexafn_actors::definitions::{On, Retention, SourceKind, TopicDurability};
use std::time::Duration;

#[test]
fn nothing_written_is_the_defaults() {
    let loaded = Case::toml("").loaded();
    assert_eq!(loaded.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.server.limits.max_connections, 2_000);
    assert_eq!(
        (loaded.server.limits.head, loaded.server.limits.body),
        (Duration::from_secs(5), Duration::from_secs(10))
    );
    assert_eq!((loaded.storage.path.to_str(), loaded.storage.sync), (Some("data"), Sync::Always));
    assert_eq!((loaded.log.level.as_str(), loaded.log.format), ("info", LogFormat::Auto));
    assert!(loaded.targets.allow_networks.is_empty() && loaded.warnings.is_empty());
}

#[test]
fn flags_win_over_the_environment_and_it_over_files() {
    let case = Case::new(&[
        ("a.toml", "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 1\n"),
        ("b.toml", "[server]\ndrain = \"1s\"\n[server.limits]\nhead = \"2s\"\n"),
    ])
    .env("HEXAFN_SERVER__LISTEN", "127.0.0.1:2")
    .env("HEXAFN_SERVER__WORKERS", "2")
    .env("HEXAFN_SERVER__LIMITS__BODY", "3s")
    .env("HEXAFN_SERVER__ALLOWED_HOSTS", "[\"a.example\", \"b.example\"]")
    .env("HEXAFN_CONFIG", "not a setting")
    .flag("server.listen", "127.0.0.1:3");
    let server = case.loaded().server;
    assert_eq!((server.listen.port(), server.workers, server.drain), (3, 2, Duration::from_secs(1)));
    assert_eq!((server.limits.head, server.limits.body), (Duration::from_secs(2), Duration::from_secs(3)));
    assert_eq!(server.allowed_hosts, ["a.example", "b.example"]);
}

#[test]
fn topics_have_defaults_and_bounds() {
    let loaded = Case::toml(
        "[[topic]]\nname = 'a'\n[[topic]]\nname = 'b.c'\ndurability = 'memory'\nretention = { age = 'unlimited', count = 10, size = '1GiB' }\n",
    )
    .loaded();
    let a = &loaded.definitions.topics["a"];
    assert_eq!((a.durability, &a.retention), (TopicDurability::Disk, &Retention::default()));
    let b = &loaded.definitions.topics["b.c"];
    assert_eq!(b.durability, TopicDurability::Memory);
    assert_eq!(b.retention, Retention { age: None, count: Some(10), bytes: Some(1 << 30) });
}

const GITHUB: &str = "[[source]]\nname = 'github'\nkind = 'webhook'\ntopic = 'github'\nverify = { scheme = 'github', secrets = ['env:S'] }\n";

#[test]
fn a_rotated_secret_changes_the_fingerprint_of_its_source() {
    let print = |secret: &str| {
        let loaded = Case::toml(GITHUB).env("S", secret).loaded();
        loaded.definitions.sources["github"].fingerprint
    };
    let (one, two) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    assert_eq!(print(one), print(one));
    assert_ne!(print(one), print(two));
}

#[test]
fn without_secrets_a_configuration_can_be_checked() {
    let case = Case::toml(GITHUB).without_secrets();
    let loaded = case.loaded();
    assert!(loaded.warnings.render(false).contains("GITHUB") || loaded.warnings.render(false).contains("`S`"));
    assert_eq!(loaded.warnings.problems()[0].code, "HX1013");
    let SourceKind::Webhook { .. } = &loaded.definitions.sources["github"].kind else { panic!("a webhook") };
}

#[test]
fn triggers_listen_to_topics_and_timers() {
    let text = r#"
[[source]]
name = "tick"
kind = "timer"
topic = "tick"
every = "1h"
data = { a = [1, 2.5, "x", true] }

[[trigger]]
name = "a"
on = "tick"
to = ["out"]

[[trigger]]
name = "b"
on = { cron = "0 9 * * MON", tz = "Europe/Berlin" }
to = "out"
enabled = false
priority = -3

[[target]]
name = "out"
kind = "topic"
topic = "out"
"#;
    let loaded = Case::toml(text).loaded();
    assert_eq!(loaded.warnings.render(false), "");
    let SourceKind::Timer { data, topic, .. } = &loaded.definitions.sources["tick"].kind else { panic!("a timer") };
    assert_eq!((data.as_deref(), &**topic), (Some(br#"{"a":[1,2.5,"x",true]}"#.as_slice()), "tick"));
    let (a, b) = (&loaded.definitions.triggers["a"], &loaded.definitions.triggers["b"]);
    assert!(matches!(&a.on, On::Topic(t) if &**t == "tick") && matches!(b.on, On::Timer(_)));
    assert!(a.enabled && !b.enabled && b.priority == -3);
    assert!(a.origin.ends_with("config/hexafn.toml:9"), "{}", a.origin);
}

#[test]
fn errors_are_also_for_programs() {
    let case = Case::toml("[server]\nlissen = 1\n");
    let json = case.load().err().unwrap().to_json();
    let error = &json["errors"][0];
    assert_eq!((error["code"].as_str(), error["replacement"]["text"].as_str()), (Some("HX1003"), Some("listen")));
    assert_eq!((error["place"]["line"].as_u64(), error["place"]["column"].as_u64()), (Some(2), Some(1)));
    assert!(error["place"]["file"].as_str().unwrap().ends_with("config/hexafn.toml"));
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn colour_is_only_colour() {
    let errors = Case::toml("[server]\nlissen = 1\n").load().err().unwrap();
    let coloured = errors.render(true);
    assert!(coloured.contains("\u{1b}[1;31m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    plain.push_str(rest);
    assert_eq!(plain, errors.render(false));
}

/// The folder that the repository ships.
fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// A copy of the shipped folder with the secret that `scripts/run` makes.
fn shipped_case() -> Case {
    let mut files = vec![("secrets/github".to_owned(), "0123456789abcdef0123456789abcdef".to_owned())];
    for folder in ["", "functions/", "lib/", "samples/"] {
        for entry in std::fs::read_dir(shipped().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap();
                files.push((format!("{folder}{name}"), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    Case::new(&files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect::<Vec<_>>())
}

#[test]
fn the_shipped_configuration_is_right_without_a_warning() {
    let case = shipped_case();
    let loaded = case.loaded();
    assert_eq!(loaded.warnings.render(false), "");
    let names = |n: Vec<&hexafn_actors::event::Str>| n.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let d = &loaded.definitions;
    assert_eq!(names(d.sources.keys().collect()), ["demo", "github", "hourly"]);
    assert_eq!(names(d.triggers.keys().collect()), ["big-push", "demo", "heartbeat", "issue-opened"]);
    assert_eq!(names(d.functions.keys().collect()), ["as-it-is", "issue", "shorten", "summarize"]);
    assert_eq!(names(d.targets.keys().collect()), ["audit", "chat", "pushes"]);
    assert!(loaded.server.listen.ip().is_loopback());
    assert!(loaded.files.iter().any(|(path, _)| path.ends_with("functions/summarize.hexa")));
}

#[test]
fn the_reference_is_right_and_its_settings_are_the_defaults() {
    let text = std::fs::read_to_string(shipped().join("reference.toml.example")).unwrap();
    let loaded = Case::toml(&text)
        .env("ORDERS_TOKEN", "0123456789abcdef0123456789abcdef")
        .env("SHOP_SIGNING", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        .loaded();
    let default = Case::toml("").loaded();
    assert_eq!(format!("{:?}", loaded.server), format!("{:?}", default.server));
    assert_eq!(format!("{:?}", loaded.storage), format!("{:?}", default.storage));
    assert_eq!(format!("{:?}", loaded.log), format!("{:?}", default.log));
    assert_eq!(loaded.telemetry, default.telemetry);
    assert_eq!(format!("{:?}", loaded.targets), format!("{:?}", default.targets));
    assert_eq!(format!("{:?}", loaded.supervision), format!("{:?}", default.supervision));
    assert_eq!(loaded.definitions.topics["orders"].retention, Retention::default());
    let delivery = hexafn_actors::supervision::strategy::RestartStrategy::delivery();
    assert_eq!(loaded.definitions.triggers["large-order"].retry, delivery);
    let score = loaded.definitions.functions["score"].hosted().unwrap();
    let mut settings = hexafn_runtimes::Settings::default();
    // What WebAssembly has by itself is a choice for a script.
    settings.limits.fuel = Some(hexafn_runtimes::Limits::WASM_FUEL);
    assert_eq!(*score.settings, settings);
    assert_eq!(score.pool, hexafn_actors::runtime::PoolSettings::default());
    assert_eq!(score.isolation, hexafn_actors::runtime::Isolation::Process);
    let http = &loaded.definitions.targets["orders-http"];
    assert_eq!(http.retry, delivery);
    assert_eq!(http.breaker, hexafn_actors::supervision::strategy::RestartStrategy::breaker());
}

#[test]
fn events_of_several_sources_are_like_any_of_them_and_unknown_where_anything_else_writes() {
    let only = |field: &str| {
        format!(r#"{{ "type": "object", "properties": {{ "{field}": {{}} }}, "additionalProperties": false }}"#)
    };
    let source = |name: &str, topic: &str| {
        let verify = "verify = { scheme = 'none' }";
        format!("[[source]]\nname = '{name}'\nkind = 'webhook'\ntopic = '{topic}'\n{verify}\nschema = '{name}.json'\n")
    };
    let trigger = |on: &str, field: &str, more: &str| {
        let told = format!("[[trigger]]\nname = 't'\non = '{on}'\nwhen = 'event.data.{field} == 1'\nto = 'out'\n");
        let target = "[[target]]\nname = 'out'\nkind = 'topic'\n";
        let text = [source("a", "x.a"), source("b", "x.b"), told, target.to_owned(), more.to_owned()].concat();
        Case::new(&[("a.json", &only("a")), ("b.json", &only("b")), ("hexafn.toml", &text)]).told()
    };
    assert_eq!(trigger("x.*", "a", "") + &trigger("x.*", "b", ""), "", "a field of either");
    let refused = trigger("x.*", "c", "");
    assert!(refused.contains("HX0312") && refused.contains("a.json of source `a`, b.json of source `b`"), "{refused}");
    assert!(trigger("x.a", "b", "").contains("HX0312"), "of the source alone whose topic it is");
    let timer = "[[source]]\nname = 'c'\nkind = 'timer'\ntopic = 'x.c'\nevery = '1h'\n";
    let emits =
        "[[function]]\nname = 'f'\ncode = 'emit \"x.d\" event.data'\n[[trigger]]\nname = 'e'\non = 'out'\nrun = 'f'\n";
    let other =
        "[[source]]\nname = 'd'\nkind = 'webhook'\ntopic_expr = 'x.${event.type}'\nverify = { scheme = 'none' }\n";
    for more in [timer, emits, other] {
        let told = trigger("x.*", "c", more);
        assert!(!told.contains("HX0312"), "{more}: {told}");
    }
}

/// What a shipped function makes of data.
fn run(loaded: &Loaded, function: &str, data: &str) -> Result<String, String> {
    use hexafn_dsl::{Budget, Data, Input, json};
    let doc = json::Doc::parse(data.as_bytes().to_vec().into(), &json::Limits::default()).unwrap();
    let mut input = Input::EMPTY;
    input.event.data = Data::Json(&doc);
    let program = loaded.definitions.functions[function].program().unwrap();
    let value = program.eval(&input, &mut Budget::default()).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    value.write_json(&mut out, 10_000).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_shipped_functions_do_what_their_comments_say() {
    let case = shipped_case();
    let loaded = case.loaded();
    let push = r#"{"ref": "refs/heads/main", "compare": "https://example.org/c", "pusher": {"name": "ann"},
        "repository": {"full_name": "a/b"}, "commits": [{"message": "one\n\nmore"}, {"message": "two"}]}"#;
    assert_eq!(
        run(&loaded, "summarize", push).unwrap(),
        r#"{"repository":"a/b","branch":"main","pusher":"ann","count":2,"messages":["one","two"],"compare":"https://example.org/c"}"#
    );
    let issue = r#"{"issue": {"number": 7, "title": "t"}, "sender": {"login": "bob"}}"#;
    assert_eq!(run(&loaded, "issue", issue).unwrap(), r#"{"issue":7,"title":"t","by":"bob"}"#);
    let long = format!(r#"{{"text": "{}"}}"#, "é".repeat(100));
    assert_eq!(run(&loaded, "shorten", &long).unwrap(), format!(r#"{{"text":"{}"}}"#, "é".repeat(80)));
    assert!(run(&loaded, "shorten", r#"{"other": 1}"#).is_err(), "so that its fallback runs");
    assert_eq!(run(&loaded, "as-it-is", r#"{"other": 1}"#).unwrap(), r#"{"other": 1}"#);
}

#[test]
fn the_end_of_a_file_tells_the_language_where_nothing_else_does() {
    let files = ["a.mjs", "b.luau", "c.wat", "d.hexa", "e.txt"];
    let mut text: String =
        files.iter().map(|f| format!("[[function]]\nname = '{}'\nfile = '{f}'\n", &f[..1])).collect();
    text += "runtime = 'lua'\n";
    let case = Case::new(&[
        ("hexafn.toml", &text),
        ("a.mjs", "export default () => 1"),
        ("b.luau", "return function() return 1 end"),
        ("c.wat", "(module (memory (export \"memory\") 1) (func (export \"_start\")))"),
        ("d.hexa", "1"),
        ("e.txt", "return function() return 1 end"),
    ]);
    let loaded = case.loaded();
    let languages: Vec<_> =
        loaded.definitions.functions.values().map(|f| f.hosted().map_or("dsl", |hosted| hosted.language)).collect();
    assert_eq!(languages, ["js", "lua", "wasm", "dsl", "lua"]);
}
