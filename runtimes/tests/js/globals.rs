//! What a context has, and what of it one call can reach and another cannot.

use std::sync::Arc;

use hexafn_runtimes::{Code, Grants, JsRuntime, Settings};

use super::scripts::{self, Script};
use super::{eval, fails, function};

#[test]
fn chance_begins_with_the_seed_and_time_is_whole() {
    let mut script = function("return [Math.random(), Math.random()]");
    let first = script.text("{}");
    assert_eq!(script.text("{}"), first);
    script.ctx.seed = 43;
    assert_ne!(script.text("{}"), first);
    assert_eq!(eval("return Number.isInteger(Date.now()) && Date.now() > 1.7e12", "{}"), "true");
}

#[test]
fn without_the_grant_no_way_to_a_date_tells_how_time_goes_on() {
    let at = 1_767_323_045_000_i64;
    for (way, shown) in [
        ("Date.now()", at.to_string()),
        ("+new Date()", at.to_string()),
        ("+Reflect.construct(Date, [])", at.to_string()),
        ("+new (class extends Date {})()", at.to_string()),
        ("+new (new Date(0).constructor)()", at.to_string()),
        ("+new Date.prototype.constructor()", at.to_string()),
        ("+new globalThis['Da' + 'te']()", at.to_string()),
        ("Date.parse(Date())", at.to_string()),
        ("typeof performance", "\"undefined\"".to_owned()),
        // In all else it is the engine's.
        (
            "[Date.name, Date.length, Date.UTC(1970, 0), +new Date(5), new Date() instanceof Date]",
            "[\"Date\",7,0,5,true]".to_owned(),
        ),
        ("[+new Date(2026, 0), +new Date('2026-01-01T00:00:00Z'), `${new Date(NaN)}`]", {
            let year = 1_767_225_600_000_i64;
            format!("[{year},{year},\"Invalid Date\"]")
        }),
        ("Object.getOwnPropertyDescriptor(globalThis, 'Date').enumerable", "false".to_owned()),
        ("Reflect.ownKeys(Date).sort().join()", "\"UTC,length,name,now,parse,prototype\"".to_owned()),
        ("Object.keys(Date).length + Object.keys(Date.prototype).length", "0".to_owned()),
    ] {
        let mut script = function(&format!("return {way}"));
        let grants = Grants { time: false, ..scripts::grants() };
        script.settings = Arc::new(Settings { grants, ..Settings::clone(&script.settings) });
        assert_eq!(script.text("{}"), shown, "{way}");
    }
}

#[test]
fn globals_are_there_however_a_source_names_them() {
    for body in [
        "return [Math.random(), Math.max(1, 2), Number.isInteger(Date.now()), new Uint8Array(2).length, typeof console.log]",
        "const g = globalThis; return [g['Ma' + 'th'].random(), g['Ma' + 'th'].max(1, 2),
           Number.isInteger(g['Da' + 'te'].now()), new g['Uint8' + 'Array'](2).length, typeof g['con' + 'sole'].log]",
        "return [M\\u0061th.random(), M\\u{61}th.max(1, 2), Number.isInteger(D\\u0061te.now()),
           new Uint8\\u0041rray(2).length, typeof c\\u006fnsole.log]",
    ] {
        let given = eval(&body.replace("\\\\", "\\"), "{}");
        let random = eval("return Math.random()", "{}");
        assert_eq!(given, format!("[{random},2,true,2,\"function\"]"), "{body}");
    }
}

