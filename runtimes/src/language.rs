//! The languages, by name.

use crate::Runtime;

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
            Self::Wasm => unimplemented!(),
        }
    }
}
