//! JavaScript on QuickJS: an ES module whose default export is the function.
//!
//! A function is compiled once, to byte code that stays in this process; each call gets a context of its own, made of the
//! intrinsics that compute and nothing that reaches outside, into which that byte code is loaded. Contexts are dropped
//! after the call. After a call that failed the whole runtime of the worker is dropped, too: a runtime that ran out of
//! memory is not worth knowing. So it is after a call that left jobs, since their queue is the runtime's: the next call would run
//! them, and until then each keeps its context.
//!
//! There is no compiler in those contexts: `eval` and `new Function` throw. Limits are held by the engine (stack), by its
//! allocator (memory), by its interrupt handler (time), and by the [`Session`]. Operations of the engine that do not poll
//! the handler, such as the arithmetic of huge `BigInt`s, can only be stopped with the process.

mod bytecode;
mod compile;
mod fault;
mod host;
mod names;
mod value;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use hexafn_quickjs_alloc::{Meter, metered};
use rquickjs::context::intrinsic;
use rquickjs::function::Args;
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Function, Module, Object, Persistent, Promise, Value};

use crate::watch::Watch;
use crate::{Code, Compiled, Ended, Error, Instance, NoHost, Runtime, Session, Settings, Source};
use bytecode::Bytecode;
use fault::Fault;
use names::Names;
use value::Tools;

/// What is in a context: what computes. No compiler, no clock finer than a millisecond, no weak references (which would
/// show when memory is collected).
type Intrinsics = (
    intrinsic::Date,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::Promise,
);
/// And with [`Names::buffers`].
type WithBuffers = (Intrinsics, intrinsic::TypedArrays);

/// The most stack, in bytes, that is given out: the threads of workers have more.
const MOST_STACK: usize = 1 << 20;

/// Loops and calls from one poll of the interrupt handler to the next: the engine's `JS_INTERRUPT_COUNTER_INIT`.
const STEPS: u64 = 10_000;

/// The language JavaScript.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsRuntime;

impl Runtime for JsRuntime {
    fn name(&self) -> &'static str {
        "js"
    }

    fn compile(&self, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        let (code, names) = compile::compile(source)?;
        Ok(Arc::new(JsFunction { file: source.file.clone(), code: code.into(), names, settings: settings.clone() }))
    }
}

struct JsFunction {
    file: Arc<str>,
    code: Arc<[u8]>,
    names: Names,
    settings: Arc<Settings>,
}

impl Compiled for JsFunction {
    fn open(&self) -> Result<Box<dyn Instance>, Error> {
        let prelude = Bytecode::keep(compile::prelude()?)?;
        let code = Bytecode::keep(&self.code)?;
        let engine = Engine::new(&self.settings, self.names)?;
        let (settings, file) = (self.settings.clone(), self.file.clone());
        Ok(Box::new(JsInstance { settings, file, prelude, code, names: self.names, engine: Some(engine) }))
    }
}

struct JsInstance {
    settings: Arc<Settings>,
    file: Arc<str>,
    prelude: Bytecode,
    code: Bytecode,
    names: Names,
    /// None after a call that failed, or left jobs.
    engine: Option<Engine>,
}

/// A runtime of QuickJS, and what its callbacks share with us.
struct Engine {
    /// Of the next call, or of the last one.
    context: Option<Context>,
    /// Whether a call has run in that context.
    used: bool,
    names: Names,
    runtime: rquickjs::Runtime,
    memory: Rc<Meter>,
    call: Rc<Call>,
}

/// The call that runs: what the engine's callbacks see of it.
struct Call {
    session: RefCell<Option<Session>>,
    watch: Watch,
    memory: Rc<Meter>,
    /// The last error that the host threw into the function.
    thrown: RefCell<Option<Error>>,
    /// Of its context. Not in the host's functions, where the collector would not see them.
    tools: RefCell<Option<Persistent<Object<'static>>>>,
}

