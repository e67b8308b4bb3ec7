//! Wasmtime: a pool of memory slots, a fresh instance from it for each call, fuel, and a deadline by epochs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::component::{Component, HasSelf, Linker as ComponentLinker};
use wasmtime::{
    Cache, Caller, Config, Engine, Extern, FuncType, InstancePre, Linker, Module, PoolConcurrencyLimitError,
    PoolingAllocationConfig, ResourceLimiter, Store, Trap, TypedFunc, UpdateDeadline, Val, ValType, WasmBacktrace,
    WasmBacktraceDetails,
};

use super::component::{Function, FunctionPre};
use super::guest::{self, Guest, Outcome};
use super::host::{self, Call, Import, Memory, Stop};
use super::preview2::CommandPre;
use super::{Checked, MAX_STACKS, Options, Shape, TABLE_ENTRIES, WasmEngine, preview2, wasi};
use crate::pace::Pace;
use crate::{Code, Compiled, Ended, Error, Instance, Limits, Session, Settings, Source};

mod cache;
mod ticker;

use ticker::Ticker;

/// The most stack limits that differ: each takes an engine with a pool of its own. Twice, since at a reload those of the old
/// configuration are there beside those of the new one.
const ENGINES: usize = 2 * MAX_STACKS;
/// Ticks until a call looks at the clock for the first time: the first may come at once.
const FIRST_TICK: u64 = 2;
/// Instances, memories and tables that one call can have: a component is made of several modules.
const PARTS: u32 = 8;

/// The engine. Drop it, and what it compiled, to give its memory back.
pub struct Wasmtime {
    options: Options,
    cache: Option<Cache>,
    /// By stack limit, which Wasmtime takes for an engine and not for a call.
    engines: Mutex<Vec<(usize, Arc<Loaded>)>>,
}

impl std::fmt::Debug for Wasmtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasmtime").field("options", &self.options).finish_non_exhaustive()
    }
}

/// An engine with all that does not depend on the module.
struct Loaded {
    engine: Engine,
    imports: Linker<State>,
    interfaces: ComponentLinker<State>,
    ticker: Ticker,
}

/// What belongs to one call.
pub(crate) struct State {
    pub call: Call,
    /// What a component waits for.
    pub waits: preview2::Waits,
    room: Room,
    pace: Pace,
}

impl State {
    /// The epoch has moved. Looks at the clock and does not count, since ticks are missed while the host works for the call.
    fn tick(&mut self) -> UpdateDeadline {
        let now = Instant::now();
        if self.call.session.is_late_at(now) {
            return UpdateDeadline::Interrupt;
        }
        self.pace.offer(now);
        UpdateDeadline::Continue(1)
    }
}

/// Holds memories and tables against `limits.memory`.
struct Room {
    limit: usize,
    memory: usize,
    tables: usize,
    peak: usize,
    refused: bool,
}

/// What Wasmtime says of a component that hands over too much; the error has no public type.
const TOO_MUCH: &str = "too much data is being copied";

/// What an entry of a table takes.
const ENTRY: usize = 8;

