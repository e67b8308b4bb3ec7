//! A compiled program and how it is run.

use std::sync::Arc;

use crate::budget::Budget;
use crate::code::{Code, Op, Piece};
use crate::codes;
use crate::compile::{Declaration, Emits};
use crate::coverage::{Branch, Coverage};
use crate::diagnostic::Diagnostics;
use crate::eval::{Emit, Explanation, Machine, Source, truth_of};
use crate::fault::{Failure, Fault, RuntimeError};
use crate::input::Input;
use crate::modules::Files;
use crate::reads::Reads;
use crate::value::Value;

/// The text of a program and the name that diagnostics give it.
#[derive(Clone, Copy, Debug)]
pub struct SourceText<'a> {
    /// Such as `config/triggers.toml: trigger big-push, when`.
    pub name: &'a str,
    /// The program.
    pub text: &'a str,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// True or false; null counts as false.
    Condition,
    /// Any value, or `drop`.
    Function,
    /// Text with `${…}`; `$${` is the text `${`. The result is a string.
    Template,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: Box<str>,
    pub(crate) text: Box<str>,
    pub(crate) kind: ProgramKind,
    pub(crate) code: Code,
    pub(crate) reads_data: bool,
    pub(crate) reads: Reads,
    pub(crate) emits: Emits,
    pub(crate) declarations: Vec<Declaration>,
    pub(crate) coverage: Coverage,
    pub(crate) files: Files,
    pub(crate) warnings: Diagnostics,
}

/// What an evaluation gave.
#[derive(Clone, Debug)]
pub struct Outcome<'e> {
    /// The value of the program; [`Value::Drop`] if it dropped its event.
    pub value: Value<'e>,
    /// What it emitted, in order.
    pub emitted: Vec<Emit<'e>>,
}

/// A checked program. Clones share it.
#[derive(Clone, Debug)]
pub struct Program(pub(crate) Arc<Inner>);

impl Program {
    /// Whether `event.data` is touched at all. If not, the body of the event need not be parsed.
    pub fn reads_data(&self) -> bool {
        self.0.reads_data
    }

    /// What of `event.data` the program reads, itself and in the functions that it has.
    pub fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// The text of the program.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The name of the source.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the program is for.
    pub fn kind(&self) -> ProgramKind {
        self.0.kind
    }

    /// The functions and constants that the program declares, in the order of its text.
    pub fn declarations(&self) -> &[Declaration] {
        &self.0.declarations
    }

    /// What is probably not meant, though the program runs; may be empty.
    pub fn warnings(&self) -> &Diagnostics {
        &self.0.warnings
    }

