//! Lua in the dialect of Luau: a chunk that returns the function.
//!
//! A function is compiled once; each call loads its byte code into a thread with globals of its own and runs the chunk
//! anew, so that nothing that an event left, in globals or in the chunk's locals, is there for the next one. What all
//! calls of a worker share (the libraries and their metatables) is read-only. After a call that failed the whole virtual
//! machine of the worker is dropped.
//!
//! Limits are held by the allocator (memory), the interrupt that Luau polls at loops, calls and in patterns (time), and
//! the [`Session`].

mod compile;
mod fault;
mod host;
mod value;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};

use crate::watch::Watch;
use crate::{Code, Compiled, Ended, Error, Instance, NoHost, Runtime, Session, Settings, Source};
use value::{Builder, Output};

/// What is in it: what computes. The prelude takes some of it away.
const LIBRARIES: [StdLib; 9] = [
    StdLib::COROUTINE,
    StdLib::TABLE,
    StdLib::OS,
    StdLib::STRING,
    StdLib::UTF8,
    StdLib::BIT,
    StdLib::MATH,
    StdLib::BUFFER,
    StdLib::VECTOR,
];

/// How often the interrupt looks at the clock, the fuel and the memory: at each of this many loops and calls.
const LOOK_EVERY: u64 = 16;

/// How many members of `ctx` tell of the call.
const TOLD: usize = 6;

/// How much garbage a call may find, in bytes, before it is collected.
const GARBAGE: usize = 512 << 10;

/// More than a byte of JSON ever becomes in memory, in bytes: `[],` becomes a table and its place in another.
const MOST_PER_BYTE: usize = 64;

/// The language Lua.
#[derive(Debug, Clone, Copy, Default)]
pub struct LuaRuntime;

impl Runtime for LuaRuntime {
    fn name(&self) -> &'static str {
        "lua"
    }

    fn compile(&self, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        let code = compile::compile(source)?;
        Ok(Arc::new(LuaFunction { file: source.file.clone(), code: code.into(), settings: settings.clone() }))
    }
}

struct LuaFunction {
    file: Arc<str>,
    code: Arc<[u8]>,
    settings: Arc<Settings>,
}

impl Compiled for LuaFunction {
    fn open(&self) -> Result<Box<dyn Instance>, Error> {
        let mut instance = LuaInstance {
            file: self.file.clone(),
            code: self.code.clone(),
            settings: self.settings.clone(),
            engine: None,
        };
        instance.engine = Some(instance.start()?);
        Ok(Box::new(instance))
    }
}

struct LuaInstance {
    file: Arc<str>,
    code: Arc<[u8]>,
    settings: Arc<Settings>,
    /// None after a call that failed.
    engine: Option<Engine>,
}

/// A virtual machine, and what its callbacks share with us.
struct Engine {
    // Before what they use, since they are dropped first.
    /// The members of `ctx` that are the same in each call: the host's functions.
    api: Vec<(String, Value)>,
    /// The metatable of arrays.
    array: Table,
    /// Gives the chunk, made anew, with the globals of the thread that it is called on.
    loader: Function,
    call: Rc<Call>,
    lua: Lua,
    /// Its memory before the first call, in bytes.
    empty: usize,
}

/// The call that runs: what the engine's callbacks see of it.
struct Call {
    session: RefCell<Option<Session>>,
    watch: Watch,
    /// The most memory that was seen, in bytes.
    peak: Cell<usize>,
    /// The last error that the host gave to the function.
    thrown: RefCell<Option<Error>>,
    /// What the function raised last, where that could be taken for an error of the engine, or is no text.
    raised: RefCell<Option<Value>>,
}

impl Call {
    /// Notes the memory: the engine keeps no peak, and its collector runs while the function does.
    fn look(&self, lua: &Lua) {
        self.peak.set(self.peak.get().max(lua.used_memory()));
    }
}

impl Engine {
    fn new(settings: &Settings, file: &str, code: &Arc<[u8]>) -> mlua::Result<Self> {
        let call = Rc::new(Call {
            session: RefCell::new(None),
            watch: Watch::new(&settings.limits),
            peak: Cell::new(0),
            thrown: RefCell::new(None),
            raised: RefCell::new(None),
        });
        let libraries = LIBRARIES.into_iter().fold(StdLib::NONE, |all, one| all | one);
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let prelude = lua.load(include_str!("lua/prelude.luau")).set_name(format!("={}", fault::PRELUDE));
        lua.globals().raw_set("null", Value::NULL)?;
        let array = value::array(&lua)?;
        let api: Table = prelude.call(host::function(&lua, &call, &array)?)?;
        let api = api.pairs().collect::<mlua::Result<_>>()?;
        lua.sandbox(true)?;
        // The sandbox lays writable globals over the read-only ones; those of calls lie over these in turn, and reach them
        // through their metatable.
        lua.globals().set_readonly(true);
        let seen = call.clone();
        lua.set_interrupt(move |lua| {
            let looks = seen.watch.count(1).is_multiple_of(LOOK_EVERY);
            if looks {
                seen.look(lua);
            }
            match if looks { seen.watch.must_stop() } else { seen.watch.is_broken() } {
                true => Err(mlua::Error::runtime("it was stopped")),
                false => Ok(VmState::Continue),
            }
        });
        let (name, code) = (format!("={file}"), Arc::clone(code));
        let loader = lua.create_function(move |lua, ()| {
            let globals = lua.globals();
            globals.raw_set("_G", &globals)?;
            lua.load(&*code).set_name(&*name).set_mode(ChunkMode::Binary).into_function()
        })?;
        lua.set_memory_limit(settings.limits.memory.max(1))?;
        let empty = lua.used_memory();
        Ok(Self { api, array, loader, call, lua, empty })
    }
}

