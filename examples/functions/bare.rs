//! The same work on the engines themselves, by hand: no limits but those that the engine needs to be stopped at all, no
//! grants, no measuring.

use mlua::LuaSerdeExt;

use crate::Result;

/// A function that was made ready: the event in, the result out, both as JSON.
pub type Callee = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>>>;

/// In Rust, over a parsed document.
pub fn rust(data: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "repo": data["repository"]["full_name"],
        "branch": data["ref"].as_str().map(|name| name.replace("refs/heads/", "")),
        "pusher": data["pusher"]["name"],
        "commit_count": data["commits"].as_array().map(Vec::len),
        "message": data["head_commit"]["message"],
    })
}

fn input(event: &[u8]) -> Vec<u8> {
    [br#"{"event":"#, event, br#","ctx":{}}"#].concat()
}

/// A fresh instance from a pool for each call, with fuel and epochs.
pub fn wasmtime(module: &[u8]) -> Result<Callee> {
    let mut pool = wasmtime::PoolingAllocationConfig::new();
    pool.total_memories(4);
    let mut config = wasmtime::Config::new();
    config.allocation_strategy(pool).consume_fuel(true).epoch_interruption(true);
    let engine = wasmtime::Engine::new(&config)?;
    let linked = wasmtime::Linker::new(&engine).instantiate_pre(&wasmtime::Module::new(&engine, module)?)?;
    Ok(Box::new(move |event| {
        let input = input(event);
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_fuel(50_000_000)?;
        store.set_epoch_deadline(1_000);
        let instance = linked.instantiate(&mut store)?;
        let alloc = instance.get_typed_func::<i32, i32>(&mut store, "hexafn_alloc")?;
        let call = instance.get_typed_func::<(i32, i32), i64>(&mut store, "hexafn_call")?;
        let memory = instance.get_memory(&mut store, "memory").ok_or("no memory")?;
        let len = i32::try_from(input.len())?;
        let at = alloc.call(&mut store, len)?;
        memory.write(&mut store, at as usize, &input)?;
        let result = call.call(&mut store, (at, len))?;
        let mut output = vec![0; result as u32 as usize];
        memory.read(&store, (result >> 32) as usize, &mut output)?;
        Ok(output)
    }))
}

/// A fresh store and instance for each call, unmetered.
#[cfg(feature = "wasmer")]
pub fn wasmer(module: &[u8]) -> Result<Callee> {
    let engine = wasmer::Engine::default();
    let module = wasmer::Module::new(&engine, module)?;
    Ok(Box::new(move |event| {
        let input = input(event);
        let mut store = wasmer::Store::new(engine.clone());
        let instance = wasmer::Instance::new(&mut store, &module, &wasmer::Imports::new())?;
        let alloc = instance.exports.get_typed_function::<i32, i32>(&store, "hexafn_alloc")?;
        let call = instance.exports.get_typed_function::<(i32, i32), i64>(&store, "hexafn_call")?;
        let memory = instance.exports.get_memory("memory")?;
        let len = i32::try_from(input.len())?;
        let at = alloc.call(&mut store, len)?;
        memory.view(&store).write(u64::from(at as u32), &input)?;
        let result = call.call(&mut store, at, len)?;
        let mut output = vec![0; result as u32 as usize];
        memory.view(&store).read((result >> 32) as u64, &mut output)?;
        Ok(output)
    }))
}

/// Evaluates the module `code`, and calls what it exports.
fn call_js(context: &rquickjs::Context, code: &str, event: &[u8]) -> Result<Vec<u8>> {
    context.with(|ctx| {
        let (module, _) = rquickjs::Module::declare(ctx.clone(), "five", code)?.eval()?;
        let function: rquickjs::Function<'_> = module.get("default")?;
        let event = ctx.json_parse(event)?;
        let value: rquickjs::Value<'_> = function.call((event,))?;
        let text = ctx.json_stringify(value)?.ok_or("no value")?;
        Ok(text.to_string()?.into_bytes())
    })
}

/// With a fresh context for each call; or with one that is kept, where the function is looked up in a global.
pub fn js(code: &str, fresh: bool) -> Result<Callee> {
    let runtime = rquickjs::Runtime::new()?;
    let code = code.to_owned();
    if fresh {
        return Ok(Box::new(move |event| {
            let output = call_js(&rquickjs::Context::full(&runtime)?, &code, event);
            runtime.run_gc();
            output
        }));
    }
    let context = rquickjs::Context::full(&runtime)?;
    context.with(|ctx| {
        let (module, _) = rquickjs::Module::declare(ctx.clone(), "five", code)?.eval()?;
        ctx.globals().set("five", module.get::<_, rquickjs::Function<'_>>("default")?)
    })?;
    Ok(Box::new(move |event| {
        context.with(|ctx| {
            let function: rquickjs::Function<'_> = ctx.globals().get("five")?;
            let event = ctx.json_parse(event)?;
            let value: rquickjs::Value<'_> = function.call((event,))?;
            let text = ctx.json_stringify(value)?.ok_or("no value")?;
            Ok(text.to_string()?.into_bytes())
        })
    }))
}

/// With fresh globals over a sandbox for each call, from compiled code; or with the function that is kept.
pub fn lua(code: &str, fresh: bool) -> Result<Callee> {
    let lua = mlua::Lua::new();
    lua.sandbox(true)?;
    let compiled = mlua::chunk::Compiler::new().compile(code)?;
    let kept: mlua::Function = lua.load(code).eval()?;
    Ok(Box::new(move |event| {
        let function = if fresh {
            let (globals, meta) = (lua.create_table()?, lua.create_table()?);
            meta.set("__index", lua.globals())?;
            globals.set_metatable(Some(meta))?;
            lua.load(&*compiled).set_environment(globals).eval()?
        } else {
            kept.clone()
        };
        let event: serde_json::Value = serde_json::from_slice(event)?;
        let value: mlua::Value = function.call(lua.to_value(&event)?)?;
        Ok(serde_json::to_vec(&value)?)
    }))
}
