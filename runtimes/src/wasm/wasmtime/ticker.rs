//! The clock of an engine: moves its epoch every millisecond while something runs, and sleeps otherwise.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How late a call may be found, and how long it keeps its processor before it offers it to others.
const TICK: Duration = Duration::from_millis(1);

/// Ends its thread when dropped.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Whether the thread waits to be told that something runs: telling it is a system call.
    asleep: bool,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something runs as long as this lives.
pub(super) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, theirs) = (engine.clone(), Arc::clone(&shared));
        let thread = thread::Builder::new().name("wasm-epoch".to_owned()).spawn(move || tick(&engine, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn run(&self) -> Running<'_> {
        let mut state = self.shared.state();
        state.running += 1;
        if state.asleep {
            state.asleep = false;
            self.shared.changed.notify_one();
        }
        Running(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic; were it otherwise, there would be nothing left to do about it here.
            drop(thread.join());
        }
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut state = shared.state();
    while !state.ended {
        if state.running == 0 {
            state.asleep = true;
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(state);
        thread::sleep(TICK);
        engine.increment_epoch();
        state = shared.state();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use wasmtime::{Config, Module, Store, Trap};

    #[test]
    fn it_stops_what_runs_and_its_thread_ends_with_it() {
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let weak = engine.weak();
        let ticker = Ticker::start(&engine).unwrap();
        let looping = Module::new(&engine, "(module (func $f (loop $l (br $l))) (start $f))").unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(20);
        let running = ticker.run();
        let error = wasmtime::Instance::new(&mut store, &looping, &[]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        // The error has a backtrace, which has the module, which has the engine.
        drop((error, running, store, looping, engine));
        assert!(weak.upgrade().is_some(), "the thread holds the engine");
        drop(ticker);
        assert!(weak.upgrade().is_none());
    }
}
