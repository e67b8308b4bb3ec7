//! What a function in WebAssembly costs: a start without and with compiled code in the cache, and a call that gives a
//! JSON event of 1 KiB back, on bare Wasmtime and through the contract of all languages.
//!
//! `cargo run --release --example wasm_cost`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hexafn_runtimes::wasm::{Options, WasmRuntime, Wasmtime};
use hexafn_runtimes::{Ctx, Limits, NoHost, Runtime, Session, Settings, Source, run};

const CALLS: u32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let code = include_bytes!("../tests/guests/echo.wat");
    let event = format!(r#"{{"id":"e1","data":"{}"}}"#, "x".repeat(1_000));
    let source = Source { name: "echo".into(), file: "echo.wat".into(), code: code.as_slice().into() };
    let limits = Limits { wall: Duration::from_secs(1), ..Limits::default() };
    let settings = Arc::new(Settings { limits, ..Settings::default() });
    let ctx = Arc::new(Ctx { function: "echo".into(), ..Ctx::default() });
    let host = Arc::new(NoHost);

    let directory = tempfile::tempdir()?;
    let options = Options { cache: Some(directory.path().join("code")), ..Options::default() };
    let mut last = None;
    for start in ["compiled", "from the cache"] {
        let runtime = WasmRuntime::new(Wasmtime::new(options.clone())?);
        // The engine is there before the first function is loaded: a second module pays for itself alone.
        let other = Source { code: b"(module (func (export \"_start\")))".as_slice().into(), ..source.clone() };
        runtime.compile(&other, &settings)?;
        let began = Instant::now();
        let compiled = runtime.compile(&source, &settings)?;
        let loaded = began.elapsed();
        let mut instance = compiled.open()?;
        let done = run(&mut *instance, event.as_bytes(), Session::new(settings.clone(), ctx.clone(), host.clone()));
        println!("start to the first answer, {start}: {:?}, of which loading {loaded:?}", began.elapsed());
        done.result?;
        last = Some(instance);
    }

    if let Some(mut instance) = last {
        let began = Instant::now();
        for _ in 0..CALLS {
            let session = Session::new(settings.clone(), ctx.clone(), host.clone());
            run(&mut *instance, event.as_bytes(), session).result?;
        }
        println!("a call through the contract: {:?}", began.elapsed() / CALLS);
    }

    let mut pool = wasmtime::PoolingAllocationConfig::new();
    pool.total_memories(4);
    let mut config = wasmtime::Config::new();
    config.allocation_strategy(pool).consume_fuel(true).epoch_interruption(true);
    let engine = wasmtime::Engine::new(&config)?;
    let linked = wasmtime::Linker::new(&engine).instantiate_pre(&wasmtime::Module::new(&engine, code)?)?;
    let began = Instant::now();
    for _ in 0..CALLS {
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_fuel(50_000_000)?;
        store.set_epoch_deadline(1_000);
        let instance = linked.instantiate(&mut store)?;
        let alloc = instance.get_typed_func::<i32, i32>(&mut store, "hexafn_alloc")?;
        let call = instance.get_typed_func::<(i32, i32), i64>(&mut store, "hexafn_call")?;
        let memory = instance.get_memory(&mut store, "memory").ok_or("no memory")?;
        let (at, len) = (alloc.call(&mut store, event.len() as i32)?, event.len() as i32);
        memory.write(&mut store, at as usize, event.as_bytes())?;
        let result = call.call(&mut store, (at, len))?;
        let mut output = vec![0; result as u32 as usize];
        memory.read(&store, (result >> 32) as usize, &mut output)?;
    }
    println!("a call on bare Wasmtime, fresh instance, fuel and epochs: {:?}", began.elapsed() / CALLS);
    Ok(())
}
