//! Wrong configurations: the snapshot holds the files and the whole report.

use super::*;

mod delivery;
mod functions;

/// Compares what a person is told with the snapshot of that name.
fn refused(name: &str, case: &Case, files: &[(&str, &str)]) {
    let shown: Vec<String> = files.iter().map(|(name, text)| format!("# {name}\n{}", text.trim_end())).collect();
    let flags: Vec<String> = case.options.overrides.iter().map(|(k, v)| format!("# --set {k}={v}")).collect();
    let env: Vec<String> = case.options.env.iter().map(|(k, v)| format!("# {k}={v}")).collect();
    let input = [env, flags, shown].concat().join("\n\n");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(format!("wrong_{name}"), format!("{input}\n\n{}\n{}", "-".repeat(80), case.told()))
    });
}

fn toml(name: &str, text: &str) {
    refused(name, &Case::toml(text), &[("hexafn.toml", text)]);
}

fn files(name: &str, files: &[(&str, &str)]) {
    refused(name, &Case::new(files), files);
}

/// A source, a target and a function that are right, for cases about something else.
const RIGHT: &str = r#"
[[source]]
name = "demo"
kind = "webhook"
topic = "demo"
verify = { scheme = "none" }

[[function]]
name = "plain"
code = 'event.data'

[[target]]
name = "pushes"
kind = "topic"
topic = "pushes"
"#;

fn beside_right(name: &str, text: &str) {
    let all = [("a.toml", RIGHT), ("b.toml", text)];
    refused(name, &Case::new(&all), &[("b.toml (beside a right a.toml)", text)]);
}

#[test]
fn empty_and_absent_folders() {
    files("no_files", &[("readme.md", "nothing")]);
    let mut case = Case::toml("");
    case.options.dir = case.folder.path().join("elsewhere");
    refused("no_folder", &case, &[]);
}

#[test]
fn syntax() {
    toml("syntax", "[server]\nlisten = \"127.0.0.1:1\nworkers = 4 4\n\n[[source]\nname = 'x'\n");
}

#[test]
fn unknown_sections_and_settings() {
    toml("unknown_section", "[sever]\nlisten = 1\n\n[[triggers]]\nname = 'a'\n\n[source]\nname = 'b'\n");
    toml(
        "unknown_setting",
        "[server]\nlissen = \"127.0.0.1:1\"\nzzz = 1\nlimits = { heads = \"5s\" }\n[storage]\nsyncc = 'always'\n",
    );
}

#[test]
fn values_that_do_not_fit() {
    toml(
        "values",
        r#"[server]
listen = "localhost"
workers = "four"
drain = "5 parsecs"
allowed_hosts = ["https://example.org", "ok.example.org"]
[server.limits]
max_connections = 0
head = 5
max_body = "1GB"
[storage]
sync = "sometimes"
memory = "1KiB"
[log]
level = "loud"
format = true
[targets]
allow_networks = ["10.0.0.0/33", "::1"]
[supervision]
actor = { backoff = { factor = 0.5 } }
"#,
    );
}

#[test]
fn overrides() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n";
    let case = Case::toml(text)
        .env("HEXAFN_SERVER__LISTEN", "nowhere")
        .env("HEXAFN_SEVER__LISTEN", "127.0.0.1:1")
        .env("HEXAFN_LOG__", "x")
        .env("HEXAFN_TOKEN", "not a setting")
        .flag("server.limits.max_conections", "7")
        .flag("source.github", "x");
    refused("overrides", &case, &[("hexafn.toml", text)]);
}

#[test]
fn set_twice() {
    files(
        "set_twice",
        &[
            ("a.toml", "[server]\nlisten = \"127.0.0.1:1\"\n[server.limits]\nhead = \"1s\"\n"),
            ("b.toml", "[server]\nlisten = \"127.0.0.1:2\"\nlimits = { body = \"1s\" }\n"),
        ],
    );
}

