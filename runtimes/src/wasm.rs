//! Functions in WebAssembly: four shapes of module, told apart by what they export, on an engine that can be chosen.
//!
//! ```text
//! bytes or text --check (size, imports, grants)--> Checked --WasmEngine::compile--> Compiled --open--> Instance
//! ```
//!
//! What a module may import, and how its pointers are checked, is in `host` and `wasi`, without an engine; what a
//! component may, in `component` and `preview2`. The interface for authors is in `docs/runtimes/wasm.md`.

mod check;
mod component;
mod guest;
mod host;
mod preview2;
mod wasi;
#[cfg(feature = "wasmer")]
mod wasmer;
mod wasmtime;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

pub use check::{Checked, Shape};
#[cfg(feature = "wasmer")]
pub use wasmer::Wasmer;
pub use wasmtime::Wasmtime;

use crate::{Code, Compiled, Error, Runtime, Settings, Source};

/// The most entries of one table; 8 bytes each in the host.
pub(crate) const TABLE_ENTRIES: usize = 100_000;

/// The workers that all functions together can have.
pub const MAX_WORKERS: usize = 256;

/// The most stack limits that differ among the functions of a configuration: Wasmtime takes that limit for a whole engine.
pub const MAX_STACKS: usize = 4;

/// What an engine may take of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many calls can run at the same time, at least; one that the pool has no room for is [`Code::Busy`]. There is
    /// room for two memories each, since a component can have two.
    pub workers: u32,
    /// The most memory that a function may be allowed, in bytes. Only address space until it is used.
    pub max_memory: usize,
    /// The most stack that a function may be allowed, in bytes. A thread that calls functions needs this and 512 KiB more.
    pub max_stack: usize,
    /// The largest module that is compiled, in bytes.
    pub max_module: usize,
    /// Where compiled code is kept: an absolute path of a directory of which hexaFn is the only user, since what lies
    /// there is run. It is created with mode 0700, and refused when others may write to it. `None` compiles anew at
    /// every start.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        // Twice, since at a reload those of the old configuration end their calls beside those of the new one.
        Self {
            workers: 2 * MAX_WORKERS as u32,
            max_memory: 256 << 20,
            max_stack: 1 << 20,
            max_module: 8 << 20,
            cache: None,
        }
    }
}

/// What differs between engines: how a module that was checked becomes something that can be called.
pub trait WasmEngine: Send + Sync {
    /// What the configuration calls it.
    fn name(&self) -> &'static str;

    /// What it was made with.
    fn options(&self) -> &Options;

    /// Compiles a module.
    ///
    /// # Errors
    /// [`Code::Compile`] when it is not valid, or of a shape that the engine does not run.
    fn compile(&self, module: Checked, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error>;

    /// Compiles a module on this thread, to nothing that could be run.
    ///
    /// # Errors
    /// As of [`compile`](Self::compile).
    fn prove(&self, module: Checked, source: &Source, settings: &Arc<Settings>) -> Result<(), Error> {
        self.compile(module, source, settings).map(drop)
    }
}

impl<E: WasmEngine> WasmEngine for Arc<E> {
    fn name(&self) -> &'static str {
        E::name(self)
    }

    fn options(&self) -> &Options {
        E::options(self)
    }

    fn compile(&self, module: Checked, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        E::compile(self, module, source, settings)
    }

    fn prove(&self, module: Checked, source: &Source, settings: &Arc<Settings>) -> Result<(), Error> {
        E::prove(self, module, source, settings)
    }
}

/// The language WebAssembly, on one engine.
#[derive(Debug)]
pub struct WasmRuntime<E> {
    engine: E,
}

impl<E: WasmEngine> WasmRuntime<E> {
    /// On this engine.
    pub fn new(engine: E) -> Self {
        Self { engine }
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }
}

impl<E: WasmEngine> Runtime for WasmRuntime<E> {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn compile(&self, source: &Source, settings: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        self.engine.compile(self.checked(source, settings)?, source, settings)
    }

    fn prove(&self, source: &Source, settings: &Arc<Settings>) -> Result<(), Error> {
        self.engine.prove(self.checked(source, settings)?, source, settings)
    }
}

impl<E: WasmEngine> WasmRuntime<E> {
    fn checked(&self, source: &Source, settings: &Settings) -> Result<Checked, Error> {
        let (limits, options) = (&settings.limits, self.engine.options());
        for (name, wanted, most) in
            [("memory", limits.memory, options.max_memory), ("stack", limits.stack, options.max_stack)]
        {
            if wanted > most || wanted == 0 {
                return Err(Error::new(
                    Code::Compile,
                    format!("`limits.{name}` is {wanted} bytes; this engine can give 1 to {most}"),
                ));
            }
        }
        check::check(source, settings, options.max_module)
    }
}
