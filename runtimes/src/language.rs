//! The languages, by name.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::process::{self, Launcher};
use crate::proved::Proved;
#[cfg(feature = "wasmer")]
use crate::wasm::Wasmer;
use crate::wasm::{Options, WasmRuntime, Wasmtime};
use crate::{Compiled, Error, Runtime, Settings, Source};

/// How long a source may take to compile.
const SOURCE_WITHIN: Duration = Duration::from_secs(5);
/// How long a module may: SQLite takes two seconds, one of 3.5 MB six.
const MODULE_WITHIN: Duration = Duration::from_secs(15);
/// The source, in bytes, that is compiled in the service at once: of so little, even what takes a compiler the square of its
/// size is done in a fraction of a second.
const SOURCE_AT_ONCE: usize = 16 << 10;
/// The module that is: instructions take a byte or two each, and a compiler keeps much of each.
const MODULE_AT_ONCE: usize = 2 << 10;

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

    /// The language that the name of a file tells by its end: `.js` and `.mjs`, `.lua` and `.luau`, `.wasm` and `.wat`.
    pub fn of_file(name: &str) -> Option<Self> {
        match std::path::Path::new(name).extension()?.to_str()? {
            "js" | "mjs" => Some(Self::Js),
            "lua" | "luau" => Some(Self::Lua),
            "wasm" | "wat" => Some(Self::Wasm),
            _ => None,
        }
    }

    /// Whether its engine stops every function at its deadline. The others need a process that can be killed.
    pub fn stops_itself(self) -> bool {
        self == Self::Wasm
    }

    /// Compiles a function with an engine of this language, within a time: one that is not small is compiled in a process first,
    /// which can be killed ([`process::prove`]); no compiler here can be stopped, or knows how much it will take.
    ///
    /// # Errors
    /// [`Code::TooLarge`](crate::Code::TooLarge) when it would take too long; what the compiler says otherwise.
    pub fn compile(
        self,
        runtime: &dyn Runtime,
        launcher: &Launcher,
        source: &Source,
        settings: &Arc<Settings>,
    ) -> Result<Arc<dyn Compiled>, Error> {
        let code = &source.code;
        match self {
            // By Wasmtime, whichever engine it is for: what Wasmer makes is there to be run, which no confined process may do, and its
            // compiler is the same.
            Self::Wasm if code.len() > MODULE_AT_ONCE => {
                let seen = Proved::of(code, CACHE.get());
                if !seen.is_known() {
                    process::prove(launcher, self.name(), source, settings, MODULE_WITHIN)?;
                    seen.note();
                }
            }
            Self::Js | Self::Lua if code.len() > SOURCE_AT_ONCE => {
                process::prove(launcher, self.name(), source, settings, SOURCE_WITHIN)?;
            }
            Self::Wasm | Self::Js | Self::Lua => {}
        }
        runtime.compile(source, settings)
    }

    /// Its engine; of WebAssembly the default one.
    pub fn runtime(self) -> Box<dyn Runtime> {
        match self {
            Self::Js => Box::new(crate::JsRuntime),
            Self::Lua => Box::new(crate::LuaRuntime),
            Self::Wasm => Engine::default().runtime().unwrap_or_else(|error| Box::new(Broken(error))),
        }
    }
}

/// An engine of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Wasmtime: all shapes of modules, and a cache of compiled code.
    #[default]
    Wasmtime,
    /// Wasmer: core modules and commands. Only in a build with the feature `wasmer`.
    Wasmer,
}

impl Engine {
    /// It, to compile functions with.
    ///
    /// # Errors
    /// [`Code::Compile`](crate::Code::Compile) when this program was built without it, with how to get it, or when it
    /// cannot be used here.
    pub fn runtime(self) -> Result<Box<dyn Runtime>, Error> {
        match self {
            Self::Wasmtime => Ok(Box::new(WasmRuntime::new(wasmtime()?))),
            #[cfg(feature = "wasmer")]
            Self::Wasmer => Ok(Box::new(WasmRuntime::new(Wasmer::new(Options::default())))),
            #[cfg(not(feature = "wasmer"))]
            Self::Wasmer => Err(Error::new(
                crate::Code::Compile,
                "this hexafn was built without Wasmer; build it with `cargo build --release --workspace --features wasmer`, or \
                 remove `engine`: the function then runs on Wasmtime",
            )),
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
