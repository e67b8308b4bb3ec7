//! Wasmer: core modules and commands, a store and an instance of its own for each call; fuel, the deadline and the bound of
//! its memory are written into the module (`meter`).

use std::sync::{Arc, Once};
use std::time::Instant;

use wasmer::sys::vm::{self, TrapCode};
use wasmer::sys::{Cranelift, EngineBuilder, Features};
use wasmer::{
    Engine, Extern, Function, FunctionEnv, FunctionEnvMut, FunctionType, InstantiationError, LinkError, MemoryView,
    Module, RuntimeError, Store, Type, TypedFunction, Value,
};

use super::guest::{self, Guest, Outcome};
use super::host::{self, Call, Import, Memory, Stop};
use super::{Checked, Options, Shape, WasmEngine, wasi};
use crate::pace::Pace;
use crate::{Code, Compiled, Ended, Error, Instance, Limits, Session, Settings, Source};

mod meter;

/// The stack of every function, in bytes: Wasmer has one size for the whole process.
const STACK: usize = 512 << 10;
/// How much fuel a call is given at once. Between two looks at the clock it runs through this, in less than a
/// millisecond.
const PORTION: u64 = 100_000;

/// The engine. Each function has a compiler and code memory of its own, which end with it.
#[derive(Debug)]
pub struct Wasmer {
    options: Options,
}

impl Wasmer {
    /// An engine. Of the options it has no use for `workers` (there is no pool) and `cache` (compiled code cannot be
    /// taken from a file without trusting it).
    pub fn new(options: Options) -> Self {
        static STACK_SET: Once = Once::new();
        STACK_SET.call_once(|| vm::set_stack_size(STACK));
        Self { options }
    }
}

impl WasmEngine for Wasmer {
    fn name(&self) -> &'static str {
        "wasmer"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn compile(&self, module: Checked, _: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        if matches!(module.shape, Shape::Component | Shape::Program) {
            return Err(Error::new(
                Code::Compile,
                "it is a component, and Wasmer runs core modules and commands; leave `engine` out, or write `engine = \
                 \"wasmtime\"`",
            ));
        }
        let limits = &settings.limits;
        if limits.stack != STACK {
            return Err(Error::new(
                Code::Compile,
                format!(
                    "`limits.stack` is {} bytes; Wasmer has one stack size for all functions, {STACK}: leave the setting \
                     out, or write `engine = \"wasmtime\"`",
                    limits.stack
                ),
            ));
        }
        let metered = meter::metered(&module.wasm, limits)?;
        let mut features = Features::none();
        features.reference_types(true).simd(true).bulk_memory(true).multi_value(true).extended_const(true);
        let engine: Engine = EngineBuilder::new(Cranelift::new()).set_features(Some(features)).engine().into();
        let compiled = Module::new(&engine, metered)
            .map_err(|e| Error::new(Code::Compile, format!("Wasmer does not compile it: {e}")))?;
        let Checked { shape, initialize, .. } = module;
        let imports = compiled.imports().map(|wanted| named(wanted.module(), wanted.name())).collect();
        Ok(Arc::new(Program(Arc::new(Ready { module: compiled, engine, imports, shape, initialize }))))
    }
}

struct Ready {
    module: Module,
    engine: Engine,
    /// What it imports, in its order; `None` is what the meter added.
    imports: Vec<Option<&'static Import>>,
    shape: Shape,
    initialize: bool,
}

struct Program(Arc<Ready>);

impl Compiled for Program {
    fn open(&self) -> Result<Box<dyn Instance>, Error> {
        Ok(Box::new(Worker(Arc::clone(&self.0))))
    }
}

struct Worker(Arc<Ready>);

/// What belongs to one call; the host's functions reach it.
struct State {
    call: Call,
    /// The module's, once it is there.
    memory: Option<wasmer::Memory>,
    /// How much fuel it was given so far, and how much it may have.
    given: u64,
    fuel: u64,
    pace: Pace,
}

impl State {
    /// Ends the call with this error.
    fn stop(&mut self, error: Error) -> RuntimeError {
        self.call.stop = Some(Stop::Failed(error));
        stopped()
    }

    /// What the module has when it asks with `left` fuel, which is less than none.
    fn more(&mut self, left: i64) -> Result<i64, RuntimeError> {
        let now = Instant::now();
        if self.call.session.is_late_at(now) {
            return Err(self.stop(self.call.session.late()));
        }
        self.pace.offer(now);
        let portion = PORTION.max(left.unsigned_abs()).min(self.fuel - self.given);
        self.given += portion;
        let left = left.saturating_add_unsigned(portion);
        if left >= 0 {
            return Ok(left);
        }
        Err(self.stop(guest::no_fuel(&self.call.session.settings().limits)))
    }
}

