//! What a module is, and whether it may be compiled at all: told from its bytes, before any compiler sees them, and
//! the same for every engine.

use wasmparser::{Encoding, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use super::host::{self, Grant, Import};
use super::{preview2, wasi, world};
use crate::{Code, Error, Grants, Settings, Source};

/// How a module is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A core module with `hexafn_alloc` and `hexafn_call`.
    Abi,
    /// A command of WASI preview 1: input on standard input, result on standard output.
    Command,
    /// A component with the world `hexafn:function`; a core module that has that world is made one.
    Component,
    /// A component that exports `wasi:cli/run`: what a command is in WASI preview 2.
    Program,
}

/// The most of each thing that one module or component may have: enough for a large program of any language, little
/// enough that compiling one cannot take the memory or the minutes of the host.
mod most {
    pub const FUNCTIONS: u32 = 50_000;
    pub const TYPES: u32 = 10_000;
    pub const PARAMS: usize = 100;
    pub const IMPORTS: u32 = 1_000;
    pub const EXPORTS: u32 = 10_000;
    pub const GLOBALS: u32 = 10_000;
    pub const TABLES: u32 = 8;
    pub const SEGMENTS: u32 = 100_000;
    pub const TABLE_ENTRIES: u64 = super::super::TABLE_ENTRIES as u64;
    /// Core modules, and components, of a component.
    pub const PARTS: u32 = 32;
}

/// A module that may be compiled.
#[derive(Debug)]
pub struct Checked {
    /// How it is called.
    pub shape: Shape,
    /// The binary form.
    pub wasm: Vec<u8>,
    /// Whether it has an `_initialize` to be called first.
    pub initialize: bool,
}

/// Checks the bytes of a function.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::Compile`], [`Code::Denied`] for an import that does not exist or is not granted,
/// [`Code::Memory`] when it begins with more memory than it may have, [`Code::Abi`] for an export or import with another
/// signature.
pub fn check(source: &Source, settings: &Settings, max_module: usize) -> Result<Checked, Error> {
    let mut wasm = binary(&source.code, max_module)?;
    let mut found = scan(&wasm, settings)?.shape()?;
    if found.is_none() {
        wasm = world::component(&wasm)?;
        found = scan(&wasm, settings)?.shape()?;
    }
    let (shape, initialize) = found.ok_or_else(|| invalid(&"it is no component of the world"))?;
    Ok(Checked { shape, initialize, wasm })
}

fn scan<'a>(wasm: &[u8], settings: &'a Settings) -> Result<Scan<'a>, Error> {
    let mut scan = Scan::new(settings);
    for payload in Parser::new(0).parse_all(wasm) {
        scan.payload(payload.map_err(|e| invalid(&e))?)?;
    }
    Ok(scan)
}

pub(super) fn invalid(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Compile, format!("it is not a valid module: {error}"))
}

fn too_large(what: &str, has: impl std::fmt::Display, most: impl std::fmt::Display) -> Error {
    Error::new(Code::TooLarge, format!("it has {has} {what}; at most {most} are compiled"))
}

/// The binary form of a module that is given as such or as text.
fn binary(code: &[u8], max_module: usize) -> Result<Vec<u8>, Error> {
    if code.len() > max_module {
        return Err(too_large("bytes", code.len(), max_module));
    }
    if code.starts_with(b"\0asm") {
        return Ok(code.to_vec());
    }
    if code.starts_with(b"\x7fELF") || code.starts_with(b"wasmer-universal") {
        return Err(Error::new(
            Code::Compile,
            "it is compiled machine code, which would run without any limit; give the `.wasm` that it was compiled from",
        ));
    }
    let text = std::str::from_utf8(code).map_err(|_| {
        Error::new(
            Code::Compile,
            "it is neither a WebAssembly module (it would begin with `\\0asm`) nor its text format",
        )
    })?;
    let wasm = wat::parse_str(text).map_err(|e| {
        let message = e.to_string();
        let error = Error::new(Code::Compile, message.lines().next().unwrap_or_default());
        match place(&message) {
            Some((line, column)) => error.at(line, column),
            None => error,
        }
    })?;
    if wasm.len() > max_module {
        return Err(too_large("bytes", wasm.len(), max_module));
    }
    Ok(wasm)
}