impl Instance for LuaInstance {
    fn call(&mut self, event: &[u8], session: Session) -> Ended {
        let ended = |result, session, call: Option<(&Watch, usize)>| {
            let peak_memory = call.and_then(|(_, bytes)| u64::try_from(bytes).ok());
            let offers = call.map_or(0, |(watch, _)| watch.end());
            Ended { result, session, fuel: call.map(|(watch, _)| watch.steps()), peak_memory, offers }
        };
        let engine = match self.engine.take().map_or_else(|| self.start(), Ok) {
            Ok(engine) => engine,
            Err(error) => return ended(Err(error), session, None),
        };
        if !engine.tidy() {
            return ended(
                Err(Error::new(Code::Memory, "what the last call left could not be collected")),
                session,
                None,
            );
        }
        engine.call.watch.begin(&session);
        engine.call.peak.set(0);
        *engine.call.session.borrow_mut() = Some(session);
        let result = catch_unwind(AssertUnwindSafe(|| self.run(&engine, event)));
        let result = result.unwrap_or_else(|_| Err(Error::new(Code::Trap, "the engine failed inside")));
        engine.call.look(&engine.lua);
        let (call, peak) = (engine.call.clone(), engine.call.peak.get().saturating_sub(engine.empty));
        // A function can have caught what its limit threw.
        let result = call.watch.broken().map_or(result, Err);
        call.thrown.borrow_mut().take();
        call.raised.borrow_mut().take();
        let session = call.session.borrow_mut().take();
        if result.is_ok() {
            self.engine = Some(engine);
        }
        // The callbacks only borrow it, so it is there.
        let lost = || Session::new(self.settings.clone(), Arc::default(), Arc::new(NoHost));
        ended(result, session.unwrap_or_else(lost), Some((&call.watch, peak)))
    }

    fn rest(&mut self) {
        if self.engine.as_ref().is_some_and(|engine| !engine.tidy()) {
            self.engine = None;
        }
    }
}

impl Engine {
    /// Collects what the last call left if it is much, so that the next one has its whole memory. False when that failed.
    fn tidy(&self) -> bool {
        self.lua.used_memory() < self.empty + GARBAGE || self.lua.gc_collect().is_ok()
    }

    /// The chunk, with globals of its own that lie over the read-only ones.
    fn load(&self) -> mlua::Result<Function> {
        // Loading takes the globals of the thread that it happens on.
        let thread = self.lua.create_thread(self.loader.clone())?;
        thread.sandbox()?;
        thread.resume(())
    }
}

impl LuaInstance {
    fn start(&self) -> Result<Engine, Error> {
        let made = Engine::new(&self.settings, &self.file, &self.code);
        made.map_err(|e| Error::new(Code::Memory, format!("the engine could not be started: {e}")))
    }

    fn run(&self, engine: &Engine, event: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let lua = &engine.lua;
        let limit = self.settings.limits.memory.max(1);
        let full = || lua.used_memory() > limit / 8 * 7;
        let builder = Builder { lua, array: &engine.array };
        let fault =
            |error| fault::Fault { builder: &builder, call: &engine.call, file: &self.file, full: full() }.of(error);
        // What surely fits is made without the limit: with it, every step is a protected call. Nothing of the function runs.
        if lua.used_memory() + event.len().saturating_mul(MOST_PER_BYTE) < limit {
            lua.set_memory_limit(0).map_err(fault)?;
        }
        let event = builder.read(event).map_err(|e| match e.contains("memory") {
            true => Error::new(Code::Memory, "the event does not fit in `limits.memory`"),
            false => Error::new(Code::Input, format!("the event is not JSON: {e}")),
        })?;
        let ctx = self.ctx(engine).map_err(fault)?;
        lua.set_memory_limit(limit).map_err(fault)?;
        let chunk = engine.load().map_err(fault)?;
        let function: Value = chunk.call(()).map_err(fault)?;
        let Value::Function(function) = function else {
            return Err(Error::new(
                Code::Compile,
                format!(
                    "the chunk returns {}; return the function: `return function(event, ctx) … end`",
                    value::kind(&function)
                ),
            ));
        };
        let value: Value = function.call((event, ctx)).map_err(fault)?;
        if value.is_nil() {
            return Ok(None);
        }
        Output::new(&engine.call, &builder, self.settings.limits.output).write(value).map(Some)
    }

    /// The second argument of the function: what [`Ctx::json`](crate::Ctx::json) shows, and the host's functions.
    fn ctx(&self, engine: &Engine) -> mlua::Result<Table> {
        let lua = &engine.lua;
        let ctx = lua.create_table_with_capacity(0, engine.api.len() + TOLD)?;
        if let Some(session) = engine.call.session.borrow().as_ref() {
            let told = session.ctx();
            ctx.raw_set("trigger", &*told.trigger)?;
            ctx.raw_set("function", &*told.function)?;
            ctx.raw_set("attempt", told.attempt)?;
            ctx.raw_set("now", &*told.now)?;
            ctx.raw_set("trace_id", &*told.trace_id)?;
            let env = lua.create_table()?;
            for (name, value) in &told.env {
                env.raw_set(&**name, &**value)?;
            }
            ctx.raw_set("env", env)?;
        }
        for (name, member) in &engine.api {
            ctx.raw_set(name.as_str(), member)?;
        }
        Ok(ctx)
    }
}