/// What the engine is told of a call that the host ends; the reason is in the call.
fn stopped() -> RuntimeError {
    RuntimeError::new("stopped by the host")
}

impl Instance for Worker {
    fn call(&mut self, event: &[u8], session: Session) -> Ended {
        let ready = &*self.0;
        let limits = session.settings().limits.clone();
        let late = session.is_late().then(|| session.late());
        let pace = Pace::new(session.began());
        let call = Call::new(event, session, ready.shape == Shape::Command);
        let mut store = Store::new(ready.engine.clone());
        let state = State { call, memory: None, given: 0, fuel: limits.wasm_fuel(), pace };
        let mut running = Running { env: FunctionEnv::new(&mut store, state), store, instance: None };
        let result = match late {
            Some(late) => Err(late),
            None => running.run(ready, &limits),
        };
        running.end(result, &limits)
    }
}

/// A call with its store, and its instance once that is there.
struct Running {
    store: Store,
    env: FunctionEnv<State>,
    instance: Option<wasmer::Instance>,
}

impl Running {
    fn run(&mut self, ready: &Ready, limits: &Limits) -> Outcome {
        let imports: Vec<Extern> = ready.imports.iter().map(|import| self.import(*import)).collect();
        let instance = wasmer::Instance::new_by_index(&mut self.store, &ready.module, &imports);
        let instance = self.instance.insert(instance.map_err(|e| not_instantiated(e, limits))?).clone();
        let exports = &instance.exports;
        let memory = exports.get_memory("memory").ok().cloned();
        self.env.as_mut(&mut self.store).memory.clone_from(&memory);
        let started = if exports.contains(meter::START) { self.enter(&instance, meter::START) } else { Ok(()) };
        if ready.shape == Shape::Command {
            let ended = started.and_then(|()| self.enter(&instance, "_start"));
            return guest::command(ended, &mut self.env.as_mut(&mut self.store).call);
        }
        started?;
        if ready.initialize {
            self.enter(&instance, "_initialize")?;
        }
        let alloc = exports.get_typed_function(&self.store, "hexafn_alloc").map_err(not_there)?;
        let handle = exports.get_typed_function(&self.store, "hexafn_call").map_err(not_there)?;
        let memory = memory.ok_or_else(|| Error::new(Code::Abi, "it exports no memory with the name `memory`"))?;
        let input = std::mem::take(&mut self.env.as_mut(&mut self.store).call.input);
        guest::run(&mut Linked { running: self, memory, alloc, handle }, input, limits)
    }

    /// An import, bound to this call.
    fn import(&mut self, import: Option<&'static Import>) -> Extern {
        let more = |mut env: FunctionEnvMut<'_, State>, left: i64| env.data_mut().more(left);
        match import {
            Some(import) => link(&mut self.store, &self.env, import).into(),
            None => Function::new_typed_with_env(&mut self.store, &self.env, more).into(),
        }
    }

    /// Calls an export that takes and gives nothing.
    fn enter(&mut self, instance: &wasmer::Instance, name: &str) -> Result<(), Error> {
        let function: TypedFunction<(), ()> =
            instance.exports.get_typed_function(&self.store, name).map_err(not_there)?;
        function.call(&mut self.store).map_err(|e| self.explain(&e))
    }

    /// One of the counters of the meter; nothing before there is an instance.
    fn counter(&mut self, name: &str) -> Option<i64> {
        let global = self.instance.as_ref()?.exports.get_global(name).ok()?;
        let value = global.get(&mut self.store);
        value.i64().or_else(|| value.i32().map(i64::from))
    }

    fn refused(&mut self) -> bool {
        self.counter(meter::REFUSED).is_some_and(|refused| refused != 0)
    }

    /// Why the engine ended a call, in the words that all languages share.
    fn explain(&mut self, error: &RuntimeError) -> Error {
        let refused = self.refused();
        let call = &self.env.as_ref(&self.store).call;
        if let Some(stopped) = guest::stopped(call) {
            return stopped;
        }
        trapped(error, refused, &call.session.settings().limits)
    }

    /// What the call leaves.
    fn end(mut self, result: Outcome, limits: &Limits) -> Ended {
        let (left, room) = (self.counter(meter::FUEL), self.counter(meter::ROOM));
        let state = self.env.as_mut(&mut self.store);
        // Less than none is left of a call that asked for more than there was.
        let spent = state.given.saturating_sub(u64::try_from(left.unwrap_or(0)).unwrap_or(0));
        let peak = room.map_or(0, |room| (limits.memory as u64).saturating_sub(room.unsigned_abs()));
        state.pace.end(Instant::now());
        wasi::finish(&mut state.call);
        Ended {
            result,
            session: state.call.session.hand_over(),
            fuel: Some(spent),
            peak_memory: Some(peak),
            offers: state.pace.offers(),
        }
    }
}