#[test]
fn names() {
    beside_right(
        "duplicate_names",
        "[[function]]\nname = 'plain'\ncode = '1'\n\n[[target]]\nname = \"pushes\"\nkind = \"topic\"\ntopic = \"other\"\n",
    );
    toml(
        "malformed_names",
        "[[topic]]\nname = 'orders..paid'\n\n[[topic]]\nname = 'hexafn.mine'\n\n[[function]]\nname = 'my function!'\ncode = '1'\n\n[[function]]\nname = ''\ncode = '1'\n",
    );
}

#[test]
fn names_that_nothing_defines() {
    beside_right(
        "unknown_names",
        "[[trigger]]\nname = 'a'\non = 'demo'\nrun = 'plian'\nto = ['pushes', 'pushs', 'mail']\n\n[[topic]]\nname = 'mail'\n\n[[function]]\nname = 'f'\ncode = '1'\nfallback = ['g']\n",
    );
    beside_right("silent_topic", "[[trigger]]\nname = 'a'\non = 'dmo'\nrun = 'plain'\nto = 'pushes'\n");
}

#[test]
fn circles() {
    toml(
        "fallback_cycle",
        "[[function]]\nname = 'a'\ncode = '1'\nfallback = ['b']\n\n[[function]]\nname = 'b'\ncode = '1'\nfallback = ['c', 'a']\n\n[[function]]\nname = 'c'\ncode = '1'\nfallback = ['c']\n",
    );
    beside_right(
        "trigger_cycle",
        "[[trigger]]\nname = 'there'\non = 'demo'\nrun = 'plain'\nto = ['pushes']\n\n[[trigger]]\nname = 'back'\non = 'pushes'\nto = ['demo']\n\n[[target]]\nname = 'demo'\nkind = 'topic'\ntopic = 'demo'\n",
    );
    beside_right(
        "trigger_cycle_by_fallback",
        "[[trigger]]\nname = 'there'\non = 'demo'\nto = ['first']\n\n[[target]]\nname = 'first'\nkind = 'stdout'\nfallback = 'second'\n\n\
         [[target]]\nname = 'second'\nkind = 'stdout'\nfallback = 'round'\n\n[[target]]\nname = 'round'\nkind = 'topic'\ntopic = 'demo'\n",
    );
}

#[test]
fn answers_that_never_come() {
    let source = |name: &str, topic: &str, trigger: &str| {
        format!(
            "[[source]]\nname = '{name}'\nkind = 'webhook'\n{topic}\nverify = {{ scheme = 'none' }}\n\
             reply = {{ trigger = '{trigger}', timeout = '1s' }}\n\n"
        )
    };
    let sources = [
        source("asks", "topic = 'questions.eu'", "other"),
        source("alone", "topic = 'alone'", "tick"),
        source("computed", "topic_expr = 'questions.${event.data.region}'", "tick"),
        source("fine", "topic = 'questions.us'", "all"),
    ];
    let triggers = "[[trigger]]\nname = 'other'\non = 'demo'\nrun = 'plain'\n\n[[trigger]]\nname = 'all'\non = 'questions.*'\n\
                    to = 'pushes'\n\n[[trigger]]\nname = 'tick'\non = { every = '5m' }\nto = 'pushes'\n";
    beside_right("reply_elsewhere", &(sources.concat() + triggers));
}

#[test]
fn queues_are_not_listened_to() {
    beside_right("trigger_on_queue", "[[trigger]]\nname = 'a'\non = 'hexafn.out.>'\nrun = 'plain'\nto = 'pushes'\n");
}

#[test]
fn triggers() {
    beside_right(
        "trigger_values",
        r#"[[trigger]]
name = "a"
on = "orders..x"
to = "pushes"
priority = "high"
ordering = "sorted"

[[trigger]]
name = "b"
on = 5
to = ["pushes", "pushes"]

[[trigger]]
name = "c"
on = { cron = "99 * * * *" }
to = ["pushes"]

[[trigger]]
name = "d"
on = { every = "5s", tz = "Europe/Berlin" }
to = ["pushes"]
retry = { backoff = { delays = [] }, max_attempt = 3 }

[[trigger]]
on = "demo"

[[trigger]]
name = "e"
when = 'true'
"#,
    );
}