impl Call {
    fn tools<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Tools<'js>> {
        let tools = self.tools.borrow().clone().ok_or(rquickjs::Error::Unknown)?;
        tools.restore(ctx).map(Tools::new)
    }

    /// Whether the function may know how time goes on.
    fn is_granted_time(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|session| session.settings().grants.time)
    }
}

impl Engine {
    fn new(settings: &Settings, names: Names) -> Result<Self, Error> {
        let (allocator, memory) = metered();
        let runtime = rquickjs::Runtime::new_with_alloc(allocator).map_err(|_| no_memory())?;
        // The binding keeps the prototype of functions of the context that makes the first one, for as long as the runtime lives: let
        // that be a context in which no function of a user ever runs.
        let first = Context::custom::<Intrinsics>(&runtime).map_err(|_| no_memory())?;
        first.with(|ctx| Function::new(ctx, || {}).map(drop)).map_err(|_| no_memory())?;
        drop(first);
        runtime.set_max_stack_size(settings.limits.stack.clamp(64 << 10, MOST_STACK));
        runtime.set_loader(compile::Nothing, compile::Nothing);
        // Cycles are collected after each call; within one, now and then.
        runtime.set_gc_threshold(settings.limits.memory / 4);
        let call = Rc::new(Call {
            session: RefCell::new(None),
            watch: Watch::new(&settings.limits),
            memory: memory.clone(),
            thrown: RefCell::new(None),
            tools: RefCell::new(None),
        });
        let seen = call.clone();
        let polled = move || {
            seen.watch.count(STEPS);
            seen.watch.must_stop()
        };
        runtime.set_interrupt_handler(Some(Box::new(polled)));
        Ok(Self { context: None, used: false, names, runtime, memory, call })
    }

    /// A context that no call has run in.
    fn fresh(&mut self) -> Result<&Context, Error> {
        if self.used {
            self.context = None;
            self.used = false;
            // Globals and functions refer to each other, so only the collector frees what the call left.
            self.runtime.run_gc();
        }
        let context = match self.context.take() {
            Some(context) => context,
            None => {
                // QuickJS does not survive that memory ends while it makes a context. Nothing of a function runs here.
                self.memory.limit(None);
                let made = match self.names.buffers {
                    true => Context::custom::<WithBuffers>(&self.runtime),
                    false => Context::custom::<Intrinsics>(&self.runtime),
                };
                made.map_err(|_| no_memory())?
            }
        };
        Ok(self.context.insert(context))
    }
}

impl Instance for JsInstance {
    fn call(&mut self, event: &[u8], session: Session) -> Ended {
        let context = |mut engine: Engine| engine.fresh().cloned().map(|context| (engine, context));
        let engine = self.engine.take().map_or_else(|| Engine::new(&self.settings, self.names), Ok);
        let (mut engine, context) = match engine.and_then(context) {
            Ok(ready) => ready,
            Err(error) => {
                return Ended { result: Err(error), session, fuel: None, peak_memory: None, offers: 0 };
            }
        };
        engine.used = true;
        engine.call.watch.begin(&session);
        let empty = engine.memory.now();
        engine.memory.begin();
        *engine.call.session.borrow_mut() = Some(session);
        let result = catch_unwind(AssertUnwindSafe(|| self.run(&engine, &context, event)));
        let result = result.unwrap_or_else(|_| Err(Error::new(Code::Trap, "the engine failed inside")));
        // A function can have caught what its limit threw.
        let result = engine.call.watch.broken().map_or(result, Err);
        engine.call.thrown.borrow_mut().take();
        engine.call.tools.borrow_mut().take();
        let session = engine.call.session.borrow_mut().take();
        let (fuel, offers) = (Some(engine.call.watch.steps()), engine.call.watch.end());
        let peak_memory = u64::try_from(engine.memory.peak().saturating_sub(empty)).ok();
        drop(context);
        if result.is_ok() && !engine.runtime.is_job_pending() {
            self.engine = Some(engine);
        }
        // The callbacks only borrow it, so it is there.
        let lost = || Session::new(self.settings.clone(), Arc::default(), Arc::new(NoHost));
        Ended { result, session: session.unwrap_or_else(lost), fuel, peak_memory, offers }
    }