/// A core module with the interface of hexaFn, for one call.
struct Linked<'a> {
    running: &'a mut Running,
    memory: wasmer::Memory,
    alloc: TypedFunction<i32, i32>,
    handle: TypedFunction<(i32, i32), i64>,
}

impl Memory for Linked<'_> {
    fn size(&self) -> usize {
        View(self.memory.view(&self.running.store)).size()
    }

    fn get(&self, at: usize, into: &mut [u8]) -> bool {
        View(self.memory.view(&self.running.store)).get(at, into)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        View(self.memory.view(&self.running.store)).put(at, bytes)
    }
}

impl Guest for Linked<'_> {
    fn refused(&mut self) -> bool {
        self.running.refused()
    }

    fn alloc(&mut self, len: i32) -> Result<i32, Error> {
        self.alloc.call(&mut self.running.store, len).map_err(|e| self.running.explain(&e))
    }

    fn handle(&mut self, at: i32, len: i32) -> Result<i64, Error> {
        self.handle.call(&mut self.running.store, at, len).map_err(|e| self.running.explain(&e))
    }
}

/// The memory of a module while nothing of it runs.
struct View<'a>(MemoryView<'a>);

impl Memory for View<'_> {
    fn size(&self) -> usize {
        usize::try_from(self.0.data_size()).unwrap_or(usize::MAX)
    }

    fn get(&self, at: usize, into: &mut [u8]) -> bool {
        self.0.read(at as u64, into).is_ok()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        self.0.write(at as u64, bytes).is_ok()
    }
}

/// The import of this name. What hexaFn does not have was refused when the module was checked, so what is left is the
/// meter's.
fn named(module: &str, name: &str) -> Option<&'static Import> {
    host::IMPORTS.iter().chain(&wasi::IMPORTS).find(|import| import.module == module && import.name == name)
}

fn types(letters: &str) -> Vec<Type> {
    letters.chars().map(|letter| if letter == 'I' { Type::I64 } else { Type::I32 }).collect()
}

/// An import, bound to a call.
fn link(store: &mut Store, env: &FunctionEnv<State>, import: &'static Import) -> Function {
    let ty = FunctionType::new(types(import.params), types(import.results));
    Function::new_with_env(store, env, ty, move |mut env: FunctionEnvMut<'_, State>, params: &[Value]| {
        let mut args = [0; 9];
        for (arg, param) in args.iter_mut().zip(params) {
            *arg = param.i64().or(param.i32().map(i64::from)).unwrap_or_default();
        }
        let args = args.get(..params.len()).unwrap_or_default();
        let (State { call, memory, .. }, store) = env.data_and_store_mut();
        let result = match memory {
            Some(memory) => call.import(import.run, &mut View(memory.view(&store)), args),
            None => call.import(import.run, &mut (&mut [] as &mut [u8]), args),
        };
        let Some(result) = result else { return Err(stopped()) };
        // A call can spend all its time here without using up its fuel.
        if call.session.is_late() {
            call.stop = Some(Stop::Failed(call.session.late()));
            return Err(stopped());
        }
        Ok(match import.results {
            "" => Vec::new(),
            "I" => vec![Value::I64(result)],
            _ => vec![Value::I32(result as i32)],
        })
    })
}

fn not_there(error: wasmer::ExportError) -> Error {
    Error::new(Code::Abi, error.to_string())
}

/// Why there is no instance.
fn not_instantiated(error: InstantiationError, limits: &Limits) -> Error {
    match error {
        InstantiationError::Start(trap) | InstantiationError::Link(LinkError::Trap(trap)) => {
            trapped(&trap, false, limits)
        }
        InstantiationError::Link(LinkError::Resource(why)) => {
            Error::new(Code::Busy, format!("the machine has no room for its memory: {why}"))
        }
        other => Error::new(Code::Abi, other.to_string()),
    }
}

/// What is said of a trap.
fn trapped(error: &RuntimeError, refused: bool, limits: &Limits) -> Error {
    let found = match error.clone().to_trap() {
        Some(TrapCode::StackOverflow) => guest::no_stack(limits),
        _ if refused => guest::no_memory(limits),
        Some(trap) => Error::new(Code::Trap, trap.message()),
        None => Error::new(Code::Trap, error.message()),
    };
    let frames = error.trace().iter().map(|frame| {
        let name = frame.function_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
        format!("{name} (at {:#x})", frame.module_offset())
    });
    let lines: Vec<String> = frames.collect();
    if lines.is_empty() { found } else { found.stack(lines.join("\n")) }
}
