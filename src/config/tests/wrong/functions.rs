//! Functions that are wrong, by themselves or together.

use super::*;

#[test]
fn functions_that_an_event_chooses() {
    beside_right(
        "chosen_functions",
        r#"[[trigger]]
name = 'unknown'
on = 'demo'
run = { by = '"plain"', of = ['plain', 'plian', 'plain'] }
to = 'pushes'

[[trigger]]
name = 'none'
on = 'demo'
run = { by = 'event.dta.run', of = [] }
to = 'pushes'

[[trigger]]
name = 'half'
on = 'demo'
run = { of = ['plain'], from = 'x' }
to = 'pushes'

[[trigger]]
name = 'number'
on = 'demo'
run = 7
to = 'pushes'

[functions]
executions = "some"
"#,
    );
}

#[test]
fn functions() {
    let all = [
        ("functions/summarize.hexa", "1"),
        (
            "hexafn.toml",
            "[[function]]\nname = 'a'\nfile = '../secret'\n\n[[function]]\nname = 'b'\nfile = '/etc/passwd'\n\n[[function]]\nname = 'c'\nfile = 'functions/sumarize.hexa'\n\n[[function]]\nname = 'd'\n\n[[function]]\nname = 'e'\ncode = '1'\nfile = 'functions/summarize.hexa'\n\n[[function]]\nname = 'f'\ncode = '1'\ntimeout = '31s'\nruntime = 'perl'\n\n[[function]]\nname = 'g'\ncode = '1'\nenv = ['REGION', 'API_TOKEN']\n\n[[function]]\nname = 'h'\ncode = '1'\ntimeout = '10m'\n",
        ),
    ];
    files("functions", &all);
}

#[test]
fn workers_and_lines_beyond_what_there_is_room_for() {
    let module = "runtime = 'wasm'\ncode = '(module (func (export \"_start\")))'";
    let functions: String = (1..=5)
        .map(|n| format!("[[function]]\nname = 'm{n}'\n{module}\npool = {{ workers = {} }}\n\n", 50 + n))
        .collect();
    let talks = "[[function]]\nname = 'talks'\nruntime = 'lua'\ncode = 'return function() end'\nlog_rate = { per_second = 0 }\n\n\
        [[function]]\nname = 'own'\ncode = '1'\nlog_rate = { per_second = 1 }\n";
    toml("workers_of_modules", &format!("{functions}{talks}"));
}

#[test]
fn stacks_of_modules() {
    let functions: String = [64, 128, 256, 512, 1024]
        .map(|kib| {
            format!(
                "[[function]]\nname = 's{kib}'\nruntime = 'wasm'\ncode = '(module (func (export \"_start\")))'\nlimits.stack = '{kib}KiB'\n\n"
            )
        })
        .concat();
    toml("stacks_of_modules", &functions);
}

#[test]
fn grants_that_can_never_match() {
    toml(
        "grants",
        "[[function]]\nname = 'f'\nruntime = 'lua'\ncode = 'return function() end'\nkv = ['', 'a b', '../x', 'carts.eu']\n\
         http = ['x.com:99999', 'x.com:', 'x..com', '-', 'https://x.com', '[::1', 'x.com:8080', '*.x.com', '[::1]:80', '10.0.0.1']\n\
         env = ['', 'A=B', '1A']\n",
    );
}

/// With Wasmer in it, the third is right.
#[cfg(not(feature = "wasmer"))]
#[test]
fn engines() {
    let module = "code = '(module (func (export \"_start\")))'";
    toml(
        "engines",
        &format!(
            "[[function]]\nname = 'a'\nruntime = 'js'\ncode = 'export default () => 1'\nengine = 'wasmtime'\n\n[[function]]\nname = 'b'\ncode = '1'\nengine = 'wasmtime'\n\n[[function]]\nname = 'c'\nruntime = 'wasm'\n{module}\nengine = 'wasmer'\n\n[[function]]\nname = 'd'\nruntime = 'wasm'\n{module}\nengine = 'v8'\n"
        ),
    );
}

#[test]
fn modules_and_schemas() {
    let all = [
        ("lib/m.hexa", "fn good(x) = x\nfn bad(x) = linez(x)\n"),
        (
            "order.json",
            r#"{ "type": "object", "properties": { "id": { "type": "string" } }, "additionalProperties": false }"#,
        ),
        ("broken.json", "{ \"type\": 7"),
        (
            "hexafn.toml",
            "[[function]]\nname = 'a'\ncode = 'import { good, bad } from \"lib/m.hexa\"; good(bad(event.data))'\n\n[[function]]\nname = 'b'\ncode = 'import { x } from \"../m.hexa\"; x'\n\n[[function]]\nname = 'c'\ninput = 'order.json'\ncode = 'event.data.idd'\n\n[[function]]\nname = 'd'\ninput = 'broken.json'\ncode = '1'\n\n[[function]]\nname = 'e'\ninput = '../order.json'\ncode = '1'\n\n[[function]]\nname = 'f'\ncode = 'event.data.idd'\n",
        ),
    ];
    files("modules_and_schemas", &all);
}