#[test]
fn expressions() {
    beside_right(
        "expressions",
        "[[trigger]]\nname = \"a\"\non = \"demo\"\nwhen = 'event.typo == \"push\"'\nto = ['pushes']\n\n[[trigger]]\nname = \"b\"\non = \"demo\"\nwhen = \"event.data.name == \\\"x\\\" and event.typo == 1\"\nto = ['pushes']\n\n[[function]]\nname = \"c\"\ncode = '''\nlet a = 1\n  let b = event.typo\na + b\n'''\n",
    );
    let all = [
        ("functions/bad.hexa", "let a = 1\nlet ä = event.typo\n"),
        ("hexafn.toml", "[[function]]\nname = 'f'\nfile = 'functions/bad.hexa'\n"),
    ];
    files("function_file", &all);
}

#[test]
fn schemas_of_sources() {
    let all = [
        (
            "push.json",
            r#"{ "type": "object", "properties": { "ref": { "enum": ["main", "next"] } }, "additionalProperties": false }"#,
        ),
        ("broken.json", "{ \"type\": 7"),
        (
            "hexafn.toml",
            r#"
[[source]]
name = "a"
kind = "webhook"
topic_expr = "pushes.${event.data.reff}"
verify = { scheme = "none" }
schema = "push.json"

[[source]]
name = "b"
kind = "webhook"
topic = "b"
verify = { scheme = "none" }
schema = "broken.json"

[[source]]
name = "c"
kind = "webhook"
topic = "mixed"
verify = { scheme = "none" }
schema = "push.json"

[[source]]
name = "d"
kind = "timer"
topic = "mixed"
every = "1h"

[[trigger]]
name = "one"
on = "pushes.*"
when = 'event.data.reff == "main"'
run = "f"
to = ["out"]

[[trigger]]
name = "two"
on = "pushes.main"
when = 'event.data.ref == "man"'
run = "g"
to = ["out"]

# A timer writes here too, so nothing is known of the data.
[[trigger]]
name = "three"
on = "mixed"
when = 'event.data.whatever'
run = "g"
to = ["out"]

[[function]]
name = "f"
code = "event.data.branch"

[[function]]
name = "g"
code = "event.data.branch"

[[target]]
name = "out"
kind = "topic"
"#,
        ),
    ];
    files("schemas_of_sources", &all);
}

#[test]
fn sources() {
    toml(
        "sources",
        r#"[[source]]
name = "a"
kind = "webhok"

[[source]]
name = "b"

[[source]]
name = "c"
kind = "webhook"
topik = "c"
verify = { scheme = "githb", secrets = ["env:X"] }

[[source]]
name = "d"
kind = "webhook"
topic = "d"
verify = { scheme = "none", tolerance = "5m" }
limits = { body = "1GB", depths = 3 }

[[source]]
name = "e"
kind = "webhook"
topic = "e..f"
topic_expr = '"x"'
verify = { scheme = "none" }
methods = ["TRACE"]

[[source]]
name = "f"
kind = "timer"
topic = "f"
cron = "0 9 * * MONDAY"
every = "5m"

[[source]]
name = "g"
kind = "webhook"
topic = "g"
verify = { scheme = "none" }
reply = { trigger = "nobody" }
"#,
    );
}

const LITERAL: &str = r#"[[source]]
name = "github"
kind = "webhook"
topic = "github"
verify = { scheme = "github", secrets = ["hunter2-hunter2-hunter2"] }

[[source]]
name = "stripe"
kind = "webhook"
topic = "stripe"
verify = { scheme = "stripe", secret = "whsec_hush" }
"#;