/// Line and column of a message of `wat`, which has them only in its text: `--> <anon>:3:14`.
fn place(message: &str) -> Option<(u32, u32)> {
    let (_, rest) = message.split_once("<anon>:")?;
    let mut numbers = rest.lines().next()?.split(':').map(|part| part.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What was seen of a module so far.
struct Scan<'a> {
    settings: &'a Settings,
    component: Option<bool>,
    /// How deep in nested modules and components.
    depth: u32,
    parts: u32,
    types: Vec<FuncType>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    exports: Vec<(String, ExternalKind, u32)>,
    handles: bool,
    runs: bool,
    /// The first import of an interface of the world by a core module.
    of_world: Option<(String, String)>,
    memory: u64,
    tables: u32,
    defined: u32,
}

impl<'a> Scan<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            component: None,
            depth: 0,
            parts: 0,
            types: Vec::new(),
            functions: Vec::new(),
            exports: Vec::new(),
            handles: false,
            runs: false,
            of_world: None,
            memory: 0,
            tables: 0,
            defined: 0,
        }
    }

    /// Whether this is the module itself, not one inside a component.
    fn is_core(&self) -> bool {
        self.component == Some(false)
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Error> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.component.get_or_insert(encoding == Encoding::Component);
                self.depth += 1;
                self.parts += 1;
                if self.parts > most::PARTS || self.depth > most::PARTS {
                    return Err(too_large("nested modules and components", self.parts, most::PARTS));
                }
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::TypeSection(section) => {
                count("types", section.count(), most::TYPES)?;
                let core = self.is_core();
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty.map_err(|e| invalid(&e))?;
                    if ty.params().len() + ty.results().len() > most::PARAMS {
                        let both = ty.params().len() + ty.results().len();
                        return Err(too_large("parameters and results in one type", both, most::PARAMS));
                    }
                    if core {
                        self.types.push(ty);
                    }
                }
            }
            Payload::ImportSection(section) => {
                count("imports", section.count(), most::IMPORTS)?;
                if self.is_core() {
                    for import in section.into_imports() {
                        let import = import.map_err(|e| invalid(&e))?;
                        self.import(import.module, import.name, import.ty)?;
                    }
                }
            }
            Payload::FunctionSection(section) => {
                self.defined = self.defined.saturating_add(section.count());
                count("functions", self.defined, most::FUNCTIONS)?;
                if self.is_core() {
                    for ty in section {
                        self.functions.push(ty.map_err(|e| invalid(&e))?);
                    }
                }
            }
            Payload::TableSection(section) => {
                self.tables = self.tables.saturating_add(section.count());
                count("tables", self.tables, most::TABLES)?;
                for table in section {
                    let initial = table.map_err(|e| invalid(&e))?.ty.initial;
                    if initial > most::TABLE_ENTRIES {
                        return Err(too_large("entries in a table", initial, most::TABLE_ENTRIES));
                    }
                }
            }
            Payload::MemorySection(section) => {
                count("memories", section.count(), 1)?;
                for memory in section {
                    let pages = memory.map_err(|e| invalid(&e))?.initial;
                    self.memory = self.memory.saturating_add(pages.saturating_mul(64 << 10));
                }
                let limit = self.settings.limits.memory;
                if self.memory > limit as u64 {
                    return Err(Error::new(
                        Code::Memory,
                        format!(
                            "it begins with {} bytes of memory; at most {limit} are allowed (`limits.memory`)",
                            self.memory
                        ),
                    ));
                }
            }
            Payload::GlobalSection(section) => count("globals", section.count(), most::GLOBALS)?,
            Payload::ExportSection(section) => {
                count("exports", section.count(), most::EXPORTS)?;
                if self.is_core() {
                    for export in section {
                        let export = export.map_err(|e| invalid(&e))?;
                        self.exports.push((export.name.to_owned(), export.kind, export.index));
                    }
                }
            }
            Payload::ElementSection(section) => count("element segments", section.count(), most::SEGMENTS)?,
            Payload::DataSection(section) => count("data segments", section.count(), most::SEGMENTS)?,
            Payload::ComponentImportSection(section) => {
                count("imports", section.count(), most::IMPORTS)?;
                if self.depth == 1 {
                    for import in section {
                        let name = import.map_err(|e| invalid(&e))?.name.name;
                        interface(name)?;
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                count("exports", section.count(), most::EXPORTS)?;
                if self.depth == 1 {
                    for export in section {
                        let name = export.map_err(|e| invalid(&e))?.name.name;
                        self.handles |= name == "handle";
                        self.runs |= preview2::is_run(name);
                    }
                }
            }
            Payload::ComponentTypeSection(section) => count("types", section.count(), most::TYPES)?,
            _ => {}
        }
        Ok(())
    }

    /// An import of a core module.
    fn import(&mut self, module: &str, name: &str, ty: TypeRef) -> Result<(), Error> {
        let known: &[Import] = match module {
            // Of a component to be: looked at again in it.
            _ if module.starts_with("hexafn:function/") => {
                let plain = module.strip_suffix(VERSION);
                if !INTERFACES.iter().any(|known| plain == Some(*known)) {
                    return Err(no_interface(module, VERSION));
                }
                self.of_world.get_or_insert_with(|| (module.to_owned(), name.to_owned()));
                if let TypeRef::Func(index) = ty {
                    self.functions.push(index);
                }
                return Ok(());
            }
            "hexafn" => &host::IMPORTS,
            wasi::MODULE => &wasi::IMPORTS,
            _ => return Err(unknown(module, name)),
        };
        let Some(import) = known.iter().find(|import| import.name == name) else { return Err(unknown(module, name)) };
        let TypeRef::Func(index) = ty else {
            return Err(Error::new(
                Code::Denied,
                format!("it imports `{module}.{name}`, which is a function, as something else"),
            ));
        };
        self.functions.push(index);
        let found = self.types.get(index as usize).map(signature).unwrap_or_default();
        let wanted = written(import.params, import.results);
        if found != wanted {
            return Err(Error::new(
                Code::Abi,
                format!("it imports `{module}.{name}` as {found}; its signature is {wanted}"),
            ));
        }
        granted(import.grant, &self.settings.grants, &format!("{module}.{name}"))
    }

    /// How it is called, and whether `_initialize` is called first; `None` for a core module that is to be made a component.
    fn shape(&self) -> Result<Option<(Shape, bool)>, Error> {
        if self.component == Some(true) {
            return match (self.handles, self.runs) {
                (true, _) => Ok(Some((Shape::Component, false))),
                (false, true) => Ok(Some((Shape::Program, false))),
                (false, false) => Err(Error::new(
                    Code::Compile,
                    "the component exports neither `handle` (the world `hexafn:function/function`) nor `wasi:cli/run@0.2.…` (a \
                     command of WASI preview 2)",
                )),
            };
        }
        let has = |name: &str| self.exports.iter().any(|(export, ..)| export == name);
        if has("hexafn_call") {
            self.expect("hexafn_call", "ii", "I")?;
            self.expect("hexafn_alloc", "i", "i")?;
            if !self.exports.iter().any(|(name, kind, _)| name == "memory" && *kind == ExternalKind::Memory) {
                return Err(Error::new(Code::Abi, "it exports no memory with the name `memory`"));
            }
            let initialize = has("_initialize");
            if initialize {
                self.expect("_initialize", "", "")?;
            }
            return self.without_world().map(|()| Some((Shape::Abi, initialize)));
        }
        if has("_start") {
            self.expect("_start", "", "")?;
            return self.without_world().map(|()| Some((Shape::Command, false)));
        }
        if has("handle") {
            return Ok(None);
        }
        Err(Error::new(
            Code::Compile,
            "it exports neither `hexafn_call` (a module with the interface of hexaFn) nor `_start` (a command of WASI \
             preview 1) nor `handle` (the world `hexafn:function`), and is no component",
        ))
    }

    /// The interfaces of the world are for modules that export `handle`.
    fn without_world(&self) -> Result<(), Error> {
        self.of_world.as_ref().map_or(Ok(()), |(module, name)| Err(unknown(module, name)))
    }

    fn expect(&self, name: &str, params: &str, results: &str) -> Result<(), Error> {
        let wanted = written(params, results);
        let ty = self
            .exports
            .iter()
            .find(|(export, kind, _)| export == name && *kind == ExternalKind::Func)
            .and_then(|(_, _, index)| self.functions.get(*index as usize))
            .and_then(|&ty| self.types.get(ty as usize));
        match ty.map(signature) {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(Error::new(Code::Abi, format!("it exports `{name}` as {found}; it should be {wanted}"))),
            None => Err(Error::new(Code::Abi, format!("it does not export the function `{name}` {wanted}"))),
        }
    }
}

