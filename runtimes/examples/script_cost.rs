//! What a call costs in the scripting languages: the same transform of a 1 KiB event through the contract, with a fresh
//! state for each call, and on the bare engine, whose state is kept. Prints microseconds per call, medians.
//!
//! ```sh
//! cargo run --release -p hexafn-runtimes --example script_cost
//! ```
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use hexafn_runtimes::{Ctx, Instance, JsRuntime, LuaRuntime, NoHost, Runtime, Session, Settings, Source, run};
use mlua::LuaSerdeExt;

const JS: &str = "export default (event) => {
  const { id, customer, lines } = event.data;
  let total = 0;
  for (const line of lines) total += line.price * line.count;
  return { id, name: customer.name.toUpperCase(), total, lines: lines.filter((l) => l.count > 1).map((l) => l.sku) };
};";

const LUA: &str = "return function(event)
  local data = event.data
  local total, skus = 0, array({})
  for _, line in data.lines do
    total += line.price * line.count
    if line.count > 1 then
      table.insert(skus, line.sku)
    end
  end
  return { id = data.id, name = string.upper(data.customer.name), total = total, lines = skus }
end";

const LOOP_JS: &str = "export default () => { let n = 0; for (let i = 0; i < 100000; i++) n += i; return n; };";
const LOOP_LUA: &str = "return function() local n = 0 for i = 0, 99999 do n += i end return n end";

/// An order of 1 KiB.
fn event() -> String {
    let lines: Vec<_> = (0..12)
        .map(|i| serde_json::json!({"sku": format!("SKU-{i:05}"), "price": 10 + i, "count": 1 + i % 3, "note": "as agreed"}))
        .collect();
    let data = serde_json::json!({
        "id": 4711, "customer": {"name": "Ada Example", "mail": "ada@example.com"}, "lines": lines,
    });
    let event = serde_json::json!({"id": "01J", "type": "order.created", "source": "shop", "data": data});
    event.to_string()
}

/// The median of many, in microseconds.
fn median(mut before: impl FnMut(), mut call: impl FnMut()) -> f64 {
    for _ in 0..200 {
        before();
        call();
    }
    let mut times: Vec<f64> = (0..2_000)
        .map(|_| {
            before();
            let started = Instant::now();
            call();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn open(runtime: &dyn Runtime, code: &str) -> Box<dyn Instance> {
    let source = Source { name: "cost".into(), file: "cost".into(), code: code.as_bytes().into() };
    let compiled = runtime.compile(&source, &Arc::new(Settings::default())).expect("it compiles");
    compiled.open().expect("it opens")
}

/// With `rest`, the median leaves out what a worker does while it waits.
fn through(runtime: &dyn Runtime, code: &str, event: &str, rest: bool) -> f64 {
    let mut instance = open(runtime, code);
    let (settings, ctx) = (Arc::new(Settings::default()), Arc::new(Ctx::default()));
    let rested = std::cell::RefCell::new(&mut instance);
    let ready = || {
        if rest {
            rested.borrow_mut().rest();
        }
    };
    median(ready, || {
        let mut instance = rested.borrow_mut();
        let session = Session::new(settings.clone(), ctx.clone(), Arc::new(NoHost));
        let done = run(&mut ***instance, event.as_bytes(), session);
        assert!(done.result.is_ok(), "{:?}", done.result);
    })
}

fn bare_js(code: &str, event: &str) -> f64 {
    let runtime = rquickjs::Runtime::new().expect("a runtime");
    let context = rquickjs::Context::full(&runtime).expect("a context");
    context.with(|ctx| {
        let module = rquickjs::Module::declare(ctx.clone(), "cost", code).expect("it compiles");
        let (module, _) = module.eval().expect("it runs");
        let function: rquickjs::Function = module.get("default").expect("it exports");
        median(
            || (),
            || {
                let event = ctx.json_parse(event).expect("JSON");
                let value: rquickjs::Value = function.call((event,)).expect("it ends");
                let text = ctx.json_stringify(value).expect("JSON").expect("a value").to_string();
                assert!(text.is_ok());
            },
        )
    })
}

fn bare_js_fresh(code: &str, event: &str) -> f64 {
    let runtime = rquickjs::Runtime::new().expect("a runtime");
    median(
        || (),
        || {
            let context = rquickjs::Context::full(&runtime).expect("a context");
            context.with(|ctx| {
                let module = rquickjs::Module::declare(ctx.clone(), "cost", code).expect("it compiles");
                let (module, _) = module.eval().expect("it runs");
                let function: rquickjs::Function = module.get("default").expect("it exports");
                let event = ctx.json_parse(event).expect("JSON");
                let value: rquickjs::Value = function.call((event,)).expect("it ends");
                let text = ctx.json_stringify(value).expect("JSON").expect("a value").to_string();
                assert!(text.is_ok());
            });
            drop(context);
            runtime.run_gc();
        },
    )
}

fn bare_lua(code: &str, event: &str) -> f64 {
    let lua = mlua::Lua::new();
    lua.globals().set("array", lua.create_function(|_, t: mlua::Table| Ok(t)).expect("a function")).expect("a global");
    let function: mlua::Function = lua.load(code).eval().expect("it runs");
    median(
        || (),
        || {
            let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
            let event = lua.to_value(&event).expect("a value");
            let value: mlua::Value = function.call(event).expect("it ends");
            assert!(serde_json::to_string(&value).is_ok());
        },
    )
}

fn main() {
    let event = event();
    println!("an event of {} bytes; µs per call, medians of 2,000", event.len());
    let empty = ("export default () => 1", "return function() return 1 end");
    for (name, js, lua, event) in
        [("transform", JS, LUA, &*event), ("empty", empty.0, empty.1, "{}"), ("100,000 turns", LOOP_JS, LOOP_LUA, "{}")]
    {
        println!("{name}");
        println!("  js   hexaFn, rested {:9.1}", through(&JsRuntime, js, event, true));
        println!("       hexaFn, fresh  {:9.1}", through(&JsRuntime, js, event, false));
        println!("       bare, fresh    {:9.1}", bare_js_fresh(js, event));
        println!("       bare, reused   {:9.1}", bare_js(js, event));
        println!("  lua  hexaFn, fresh  {:9.1}", through(&LuaRuntime, lua, event, false));
        println!("       bare, reused   {:9.1}", bare_lua(lua, event));
    }
}
