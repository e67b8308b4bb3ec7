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
        (&["run", "loops.lua", "--timeout", "100ms", "--data", "1"], 1, "timeout"),
        (&["run", "notes.txt", "--data", "1"], 2, "--runtime dsl, js, lua or wasm"),
        (&["run", "notes.txt", "--runtime", "perl", "--data", "1"], 2, "there are dsl, js, lua and wasm"),
        (&["run", "none.js", "--data", "1"], 1, "none.js"),
    ] {
        let ran = scenario.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}