/// The version of the world, as a core module writes it behind the name of an interface.
const VERSION: &str = "@1.0.0";

/// What a component may import.
const INTERFACES: [&str; 7] = [
    "hexafn:function/logs",
    "hexafn:function/variables",
    "hexafn:function/clock",
    "hexafn:function/randomness",
    "hexafn:function/topics",
    "hexafn:function/keys",
    "hexafn:function/web",
];

/// An import of a component. Those who make components import a whole world, whatever of it is used: what is not granted is
/// denied to whoever calls it.
fn interface(name: &str) -> Result<(), Error> {
    if name.starts_with("wasi:") {
        return preview2::interface(name);
    }
    // Any version of the world up to its first breaking one; the engine compares the types.
    let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
    if INTERFACES.contains(&plain) { Ok(()) } else { Err(no_interface(name, "")) }
}

fn no_interface(name: &str, version: &str) -> Error {
    let known: Vec<String> = INTERFACES.iter().map(|known| format!("`{known}{version}`")).collect();
    let name: String = name.chars().take(100).collect();
    Error::new(
        Code::Denied,
        format!("it imports `{name}`, which does not exist here; of the world there are {}", known.join(", ")),
    )
}

fn count(what: &str, has: u32, most: u32) -> Result<(), Error> {
    if has > most { Err(too_large(what, has, most)) } else { Ok(()) }
}

