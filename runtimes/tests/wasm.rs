//! WebAssembly through the contract of all languages: shapes, imports, each error, and the hostile corpus; on each engine
//! that this build has.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "wasmer")]
use hexafn_runtimes::wasm::Wasmer;
use hexafn_runtimes::wasm::{MAX_STACKS, Options, WasmRuntime, Wasmtime};
use hexafn_runtimes::{
    Code, Ctx, Done, Error, Grants, Host, HostError, HttpRequest, HttpResponse, Level, Limits, Runtime, Session,
    Settings, Source, run,
};

const EVENT: &str = r#"{"id":"e1","type":"orders.new","data":{"total":12.50,"customer":"c-17"}}"#;

/// A store with one key, and a network with one answer.
struct Fixed(Mutex<HashMap<(String, String), String>>);

impl Host for Fixed {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        if key == "broken" {
            return Err(HostError("the store is not there".into()));
        }
        Ok(self.0.lock().unwrap().get(&(namespace.to_owned(), key.to_owned())).cloned())
    }

    fn http(&self, request: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        Ok(HttpResponse { status: 200, headers: vec![], body: format!("{} {}", request.method, request.url) })
    }
}

fn wasmtime() -> &'static dyn Runtime {
    static RUNTIME: OnceLock<WasmRuntime<Wasmtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| WasmRuntime::new(Wasmtime::new(Options::default()).unwrap()))
}

#[cfg(feature = "wasmer")]
fn wasmer() -> &'static dyn Runtime {
    static RUNTIME: OnceLock<WasmRuntime<Wasmer>> = OnceLock::new();
    RUNTIME.get_or_init(|| WasmRuntime::new(Wasmer::new(Options::default())))
}

/// Each of these runs once for each engine.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        mod on_wasmtime {
            $(#[test] fn $test() { super::$test(super::wasmtime()); })+
        }
        #[cfg(feature = "wasmer")]
        mod on_wasmer {
            $(#[test] fn $test() { super::$test(super::wasmer()); })+
        }
    };
}

on_each_engine!(
    a_core_module_gets_the_event_and_gives_the_result,
    a_command_reads_standard_input_and_writes_standard_output,
    a_command_that_writes_nothing_drops_the_event,
    a_line_that_is_too_long_is_cut_between_characters,
    a_command_that_ends_itself_well_in_its_start_has_ended_well,
    each_import_of_hexafn_works,
    a_function_can_fail_by_itself,
    each_call_begins_with_fresh_globals_and_memory,
    fuel_is_a_limit_of_its_own,
    a_call_that_runs_for_long_offers_its_processor_to_others,
    memory_is_counted_as_far_as_it_grew,
    a_start_function_runs_with_its_imports,
    an_error_names_the_functions_it_came_through,
    what_is_no_module_is_refused_with_the_reason,
    random_bytes_at_any_place_never_panic,
    an_import_without_a_grant_is_refused_before_anything_runs,
    a_component_is_refused_what_does_not_exist,
    a_guest_in_c_works,
    hostile_programs_end_within_their_limits_with_the_right_error,
);

fn granted(limits: Limits) -> Arc<Settings> {
    let grants = Grants {
        emit: vec!["orders.*".into()],
        kv: vec!["carts".into()],
        http: vec!["api.example.com".into()],
        log: true,
        time: true,
        random: false,
    };
    Arc::new(Settings { limits, grants })
}

fn source(code: &[u8]) -> Source {
    Source { name: "f".into(), file: "functions/f.wasm".into(), code: code.into() }
}

fn session(settings: &Arc<Settings>) -> Session {
    let ctx = Ctx { function: "f".into(), seed: 7, env: vec![("TOKEN".into(), "t0k".into())], ..Ctx::default() };
    let store = HashMap::from([(("carts".to_owned(), "a".to_owned()), "[1,2]".to_owned())]);
    Session::new(Arc::clone(settings), Arc::new(ctx), Arc::new(Fixed(Mutex::new(store))))
}

fn call_with(engine: &dyn Runtime, code: &[u8], settings: &Arc<Settings>) -> Result<Done, Error> {
    let compiled = engine.compile(&source(code), settings)?;
    let mut instance = compiled.open()?;
    Ok(run(&mut *instance, EVENT.as_bytes(), session(settings)))
}

