//! WASI preview 2: programs of a real C library as components, and what a hostile one tries with it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hexafn_runtimes::wasm::{Options, WasmRuntime, Wasmtime};
use hexafn_runtimes::{Code, Ctx, Done, Error, Grants, Level, Limits, NoHost, Runtime, Session, Settings, Source, run};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

fn wasmtime() -> &'static dyn Runtime {
    static RUNTIME: OnceLock<WasmRuntime<Wasmtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| WasmRuntime::new(Wasmtime::new(Options::default()).unwrap()))
}

fn settings(limits: Limits, grants: Grants) -> Arc<Settings> {
    Arc::new(Settings { limits, grants })
}

fn call(code: &[u8], data: &str, settings: &Arc<Settings>) -> Result<Done, Error> {
    let source = Source { name: "f".into(), file: "functions/f.wasm".into(), code: code.into() };
    let mut instance = wasmtime().compile(&source, settings)?.open()?;
    let ctx = Ctx {
        function: "f".into(),
        seed: 7,
        now_ms: 1_700_000_000_000,
        env: vec![("TOKEN".into(), "t0k".into())],
        ..Ctx::default()
    };
    let session = Session::new(Arc::clone(settings), Arc::new(ctx), Arc::new(NoHost));
    Ok(run(&mut *instance, format!(r#"{{"id":"e1","data":{data}}}"#).as_bytes(), session))
}

/// A guest in C with the C library, as a core module over WASI preview 1.
fn c(name: &str, more: &[&str]) -> Vec<u8> {
    let missing = "install clang, lld and wasi-libc (scripts/deps test): this test compiles a guest in C";
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("guest.wasm");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    let made = Command::new("clang")
        .args(["--target=wasm32-wasi", "-O2", "-o"])
        .arg(&module)
        .args(more)
        .arg(source)
        .output()
        .unwrap_or_else(|e| panic!("{missing}: {e}"));
    assert!(made.status.success(), "{missing}: {}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(&module).unwrap()
}

/// The program in C as a component, which is what compilers for `wasm32-wasip2` make.
fn program() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let module = c("command.c", &[]);
        let encoder = ComponentEncoder::default().module(&module).unwrap();
        encoder.adapter(PREVIEW1, ADAPTER).unwrap().encode().unwrap()
    })
}

/// What of sockets and of HTTP the tests import.
const MORE: &str = "
package wasi:sockets@0.2.6 {
  interface network { resource network; }
  interface instance-network { use network.{network}; instance-network: func() -> network; }
}
package wasi:http@0.2.6 { interface outgoing-handler { handle: func(); } }
package wasi:cli@0.3.0 { interface environment { get-arguments: func() -> list<string>; } }
package wasi:nn@0.2.0 { interface graph { load: func(); } }";

/// A component of a core module that imports these interfaces of WASI beside the world.
fn component(imports: &[&str], module: &str) -> Vec<u8> {
    let wit = |name: &str| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(name)).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with("///")).collect::<Vec<_>>().join("\n")
    };
    let mut resolve = Resolve::default();
    resolve.push_str("function.wit", &wit("function.wit")).unwrap();
    let (_, packages) =
        wit("wasi.wit").split_once("package wasi:io").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let imports: String = imports.iter().map(|name| format!("import {name};\n")).collect();
    let world = format!(
        "package test:test;\nworld test {{\n{imports}include hexafn:function/function@1.0.0;\n}}\npackage wasi:io{packages}{MORE}"
    );
    let package = resolve.push_str("test.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A core module whose `handle` does this, with these imports, and then drops the event.
fn handle(imports: &str, does: &str) -> String {
    format!(
        r#"(module {imports}
        (memory (export "memory") 2)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "handle") (param i32 i32 i32 i32) (result i32) {does}
            (i64.store (i32.const 16) (i64.const 0)) (i32.const 16)))"#
    )
}