fn unknown(module: &str, name: &str) -> Error {
    let names: Vec<&str> = host::IMPORTS.iter().map(|import| import.name).collect();
    let (module, name): (String, String) = (module.chars().take(100).collect(), name.chars().take(100).collect());
    Error::new(
        Code::Denied,
        format!(
            "it imports `{module}.{name}`, which does not exist here; a function may import `{}` from `hexafn`, and WASI \
             preview 1 from `{}`",
            names.join("`, `"),
            wasi::MODULE
        ),
    )
}

fn granted(grant: Grant, grants: &Grants, import: &str) -> Result<(), Error> {
    let (name, have) = match grant {
        Grant::Nothing => return Ok(()),
        Grant::Emit => ("emit", &grants.emit),
        Grant::Kv => ("kv", &grants.kv),
        Grant::Http => ("http", &grants.http),
    };
    if !have.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::Denied,
        format!("it imports `{import}`, but `{name}` of the function grants nothing; name there what it may use"),
    ))
}

/// A signature as people write it.
fn written(params: &str, results: &str) -> String {
    let names = |letters: &str| -> String {
        letters.chars().map(|letter| if letter == 'I' { "i64" } else { "i32" }).collect::<Vec<_>>().join(", ")
    };
    format!("({}) -> ({})", names(params), names(results))
}

fn signature(ty: &FuncType) -> String {
    let names = |types: &[ValType]| -> String { types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") };
    format!("({}) -> ({})", names(ty.params()), names(ty.results()))
}
