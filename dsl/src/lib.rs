//! The language of hexaFn: conditions, functions and templates over events.
//!
//! Programs always end: there is no recursion and no unbounded loop, and every evaluation has a budget of steps and of
//! bytes. Numbers are exact: 64-bit integers and decimals of 28 digits; nothing is rounded silently. A program depends on
//! its input only, so that a run can be repeated exactly. This crate does no I/O, reads no clock and knows no actors.
//!
//! ```text
//! text --lexer--> tokens --grammar.lalrpop--> ast --compile (names, types, folding)--> code --eval--> value
//! ```
//!
//! ```
//! use hexafn_dsl::{Budget, Data, Input, ProgramKind, SourceText, compile, json};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = SourceText { name: "example", text: "event.type == 'push' and len(event.data.commits) > 1" };
//! let program = compile(&source, ProgramKind::Condition)?;
//! let doc = json::Doc::parse(br#"{"commits":[{"id":"a"},{"id":"b"}]}"#.as_slice().into(), &json::Limits::default())?;
//! let mut input = Input::EMPTY;
//! input.event.kind = "push";
//! input.event.data = Data::Json(&doc);
//! assert!(program.test(&input, &mut Budget::default())?);
//! # Ok(())
//! # }
//! ```

mod ast;
mod budget;
mod builtins;
mod check;
mod code;
pub mod codes;
mod compile;
mod coverage;
mod diagnostic;
mod eval;
mod fault;
mod format;
mod input;
pub mod json;
mod lexer;
mod modules;
mod number;
mod parser;
mod program;
mod reads;
mod reference;
mod schema;
pub mod tools;
mod value;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, clippy::unwrap_used, clippy::expect_used, missing_docs, unused, unused_qualifications)]
    grammar
);

pub use budget::{Budget, Limits};
pub use builtins::{Builtin, Param, Types, builtins};
pub use check::{Field as ShapeField, Shape, ShapeError};
pub use codes::Code;
pub use compile::{CompileOptions, Declaration, Emits, compile, compile_with, module_declarations};
pub use coverage::{Branch, BranchKind};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use eval::{Emit, Explanation, PartOutcome};
pub use fault::RuntimeError;
pub use format::format;
pub use input::{CtxView, Data, EventView, Input, Seed};
pub use modules::{ModuleError, ModuleText, Modules};
pub use program::{Outcome, Program, ProgramKind, SourceText};
pub use reads::Reads;
pub use reference::reference;
pub use schema::{SchemaFault, Validator};
pub use value::{Array, Object, Text, TooLarge, Value};
