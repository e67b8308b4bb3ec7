//! JavaScript: what a function can do, and how it fails.
#![allow(clippy::unwrap_used)]

#[path = "js/globals.rs"]
mod globals;
#[path = "support/scripts.rs"]
mod scripts;

use std::time::Duration;

use hexafn_runtimes::{Code, JsRuntime, Level, Limits, Position};
use scripts::{Script, compile, limits, limits_for};

/// What the body of a function gives for an event.
fn eval(body: &str, event: &str) -> String {
    function(body).text(event)
}

fn function(body: &str) -> Script {
    Script::new(&JsRuntime, &format!("export default (event, ctx) => {{\n{body}\n}};"))
}

/// Checks how the body of a function fails.
fn fails(body: &str, expected: Code) {
    let source = format!("export default (event, ctx) => {{\n{body}\n}};");
    let mut script = Script::with(&JsRuntime, &source, limits_for(expected));
    for _ in 0..2 {
        let error = script.error("{}");
        assert_eq!(error.code, expected, "{body}: {error}");
    }
}

#[test]
fn a_function_gives_a_value_or_drops() {
    for (body, output) in [
        ("return event.data.n * 2", "14"),
        ("return null", "null"),
        ("return undefined", "<dropped>"),
        ("", "<dropped>"),
        ("return [1, 'ä\\n\"', true, { a: undefined, b: null }, undefined]", r#"[1,"ä\n\"",true,{"b":null},null]"#),
        ("return { ...event.data, at: new Date(0) }", r#"{"n":7,"at":"1970-01-01T00:00:00.000Z"}"#),
        (
            "return [ctx.trigger, ctx.function, ctx.attempt, ctx.now, ctx.env.REGION, ctx.env.HOME]",
            r#"["t","test",2,"2026-01-02T03:04:05Z","eu",null]"#,
        ),
        ("return Object.keys(event)", r#"["data"]"#),
        ("return /(\\d+)/.exec('a12b')[1] + new RegExp('b').test('b')", r#""12true""#),
        ("return JSON.parse('[1]')[0]", "1"),
        ("return new Set([1]).size", "1"),
    ] {
        assert_eq!(eval(body, r#"{"data":{"n":7}}"#), output, "{body}");
    }
}

#[test]
fn async_functions_and_promises_are_waited_for() {
    for (source, output) in [
        ("export default async (e) => { await null; return await Promise.all([1, Promise.resolve(2)]) }", "[1,2]"),
        ("const one = await Promise.resolve(1); export default function () { return one }", "1"),
        ("export default () => new Promise((resolve) => queueMicrotask(() => resolve('x')))", "\"x\""),
        ("export default async () => {}", "<dropped>"),
        ("export default async () => { throw new TypeError('no') }", "thrown: TypeError: no (line 1, column 40)"),
        ("export default () => Promise.reject(5)", "thrown: it threw 5"),
    ] {
        assert_eq!(Script::new(&JsRuntime, source).text("{}"), output, "{source}");
    }
    fails("return new Promise(() => {})", Code::BadOutput);
}

#[test]
fn the_host_takes_what_is_granted() {
    let mut script = function(
        "ctx.emit('orders.new', { id: 9007199254740993n });
         ctx.emit('orders.old', [1], { key: 'k' });
         const cart = ctx.kv.get('carts', 'a');
         ctx.kv.put('carts', 'b', { n: cart.n + 1n });
         ctx.kv.delete('carts', 'a');
         console.log('one', { a: 1n }, [2]); console.error(new Error('no')); console.warn('\\ud800'); console.debug();
         const answer = ctx.http({ method: 'POST', url: 'https://api.example.com/x', headers: { A: 1 }, body: { b: 2 } });
         return [ctx.kv.get('carts', 'a') ?? 'gone', ctx.kv.get('carts', 'b'), ctx.kv.get('carts', 'c') === undefined, answer];",
    );
    let done = script.call("{}");
    let output = done.result.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.value.unwrap()),
        r#"["gone",{"n":12345678901234567891},true,{"status":201,"headers":{"a":"1, 2"},"body":"POST {\"b\":2}"}]"#
    );
    let emitted: Vec<_> = output.emitted.iter().map(|e| (&*e.topic, e.key.as_deref(), &*e.data)).collect();
    assert_eq!(emitted, [("orders.new", None, r#"{"id":9007199254740993}"#), ("orders.old", Some("k"), "[1]")]);
    assert_eq!(output.writes.len(), 2);
    assert_eq!(output.writes[0].value.as_deref(), Some(r#"{"n":12345678901234567891}"#));
    let lines: Vec<_> = done.logs.iter().map(|l| (l.level, l.message.lines().next().unwrap_or_default())).collect();
    assert_eq!(
        lines,
        [
            (Level::Info, r#"one {"a":1} [2]"#),
            (Level::Error, "Error: no"),
            (Level::Warn, "\u{fffd}"),
            (Level::Debug, "")
        ]
    );
    let request = script.host.requests.lock().unwrap().pop().unwrap();
    assert_eq!(request.headers, [("A".to_owned(), "1".to_owned())]);
    assert_eq!(done.usage.host_calls, 13);
}

#[test]
fn a_name_is_a_text_or_a_number() {
    for (body, what) in [
        ("ctx.kv.put('carts', event.id, 1)", "the key is undefined; it is a string"),
        ("ctx.kv.get('carts', null)", "the key is null; it is a string"),
        ("ctx.kv.delete(['carts'], 'a')", "the namespace is no text; it is a string"),
        ("ctx.emit(undefined, 1)", "the topic is undefined; it is a string"),
        ("ctx.emit('orders.a', 1, { key: {} })", "the key is no text; it is a string"),
    ] {
        let error = function(body).error("{}");
        assert_eq!((error.code, error.message.as_str()), (Code::Thrown, what), "{body}");
    }
    let mut script = function(
        "ctx.emit('orders.a', 1, { key: 7n }); ctx.emit('orders.a', 1, { key: event.id }); ctx.kv.put('carts', 5, 1)",
    );
    let output = script.call("{}").result.unwrap();
    let keys: Vec<_> = output.emitted.iter().map(|e| e.key.as_deref()).collect();
    assert_eq!((keys, &*output.writes[0].key), (vec![Some("7"), None], "5"));
}

#[test]
fn headers_of_an_answer_are_those_that_came() {
    let body = "const { headers } = ctx.http('https://api.example.com/names');
        return [headers, headers.toString === undefined, Object.keys(headers)]";
    assert_eq!(eval(body, "{}"), r#"[{"constructor":"a, b","__proto__":"c"},true,["constructor","__proto__"]]"#);
}

#[test]
fn what_is_not_granted_is_refused_and_can_be_caught() {
    for (body, expected) in [
        ("ctx.emit('other', 1)", Code::Denied),
        ("ctx.kv.get('users', 'a')", Code::Denied),
        ("ctx.kv.put('users', 'a', 1)", Code::Denied),
        ("ctx.http('https://evil.example.com')", Code::Denied),
        ("ctx.http({})", Code::Denied),
        ("ctx.kv.get('carts', '../a')", Code::Host),
        ("ctx.kv.get('carts', 'broken')", Code::Host),
        ("ctx.emit('orders.a')", Code::BadOutput),
        ("ctx.emit('orders.a', NaN)", Code::BadOutput),
        ("for (;;) console.log('x')", Code::HostCalls),
        ("for (;;) try { console.log('x') } catch {}", Code::HostCalls),
        ("for (;;) ctx.emit('orders.a', 1)", Code::Emits),
        ("try { for (;;) ctx.emit('orders.a', 1) } catch { return 1 }", Code::Emits),
        ("ctx.emit('orders.a', 'x'.repeat(300000))", Code::OutputTooLarge),
        ("try { ctx.emit('orders.a', 'x'.repeat(300000)) } catch { return 1 }", Code::OutputTooLarge),
    ] {
        fails(body, expected);
    }
    let caught =
        eval("try { ctx.emit('other', 1) } catch (e) { return [e.code, e.message, e instanceof Error] }", "{}");
    assert!(caught.starts_with(r#"["denied","it may not emit to the topic `other`"#), "{caught}");
    let error = function("\n  ctx.emit('other', 1)").error("{}");
    assert_eq!(error.position, Some(Position { line: 3, column: 7 }));
}

#[test]
fn errors_have_a_place_and_a_stack() {
    let mut script = Script::new(
        &JsRuntime,
        "function inner(x) {\n  return x.missing.field;\n}\nexport default function outer(event) {\n  return inner(event);\n}\n",
    );
    let error = script.error("{}");
    assert_eq!(error.code, Code::Thrown);
    assert_eq!(error.position.unwrap().line, 2);
    assert!(error.message.starts_with("TypeError: "), "{}", error.message);
    // Inline code is a file of the name of the function, which a function in it may have, too.
    let source = "function price(x) {\n  return x.missing.field;\n}\n\n\nexport default (event) =>\n  price(event)";
    let inline = Script::in_file(&JsRuntime, "price", source, limits()).error("{}");
    assert_eq!(inline.position.unwrap().line, 2);
    let stack = error.stack.unwrap();
    assert!(stack.starts_with("at inner (functions/test.js:2:"), "{stack}");
    assert!(stack.contains("at outer (functions/test.js:5:"), "{stack}");
    assert_eq!(eval("throw new Error('mine')", "{}"), "thrown: mine (line 2, column 11)");
    assert_eq!(
        eval("throw { a: 1 }", "{}"),
        r#"thrown: it threw {"a":1} (throw an Error: it has a message and a place)"#
    );
    assert_eq!(eval("throw 'text'", "{}"), "thrown: it threw \"text\"");
}

#[test]
fn what_is_no_function_is_refused_before_it_runs() {
    for (source, expected, place) in [
        ("export default (event) => {\n  return event..data;\n}", Code::Compile, Some((2, 16))),
        ("export default (", Code::Compile, Some((1, 17))),
        // The column counts as that of a thrown error does, whatever comes before it.
        ("export default () => { const s = \"😀😀éééé\"; if (;) 1; };", Code::Compile, Some((1, 50))),
        ("export const f = 1;", Code::Compile, None),
        ("(event) => event", Code::Compile, None),
        ("import fs from 'fs';\nexport default () => fs;", Code::Denied, Some((1, 0))),
        ("\nimport 'functions/test.js';\nexport default () => 1;", Code::Denied, Some((2, 0))),
        ("export { x as default } from './other.js'", Code::Denied, Some((1, 0))),
        ("export default 1; const a = /(/;", Code::Compile, None),
    ] {
        let error = compile(&JsRuntime, source.as_bytes()).unwrap_err();
        assert_eq!(error.code, expected, "{source}: {error}");
        assert_eq!(error.position.map(|p| (p.line, p.column)), place, "{source}: {error}");
    }
    assert_eq!(compile(&JsRuntime, b"\x1f\x05\xff\x00byte code").unwrap_err().code, Code::Compile);
    assert_eq!(compile(&JsRuntime, b"export default () => '\0'").unwrap_err().code, Code::Compile);
    assert_eq!(compile(&JsRuntime, &vec![b' '; (1 << 20) + 1]).unwrap_err().code, Code::TooLarge);
    assert_eq!(compile(&JsRuntime, &b"[".repeat(1 << 19)).unwrap_err().code, Code::Compile);
    // Nothing of it runs: it would not end.
    compile(&JsRuntime, b"for (;;) {} export default 1").unwrap();
    assert_eq!(Script::new(&JsRuntime, "export default 1").code("{}"), Code::Compile);
}

#[test]
fn no_number_is_rounded_in_silence() {
    for (body, event, output) in [
        ("return event.data", "9007199254740993", "9007199254740993"),
        ("return JSON.stringify(event)", "[9007199254740993]", r#""{\"data\":[9007199254740993]}""#),
        ("return typeof event.data", "9007199254740993", "\"bigint\""),
        ("return typeof event.data", "9007199254740991", "\"number\""),
        ("return event.data * 2n", "123456789012345678901234567890", "246913578024691357802469135780"),
        (
            "return event.data",
            "[-9223372036854775809,1.50,{\"a\":0.1000000000000000055511}]",
            "[-9223372036854775809,1.5,{\"a\":0.1000000000000000055511}]",
        ),
        ("return Number(event.data.rawJSON)", "0.1000000000000000055511", "0.1"),
        ("return event.data.__proto__", "{\"__proto__\":{\"a\":9007199254740993}}", "{\"a\":9007199254740993}"),
        ("return event.data.__proto__", "{\"__proto__\":{\"a\":1}}", "{\"a\":1}"),
        (
            "return [2**60, 1e21, -0, 1e-7, 5e-324, 2**53]",
            "0",
            "[1152921504606846976,1e21,0,1e-7,5e-324,9007199254740992]",
        ),
    ] {
        assert_eq!(eval(body, &format!("{{\"data\":{event}}}")), output, "{body} {event}");
    }
}

#[test]
fn what_json_does_not_have_is_no_output() {
    for (body, message) in [
        ("return NaN", "`$` is NaN"),
        ("return { a: [1, Infinity] }", "`$.a[1]` is inf"),
        ("return { f() {} }", "`$.f` is a function"),
        ("return Symbol('x')", "`$` is a symbol"),
        (
            "return { a: new Map([[1, 2]]) }",
            "`$.a` is a Map, which JSON does not have; return `Object.fromEntries(map)`",
        ),
        ("return [new Set()]", "`$[0]` is a Set"),
        ("return new String('ab')", "`$` is a String, which JSON does not have; return a plain value"),
        ("return { a: new Uint8Array(2) }", "`$.a` is a Uint8Array, which JSON does not have; return an array"),
        ("return [Promise.resolve(1)]", "`$[0]` is a Promise, which JSON does not have; `await` it"),
        ("return '\\ud800'", "`$` is a text with half of a surrogate pair"),
        ("return { '\\udfff': 1 }", "`$` is a text with half of a surrogate pair"),
        ("const a = {}; a.a = a; return a", "nests deeper than 64 levels, or contains itself"),
        ("let a = []; for (let i = 0; i < 100; i++) a = [a]; return a", "nests deeper than 64"),
    ] {
        let error = function(body).error("{}");
        assert_eq!(error.code, Code::BadOutput, "{body}: {error}");
        assert!(error.message.contains(message), "{body}: {error}");
    }
    for (body, expected) in [
        ("return { get a() { throw new Error('get') } }", Code::Thrown),
        ("return { toJSON() { throw new Error('get') } }", Code::Thrown),
        ("return { get a() { for (;;); } }", Code::Timeout),
        ("return { toJSON() { for (;;); } }", Code::Timeout),
        ("return new Proxy({}, { ownKeys() { for (;;); } })", Code::Timeout),
        ("return new Proxy({}, { ownKeys() { throw new Error('keys') } })", Code::Thrown),
        ("return new Proxy([], { get(t, k) { return k === 'length' ? 1e15 : 1 } })", Code::OutputTooLarge),
        ("return new Array(4e9)", Code::OutputTooLarge),
        ("return 'x'.repeat(1e6)", Code::OutputTooLarge),
        ("let a = [1]; for (let i = 0; i < 40; i++) a = [a, a]; return a", Code::OutputTooLarge),
        ("const o = {}; for (let i = 0; i < 1e4; i++) o[i] = undefined; return new Array(1e5).fill(o)", Code::Timeout),
    ] {
        fails(body, expected);
    }
    assert_eq!(eval("return { toJSON() { return { toJSON: 1 } } }", "{}"), r#"{"toJSON":1}"#);
    assert_eq!(eval("let a = 1; for (let i = 0; i < 64; i++) a = [a]; return a", "{}").len(), 129);
}

#[test]
fn each_limit_ends_the_call_with_its_code() {
    for (body, expected) in [
        ("for (;;) {}", Code::Timeout),
        ("for (;;) { try { for (;;) {} } catch {} finally { continue } }", Code::Timeout),
        ("const f = () => { Promise.resolve().then(f) }; f(); return new Promise(() => {})", Code::Timeout),
        ("return (async () => { for (;;) await null })()", Code::Timeout),
        ("return (async () => { for (;;) { try { await null; for (;;) {} } catch {} } })()", Code::Timeout),
        ("/^(a+)+$/.test('a'.repeat(40) + 'b')", Code::Timeout),
        ("const f = () => f() + 1; f()", Code::Stack),
        ("const a = []; for (;;) a.push(new Array(1000).fill(7))", Code::Memory),
        ("let s = 'x'; for (;;) s += s", Code::Memory),
        ("new ArrayBuffer(1e9)", Code::Memory),
    ] {
        fails(body, expected);
    }
}

#[test]
fn an_instance_is_as_new_after_any_call() {
    let mut script = Script::with(
        &JsRuntime,
        "let calls = 0;
         export default (event) => {
           const before = [calls++, globalThis.left ?? null, {}.polluted ?? null, Array.prototype.map.left ?? null,
             'left' in Math, JSON.stringify({}), typeof eval];
           globalThis.left = 1; Object.prototype.polluted = 1; Array.prototype.map.left = 1; Math.left = 1;
           JSON.stringify = () => 'mine';
           switch (event.data) {
             case 'throw': throw new Error('x');
             case 'loop': for (;;) {}
             case 'memory': for (const a = [];;) a.push(new Array(1000).fill(7));
             case 'stack': { const f = () => f() + 1; f(); }
             case 'freeze': Object.freeze(Object.prototype); break;
           }
           return before;
         };",
        Limits { wall: Duration::from_secs(1), ..limits() },
    );
    for data in ["a", "throw", "b", "loop", "c", "memory", "d", "stack", "e", "freeze", "f", "g"] {
        let text = script.text(&format!("{{\"data\":\"{data}\"}}"));
        match data {
            "throw" | "loop" | "memory" | "stack" => assert!(!text.starts_with('['), "{data}: {text}"),
            _ => assert_eq!(text, r#"[0,null,null,null,false,"{}","undefined"]"#, "{data}"),
        }
    }
}

#[test]
fn what_goes_to_the_host_is_bounded_before_it_is_copied() {
    let long = "const s = 'x'.repeat(4e6);";
    let mut logs = function(&format!("{long} console.log(...Array(5000).fill(s)); console.log('more'); return 1"));
    let done = logs.call("{}");
    assert!(done.result.is_ok() && done.logs_cut, "{:?}", done.result);
    assert_eq!(done.logs.iter().map(|line| line.message.len()).sum::<usize>(), limits().logs);
    for (headers, code) in [
        ("Array(5000).fill(['a', s])", Code::OutputTooLarge),
        ("Object.fromEntries(Array.from({ length: 5000 }, (_, n) => ['a' + n, s]))", Code::OutputTooLarge),
    ] {
        let request = format!("{long} ctx.http({{ url: 'https://api.example.com/', headers: {headers} }})");
        assert_eq!(function(&request).error("{}").code, code, "{headers}");
        // Whoever is not granted the host is told so first.
        let request = request.replace("api.example.com", "example.org");
        assert_eq!(function(&request).error("{}").code, Code::Denied, "{headers}");
    }
}

#[test]
fn no_line_of_a_log_is_a_reason_to_lose_an_event() {
    let mut script = function(
        "const e = { n: 1, list: [NaN, 2n] }; e.self = e; e.in = { e };
         console.log('got', e);
         console.log({ m: new Map([['a', new Set([1])]]), f: () => 1, e: new TypeError('no'), big: 10n ** 20n });
         console.log({ toJSON() { throw new Error('x') } }, { get a() { throw 1 } });
         console.log(Object.assign(Object.create(null), { toJSON() { return undefined } }), [1, [2]], Object.create(null));
         return 1",
    );
    let done = script.call("{}");
    assert!(done.result.is_ok(), "{:?}", done.result);
    let lines: Vec<_> = done.logs.iter().map(|line| &*line.message).collect();
    assert_eq!(
        lines,
        [
            r#"got {"n":1,"list":["NaN",2],"self":"[circular]","in":{"e":"[circular]"}}"#,
            r#"{"m":{"Map":[["a",{"Set":[1]}]]},"f":"[function]","e":"TypeError: no","big":100000000000000000000}"#,
            "[object Object] [object Object]",
            "[object] [1,[2]] {}",
        ]
    );
    // Its end is that of the call, all the same.
    fails("console.log({ toJSON() { for (;;); } })", Code::Timeout);
}

#[test]
fn what_an_author_says_of_an_error_is_kept() {
    for (body, said) in [
        (
            "try { ctx.emit('x', 1) } catch (e) { throw new Error('while telling: ' + e.message) }",
            "thrown: while telling: it may not emit",
        ),
        ("ctx.emit('x', 1)", "denied: it may not emit"),
        (
            "throw { code: 'E_STOCK', message: 'out of stock' }",
            r#"thrown: it threw {"code":"E_STOCK","message":"out of stock"} (throw"#,
        ),
        ("return Promise.any([Promise.reject(new Error('a')), Promise.reject(2)])", "[Error: a, 2]"),
        (
            "throw new Error('no', { cause: new TypeError('why', { cause: 7 }) })",
            "thrown: no (cause: TypeError: why (cause: 7))",
        ),
        ("const e = new Error('round'); e.cause = e; throw e", "thrown: round (cause: Error: round (cause: "),
        (
            "const e = new Error('hides'); Object.defineProperty(e, 'cause', { get() { throw 1 } }); throw e",
            "thrown: hides",
        ),
    ] {
        let text = eval(body, "{}");
        assert!(text.contains(said), "{body}: {text}");
    }
}

#[test]
fn what_would_be_lost_in_silence_is_an_error() {
    for (value, kind) in [
        ("(function* () { yield 1 })()", "Generator"),
        ("(async function* () { yield 1 })()", "AsyncGenerator"),
        ("new Map([[1, 2]]).keys()", "Map Iterator"),
        ("{ items: [1].values() }", "Array Iterator"),
        ("[1].values().map((n) => n)", "Iterator Helper"),
        ("'a'.matchAll(/a/g)", "RegExp String Iterator"),
    ] {
        let text = eval(&format!("return {value}"), "{}");
        assert!(text.contains("bad-output") && text.contains(kind), "{value}: {text}");
    }
    // As `JSON.stringify` does.
    let keys = "const at = { toJSON(key) { return key } }; return { a: at, list: [0, at], at }";
    assert_eq!(eval(keys, "{}"), r#"{"a":"a","list":[0,"1"],"at":"at"}"#);
    let undefined = "const none = { toJSON() {} }; return { none, a: 1, list: [none, 2] }";
    assert_eq!(eval(undefined, "{}"), r#"{"a":1,"list":[null,2]}"#);
    let proxy = "return new Proxy([1, 2], { get: (list, key) => key === 'length' ? '2' : list[key] })";
    assert_eq!(eval(proxy, "{}"), "[1,2]");
}

#[test]
fn a_request_is_a_url_or_an_object() {
    let mut script = function(
        "ctx.http('https://api.example.com/a');
         ctx.http({ url: 'https://api.example.com/b', headers: [['X', 1], ['X', 2n]], body: 'text' });
         ctx.http({ url: 'https://api.example.com/c', method: 'PUT', headers: undefined, body: 12345678901234567890n });
         return 1",
    );
    assert_eq!(script.text("{}"), "1");
    let requests = std::mem::take(&mut *script.host.requests.lock().unwrap());
    let shown: Vec<_> = requests.iter().map(|r| (&*r.method, &*r.url, r.headers.len(), r.body.as_deref())).collect();
    assert_eq!(
        shown,
        [
            ("GET", "https://api.example.com/a", 0, None),
            ("GET", "https://api.example.com/b", 2, Some("text")),
            ("PUT", "https://api.example.com/c", 0, Some("12345678901234567890")),
        ]
    );
    for (given, shown) in [
        ("", "TypeError: ctx.http takes a URL, or an object"),
        ("7", "TypeError: ctx.http takes a URL, or an object"),
        ("{ url: 'https://api.example.com/', headers: 'x' }", "TypeError: headers are an object, or a list of pairs"),
        ("{ url: 'https://api.example.com/', headers: [1] }", "TypeError: headers are an object, or a list of pairs"),
        ("{ url: 'https://api.example.com/', body: () => 1 }", "`$` is a function, which JSON does not have"),
    ] {
        let text = function(&format!("ctx.http({given})")).text("{}");
        assert!(text.contains(shown), "{given}: {text}");
    }
}

#[test]
fn console_shows_any_value() {
    let mut script = function(
        "class Odd extends Error { get stack() { return 7 } }
         console.log(undefined, null, true, 1.5, 10n, Symbol('s'), Symbol(), 'a\\ud800b', [1, { b: 'c' }]);
         console.log(new Odd('odd')); console.log(() => 1); console.log({ toJSON() { return undefined } });
         let caught = 0;
         const loop = []; loop[0] = loop;
         for (const value of [loop, { toJSON() { throw 1 } }, Object.create(null, { toJSON: { get() { throw 1 } } })]) {
           try { console.log(value); } catch { caught++; }
         }
         return caught",
    );
    let done = script.call("{}");
    assert_eq!(&*done.result.unwrap().value.unwrap(), b"0");
    let lines: Vec<_> = done.logs.iter().map(|line| &*line.message).collect();
    assert_eq!(
        lines,
        [
            "undefined null true 1.5 10 Symbol(s) Symbol() a\u{fffd}b [1,{\"b\":\"c\"}]",
            "Error: odd",
            "function () {\n    [native code]\n}",
            "[object Object]",
            "[\"[circular]\"]",
            "[object Object]",
            "[object]"
        ]
    );
}

#[test]
fn no_error_makes_a_line_fail() {
    let mut script = function(
        "const odd = (change) => { const e = new Error('odd'); change(e); return e };
         for (const value of [
           odd((e) => Object.defineProperty(e, 'stack', { get() { throw 1 } })),
           odd((e) => { e.message = Symbol('x') }),
           odd((e) => { e.message = Object.create(null) }),
           odd((e) => { e.toString = () => { throw 1 } }),
           odd((e) => Object.defineProperty(e, 'name', { get() { throw 1 } })),
         ]) console.error(value);
         return 1",
    );
    let done = script.call("{}");
    assert_eq!(&*done.result.unwrap().value.unwrap(), b"1");
    let lines: Vec<_> = done.logs.iter().map(|line| &*line.message).collect();
    assert_eq!(lines, ["Error: odd", "[error]", "[error]", "[error]", "[error]"]);
}

#[test]
fn what_is_thrown_is_told_in_brief() {
    let mut script = function(
        "const long = 'a'.repeat(1e6);
         if (event.data === 1) throw long;
         if (event.data === 2) throw new Error('short', { cause: new TypeError(long) });
         throw new AggregateError(['x', new RangeError('y'), { z: 1 }], 'many', { cause: 'why' })",
    );
    for data in ["1", "2"] {
        let error = script.error(&format!(r#"{{"data":{data}}}"#));
        assert_eq!(error.code, Code::Thrown);
        assert!((1_000..=4_200).contains(&error.message.len()), "{}", error.message.len());
    }
    assert_eq!(
        script.error(r#"{"data":3}"#).message,
        "AggregateError: many [\"x\", RangeError: y, {\"z\":1} (throw an Error: it has a message and a place)] (cause: \"why\")"
    );
}

#[test]
fn an_error_that_hides_another_shows_both() {
    let error = function("throw new SuppressedError(new TypeError('a'), new Error('b'), 'both')").error("{}");
    assert_eq!(error.message, "SuppressedError: both (error: TypeError: a) (suppressed: Error: b)");
}

#[test]
fn what_there_is_no_memory_for_is_memory() {
    for body in [
        // Of shared parts: short until it is written down.
        "let s = 'a'; for (let n = 0; n < 26; n++) s += s; return s",
        "let s = 'a'; for (let n = 0; n < 26; n++) s += s; ctx.emit('orders.x', s); return 1",
        "return new RegExp('(?:' + '\\\\p{L}'.repeat(1e5) + ')', 'iu').source",
    ] {
        assert_eq!(function(body).code("{}"), Code::Memory, "{body}");
    }
}

#[test]
fn an_event_of_any_size_and_shape_comes_through() {
    let mut script = Script::with(&JsRuntime, "export default (e) => e", Limits { output: 4 << 20, ..limits() });
    for event in [
        r#"{"a":"\u0000\ud83d\ude00\\","":[],"b":{}}"#.to_owned(),
        format!("{{\"data\":{}}}", "[".repeat(60) + &"]".repeat(60)),
        format!("{{\"data\":[{}1]}}", "1,".repeat(200_000)),
    ] {
        let back: serde_json::Value = serde_json::from_str(&script.text(&event)).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(&event).unwrap());
    }
    assert_eq!(script.code("{"), Code::Input);
    assert_eq!(script.code("{\"a\":12345678901234567890"), Code::Input);
    assert_eq!(script.text("{}"), "{}");
}

#[test]
fn memory_may_end_anywhere() {
    let source = "const before = new Map([[1, 'x'.repeat(2000)]]);
        export default async (event, ctx) => {
          console.log(event, before);
          ctx.kv.put('carts', 'b', { list: Array.from({ length: 500 }, (_, i) => ({ i })) });
          await null;
          return [ctx.kv.get('carts', 'a'), ctx.kv.get('carts', 'b'), /a+(b)?/.exec('aab'), JSON.stringify(event)];
        };";
    let mut endings = std::collections::BTreeMap::<String, u32>::new();
    for memory in (1..400).map(|kib| kib * 1024 + 7 * kib) {
        let mut script = Script::with(&JsRuntime, source, Limits { memory, ..limits() });
        let result = script.call(r#"{"data":[12345678901234567890,{"a":"b"}]}"#).result;
        *endings
            .entry(result.map_or_else(
                |e| if e.code == Code::Memory { "memory".to_owned() } else { e.to_string() },
                |_| "ok".to_owned(),
            ))
            .or_default() += 1;
    }
    assert!(endings.keys().eq(["memory", "ok"]) && endings.values().all(|n| *n > 50), "{endings:?}");
}

#[test]
fn a_call_that_runs_for_long_offers_its_processor_to_others() {
    let looping = "export default () => { for (;;); }";
    let mut script = Script::with(&JsRuntime, looping, Limits { wall: Duration::from_millis(500), ..limits() });
    let ended = script.ended("{}");
    assert_eq!(ended.result.unwrap_err().code, Code::Timeout);
    assert!(ended.offers > 0);
}

#[test]
fn the_memory_that_a_call_took_is_told() {
    let most = |body| function(body).call("{}").usage.peak_memory.unwrap();
    let little = most("return 1");
    assert!(little < 100_000, "{little}");
    let held = most("return 'x'.repeat(1000000).length");
    assert!((1_000_000..1_000_000 + little + 8192).contains(&held), "{held}");
    let list = most("return new Array(100000).fill(7).length");
    // 16 bytes each, and half of that beside them, since a list grows by a half.
    assert!((1_600_000..2_400_000 + little).contains(&list), "{list}");
    // Gone before the end.
    let passing =
        most("{ new Uint8Array(4000000).fill(1) } let last; for (let i = 0; i < 1e4; i++) last = [i]; return 1");
    assert!((4_000_000..4_000_000 + 2 * little).contains(&passing), "{passing}");
}

#[test]
fn an_error_is_what_it_is_whatever_it_says() {
    for (body, shown) in [
        ("throw new InternalError('interrupted')", "thrown: InternalError: interrupted (line 2, column 11)"),
        ("throw new InternalError('out of memory')", "thrown: InternalError: out of memory (line 2, column 11)"),
        (
            "const e = new Error('interrupted'); e.name = 'InternalError'; throw e",
            "thrown: InternalError: interrupted (line 2, column 15)",
        ),
        ("throw null", "thrown: it threw null (throw an Error: it has a message and a place)"),
        ("throw new Error('a \\ud800 b')", "thrown: (a text with half of a surrogate pair) (line 2, column 11)"),
        ("throw 'a \\ud800 b'", r#"thrown: it threw "(a text with half of a surrogate pair)""#),
        ("throw Object.defineProperty(new Error(), 'message', { get() { throw 1 } })", "thrown:  (line 2, column 33)"),
    ] {
        assert_eq!(function(body).text("{}"), shown, "{body}");
    }
    // In the engine this fails without an exception.
    fails("return '\\uFDFA'.repeat(300000).normalize('NFKD')", Code::Memory);
    let long = function("throw new Error('\\u{1f600}'.repeat(2000000))").text("{}");
    assert!(long.starts_with("thrown: \u{1f600}\u{1f600}"), "{long}");
    let long = function("throw 'x'.repeat(9000000)").text("{}");
    assert!(long.starts_with("thrown: it threw \"xxx"), "{long}");
}

#[test]
fn what_a_call_left_does_not_run_in_the_next() {
    let mut script = function(
        "if (event.data === 'emits') {
           const go = n => { ctx.emit('orders.leak', { from: event.id }); if (n < 5) Promise.resolve().then(() => go(n + 1)) };
           Promise.resolve().then(() => go(0));
           return 'left';
         }
         if (event.data === 'loops') { Promise.resolve().then(() => { for (;;); }); return 'left' }
         let turns = Promise.resolve(0);
         for (let i = 0; i < 6; i++) turns = turns.then(n => n + 1);
         return turns",
    );
    for what in ["emits", "loops"] {
        for _ in 0..2 {
            assert_eq!(script.text(&format!(r#"{{"id":"1","data":"{what}"}}"#)), r#""left""#);
            let output = script.call("{}").result.unwrap();
            assert_eq!(output.value.as_deref(), Some(&b"6"[..]), "{what}");
            assert!(output.emitted.is_empty(), "{what}");
        }
    }
}

#[test]
fn what_a_call_left_takes_no_memory_of_the_next() {
    let mut script =
        function("const big = new Array(100000).fill(1); Promise.resolve().then(() => big.length); return 1");
    for _ in 0..24 {
        assert_eq!(script.text("{}"), "1");
    }
}

#[test]
fn iterators_and_bound_functions_do_what_they_should() {
    for (body, output) in [
        ("return [1, 2, 3, 4].values().map(x => x * 2).filter(x => x > 2).drop(1).take(1).toArray()", "[6]"),
        ("return [...Iterator.concat([1], [2, 3].values().flatMap(x => [x, x]))]", "[1,2,2,3,3]"),
        (
            "let i = 0, ended = 0; const it = Iterator.from({ next: () => ({ done: i > 2, value: i++ }), return: () => { ended++; return {} } });
             const [a, b] = it; return [a, b, ended, it.next(), Object.prototype.toString.call(it.map(x => x))]",
            r#"[0,1,1,{"value":2,"done":false},"[object Iterator Helper]"]"#,
        ),
        (
            "const of = Object.getPrototypeOf([].values().take(0));
             return [Object.keys(of), of.next.name, of.next.length, of.return.name, Object.getOwnPropertyNames(of)]",
            r#"[[],"next",0,"return",["next","return"]]"#,
        ),
        ("try { Object.getPrototypeOf([].values().take(0)).next.call({}) } catch (e) { return e.name }", r#""TypeError""#),
        ("return (function (...all) { return [this.a, ...all] }).bind({ a: 1 }, 2).bind({ a: 9 }, 3)(4)", "[1,2,3,4]"),
        ("class A { constructor(x) { this.x = x } }; const B = A.bind(null, 5); return [new B(), new B() instanceof A]", r#"[{"x":5},true]"#),
        ("return [Function.prototype.bind.length, (() => {}).bind.name, function f() {}.bind().name]", r#"[1,"bind","bound f"]"#),
        ("try { Function.prototype.bind.call(1) } catch (e) { return e.name }", r#""TypeError""#),
    ] {
        assert_eq!(eval(body, "{}"), output, "{body}");
    }
}

#[test]
fn the_memory_that_a_call_took_is_not_told_of_the_next() {
    let mut script = function("return event.data ? new Uint8Array(event.data).length : 0");
    let mut peak = |event: &str| script.call(event).usage.peak_memory.unwrap();
    let little = peak("{}");
    // In a context that was made before the call, and in one that the call made.
    for _ in 0..2 {
        assert!(peak(r#"{"data":4000000}"#) > 4_000_000);
        // Less than at first, when the engine makes what it keeps.
        let after = peak("{}");
        assert!((1..=little).contains(&after), "{after}, {little} at first");
    }
}

#[test]
fn a_call_that_wanted_too_much_is_told_with_what_it_took() {
    let done = function("const all = []; for (;;) all.push(new Uint8Array(100000))").call("{}");
    assert_eq!(done.result.unwrap_err().code, Code::Memory);
    let (peak, limit) = (done.usage.peak_memory.unwrap(), limits().memory as u64);
    assert!((limit - 500_000..limit).contains(&peak), "{peak}");
}