/// What a source does not name is left out, or as the engine made it: so there must be no other way to it.
#[test]
fn a_source_reaches_a_global_by_its_name_alone() {
    let walk = |from: &str| {
        let source = format!(
            "export default (event, ctx) => {{
               const hidden = ['Ma' + 'th', 'Da' + 'te', 'Uint8' + 'Array', 'Array' + 'Buffer', 'con' + 'sole'];
               const found = [], seen = new Set();
               const self = function () {{ return this; }};
               const next = [[], {{}}, 1n, '', 1, true, Symbol.iterator, /x/, () => 1, async () => 1, function* () {{}},
                 async function* () {{}}, event, ctx, new Error('x'), Promise.resolve(), new Map(), new Set(), new WeakMap(),
                 new WeakSet(), new Proxy({{}}, {{}}), JSON, Reflect, Object, Function, Iterator, Symbol, Proxy, RegExp,
                 BigInt, [].values(), [].values().take(1), Iterator.from({{ next() {{}} }}), 'x'.matchAll(/x/g),
                 (function* () {{}})(), (async function* () {{}})(), new Map().entries(), new Set().values(), ''[Symbol.iterator](),
                 import.meta, self(), (0, self)(), self.call(undefined), [self].map((f) => f()), [1].map(self, undefined),
                 self.bind()(), Reflect.apply(self, undefined, []), (() => {{ try {{ null.x }} catch (e) {{ return e }} }})(),
                 (function () {{ return arguments }})(), JSON.parse('[1]', self), {from}];
               // What a stack is made of, and the functions in it.
               Error.prepareStackTrace = (_, sites) => sites;
               const sites = [() => new Error().stack, function () {{ return new Error().stack }}.bind(1)].flatMap((f) => f());
               [3, 1].sort(() => {{ sites.push(...new Error().stack); return 0; }});
               for (const site of sites) {{
                 next.push(site);
                 for (const name of Reflect.ownKeys(Object.getPrototypeOf(site))) {{
                   if (typeof site[name] === 'function') try {{ next.push(site[name]()); }} catch {{}}
                 }}
               }}
               while (next.length > 0) {{
                 const value = next.pop();
                 if (value === null || value === undefined || seen.has(value)) continue;
                 seen.add(value);
                 const object = Object(value);
                 next.push(Object.getPrototypeOf(object));
                 for (const key of Reflect.ownKeys(object)) {{
                   if (hidden.includes(key)) found.push(key);
                   const property = Reflect.getOwnPropertyDescriptor(object, key);
                   next.push(property.value, property.get, property.set);
                   try {{ next.push(object[key]); }} catch {{}}
                 }}
               }}
               return [seen.size > 300, found.sort()];
             }};"
        );
        Script::new(&JsRuntime, &source).text("{\"data\":[1]}")
    };
    assert_eq!(walk("null"), "[true,[]]");
    // It would find them.
    assert_eq!(walk("globalThis"), r#"[true,["ArrayBuffer","Date","Math","Uint8Array","console"]]"#);
}

/// Marks all that a call can reach, and finds none of it in the next one.
#[test]
fn nothing_that_one_call_reaches_is_there_for_the_next() {
    let mut script = function(
        "const roots = [ctx, console, Math, Date, JSON, Reflect, Promise, globalThis, () => 1, async () => 1, function* () {}, [], /x/];
         const next = [...roots], seen = new Set();
         let before = 0;
         while (next.length > 0) {
           const value = next.pop();
           if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue;
           seen.add(value);
           if (Object.hasOwn(value, 'mark')) before++;
           next.push(Object.getPrototypeOf(value));
           for (const key of Reflect.ownKeys(value)) {
             const { value: held, get, set } = Reflect.getOwnPropertyDescriptor(value, key);
             next.push(held, get, set);
           }
         }
         for (const value of seen) try { value.mark = 1; } catch {}
         const hosts = [ctx.emit, ctx.http, ctx.kv.get, console.log, Math.random, Date.now];
         return [before, seen.size > 300, hosts.every((f) => Object.getPrototypeOf(f) === Function.prototype),
           hosts.every((f) => f instanceof Function), hosts.filter((f) => Object.hasOwn(f, 'mark')).length];",
    );
    for _ in 0..4 {
        assert_eq!(script.text("{}"), "[0,true,true,true,6]");
    }
}

#[test]
fn nothing_reaches_outside() {
    for name in [
        "eval",
        "require",
        "process",
        "fetch",
        "setTimeout",
        "Atomics",
        "SharedArrayBuffer",
        "Worker",
        "WeakRef",
        "performance",
        "os",
        "std",
        "scriptArgs",
        "print",
        "FinalizationRegistry",
    ] {
        assert_eq!(eval(&format!("return typeof globalThis.{name}"), "{}"), "\"undefined\"", "{name}");
    }
    for body in [
        "return new Function('return 1')()",
        "return (() => {}).constructor('return 1')()",
        "return (async () => {}).constructor('return 1')()",
        "return (function* () {}).constructor('yield 1')().next()",
    ] {
        fails(body, Code::Thrown);
    }
    assert_eq!(eval("return import('fs').then(() => 1, (e) => 'no')", "{}"), "\"no\"");
}
