//! `hexafn run FILE`: a function before it is configured.

use super::service::Scenario;

#[test]
fn a_file_is_run_in_the_language_that_its_name_tells() {
    let scenario = Scenario::empty_config();
    for (name, text) in [
        ("double.js", "export default (event) => event.data.n * 2"),
        ("double.lua", "return function(event) return event.data.n * 2 end"),
        ("double.hexa", "event.data.n * 2"),
        // The answer of the first byte of its memory: a constant.
        (
            "double.wat",
            r#"(module (memory (export "memory") 2) (data (i32.const 8) "42")
                (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 65536))
                (func (export "hexafn_call") (param i32 i32) (result i64) (i64.const 0x0000000800000002)))"#,
        ),
    ] {
        std::fs::write(scenario.path(name), text).unwrap();
        let ran = scenario.run(&["run", name, "--data", r#"{"n":21}"#]);
        assert_eq!((ran.code, ran.out.trim()), (Some(0), "42"), "{name}: {}", ran.err);
    }
}

#[test]
fn what_is_wrong_with_it_is_said_with_its_place() {
    let scenario = Scenario::empty_config();
    std::fs::write(scenario.path("bad.js"), "export default (event) =>\n  event..data").unwrap();
    std::fs::write(scenario.path("loops.lua"), "return function() while true do end end").unwrap();
    std::fs::write(scenario.path("notes.txt"), "hello").unwrap();
    for (args, code, said) in [
        (&["run", "bad.js", "--data", "1"][..], 1, "line 2"),
        (&["run", "loops.lua", "--limits", "timeout=100ms", "--data", "1"], 1, "timeout"),
        (&["run", "notes.txt", "--data", "1"], 2, "--runtime dsl, js, lua or wasm"),
        (&["run", "notes.txt", "--runtime", "perl", "--data", "1"], 2, "there are dsl, js, lua and wasm"),
        (&["run", "none.js", "--data", "1"], 1, "none.js"),
    ] {
        let ran = scenario.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}

#[test]
fn limits_are_those_of_the_configuration() {
    let scenario = Scenario::empty_config();
    let write = |name: &str, text: &str| std::fs::write(scenario.path(name), text).unwrap();
    write("hoards.js", "export default () => 'x'.repeat(3_000_000).length");
    write("talks.lua", "return function() return string.rep('x', 3000) end");
    write("emits.js", "export default (_, ctx) => { ctx.emit('a', 1); ctx.emit('a', 2); return 1 }");
    write("one.hexa", "1");
    for (args, code, said) in [
        (&["hoards.js"][..], 0, "3000000"),
        (&["hoards.js", "--limits", "memory=2MiB,timeout=5s"], 1, "memory"),
        (&["talks.lua", "--limits", "output=2KiB"], 1, "output-too-large"),
        (&["talks.lua", "--limits", "output=2048"], 1, "output-too-large"),
        (&["emits.js", "--emit", "a"], 0, "emit a: 1\nemit a: 2\n1"),
        (&["emits.js", "--emit", "a", "--limits", "emits=1"], 1, "emits"),
        (&["emits.js", "--emit", "b"], 1, "denied"),
        (&["emits.js"], 1, "denied"),
        (&["one.hexa", "--limits", "timeout=2s"], 0, "1"),
        (&["one.hexa", "--limits", "memory=2MiB"], 2, "the language of hexaFn has `timeout` alone"),
        (&["one.hexa", "--emit", "a"], 2, "names its topics"),
        (
            &["hoards.js", "--limits", "memmory=2MiB"],
            2,
            "did you mean `memory`? There are: timeout, memory, stack, output",
        ),
        (&["hoards.js", "--limits", "memory"], 2, "--limits memory=64MiB,timeout=1s"),
        (&["hoards.js", "--limits", "memory=2MiB,memory=3MiB"], 2, "given twice"),
        (&["hoards.js", "--limits", "memory=2 apples"], 2, "`2 apples` is not a size"),
        (&["hoards.js", "--limits", "memory=1GiB"], 2, "`memory` must be from \"1MiB\" to \"256MiB\""),
        (&["hoards.js", "--limits", "fuel=many"], 2, "`fuel`: invalid type: string \"many\""),
        (&["hoards.js", "--limits", "timeout=1h"], 2, "`timeout` must be from \"1ms\" to \"30s\""),
        (&["hoards.js", "--limits", "timeout=soon"], 2, "`timeout`: "),
        (&["emits.js", "--emit", "a..b"], 2, "--emit: "),
        (&["named", "--config", "cfg", "--limits", "timeout=1s"], 2, "has its own in the configuration"),
        (&["named", "--config", "cfg", "--emit", "a"], 2, "has its own in the configuration"),
    ] {
        let ran = scenario.run(&[&["run"], args, &["--data", "1"]].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.err);
        let printed = if code == 0 { &ran.out } else { &ran.err };
        assert!(printed.contains(said), "{args:?}: {printed}");
    }
}

#[test]
fn an_event_is_a_file_as_functions_get_it() {
    let scenario = Scenario::empty_config();
    let write = |name: &str, text: &str| std::fs::write(scenario.path(name), text).unwrap();
    write("all.js", "export default (event) => event");
    let event = r#"{"id":"e","source":"/s","type":"t","subject":null,"time":"2026-11-24T08:00:00.000000Z","topic":"a.b","seq":7,"key":"k","content_type":"application/json","trace_id":"0123456789abcdef0123456789abcdef","headers":{"x":"1"},"extensions":{},"data":{"n":1}}"#;
    write("event.json", event);
    let ran = scenario.run(&["run", "all.js", "--event", "event.json"]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), event), "{}", ran.err);
    let ran = scenario.run_with(&["run", "all.js", "--event", "-"], "event.json");
    assert_eq!((ran.code, ran.out.trim()), (Some(0), event), "{}", ran.err);
    write("wrong.json", r#"{"tpye":"t"}"#);
    for (args, code, said) in [
        (&["--event", "wrong.json"][..], 1, "wrong.json: not an event: unknown field `tpye`, expected one of `id`"),
        (&["--event", "none.json"], 1, "none.json"),
        (&["--event", "event.json", "--data", "1"], 2, "cannot be used with"),
        (&["--event", "event.json", "--type", "t"], 2, "cannot be used with"),
        (&[], 2, "--data"),
    ] {
        let ran = scenario.run(&[&["run", "all.js"], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_tail_printed_is_run_as_it_was() {
    let service = Scenario::new("pipeline").receiver("http://127.0.0.1:9").start();
    service.ask(&["publish", "in", "-d", "half \u{f6}", "--type", "t", "--key", "k", "--content-type", "text/plain"]);
    let printed = service.hexafn(&["-o", "json", "tail", "in", "--from", "all", "-n", "1"]);
    let scenario = &service.scenario;
    std::fs::write(scenario.path("event.json"), &printed.out).unwrap();
    std::fs::write(scenario.path("all.js"), "export default (event) => event").unwrap();
    let seen = scenario.run(&["run", "all.js", "--event", "event.json"]).json();
    let stored = printed.json();
    for member in ["id", "source", "type", "time", "topic", "seq", "key", "trace_id", "data"] {
        assert_eq!(seen[member], stored[member], "{member}");
    }
    assert_eq!((&seen["data"], &seen["content_type"]), (&"half \u{f6}".into(), &"text/plain".into()));
}

#[test]
fn what_a_function_logs_and_uses_is_shown() {
    let scenario = Scenario::empty_config();
    let js = "export default ({ data }) => { console.log('saw', data); console.warn('\\u001b[31mred'); if (data > 1) throw new Error('no\\u001b[0m'); return data; };";
    std::fs::write(scenario.path("f.js"), js).unwrap();
    let ran = scenario.run(&["run", "f.js", "--data", "1"]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "1"), "{}", ran.err);
    assert_eq!(ran.err, "info   saw 1\nwarn   \\u{1b}[31mred\n");
    let ran = scenario.run(&["-o", "json", "run", "f.js", "--data", "1"]).json();
    assert_eq!(ran["logs"][0], serde_json::json!({ "level": "info", "message": "saw 1" }), "{ran:#}");
    assert_eq!((&ran["usage"]["host_calls"], &ran["usage"]["output_bytes"]), (&2.into(), &1.into()), "{ran:#}");
    assert!(
        ran["usage"]["peak_memory"].as_u64().unwrap() > 0 && ran["usage"]["took_us"].as_u64().unwrap() > 0,
        "{ran:#}"
    );
    // One that fails says what it logged until then, and cannot write to the terminal.
    let ran = scenario.run(&["run", "f.js", "--data", "2"]);
    assert!(
        ran.code == Some(1) && ran.err.starts_with("info   saw 2\n") && ran.err.contains("thrown: no\\u{1b}[0m"),
        "{}",
        ran.err
    );
    let ran = scenario.run(&["-o", "json", "run", "f.js", "--data", "2"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((&error["logs"][0]["message"], &error["exit"]), (&"saw 2".into(), &1.into()), "{error:#}");
}

#[test]
fn a_large_source_is_compiled_within_a_time() {
    let scenario = Scenario::empty_config();
    let many = (0..4_000).map(|n| format!("const f{n} = () => {n};\n")).collect::<String>();
    // Each name is looked for among all: 22 s of a compiler that nobody can stop.
    let names = (0..60_000).map(|n| format!("#p{n}=1;")).collect::<String>();
    for (name, text, code, said) in [
        ("large.js", format!("{many}export default () => f3999()"), 0, "3999"),
        ("wrong.js", format!("{many}export default () => f3999("), 1, "line 4001"),
        ("names.js", format!("export default () => class {{ {names} }}"), 1, "compiling it takes longer than 5s"),
        ("large.lua", format!("{}return function() return 7 end", "-- much\n".repeat(4_000)), 0, "7"),
        ("wrong.lua", format!("{}return function( return 7 end", "-- much\n".repeat(4_000)), 1, "line 4001"),
    ] {
        assert!(text.len() > 16 << 10);
        std::fs::write(scenario.path(name), text).unwrap();
        let ran = scenario.run(&["run", name, "--data", "1"]);
        assert_eq!(ran.code, Some(code), "{name}: {}", ran.err);
        assert!(format!("{}{}", ran.out, ran.err).contains(said), "{name}: {} {}", ran.out, ran.err);
    }
    // Fifty values live over each of so many branches: 2 GB of a compiler, from 40 KB.
    let many = |word: &str, times: usize| format!("{word} ").repeat(times);
    let values = many("i32", 50);
    let blocks: String =
        (0..3_000).map(|n| format!("block (type $t) local.get 0 br_if 0 i32.const {n} i32.add end ")).collect();
    let module = format!(
        r#"(module (type $t (func (param {values}) (result {values}))) (memory (export "memory") 1) (func (export "_start"))
           (func (param i32) {} {blocks} {}))"#,
        many("local.get 0", 50),
        many("drop", 50)
    );
    std::fs::write(scenario.path("values.wat"), module).unwrap();
    let ran = scenario.run(&["run", "values.wat", "--data", "1"]);
    assert!(ran.code == Some(1) && ran.err.contains("too-large: compiling it takes"), "{}", ran.err);
    std::fs::rename(scenario.path("names.js"), scenario.path("cfg/names.js")).unwrap();
    let config = "[[function]]\nname = \"names\"\nfile = \"names.js\"\n";
    std::fs::write(scenario.path("cfg/hexafn.toml"), config).unwrap();
    let checked = scenario.run(&["check", "--config", "cfg"]);
    assert_eq!(checked.code, Some(78), "{}", checked.err);
    assert!(checked.err.contains("compiling it takes longer than 5s"), "{}", checked.err);
}
