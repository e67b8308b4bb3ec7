//! From source to byte code, without running any of it.
//!
//! Whether a module imports anything, and whether it exports a function by default, is found out by linking: a second
//! module asks for both the function's default export and for something that does not exist, so that the engine resolves
//! and links everything and then stops before it evaluates.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Module, WriteOptions};

use super::fault;
use super::names::Names;
use crate::{Code, Error, Source};

/// The most source, in bytes: more is no function but an application.
const MOST_SOURCE: usize = 1 << 20;
/// The memory of the compiler, in bytes.
const MEMORY: usize = 64 << 20;
/// The module that asks, and the one that it cannot be given.
const LINK: &str = "hexafn:link";
const END: &str = "hexafn:end";
/// The module that runs before each function.
const PRELUDE: &str = "hexafn:prelude";

/// The byte code of the prelude.
pub(super) fn prelude() -> Result<&'static [u8], Error> {
    static CODE: OnceLock<Result<Vec<u8>, Error>> = OnceLock::new();
    CODE.get_or_init(|| {
        let text = include_str!("prelude.js");
        with_compiler(|ctx, _| write(&ctx, PRELUDE, text).map_err(|e| fault::of_compiler(e, PRELUDE)))
    })
    .as_deref()
    .map_err(Clone::clone)
}

/// The byte code of a function, and which globals its source names.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::Compile`] with the place, [`Code::Denied`] for any import.
pub(super) fn compile(source: &Source) -> Result<(Vec<u8>, Names), Error> {
    let file = &*source.file;
    if source.code.len() > MOST_SOURCE {
        return Err(Error::new(
            Code::TooLarge,
            format!("`{file}` has {} bytes; a function may have {MOST_SOURCE}", source.code.len()),
        ));
    }
    let text = std::str::from_utf8(&source.code).map_err(|e| {
        let before = source.code.get(..e.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        Error::new(Code::Compile, "this is not UTF-8; functions are text, byte code is not taken")
            .at(u32::try_from(line).unwrap_or(u32::MAX), 0)
    })?;
    if text.contains('\0') {
        return Err(Error::new(Code::Compile, "there is a NUL in it; functions are text, byte code is not taken"));
    }
    with_compiler(|ctx, imports| {
        // Declaring a module resolves its imports.
        let code = write(&ctx, file, text).map_err(|e| {
            imported(&imports.borrow(), text).unwrap_or_else(|| in_characters(fault::of_compiler(e, file), text))
        })?;
        link(&ctx, file)?;
        Ok((code, Names::of(text)))
    })
}

/// The error with its column in units of UTF-16, as of errors that are thrown: the compiler counts bytes.
fn in_characters(mut error: Error, text: &str) -> Error {
    let line = error.position.and_then(|at| text.lines().nth(usize::try_from(at.line.checked_sub(1)?).ok()?));
    if let (Some(line), Some(at)) = (line, &mut error.position) {
        let bytes = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let before = line.get(..line.floor_char_boundary(bytes)).unwrap_or(line);
        at.column =
            u32::try_from(before.encode_utf16().count()).unwrap_or(u32::MAX).saturating_add(u32::from(at.column > 0));
    }
    error
}

/// The specifiers that the function imports, in order.
type Imports = Rc<RefCell<Vec<String>>>;

fn with_compiler<T>(work: impl FnOnce(Ctx<'_>, &Imports) -> Result<T, Error>) -> Result<T, Error> {
    let failed = |_| Error::new(Code::Memory, "there was not enough memory to start the compiler");
    let runtime = rquickjs::Runtime::new().map_err(failed)?;
    let context = Context::full(&runtime).map_err(failed)?;
    let imports = Imports::default();
    runtime.set_loader(Linker { imports: imports.clone() }, Nothing);
    runtime.set_max_stack_size(512 << 10);
    runtime.set_memory_limit(MEMORY);
    context.with(|ctx| work(ctx, &imports))
}

/// Declares a module and gives its byte code.
fn write<'js>(ctx: &Ctx<'js>, file: &str, text: &str) -> Result<Vec<u8>, CaughtError<'js>> {
    // Without the source, which only `toString` of functions would show.
    let options = WriteOptions { strip_source: true, ..WriteOptions::default() };
    Module::declare(ctx.clone(), file, text).and_then(|module| module.write(options)).catch(ctx)
}

/// Resolves what the linking module asks for, which is declared already; notes what the function asks for.
struct Linker {
    imports: Imports,
}

impl Resolver for Linker {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        if base == LINK {
            return Ok(name.to_owned());
        }
        self.imports.borrow_mut().push(name.to_owned());
        Err(rquickjs::Error::new_resolving(base, name))
    }
}

/// Imports nothing at all: not even what is loaded already.
pub(super) struct Nothing;

impl Resolver for Nothing {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        Err(rquickjs::Error::new_resolving(base, name))
    }
}

impl Loader for Nothing {
    fn load<'js>(
        &mut self,
        _: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        Err(rquickjs::Error::new_loading(name))
    }
}

/// The error of the first import.
fn imported(imports: &[String], text: &str) -> Option<Error> {
    let name = imports.first()?;
    let line = text.lines().position(|l| l.contains(name.as_str())).map_or(0, |at| at + 1);
    let error = Error::new(
        Code::Denied,
        format!("it imports `{name}`; a function is one file and imports nothing: bundle what it needs into it"),
    );
    Some(error.at(u32::try_from(line).unwrap_or(u32::MAX), 0))
}

/// Links the function, which is declared as `file`, up to where it would run.
fn link(ctx: &Ctx<'_>, file: &str) -> Result<(), Error> {
    // Linking goes in the order of imports, so what is wrong with the function is found before the end.
    let asking = format!("import f from {file:?}; import {{ end }} from '{END}'; f; end;");
    let linked = Module::declare(ctx.clone(), END, "").and_then(|_| Module::evaluate(ctx.clone(), LINK, asking));
    match linked.catch(ctx) {
        Err(CaughtError::Exception(e)) => match e.message().unwrap_or_default() {
            end if end.contains(END) => Ok(()),
            missing if missing.contains("'default'") => {
                Err(Error::new(Code::Compile, "it exports no function; write `export default (event, ctx) => …`"))
            }
            other => Err(Error::new(Code::Compile, other)),
        },
        _ => Err(Error::new(Code::Compile, "the module could not be linked")),
    }
}