#[test]
fn a_secret_is_never_written_down_nor_shown() {
    let case = Case::toml(LITERAL);
    let errors = case.load().err().unwrap();
    for text in [errors.render(true), errors.to_json().to_string(), format!("{errors}")] {
        assert!(!text.contains("hunter2") && !text.contains("whsec_hush"), "{text}");
    }
    let shown = LITERAL.replace("hunter2-hunter2-hunter2", "…").replace("whsec_hush", "…");
    refused("secret_literal", &case, &[("hexafn.toml", &shown)]);
}

const ABSENT: &str = r#"[[source]]
name = "github"
kind = "webhook"
topic = "github"
verify = { scheme = "github", secrets = ["env:GITHUB_WEBHOOK_SECRET", "file:secrets/github"] }

[[source]]
name = "short"
kind = "webhook"
topic = "short"
verify = { scheme = "github", secrets = ["env:SHORT"] }

[[source]]
name = "open"
kind = "webhook"
topic = "open"
verify = { scheme = "github", secrets = ["file:open"] }
"#;

#[test]
fn secrets_that_are_absent_or_unfit() {
    use std::os::unix::fs::PermissionsExt;
    let case =
        Case::new(&[("hexafn.toml", ABSENT), ("open", "0123456789012345678901234567890123456789")]).env("SHORT", "abc");
    let open = case.options.dir.join("open");
    std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("secret_absent", &case, &[("hexafn.toml", ABSENT)]);
}

#[test]
fn listening_beyond_this_machine() {
    toml("open_listen", "[server]\nlisten = \"0.0.0.0:8080\"\n");
    let text = "[server]\nlisten = \"[::]:8080\"\nallow_remote_without_tokens = true\n\n[[source]]\nname = \"demo\"\nkind = \"webhook\"\ntopic = \"demo\"\nverify = { scheme = \"none\" }\n";
    toml("open_allowed", text);
    let case = Case::toml("").flag("server.listen", "0.0.0.0:80");
    refused("open_flag", &case, &[("hexafn.toml", "")]);
}

#[test]
fn tokens() {
    toml(
        "tokens",
        "[[token]]\nname = 'ops'\nsha256 = 'abc'\nscopes = ['*:*:*']\n\n[[token]]\nname = 'two'\nsha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\nscopes = ['topics:read', '']\nexpires = 'soon'\n\n[[token]]\nname = 'three'\nsha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\nscopes = []\n",
    );
}

#[test]
fn topics() {
    toml(
        "topics",
        "[[topic]]\nname = 'a'\ndurability = 'ram'\nretention = { age = '7 days', count = -1, size = '1 GB', bites = 3 }\n",
    );
}

#[test]
fn control_characters_are_shown_and_not_obeyed() {
    toml("control_characters", "[server]\n# \u{202e}txt\nli\u{1b}[31m = 1\n");
    toml("bidi_in_name", "[[function]]\nname = 'a\u{202e}b'\ncode = '1'\n");
}

#[test]
fn targets() {
    toml(
        "targets",
        r#"[[target]]
name = "a"
kind = "htp"

[[target]]
name = "b"
kind = "http"
url = "http://127.0.0.1:8099/"

[[target]]
name = "c"
kind = "http"
ulr = "https://example.org"
timeout = "15 seconds"
when = 'event.typo == 1'

[[target]]
name = "d"
kind = "http"
url = "https://example.org/${event.typo}"
headers = { authorization = "Bearer hunter2", x-a = "b" }
method = "POKE"

[[target]]
name = "mail"
kind = "websocket"
url = "wss://example.org/"
batch = { max_records = 5 }

[[target]]
name = "circle"
kind = "http"
url = "https://example.org/"
fallback = "circle"
redact = { patterns = ["("] }
batch = { max_records = 0 }

[[target]]
name = "e"
kind = "file"
path = "../e.jsonl"

[[target]]
name = "f"
kind = "topic"
topic = "hexafn.alerts"
retry = { schedule = [], max_attempts = 3 }
breaker = { open = "0s" }
"#,
    );
}