impl Room {
    fn grow(&mut self, more: usize) -> bool {
        let fits = more <= self.limit.saturating_sub(self.memory + self.tables);
        self.refused |= !fits;
        fits
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(&mut self, current: usize, desired: usize, own: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = self.grow(more) && own.is_none_or(|own| desired <= own);
        if fits {
            self.memory += more;
            self.peak = self.peak.max(self.memory + self.tables);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, own: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ENTRIES {
            self.refused = true;
            return Ok(false);
        }
        let more = desired.saturating_sub(current) * ENTRY;
        let fits = self.grow(more) && own.is_none_or(|own| desired <= own);
        if fits {
            self.tables += more;
            self.peak = self.peak.max(self.memory + self.tables);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        4 * PARTS as usize
    }

    fn tables(&self) -> usize {
        PARTS as usize
    }

    fn memories(&self) -> usize {
        PARTS as usize
    }
}

fn engine_error(what: &str) -> impl Fn(wasmtime::Error) -> Error + '_ {
    move |e| Error::new(Code::Compile, format!("{what}: {e:#}"))
}

impl Wasmtime {
    /// An engine; its pools are made when the first function needs them.
    ///
    /// # Errors
    /// [`Code::Compile`] when the directory of the cache cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        let cache = options.cache.as_deref().map(cache::open).transpose()?;
        Ok(Self { options, cache, engines: Mutex::default() })
    }

    /// How many modules came from the cache of compiled code, and how many did not.
    pub fn cache_use(&self) -> (usize, usize) {
        self.cache.as_ref().map_or((0, 0), |cache| (cache.cache_hits(), cache.cache_misses()))
    }

    fn loaded(&self, stack: usize) -> Result<Arc<Loaded>, Error> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, loaded)) = engines.iter().find(|(has, _)| *has == stack) {
            return Ok(Arc::clone(loaded));
        }
        // Those that no function uses any more make room.
        if engines.len() >= ENGINES {
            engines.retain(|(_, loaded)| Arc::strong_count(loaded) > 1);
        }
        if engines.len() >= ENGINES {
            let used: Vec<String> = engines.iter().map(|(stack, _)| stack.to_string()).collect();
            return Err(Error::new(
                Code::Compile,
                format!(
                    "`limits.stack` is {stack}, and functions in WebAssembly already use {ENGINES} other stack limits: {}; \
                     use one of them",
                    used.join(", ")
                ),
            ));
        }
        let loaded = Arc::new(self.load(stack).map_err(engine_error("Wasmtime could not be started"))?);
        engines.push((stack, Arc::clone(&loaded)));
        Ok(loaded)
    }

    /// What the code that is made depends on.
    fn config(&self, stack: usize) -> Config {
        let mut config = Config::new();
        config
            .memory_reservation(self.options.max_memory as u64)
            .memory_guard_size(64 << 10)
            .consume_fuel(true)
            .epoch_interruption(true)
            .max_wasm_stack(stack)
            .async_stack_size(stack.saturating_add(1 << 20))
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            // What gives other results on other processors, or what nobody needs in a function, stays out.
            .wasm_relaxed_simd(false)
            .wasm_memory64(false)
            // What joins the parts of a component has the memories of both; a module itself may have one (`check`).
            .wasm_multi_memory(true);
        config
    }

    fn load(&self, stack: usize) -> wasmtime::Result<Loaded> {
        let workers = self.options.workers.max(1);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(workers.saturating_mul(PARTS))
            .total_component_instances(workers)
            .total_memories(workers.saturating_mul(2))
            .total_tables(workers.saturating_mul(PARTS))
            .max_memory_size(self.options.max_memory)
            .max_memories_per_module(1)
            .max_memories_per_component(2)
            .max_tables_per_module(PARTS)
            .max_tables_per_component(PARTS)
            .max_core_instances_per_component(4 * PARTS)
            .table_elements(TABLE_ENTRIES)
            // What a call touched is given back to the kernel, or wiped, before the next one.
            .max_unused_warm_slots(workers);
        let mut config = self.config(stack);
        config.allocation_strategy(pool).memory_init_cow(true).cache(self.cache.clone());
        let engine = Engine::new(&config)?;
        let mut imports = Linker::new(&engine);
        for import in host::IMPORTS.iter().chain(&wasi::IMPORTS) {
            link(&mut imports, &engine, import)?;
        }
        let mut interfaces = ComponentLinker::new(&engine);
        Function::add_to_linker::<_, HasSelf<State>>(&mut interfaces, |state| state)?;
        preview2::link(&mut interfaces)?;
        let ticker = Ticker::start(&engine)?;
        Ok(Loaded { engine, imports, interfaces, ticker })
    }
}

fn types(letters: &str) -> impl Iterator<Item = ValType> + '_ {
    letters.chars().map(|letter| if letter == 'I' { ValType::I64 } else { ValType::I32 })
}

