//! A core module that speaks the canonical ABI of the world `hexafn:function/function`, made a component of it: what
//! `wasm-tools component new` does, so that a compiler for core modules is all that an author needs.
//!
//! What it imports of WASI preview 1 becomes preview 2 by the adapter of the Bytecode Alliance, as `wasm-tools component new
//! --adapt` has it: so a library of C or Rust works in a module of the world, too.
//!
//! The world is ours, whatever the module says of it (`wit-bindgen` writes that into a custom section): what an author left out
//! is not imported, and nothing that comes from outside is decoded. The layout of texts, lists and results in memory is that
//! of the Component Model's
//! [canonical ABI](https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md).

use std::panic::catch_unwind;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wasm_encoder::{Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use super::check::invalid;
use crate::{Code, Error};

/// Our world.
const WIT: &str = include_str!("../../wit/function.wit");
/// The sections in which a module says what its world is begin so.
const SECTION: &str = "component-type";

/// The component.
///
/// # Errors
/// [`Code::Abi`] when the module does not fit the world, with the reason.
pub(super) fn component(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut module = without_world(module)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("function.wit", WIT).map_err(|e| misfit(&e))?;
    let world = resolve.select_world(&[package], Some("function")).map_err(|e| misfit(&e))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|e| misfit(&e))?;
    // What comes out is validated when it is compiled. The encoder takes for granted that a module makes sense, and whoever wrote
    // this one may not have meant it to.
    let encoded = catch_unwind(|| {
        let encoder = ComponentEncoder::default().validate(false).module(&module)?;
        encoder.adapter(PREVIEW1, ADAPTER)?.encode()
    });
    encoded.map_err(|_| misfit(&"it cannot be encoded"))?.map_err(|e| misfit(&e))
}

/// The encoder gives names with brackets, and those of an older form of the interface, a meaning of their own: an asynchronous
/// function, the end of a resource. The world has none of these.
fn plain(name: &str) -> Result<(), Error> {
    match name.starts_with('[') || name.starts_with("cm32p2") {
        true => Err(misfit(&format!("the name `{}` has a meaning that this world does not have", name.escape_debug()))),
        false => Ok(()),
    }
}

/// The module without what it says of its world.
fn without_world(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut kept = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|e| invalid(&e))?;
        if matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(SECTION)) {
            continue;
        }
        match &payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    let import = import.map_err(|e| invalid(&e))?;
                    plain(import.module)?;
                    plain(import.name)?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    plain(export.map_err(|e| invalid(&e))?.name)?;
                }
            }
            _ => {}
        }
        if let Some((id, data)) = payload.as_section().and_then(|(id, range)| Some((id, module.get(range)?))) {
            kept.section(&RawSection { id, data });
        }
    }
    Ok(kept.finish())
}

fn misfit(error: &dyn std::fmt::Display) -> Error {
    Error::new(
        Code::Abi,
        format!(
            "it exports `handle`, and does not fit the world `hexafn:function/function` as a core module: {error:#}"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    const HANDLE_ALONE: &str = r#"(module (memory (export "memory") 1)
        (func (export "handle") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#;
    const HANDLE: &str = r#"(memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "handle") (param i32 i32 i32 i32) (result i32) (i32.const 0))"#;

    #[test]
    fn a_core_module_becomes_a_component_whatever_it_says_of_its_world() {
        let made = component(&module(&format!("(module {HANDLE})"))).unwrap();
        assert_eq!(&made[..8], b"\0asm\x0d\0\x01\0");
        let says = module(&format!(r#"(module {HANDLE} (@custom "component-type:mine" "what?"))"#));
        assert_eq!(component(&says).unwrap(), made);
    }

    #[test]
    fn what_does_not_fit_says_why() {
        for (text, said) in [
            (r#"(module (func (export "handle")))"#.to_owned(), "expected `[I32, I32, I32, I32] -> [I32]`"),
            (
                format!(r#"(module (import "hexafn:function/files@1.0.0" "open" (func)) {HANDLE})"#),
                "`hexafn:function/files@1.0.0`",
            ),
            (format!(r#"(module (import "hexafn:function/clock@1.0.0" "now-ms" (func)) {HANDLE})"#), "`now-ms`"),
            (HANDLE_ALONE.to_owned(), "cabi_realloc"),
        ] {
            let error = component(&module(&text)).unwrap_err();
            assert_eq!(error.code, Code::Abi, "{error}");
            assert!(error.message.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn names_that_mean_more_to_the_encoder_are_refused() {
        for name in [
            "[async-lift]handle",
            "[async-lift-stackful]handle",
            "[callback][async-lift]handle",
            "[dtor]x",
            "cm32p2||handle",
        ] {
            for item in
                [format!(r#"(func (export "{name}"))"#), format!(r#"(global (export "{name}") i32 (i32.const 0))"#)]
            {
                let error = component(&module(&format!("(module {HANDLE} {item})"))).unwrap_err();
                assert_eq!(error.code, Code::Abi, "{error}");
                assert!(error.message.contains(name), "{error}");
            }
            for import in [format!(r#""{name}" "x""#), format!(r#""hexafn:function/logs@1.0.0" "{name}""#)] {
                let error = component(&module(&format!("(module (import {import} (func)) {HANDLE})"))).unwrap_err();
                assert!(error.message.contains(name), "{error}");
            }
        }
    }

    #[test]
    fn a_module_with_damage_is_refused_and_nothing_panics() {
        let whole = module(&format!(
            r#"(module (import "hexafn:function/logs@1.0.0" "log" (func (param i32 i32 i32))) {HANDLE} (data (i32.const 8) "x"))"#
        ));
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut made = 0;
        for _ in 0..2_000 {
            let mut damaged = whole.clone();
            for _ in 0..=random(3) {
                let at = random(damaged.len());
                damaged[at] = random(256) as u8;
            }
            made += usize::from(component(&damaged).is_ok());
        }
        assert!(made < 2_000);
    }
}