#[test]
fn retries_of_targets() {
    let kafka = "kind = \"kafka\"\nbrokers = [\"b:9092\"]\ntopic = \"t\"";
    let target = |name: &str, kind: &str, more: &str| format!("[[target]]\nname = \"{name}\"\n{kind}\n{more}\n");
    let http = "kind = \"http\"\nurl = \"https://example.org/\"";
    let nats = "kind = \"nats\"\nservers = [\"nats://n:4222\"]\nsubject = \"s\"";
    let text = [
        target("a", http, "retry = { backoff = { base = \"1s\" }, schedule = [\"1s\"] }"),
        target("b", http, "retry = { backoff = { base = \"1s\", max = \"1ms\" } }"),
        target("c", http, "retry = { backoff = { base = \"1s\", delays = [\"1s\"] } }"),
        target("d", http, "retry = { again = [409], never = [\"4xx\", 409] }"),
        target("e", http, "retry = { never = [204] }"),
        target("f", http, "retry = { never = [\"5XX\"] }"),
        target("g", kafka, "retry = { never = [501] }"),
        target(
            "h",
            http,
            "ordering = \"strict\"\nbatch = { max_records = 10 }\nretry = { never = [\"4xx\"], again = [409] }",
        ),
        target("i", nats, "ordering = \"strict\"\nbatch = { max_records = 10 }"),
        target("j", http, "ordering = \"key\"\nbatch = { max_records = 10 }\nheaders = { x-id = \"${event.id}\" }"),
        target("l", http, "retry = { again = [409, \"2xx\", 200, \"abc\"], never = [501, 501] }"),
        target("k", http, "retry = { max_age = \"0s\" }"),
    ];
    beside_right("target_retries", &text.concat());
}

#[test]
fn several_mistakes_of_one_target_and_of_what_looks_right() {
    let text = r#"
[[source]]
name = "kept"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
keep_headers = ["x-a"]

[[target]]
name = "many"
kind = "http"
url = "https://example.org/"
method = "get"
concurrency = 0
retry = { budget = 1.5, jitter = 2 }

[[target]]
name = "socket"
kind = "websocket"
url = "https://example.org/"

[[target]]
name = "rows"
kind = "file"
path = "x.csv"
columns = []

[[target]]
name = "none"
kind = "http"
url = "https://example.org/"
retry = { backoff = { delays = [] } }
"#;
    beside_right("several", text);
}

#[test]
fn topics_of_hexafn() {
    let topic = |name: &str, more: &str| format!("[[topic]]\nname = \"{name}\"\n{more}\n");
    let text = [
        topic("hexafn.out.pushes", ""),
        topic("hexafn.dead.target.pushs", ""),
        topic("hexafn.dead.target.pushes", "durability = \"memory\""),
        topic("hexafn.dead.source.demo", "retention = { age = \"30d\" }"),
        topic("hexafn.outcomes", ""),
    ];
    beside_right("own_topics", &text.concat());
}

#[test]
fn ticks_in_memory() {
    let text = "[[source]]\nname = \"clock\"\nkind = \"timer\"\nevery = \"1s\"\ntopic = \"quick\"\n\
        [[topic]]\nname = \"quick\"\ndurability = \"memory\"\n";
    beside_right("ticks_in_memory", text);
}

/// Cuts, lost characters and strange ones, all over a configuration with every setting: an answer each time, no panic.
#[test]
fn damaged_configurations_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = std::fs::read_to_string(folder.join("reference.toml.example")).unwrap();
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(53).collect();
    let answered = |at: usize| {
        let (before, after) = text.split_at(at);
        let rest = after.get(1..).unwrap_or_default();
        for damaged in [before.to_owned(), format!("{before}{rest}"), format!("{before}\u{0}\u{202e}é\"{after}")] {
            let case = Case::toml(&damaged);
            if let Err(errors) = case.load() {
                assert!(!errors.problems().is_empty());
                assert!(!errors.render(true).is_empty() && errors.to_json()["errors"].is_array());
            }
        }
    };
    // Each is a whole load, of which there are more than a thousand.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in starts.chunks(starts.len().div_ceil(threads)) {
            scope.spawn(|| part.iter().copied().for_each(answered));
        }
    });
}
