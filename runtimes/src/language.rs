//! The languages, by name.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::wasm::{Options, WasmRuntime, Wasmtime};
use crate::{Compiled, Error, Runtime, Settings, Source};

/// A language that functions are written in, beside that of hexaFn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// JavaScript.
    Js,
    /// Lua.
    Lua,
    /// WebAssembly.
    Wasm,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Js, Self::Lua, Self::Wasm];

    /// What the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Js => "js",
            Self::Lua => "lua",
            Self::Wasm => "wasm",
        }
    }

    /// The language of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }

    /// Whether its engine stops every function at its deadline. The others need a process that can be killed.
    pub fn stops_itself(self) -> bool {
        self == Self::Wasm
    }

    /// Its engine.
    pub fn runtime(self) -> Box<dyn Runtime> {
        match self {
            Self::Js => Box::new(crate::JsRuntime),
            Self::Lua => Box::new(crate::LuaRuntime),
            Self::Wasm => match wasmtime() {
                Ok(engine) => Box::new(WasmRuntime::new(engine)),
                Err(error) => Box::new(Broken(error)),
            },
        }
    }
}

static CACHE: OnceLock<PathBuf> = OnceLock::new();
static WASMTIME: OnceLock<Result<Arc<Wasmtime>, Error>> = OnceLock::new();

/// Where compiled WebAssembly is kept: an absolute path of a folder that is hexaFn's alone. Call it before the first
/// function is compiled; the first word counts.
pub fn keep_compiled_in(folder: PathBuf) {
    drop(CACHE.set(folder));
}

/// The engine of the process: its pool of memories is shared by all functions.
fn wasmtime() -> Result<Arc<Wasmtime>, Error> {
    let make = || Wasmtime::new(Options { cache: CACHE.get().cloned(), ..Options::default() }).map(Arc::new);
    WASMTIME.get_or_init(make).clone()
}

/// A language whose engine this machine does not run.
struct Broken(Error);

impl Runtime for Broken {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn compile(&self, _: &Source, _: &Arc<Settings>) -> Result<Arc<dyn Compiled>, Error> {
        Err(self.0.clone())
    }
}