fn link(linker: &mut Linker<State>, engine: &Engine, import: &'static Import) -> wasmtime::Result<()> {
    let ty = FuncType::new(engine, types(import.params), types(import.results));
    let long = import.results == "I";
    linker.func_new(import.module, import.name, ty, move |mut caller: Caller<'_, State>, params, results| {
        let mut args = [0; 9];
        for (arg, param) in args.iter_mut().zip(params) {
            *arg = param.i64().or(param.i32().map(i64::from)).unwrap_or_default();
        }
        let args = args.get(..params.len()).unwrap_or_default();
        let memory = caller.get_export("memory").and_then(Extern::into_memory);
        let (mut bytes, state): (&mut [u8], &mut State) = match &memory {
            Some(memory) => memory.data_and_store_mut(&mut caller),
            None => (&mut [], caller.data_mut()),
        };
        let Some(result) = state.call.import(import.run, &mut bytes, args) else {
            return Err(wasmtime::Error::msg("stopped by the host"));
        };
        if let Some(place) = results.first_mut() {
            *place = if long { Val::I64(result) } else { Val::I32(result as i32) };
        }
        Ok(())
    })?;
    Ok(())
}

impl WasmEngine for Wasmtime {
    fn name(&self) -> &'static str {
        "wasmtime"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn compile(&self, module: Checked, _: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        let loaded = self.loaded(settings.limits.stack)?;
        let invalid = engine_error("it is not a valid module");
        let code = match module.shape {
            Shape::Component | Shape::Program => {
                let component = Component::from_binary(&loaded.engine, &module.wasm).map_err(&invalid)?;
                let mut interfaces = loaded.interfaces.clone();
                let linked = preview2::link_others(&mut interfaces, &loaded.engine, &component)
                    .and_then(|()| interfaces.instantiate_pre(&component));
                let (made, world) = match module.shape {
                    Shape::Program => (linked.and_then(CommandPre::new).map(Pre::Program), "wasi:cli/command"),
                    _ => (linked.and_then(FunctionPre::new).map(Pre::Component), "hexafn:function/function"),
                };
                made.map_err(|e| Error::new(Code::Abi, format!("it does not fit the world `{world}`: {e:#}")))?
            }
            Shape::Abi | Shape::Command => {
                let compiled = Module::from_binary(&loaded.engine, &module.wasm).map_err(&invalid)?;
                let linked = loaded.imports.instantiate_pre(&compiled).map_err(engine_error("it cannot be linked"))?;
                if module.shape == Shape::Abi {
                    Pre::Abi { linked, initialize: module.initialize }
                } else {
                    Pre::Command(linked)
                }
            }
        };
        Ok(Arc::new(Program(Arc::new(Ready { loaded, code }))))
    }

    fn prove(&self, module: Checked, _: &Source, settings: &Arc<Settings>) -> Result<(), Error> {
        let mut config = self.config(settings.limits.stack);
        config.parallel_compilation(false);
        let engine = Engine::new(&config).map_err(engine_error("Wasmtime could not be started"))?;
        let made = match module.shape {
            Shape::Component | Shape::Program => engine.precompile_component(&module.wasm),
            Shape::Abi | Shape::Command => engine.precompile_module(&module.wasm),
        };
        made.map(drop).map_err(engine_error("it is not a valid module"))
    }
}

enum Pre {
    Abi { linked: InstancePre<State>, initialize: bool },
    Command(InstancePre<State>),
    Component(FunctionPre<State>),
    Program(CommandPre<State>),
}

struct Ready {
    code: Pre,
    // After the code, which needs the engine.
    loaded: Arc<Loaded>,
}

struct Program(Arc<Ready>);

impl Compiled for Program {
    fn open(&self) -> Result<Box<dyn Instance>, Error> {
        Ok(Box::new(Worker(Arc::clone(&self.0))))
    }
}

struct Worker(Arc<Ready>);