    fn rest(&mut self) {
        let engine = self.engine.take().map_or_else(|| Engine::new(&self.settings, self.names), Ok);
        // The next call makes its own, and says what is wrong.
        self.engine = engine.ok().and_then(|mut engine| engine.fresh().is_ok().then_some(engine));
    }
}

impl JsInstance {
    fn run(&self, engine: &Engine, context: &Context, event: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        engine.memory.limit(Some(self.settings.limits.memory));
        context.with(|ctx| {
            let fault = Fault { ctx: &ctx, call: &engine.call, file: &self.file };
            let (tools, told) = self.set_up(&ctx, engine).map_err(|e| fault.of(e))?;
            self.evaluate(&ctx, &fault, &tools, told, event)
        })
    }

    /// Runs the prelude and makes the host's functions; gives what reads values, and `ctx`.
    fn set_up<'js>(&self, ctx: &Ctx<'js>, engine: &Engine) -> rquickjs::Result<(Tools<'js>, Object<'js>)> {
        let (module, done) = self.prelude.load(ctx)?.eval()?;
        done.finish::<()>()?;
        let tools: Object<'js> = module.get("default")?;
        *engine.call.tools.borrow_mut() = Some(Persistent::save(ctx, tools.clone()));
        let told = engine.call.session.borrow().as_ref().map(|s| s.ctx().json()).unwrap_or_default();
        let told: Object<'js> = ctx.json_parse(told)?.get()?;
        host::install(ctx, &engine.call, self.names, &told)?;
        Ok((Tools::new(tools), told))
    }

    fn evaluate<'js>(
        &self,
        ctx: &Ctx<'js>,
        fault: &Fault<'_, 'js>,
        tools: &Tools<'js>,
        told: Object<'js>,
        event: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let event = value::read(ctx, tools, event).map_err(|e| fault.of_input(e))?;
        let (module, done) = self.code.load(ctx).and_then(Module::eval).map_err(|e| fault.of(e))?;
        self.settle(ctx, fault, done)?;
        let function: Value<'js> = module.get("default").map_err(|e| fault.of(e))?;
        let Some(function) = function.as_function() else {
            let kind = function.type_name();
            return Err(Error::new(
                Code::Compile,
                format!("the default export is {kind}; export a function: `export default (event, ctx) => …`"),
            ));
        };
        let mut args = Args::new(ctx.clone(), 2);
        args.push_arg(event).and_then(|()| args.push_arg(told)).map_err(|e| fault.of(e))?;
        let value: Value<'js> = function.call_arg(args).map_err(|e| fault.of(e))?;
        let value = match value.as_promise() {
            Some(promise) => self.settle(ctx, fault, promise.clone())?,
            None => value,
        };
        if value.is_undefined() {
            return Ok(None);
        }
        let writer = value::Output::new(tools, fault, self.settings.limits.output);
        writer.write(value).map(Some)
    }

    /// Runs jobs until the promise is settled. No single job of an endless chain is long enough to be interrupted, so the
    /// clock is asked between them.
    fn settle<'js>(&self, ctx: &Ctx<'js>, fault: &Fault<'_, 'js>, promise: Promise<'js>) -> Result<Value<'js>, Error> {
        loop {
            match promise.state() {
                PromiseState::Pending => {}
                _ => match promise.result::<Value<'js>>() {
                    Some(result) => return result.map_err(|e| fault.of(e)),
                    None => return Err(fault.never()),
                },
            }
            if fault.call.watch.must_stop() {
                return Err(fault.stopped());
            }
            if !ctx.execute_pending_job() {
                return Err(fault.never());
            }
        }
    }
}

fn no_memory() -> Error {
    Error::new(Code::Memory, "there was not enough memory to start the engine")
}