fn value(done: &Done) -> Option<String> {
    let value = done.result.as_ref().unwrap().value.as_ref();
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn failed(result: Result<Done, Error>, code: Code, said: &str) {
    let error = result.and_then(|done| done.result).expect_err(said);
    assert!(error.code == code && error.message.contains(said), "{said}: {error}");
}

fn logging() -> Grants {
    Grants { log: true, ..Grants::default() }
}

#[test]
fn a_program_reads_its_input_writes_its_result_and_sees_nothing_of_the_machine() {
    let settings = settings(Limits::default(), logging());
    let done = call(program(), "1", &settings).unwrap();
    let (value, line) = (value(&done).unwrap(), &done.logs[0]);
    assert!(value.starts_with(r#"{"read":"#) && value.ends_with(r#","token":"t0k"}"#), "{value}");
    assert!(!value.contains(r#""read":0,"#), "{value}");
    assert_eq!(line.level, Level::Warn);
    // Without the grants the clock stands where the run began, and random numbers follow from the record.
    assert!(line.message.starts_with("file refused, at 1700000000, random "), "{}", line.message);
    let again = call(program(), "1", &settings).unwrap();
    assert_eq!(again.logs[0].message, line.message);
    assert_eq!(call(program(), r#""drop""#, &settings).unwrap().result.unwrap().value, None);
}

#[test]
fn a_program_has_the_clock_and_randomness_that_it_is_granted() {
    let settings = settings(Limits::default(), Grants { time: true, random: true, ..logging() });
    let lines: Vec<String> =
        (0..2).map(|_| call(program(), "1", &settings).unwrap().logs[0].message.to_string()).collect();
    assert!(!lines[0].contains("at 1700000000"), "{}", lines[0]);
    let random = |line: &String| line.split_once("random").unwrap().1.to_owned();
    // Two bytes each: equal once in 65,536 times, so a third may decide.
    if random(&lines[0]) == random(&lines[1]) {
        let third = call(program(), "1", &settings).unwrap().logs[0].message.to_string();
        assert_ne!(random(&lines[0]), random(&third));
    }
}

#[test]
fn how_a_program_ends_is_told() {
    let limits = Limits { wall: Duration::from_millis(300), ..Limits::default() };
    let settings = settings(limits, logging());
    failed(call(program(), r#""exit""#, &settings), Code::Thrown, "it ended with status 1: no more");
    assert!(value(&call(program(), r#""nap""#, &settings).unwrap()).is_some());
    let began = Instant::now();
    failed(call(program(), r#""sleep""#, &settings), Code::Timeout, "300ms");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_core_module_of_the_world_has_its_c_library() {
    let module = c("library.c", &["-mexec-model=reactor"]);
    let granted = settings(Limits::default(), Grants { emit: vec!["orders.*".into()], ..logging() });
    let done = call(&module, r#""emit""#, &granted).unwrap();
    let len = r#"{"id":"e1","data":"emit"}"#.len();
    assert_eq!(value(&done).unwrap(), format!(r#"{{"len":{len}}}"#));
    assert_eq!((done.logs[0].level, &*done.logs[0].message), (Level::Info, &*format!("{len} bytes")));
    assert_eq!(&*done.result.unwrap().emitted[0].topic, "orders.large");
    failed(call(&module, r#""elsewhere""#, &granted), Code::Denied, "`other`");
    failed(call(&module, r#""exit""#, &granted), Code::Abi, "so gave no result");
    failed(call(&module, r#""status""#, &granted), Code::Thrown, "broken");
    // What is not granted may be imported, and ends whoever calls it.
    let nothing = settings(Limits::default(), logging());
    assert_eq!(value(&call(&module, "1", &nothing).unwrap()).unwrap(), r#"{"len":20}"#);
    failed(call(&module, r#""emit""#, &nothing), Code::Denied, "`emit` of the function grants nothing");
}

#[test]
fn files_and_sockets_can_be_imported_and_not_be_called() {
    let interface = "wasi:sockets/instance-network@0.2.6";
    let import = format!(r#"(import "{interface}" "instance-network" (func $network (result i32)))"#);
    let settings = settings(Limits::default(), logging());
    let unused = component(&[interface], &handle(&import, ""));
    assert_eq!(value(&call(&unused, "1", &settings).unwrap()), None);
    let used = component(&[interface], &handle(&import, "(drop (call $network))"));
    failed(
        call(&used, "1", &settings),
        Code::Denied,
        "wasi:sockets/instance-network@0.2.6#instance-network`; a function has no",
    );
}

#[test]
fn other_interfaces_are_refused_with_what_there_is() {
    let settings = settings(Limits::default(), logging());
    for (interface, function, said) in [
        ("wasi:http/outgoing-handler@0.2.6", "handle", "`hexafn:function/web` sends requests"),
        ("wasi:cli/environment@0.3.0", "get-arguments", "there is preview 2"),
        ("wasi:nn/graph@0.2.0", "load", "of WASI there are `wasi:cli/…`"),
    ] {
        let params = if function == "get-arguments" { "(param i32)" } else { "" };
        let import = format!(r#"(import "{interface}" "{function}" (func {params}))"#);
        failed(call(&component(&[interface], &handle(&import, "")), "1", &settings), Code::Denied, said);
    }
}

#[test]
fn what_a_guest_waits_for_and_asks_for_is_bounded() {
    let limits = Limits { wall: Duration::from_millis(200), ..Limits::default() };
    let settings = settings(limits, Grants { time: true, ..logging() });
    let clock = "wasi:clocks/monotonic-clock@0.2.12";
    let subscribe = format!(r#"(import "{clock}" "subscribe-duration" (func $subscribe (param i64) (result i32)))"#);
    let poll = "wasi:io/poll@0.2.12";
    let block = format!(r#"(import "{poll}" "[method]pollable.block" (func $block (param i32)))"#);
    let list = format!(r#"(import "{poll}" "poll" (func $poll (param i32 i32 i32)))"#);
    let bytes = "wasi:random/random@0.2.12";
    let random = format!(r#"(import "{bytes}" "get-random-bytes" (func $random (param i64 i32)))"#);
    let out = "wasi:cli/stdout@0.2.12";
    let streams = "wasi:io/streams@0.2.12";
    let write = format!(
        r#"(import "{out}" "get-stdout" (func $stdout (result i32)))
           (import "{streams}" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))"#
    );
    for (imports, wants, does, code, said) in [
        (
            vec![clock, poll],
            subscribe.clone() + &block,
            "(call $block (call $subscribe (i64.const -1)))",
            Code::Timeout,
            "200ms",
        ),
        (
            vec![clock],
            subscribe.clone(),
            "(loop (drop (call $subscribe (i64.const 1))) (br 0))",
            Code::Memory,
            "1000 things",
        ),
        (
            vec![poll],
            list.clone(),
            "(call $poll (i32.const 0) (i32.const 0) (i32.const 32))",
            Code::Abi,
            "waits for nothing",
        ),
        (vec![bytes], random.clone(), "(call $random (i64.const -1) (i32.const 32))", Code::Memory, "random bytes"),
        (
            vec![out, streams],
            write.clone(),
            "(call $write (call $stdout) (i32.const 0) (i32.const 70000) (i32.const 32))",
            Code::Abi,
            "at most 65536 were offered",
        ),
    ] {
        let made = component(&imports, &handle(&wants, does));
        let began = Instant::now();
        failed(call(&made, "1", &settings), code, said);
        assert!(began.elapsed() < Duration::from_secs(20), "{said}");
    }
    // What is over makes room.
    let freed = format!(r#"{subscribe}{block}(import "{poll}" "[resource-drop]pollable" (func $drop (param i32)))"#);
    let does = "(local $n i32) (local $one i32)
        (loop
          (local.set $one (call $subscribe (i64.const 1)))
          (call $block (local.get $one))
          (call $drop (local.get $one))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $n) (i32.const 1100))))";
    let limits = Limits { wall: Duration::from_secs(20), ..Limits::default() };
    let settings = self::settings(limits, logging());
    assert_eq!(value(&call(&component(&[clock, poll], &handle(&freed, does)), "1", &settings).unwrap()), None);
}