impl Instance for Worker {
    fn call(&mut self, event: &[u8], session: Session) -> Ended {
        let Ready { loaded, code } = &*self.0;
        let limits = session.settings().limits.clone();
        let late = session.is_late().then(|| session.late());
        let pace = Pace::new(session.began());
        let room = Room { limit: limits.memory, memory: 0, tables: 0, peak: 0, refused: false };
        let call = Call::new(event, session, matches!(code, Pre::Command(_) | Pre::Program(_)));
        let mut store = Store::new(&loaded.engine, State { call, waits: preview2::Waits::default(), room, pace });
        store.limiter(|state| &mut state.room);
        // Most calls end before the first tick that they would see.
        store.set_epoch_deadline(FIRST_TICK);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().tick()));
        // A list of a component can name one text many times; the host would copy it as often.
        store.set_hostcall_fuel(limits.memory);
        let running = loaded.ticker.run();
        let result = match (late, store.set_fuel(limits.wasm_fuel())) {
            (Some(late), _) => Err(late),
            (None, Err(e)) => Err(Error::new(Code::Trap, format!("{e:#}"))),
            (None, Ok(())) => match code {
                Pre::Abi { linked, initialize } => abi(&mut store, linked, *initialize, &limits),
                Pre::Command(linked) => command(&mut store, linked),
                Pre::Component(linked) => component(&mut store, linked, event),
                Pre::Program(linked) => program(&mut store, linked),
            },
        };
        drop(running);
        let fuel = store.get_fuel().ok().map(|left| limits.wasm_fuel().saturating_sub(left));
        let mut state = store.into_data();
        state.pace.end(Instant::now());
        wasi::finish(&mut state.call);
        Ended {
            result,
            session: state.call.session,
            fuel,
            peak_memory: Some(state.room.peak as u64),
            offers: state.pace.offers(),
        }
    }
}

/// A core module with the interface of hexaFn, for one call.
struct Linked<'a> {
    store: &'a mut Store<State>,
    memory: wasmtime::Memory,
    alloc: TypedFunc<i32, i32>,
    handle: TypedFunc<(i32, i32), i64>,
}

impl Memory for Linked<'_> {
    fn size(&self) -> usize {
        self.memory.data_size(&*self.store)
    }

    fn get(&self, at: usize, into: &mut [u8]) -> bool {
        self.memory.read(&*self.store, at, into).is_ok()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        self.memory.write(&mut *self.store, at, bytes).is_ok()
    }
}

impl Guest for Linked<'_> {
    fn refused(&mut self) -> bool {
        self.store.data().room.refused
    }

    fn alloc(&mut self, len: i32) -> Result<i32, Error> {
        self.alloc.call(&mut *self.store, len).map_err(|e| explain(self.store, &e))
    }

    fn handle(&mut self, at: i32, len: i32) -> Result<i64, Error> {
        self.handle.call(&mut *self.store, (at, len)).map_err(|e| explain(self.store, &e))
    }
}

fn abi(store: &mut Store<State>, linked: &InstancePre<State>, initialize: bool, limits: &Limits) -> Outcome {
    let instance = linked.instantiate(&mut *store).map_err(|e| explain(store, &e))?;
    if initialize {
        let start: TypedFunc<(), ()> =
            instance.get_typed_func(&mut *store, "_initialize").map_err(|e| explain(store, &e))?;
        start.call(&mut *store, ()).map_err(|e| explain(store, &e))?;
    }
    let alloc = instance.get_typed_func(&mut *store, "hexafn_alloc").map_err(|e| explain(store, &e))?;
    let handle = instance.get_typed_func(&mut *store, "hexafn_call").map_err(|e| explain(store, &e))?;
    let Some(memory) = instance.get_memory(&mut *store, "memory") else {
        return Err(Error::new(Code::Abi, "it exports no memory with the name `memory`"));
    };
    let input = std::mem::take(&mut store.data_mut().call.input);
    guest::run(&mut Linked { store, memory, alloc, handle }, input, limits)
}

fn command(store: &mut Store<State>, linked: &InstancePre<State>) -> Outcome {
    let ended = linked.instantiate(&mut *store).and_then(|instance| {
        let start: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, "_start")?;
        start.call(&mut *store, ())
    });
    let ended = ended.map_err(|e| explain(store, &e));
    guest::command(ended, &mut store.data_mut().call)
}

fn program(store: &mut Store<State>, linked: &CommandPre<State>) -> Outcome {
    let ran = linked.instantiate(&mut *store).and_then(|program| program.wasi_cli_run().call_run(&mut *store));
    let ended = match ran {
        Ok(Ok(())) => Ok(()),
        // As if it had ended itself so.
        Ok(Err(())) => {
            store.data_mut().call.stop = Some(Stop::Exit(1));
            Err(explain(store, &wasmtime::Error::msg("it failed")))
        }
        Err(error) => Err(explain(store, &error)),
    };
    guest::command(ended, &mut store.data_mut().call)
}