    /// The result, if it depends on nothing.
    pub fn constant(&self) -> Option<&Value<'static>> {
        match &self.0.code.main.op {
            Op::Const(value) => Some(value),
            _ => None,
        }
    }

    /// The pieces of a template, in order: a text that it writes itself, or `None` where it writes what an expression gives.
    pub fn pieces(&self) -> Vec<Option<&str>> {
        match &self.0.code.main.op {
            Op::Const(Value::Str(text)) => vec![Some(&**text)],
            Op::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => Some(&**text),
                    Piece::Value(_) => None,
                })
                .collect(),
            _ => vec![None],
        }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// When an operation fails, the budget is used up, or the result is neither true, false nor null.
    pub fn test<'e>(&self, input: &Input<'e>, budget: &mut Budget) -> Result<bool, RuntimeError> {
        let code = &self.0.code;
        Machine::new(code, input, budget).test(&code.main).map_err(|fault| self.error(fault))
    }

    /// The paths of the modules that it was compiled with.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.files.paths()
    }

    /// The topics that the program may emit to, by itself and through the functions that it calls.
    pub fn emits(&self) -> &Emits {
        &self.0.emits
    }

    /// The branches of the program and of the functions that it has, those of its modules included, if it was compiled with
    /// [`CompileOptions::coverage`]; none otherwise.
    ///
    /// [`CompileOptions::coverage`]: crate::CompileOptions::coverage
    pub fn branches(&self) -> &[Branch] {
        &self.0.coverage.branches
    }

    /// How often each of [`Program::branches`] was taken so far, in all evaluations of this program and its clones, in
    /// whatever way they were evaluated.
    pub fn taken(&self) -> Vec<u64> {
        self.0.coverage.taken()
    }

    /// Evaluates the program, and keeps what it emitted. What a function emitted before it dropped its event stays
    /// emitted; of one that failed there is nothing.
    ///
    /// # Errors
    /// As [`Program::eval`].
    pub fn run<'e>(&self, input: &Input<'e>, budget: &mut Budget) -> Result<Outcome<'e>, RuntimeError> {
        let code = &self.0.code;
        let mut machine = Machine::new(code, input, budget);
        let value = match machine.eval(&code.main) {
            Ok(value) => value,
            Err(Fault::Drop) => Value::Drop,
            Err(fault) => return Err(self.error(fault)),
        };
        Ok(Outcome { value, emitted: machine.emitted })
    }

    /// Evaluates the program. A function that drops its event gives [`Value::Drop`]. What it emits is not kept:
    /// [`Program::run`] has it.
    ///
    /// # Errors
    /// When an operation fails, the program says `fail`, or the budget is used up.
    pub fn eval<'e>(&self, input: &Input<'e>, budget: &mut Budget) -> Result<Value<'e>, RuntimeError> {
        let code = &self.0.code;
        match Machine::new(code, input, budget).eval(&code.main) {
            Ok(value) => Ok(value),
            Err(Fault::Drop) => Ok(Value::Drop),
            Err(fault) => Err(self.error(fault)),
        }
    }

    /// Evaluates a template; another program gives its value as interpolation would write it.
    ///
    /// # Errors
    /// As [`Program::eval`].
    pub fn render<'e>(&self, input: &Input<'e>, budget: &mut Budget) -> Result<String, RuntimeError> {
        let code = &self.0.code;
        let mut machine = Machine::new(code, input, budget);
        if let Op::Text(pieces) = &code.main.op {
            return machine.text(pieces).map_err(|fault| self.error(fault.at(code.main.span)));
        }
        let value = machine.eval(&code.main).map_err(|fault| self.error(fault))?;
        let mut out = String::new();
        value
            .write_text(&mut out, budget.bytes_left())
            .map_err(|large| self.error(Fault::new(codes::SIZE, large.to_string()).at(code.main.span)))?;
        Ok(out)
    }

    /// Evaluates a condition and tells what each of its parts gave. A failure is part of the explanation.
    ///
    /// # Errors
    /// When the budget is used up before there is anything to tell.
    pub fn explain<'e>(&self, input: &Input<'e>, budget: &mut Budget) -> Result<Explanation, RuntimeError> {
        let code = &self.0.code;
        let source = Source { text: &self.0.text, files: &self.0.files, called: false };
        let (explanation, result) = Machine::new(code, input, budget).explain(&code.main, source);
        match result
            .and_then(|value| if self.0.kind == ProgramKind::Condition { truth_of(&value).map(drop) } else { Ok(()) })
        {
            Err(Fault::Error(failure)) if failure.code == codes::STEPS => Err(self.error(Fault::Error(failure))),
            _ => Ok(explanation),
        }
    }

    #[cold]
    fn error(&self, fault: Fault) -> RuntimeError {
        let failure = match fault {
            Fault::Error(failure) => *failure,
            Fault::Drop => Failure {
                code: codes::DROPPED,
                span: Some(self.0.code.main.span),
                message: "`drop` ended the evaluation where a value is needed".to_owned(),
            },
        };
        let at = failure.span.unwrap_or_default().range().start;
        match self.0.files.of(at) {
            None => RuntimeError::new(failure, 0, &self.0.name, &self.0.text),
            Some((base, module)) => RuntimeError::new(failure, base, &module.path, &module.text),
        }
    }
}