fn call(engine: &dyn Runtime, code: &str) -> Done {
    call_with(engine, code.as_bytes(), &granted(Limits::default())).unwrap()
}

fn value(done: &Done) -> Option<String> {
    let value = done.result.as_ref().unwrap().value.as_ref();
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn code_of(result: Result<Done, Error>) -> Option<Code> {
    match result {
        Err(error) => Some(error.code),
        Ok(done) => done.result.err().map(|error| error.code),
    }
}

fn guest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The same function in each shape gives back what it was given.
fn echoed() -> String {
    let ctx = String::from_utf8(session(&granted(Limits::default())).ctx().json()).unwrap();
    format!(r#"{{"event":{EVENT},"ctx":{ctx}}}"#)
}

fn a_core_module_gets_the_event_and_gives_the_result(engine: &dyn Runtime) {
    let done = call(engine, &guest("echo.wat"));
    assert_eq!(value(&done).unwrap(), echoed());
    assert!(done.usage.fuel.unwrap() > 0);
    assert_eq!(done.usage.peak_memory, Some(64 << 10));
}

fn a_command_reads_standard_input_and_writes_standard_output(engine: &dyn Runtime) {
    let done = call(engine, &guest("echo_wasi.wat"));
    assert_eq!(value(&done).unwrap(), echoed());
    assert_eq!(
        done.logs.iter().map(|l| (l.level, &*l.message)).collect::<Vec<_>>(),
        [(Level::Warn, "one"), (Level::Warn, "two")]
    );
}

fn a_line_that_is_too_long_is_cut_between_characters(engine: &dyn Runtime) {
    let command = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\01\10\00\00")
        (func (export "_start")
            (memory.fill (i32.const 16) (i32.const 97) (i32.const 4096))
            (i32.store8 (i32.const 4112) (i32.const 10))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store16 (i32.const 4111) (i32.const 0xa4c3))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let done = call(engine, command);
    let (whole, rest) = ("a".repeat(4096), "a".repeat(4095));
    let lines: Vec<&str> = done.logs.iter().map(|line| &*line.message).collect();
    assert_eq!(lines, [&*whole, &*rest, "ä"], "the line feed after a full piece is none of its own");
}

fn a_command_that_writes_nothing_drops_the_event(engine: &dyn Runtime) {
    assert_eq!(value(&call(engine, r#"(module (func (export "_start")))"#)), None);
}

#[test]
fn a_component_gets_the_event_and_gives_the_result() {
    let done = call(wasmtime(), &guest("echo_component.wat"));
    assert_eq!(value(&done).unwrap(), EVENT);
    assert_eq!(done.logs.len(), 1);
    assert_eq!((done.logs[0].level, &*done.logs[0].message), (Level::Info, "from a component"));
}

fn each_import_of_hexafn_works(engine: &dyn Runtime) {
    let done = call(engine, &guest("imports.wat"));
    // What the guest takes, in order, joined: a variable, a stored value, the message of a failed store, an answer.
    let answer = r#"{"status":200,"headers":[],"body":" https://api.example.com/"}"#;
    assert_eq!(value(&done).unwrap(), format!(r#"["t0k",[1,2],-1,"the store is not there",{answer}]"#));
    let output = done.result.unwrap();
    assert_eq!(output.emitted.len(), 1);
    assert_eq!(
        (&*output.emitted[0].topic, output.emitted[0].key.as_deref(), &*output.emitted[0].data),
        ("orders.a", Some("k"), "{}")
    );
    assert_eq!(output.writes.len(), 2);
    assert_eq!((output.writes[0].value.as_deref(), output.writes[1].value.as_deref()), (Some("{}"), None));
    assert_eq!((done.logs[0].level, &*done.logs[0].message), (Level::Debug, "hello"));
}

fn a_function_can_fail_by_itself(engine: &dyn Runtime) {
    let done = call(engine, &guest("fail.wat"));
    let error = done.result.unwrap_err();
    assert_eq!((error.code, &*error.message), (Code::Thrown, "no such customer"));
}

fn each_call_begins_with_fresh_globals_and_memory(engine: &dyn Runtime) {
    let settings = granted(Limits::default());
    let compiled = engine.compile(&source(guest("counter.wat").as_bytes()), &settings).unwrap();
    let mut instance = compiled.open().unwrap();
    for _ in 0..3 {
        let done = run(&mut *instance, EVENT.as_bytes(), session(&settings));
        assert_eq!(value(&done).unwrap(), "11");
    }
}

fn fuel_is_a_limit_of_its_own(engine: &dyn Runtime) {
    let looping = guest("../hostile/wasm/loop-br.wat");
    let limits = Limits { fuel: Some(100_000), ..Limits::default() };
    let done = call_with(engine, looping.as_bytes(), &granted(limits)).unwrap();
    assert_eq!(done.result.unwrap_err().code, Code::Fuel);
    assert_eq!(done.usage.fuel, Some(100_000));
}

fn a_call_that_runs_for_long_offers_its_processor_to_others(engine: &dyn Runtime) {
    let looping = guest("../hostile/wasm/loop-br.wat");
    let settings = granted(Limits { fuel: Some(u64::MAX), wall: Duration::from_millis(500), ..Limits::default() });
    let mut instance = engine.compile(&source(looping.as_bytes()), &settings).unwrap().open().unwrap();
    let ended = instance.call(EVENT.as_bytes(), session(&settings));
    assert_eq!(ended.result.unwrap_err().code, Code::Timeout);
    assert!(ended.offers > 0);
}

fn memory_is_counted_as_far_as_it_grew(engine: &dyn Runtime) {
    let module = |memory: &str, then: &str| {
        format!(
            r#"(module (memory (export "memory") {memory}) (table $t 10 funcref)
                 (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
                 (func (export "hexafn_call") (param i32 i32) (result i64) {then} (i64.const 0)))"#
        )
    };
    let grow = |pages: i32| format!("(drop (memory.grow (i32.const {pages})))");
    let peak = |code: &str| call(engine, code).usage.peak_memory.unwrap();
    let table = 10 * 8;
    assert_eq!(peak(&module("1", &grow(2))), (3 << 16) + table);
    // Its own bound is none of the host's: nothing grew, and nothing was refused.
    assert_eq!(peak(&module("1 2", &grow(5))), (1 << 16) + table);
    let trapped = call(engine, &module("1 2", &(grow(5) + "unreachable")));
    assert_eq!(trapped.result.unwrap_err().code, Code::Trap);
    let tables = "(drop (table.grow $t (ref.null func) (i32.const 100)))";
    assert_eq!(peak(&module("1", tables)), (1 << 16) + 110 * 8);
}

fn a_start_function_runs_with_its_imports(engine: &dyn Runtime) {
    let done = call(
        engine,
        r#"(module (import "hexafn" "log" (func $log (param i32 i32 i32))) (memory (export "memory") 1)
             (data (i32.const 0) "before")
             (func $first (call $log (i32.const 1) (i32.const 0) (i32.const 6))) (start $first)
             (func (export "_start")))"#,
    );
    assert_eq!(value(&done), None);
    assert_eq!(done.logs[0].message, "before");
}

fn an_error_names_the_functions_it_came_through(engine: &dyn Runtime) {
    let done = call(engine, &guest("stack.wat"));
    let error = done.result.unwrap_err();
    assert_eq!(error.code, Code::Trap);
    let stack = error.stack.unwrap();
    let names: Vec<&str> = stack.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names[..2], ["inner", "outer"], "{stack}");
}

fn what_is_no_module_is_refused_with_the_reason(engine: &dyn Runtime) {
    let settings = granted(Limits::default());
    let refused = |code: &[u8]| call_with(engine, code, &settings).map(|_| ()).unwrap_err();
    // Without names: a module that is cut before such a section is whole.
    let whole = wat::parse_str(r#"(module (memory 1) (func (export "_start") (drop (i32.const 1))))"#).unwrap();
    for end in 0..whole.len() {
        let error = refused(&whole[..end]);
        assert!(matches!(error.code, Code::Compile | Code::Abi), "the first {end} bytes: {error}");
    }
    assert_eq!(refused(b"\x7fELF\x02\x01\x01").code, Code::Compile);
    let engine = wasmtime::Engine::default();
    let precompiled = engine.precompile_module(&whole).unwrap();
    let error = refused(&precompiled);
    assert_eq!(error.code, Code::Compile);
    assert!(error.message.contains("machine code"), "{error}");
    assert_eq!(refused(&[0xff, 0xfe, 0]).code, Code::Compile);
    assert_eq!(refused(b"").code, Code::Compile);
    let error = refused(b"(module\n  (func (export \"_start\") (oops)))");
    assert_eq!(error.position.map(|p| p.line), Some(2), "{error}");
    // 64 MiB of data, and as many functions as nobody writes.
    assert_eq!(refused(&[b"\0asm\x01\0\0\0".as_slice(), &vec![0; 64 << 20]].concat()).code, Code::TooLarge);
    let many = format!("(module {})", "(func)".repeat(60_000));
    assert_eq!(refused(many.as_bytes()).code, Code::TooLarge);
}

fn random_bytes_at_any_place_never_panic(engine: &dyn Runtime) {
    let settings = granted(Limits { wall: Duration::from_millis(50), ..Limits::default() });
    let whole = wat::parse_str(guest("imports.wat")).unwrap();
    let mut number = 0x9e37_79b9_u32;
    for _ in 0..300 {
        let mut broken = whole.clone();
        for _ in 0..3 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = number as usize % broken.len();
            broken[at] = (number >> 24) as u8;
        }
        // Whether it still works does not matter: it neither panics nor runs on.
        drop(call_with(engine, &broken, &settings));
    }
}

fn an_import_without_a_grant_is_refused_before_anything_runs(engine: &dyn Runtime) {
    let none = Arc::new(Settings::default());
    let error = call_with(engine, guest("imports.wat").as_bytes(), &none).unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(error.message.contains("hexafn.emit") && error.message.contains("grants nothing"), "{error}");
    let error =
        call_with(engine, br#"(module (import "env" "abort" (func)) (func (export "_start")))"#, &none).unwrap_err();
    assert!(error.message.contains("`env.abort`") && error.message.contains("kv_get"), "{error}");
    // The interfaces of the world are for modules that export `handle`, by their whole names.
    for (import, exports) in [
        (r#""hexafn:function/topics@1.0.0" "emit""#, r#"(func (export "_start"))"#),
        (r#""hexafn:function/logs" "log""#, r#"(func (export "handle"))"#),
        (r#""hexafn:function/logs@2.0.0" "log""#, r#"(func (export "handle"))"#),
    ] {
        let module = format!("(module (import {import} (func)) {exports})");
        let error = call_with(engine, module.as_bytes(), &none).unwrap_err();
        assert_eq!(error.code, Code::Denied, "{import}: {error}");
        assert!(error.message.contains("does not exist here"), "{error}");
    }
}

fn a_component_is_refused_what_does_not_exist(engine: &dyn Runtime) {
    let none = Arc::new(Settings::default());
    for (import, said) in [
        ("hexafn:function/files@1.0.0", "of the world there are `hexafn:function/logs`"),
        ("wasi:nn/graph@0.2.0", "of WASI there are"),
        ("wasi:http/types@0.2.0", "`hexafn:function/web`"),
        ("wasi:cli/environment@0.3.0", "preview 2"),
        ("wasi:cli/environment", "preview 2"),
    ] {
        let error =
            call_with(engine, format!(r#"(component (import "{import}" (instance)))"#).as_bytes(), &none).unwrap_err();
        assert_eq!(error.code, Code::Denied, "{import}");
        assert!(error.message.contains(import) && error.message.contains(said), "{error}");
    }
    let error = call_with(engine, b"(component)", &none).unwrap_err();
    assert!(error.code == Code::Compile && error.message.contains("`handle`"), "{error}");
}

#[cfg(feature = "wasmer")]
#[test]
fn what_wasmer_cannot_do_is_said() {
    let component = call_with(wasmer(), guest("echo_component.wat").as_bytes(), &granted(Limits::default()));
    assert!(component.unwrap_err().message.contains("`engine = \"wasmtime\"`"));
    let stack = granted(Limits { stack: 64 << 10, ..Limits::default() });
    let error = call_with(wasmer(), guest("echo.wat").as_bytes(), &stack).unwrap_err();
    assert!(error.code == Code::Compile && error.message.contains("524288"), "{error}");
    // What the host adds has names of its own, which no module can take.
    let taken = guest("echo.wat").replacen("(module", "(module (global (export \"hexafn:fuel\") i64 (i64.const 9))", 1);
    assert_eq!(value(&call(wasmer(), &taken)).unwrap(), echoed());
}

#[test]
fn a_component_hands_the_host_no_more_than_it_has() {
    let settings = granted(Limits::default());
    call(wasmtime(), &guest("echo_component.wat"));
    let before = resident();
    let done = call_with(wasmtime(), guest("component_headers.wat").as_bytes(), &settings).unwrap();
    let error = done.result.unwrap_err();
    assert_eq!(error.code, Code::Memory, "{error}");
    assert!(error.message.contains("handed more than"), "{error}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "the process grew by {grown} bytes");
}

#[test]
fn the_stack_limits_of_an_old_configuration_leave_room_for_those_of_the_new_one() {
    let runtime = WasmRuntime::new(Wasmtime::new(Options::default()).unwrap());
    let compile = |kib: usize| {
        let limits = Limits { stack: kib << 10, ..Limits::default() };
        runtime.compile(&source(guest("echo.wat").as_bytes()), &granted(limits))
    };
    let mut kept: Vec<_> = (0..2 * MAX_STACKS).map(|n| compile(64 + 16 * n).unwrap()).collect();
    let error = compile(1024).map(drop).unwrap_err();
    assert!(error.code == Code::Compile && error.message.contains("use one of them"), "{error}");
    kept.remove(0);
    compile(1024).unwrap();
}

#[test]
fn compiled_code_is_taken_from_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("code");
    let options = Options { cache: Some(cache.clone()), ..Options::default() };
    let settings = granted(Limits::default());
    let code = guest("echo.wat");
    for expected in [(0, 1), (1, 0)] {
        let runtime = WasmRuntime::new(Wasmtime::new(options.clone()).unwrap());
        let compiled = runtime.compile(&source(code.as_bytes()), &settings).unwrap();
        assert_eq!(runtime.engine().cache_use(), expected);
        let done = run(&mut *compiled.open().unwrap(), EVENT.as_bytes(), session(&settings));
        assert_eq!(value(&done).unwrap(), echoed());
    }
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Wasmtime::new(options).unwrap_err();
    assert!(error.message.contains("mode 777"), "{error}");
}

/// The one entry of a cache of compiled code.
fn entry_of(cache: &Path) -> PathBuf {
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_none() {
                return entry.path();
            }
        }
    }
    panic!("{} has no entry", cache.display());
}

#[test]
fn a_forged_entry_of_the_cache_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("data/code");
    let options = Options { cache: Some(cache.clone()), ..Options::default() };
    let settings = granted(Limits::default());
    let code = guest("echo.wat");
    let compile = || {
        let runtime = WasmRuntime::new(Wasmtime::new(options.clone())?);
        let compiled = runtime.compile(&source(code.as_bytes()), &settings)?;
        let done = run(&mut *compiled.open()?, EVENT.as_bytes(), session(&settings));
        assert_eq!(value(&done).unwrap(), echoed());
        Ok::<_, Error>(runtime.engine().cache_use())
    };
    assert_eq!(compile().unwrap(), (0, 1));
    let entry = entry_of(&cache);
    let whole = std::fs::read(&entry).unwrap();
    // Others could have written to it, or it is not even here.
    std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = compile().unwrap_err();
    assert!(error.message.contains(entry.file_name().unwrap().to_str().unwrap()), "{error}");
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(&entry, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &entry).unwrap();
    assert!(compile().unwrap_err().message.contains("remove its directory"));
    std::fs::remove_file(&entry).unwrap();
    // One that is not whole is compiled anew.
    std::fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
    std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(compile().unwrap(), (0, 1));
    assert_eq!(compile().unwrap(), (1, 0));
}

fn a_guest_in_c_works(engine: &dyn Runtime) {
    let missing = "install clang and lld (scripts/deps test): this test compiles a guest in C";
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("score.wasm");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/echo.c");
    let made = Command::new("clang")
        .args(["--target=wasm32", "-O2", "-g", "-nostdlib", "-Wl,--no-entry", "-Wl,--allow-undefined", "-o"])
        .arg(&module)
        .arg(source)
        .output()
        .unwrap_or_else(|e| panic!("{missing}: {e}"));
    assert!(made.status.success(), "{missing}: {}", String::from_utf8_lossy(&made.stderr));
    let code = std::fs::read(&module).unwrap();
    let done = call_with(engine, &code, &granted(Limits::default())).unwrap();
    assert_eq!(value(&done).unwrap(), echoed());
    assert_eq!(done.logs[0].message, "from C");
}

/// A network whose answers come when the test lets them.
struct Waiting(Barrier);

impl Host for Waiting {
    fn kv_get(&self, _: &str, _: &str) -> Result<Option<String>, HostError> {
        Ok(None)
    }

    fn http(&self, _: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        self.0.wait();
        self.0.wait();
        Ok(HttpResponse::default())
    }
}

#[test]
fn a_call_that_the_pool_has_no_room_for_is_busy_and_hurts_no_other() {
    let runtime = WasmRuntime::new(Wasmtime::new(Options { workers: 1, ..Options::default() }).unwrap());
    let settings = granted(Limits { wall: Duration::from_secs(20), ..Limits::default() });
    let compiled = runtime.compile(&source(guest("request.wat").as_bytes()), &settings).unwrap();
    // A worker has room for two modules, since a component needs them.
    let host = Arc::new(Waiting(Barrier::new(3)));
    let one = || {
        let mut instance = compiled.open().unwrap();
        let session = Session::new(Arc::clone(&settings), Arc::new(Ctx::default()), Arc::clone(&host) as Arc<dyn Host>);
        run(&mut *instance, EVENT.as_bytes(), session)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..2).map(|_| scope.spawn(one)).collect();
        host.0.wait();
        assert_eq!(one().result.unwrap_err().code, Code::Busy);
        host.0.wait();
        for done in running {
            assert_eq!(value(&done.join().unwrap()), None);
        }
    });
}

/// What this process holds of the machine's memory, in bytes.
fn a_command_that_ends_itself_well_in_its_start_has_ended_well(engine: &dyn Runtime) {
    let code = br#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func $begin (call $exit (i32.const 0)))
        (func (export "_start") unreachable)
        (start $begin))"#;
    let done = call_with(engine, code, &granted(Limits::default())).unwrap();
    assert_eq!(done.result.unwrap().value, None);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// What is measured is the process's: one corpus at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn hostile_programs_end_within_their_limits_with_the_right_error(engine: &dyn Runtime) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/wasm");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 80, "{} programs", files.len());
    // So much time that only what never ends reaches its end, on a busy machine, too.
    let (wall, plenty) = (Duration::from_millis(100), Duration::from_secs(20));
    let settings = |wall| {
        let mut settings = Settings::clone(&granted(Limits { wall, fuel: Some(u64::MAX / 2), ..Limits::default() }));
        settings.grants.http.clear();
        Arc::new(settings)
    };
    let (short, long) = (settings(wall), settings(plenty));
    // The engine is there already in a running system; its pool is not what a program takes.
    call(engine, &guest("echo.wat"));
    let before = resident();
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let code = std::fs::read_to_string(&file).unwrap();
        let expected = code.lines().next().and_then(|line| line.strip_prefix(";; expect: "));
        let expected = expected.unwrap_or_else(|| panic!("{name} does not begin with `;; expect: CODE`"));
        // What an engine cannot do at all is said in a line of its own.
        let own = format!(";; expect on {}: ", engine.name());
        let expected = code.lines().find_map(|line| line.strip_prefix(&own)).unwrap_or(expected);
        let late = expected == "timeout";
        let result = call_with(engine, code.as_bytes(), if late { &short } else { &long });
        if let Ok(done) = &result
            && late
            && done.usage.wall > wall + Duration::from_millis(250)
        {
            wrong.push(format!("{name}: ran {:?}", done.usage.wall));
        }
        let found = match &result {
            Ok(done) => done.result.as_ref().map_or_else(ToString::to_string, |_| "no error".to_owned()),
            Err(error) => error.to_string(),
        };
        if code_of(result).map(Code::as_str) != Some(expected) {
            wrong.push(format!("{name}: expected {expected}, found {found}"));
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(grown < 64 << 20, "the process grew by {grown} bytes");
}