fn component(store: &mut Store<State>, linked: &FunctionPre<State>, event: &[u8]) -> Outcome {
    let function = linked.instantiate(&mut *store).map_err(|e| explain(store, &e))?;
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|e| Error::new(Code::Abi, format!("the event is not UTF-8: {e}")))
    };
    let (event, ctx) = (text(event)?, text(&store.data().call.session.ctx().json())?);
    let limit = store.data().call.session.settings().limits.output;
    match function.call_handle(&mut *store, &event, &ctx).map_err(|e| explain(store, &e))? {
        Ok(None) => Ok(None),
        Ok(Some(value)) if value.len() > limit => Err(guest::too_large(value.len(), limit)),
        Ok(Some(value)) => match guest::output(value.into_bytes()) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::new(Code::BadOutput, "the output is empty; return none to drop the event")),
        },
        Err(message) => Err(Error::new(Code::Thrown, message)),
    }
}

/// Why the engine ended a call, in the words that all languages share.
fn explain(store: &Store<State>, error: &wasmtime::Error) -> Error {
    let state = store.data();
    if let Some(stopped) = guest::stopped(&state.call) {
        return stopped;
    }
    let limits = &state.call.session.settings().limits;
    let found = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Error::timeout(limits.wall),
        Some(Trap::OutOfFuel) => guest::no_fuel(limits),
        Some(Trap::StackOverflow) => guest::no_stack(limits),
        _ if state.room.refused => guest::no_memory(limits),
        Some(
            trap @ (Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::UnalignedPointer
            | Trap::InvalidDiscriminant
            | Trap::InvalidChar),
        ) => Error::new(Code::Abi, trap.to_string()),
        Some(trap) => Error::new(Code::Trap, trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        None if error.is::<PoolConcurrencyLimitError>() => {
            Error::new(Code::Busy, "as many functions in WebAssembly run as the pool has room for")
        }
        None if error.root_cause().to_string().starts_with(TOO_MUCH) => Error::new(
            Code::Memory,
            format!("it handed more than {} bytes to the host in one call (`limits.memory`)", limits.memory),
        ),
        // What a component gives that does not fit its types is no trap in Wasmtime.
        None => Error::new(Code::Abi, error.root_cause().to_string()),
    };
    with_stack(found, error.downcast_ref::<WasmBacktrace>())
}

/// Whether a file is of a language's own libraries, by the paths that they are built with: what fails there was called from elsewhere.
fn of_a_library(file: &str) -> bool {
    const PARTS: [&str; 10] = [
        "libc-bottom-half/",
        "libc-top-half/",
        "wasi-libc",
        "wasi-sdk",
        "compiler-rt/",
        "emscripten/",
        "/rustc/",
        ".cargo/registry/",
        "~lib/",
        "tinygo/",
    ];
    PARTS.iter().any(|part| file.contains(part))
}

/// With names and lines, innermost first, as far as the module has them.
fn with_stack(mut error: Error, stack: Option<&WasmBacktrace>) -> Error {
    let Some(stack) = stack else { return error };
    let mut lines = Vec::new();
    for frame in stack.frames() {
        let mut named = false;
        for symbol in frame.symbols() {
            let name = symbol.name().or(frame.func_name()).unwrap_or("?");
            let (Some(file), Some(line)) = (symbol.file(), symbol.line()) else { continue };
            let own = !of_a_library(file);
            // The path of whoever compiled it is nobody's business.
            let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
            lines.push(format!("{name} ({file}:{line})"));
            if own && error.position.is_none() {
                // A module has many files; the position has none.
                error.message = format!("{}, in `{name}` of {file}", error.message);
                error = error.at(line, symbol.column().unwrap_or(0));
            }
            named = true;
        }
        if !named {
            let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
            let offset = frame.module_offset().map(|at| format!(" (at {at:#x})")).unwrap_or_default();
            lines.push(format!("{name}{offset}"));
        }
    }
    if lines.is_empty() { error } else { error.stack(lines.join("\n")) }
}
