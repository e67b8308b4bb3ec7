//! What compiling a module will cost, told from its instructions before a compiler sees them.
//!
//! Size says little: 330 KB of the worst kind took 24 s and 1.7 GB. What takes time is each branch and each call, since the count of fuel is
//! looked at there, and the product of a function's variables and its branches: where ways meet, a compiler for registers looks at
//! each variable that lives there. What takes memory is what is kept of each function, loop and call until all are compiled. The weights hold
//! both; what the worst that passes takes is in `docs/runtimes/wasm.md`.

use wasmparser::{FunctionBody, Operator};

use super::check::invalid;
use crate::{Code, Error};

/// The most of one function, which also bounds the memory of the compiler.
const FUNCTION: u64 = 1_000_000;
/// The most of all functions of a module, or of a component with all its modules.
const MODULE: u64 = 10_000_000;
/// What a function weighs that does nothing.
const BODY: u64 = 400;
/// What a call weighs.
const CALL: u64 = 40;
/// What a branch weighs.
const BRANCH: u64 = 30;
/// What a loop weighs beside.
const LOOP: u64 = 170;
/// What a variable weighs at a branch.
const VARIABLE: u64 = 2;

/// Of all functions so far.
#[derive(Debug, Default)]
pub(super) struct Total {
    functions: u64,
    weight: u64,
    /// Which locals the function uses; kept for the next one.
    used: Vec<bool>,
}

impl Total {
    /// Adds a function.
    ///
    /// # Errors
    /// [`Code::TooLarge`] when it, or all together, weigh too much; [`Code::Compile`] when it is no code.
    pub fn add(&mut self, body: &FunctionBody<'_>) -> Result<(), Error> {
        self.functions += 1;
        let weight = self.weigh(body)?;
        if weight > FUNCTION {
            return Err(too_heavy(&format!("function {} of its code weighs {weight}", self.functions), FUNCTION));
        }
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MODULE {
            return Err(too_heavy(&format!("its first {} functions weigh {}", self.functions, self.weight), MODULE));
        }
        Ok(())
    }

    fn weigh(&mut self, body: &FunctionBody<'_>) -> Result<u64, Error> {
        self.used.clear();
        let (mut variables, mut branches, mut loops, mut calls) = (0u64, 0u64, 0u64, 0u64);
        let mut operators = body.get_operators_reader().map_err(|e| invalid(&e))?;
        while !operators.eof() {
            match operators.read().map_err(|e| invalid(&e))? {
                Operator::LocalGet { local_index }
                | Operator::LocalSet { local_index }
                | Operator::LocalTee { local_index } => {
                    variables += u64::from(self.uses(local_index));
                }
                Operator::Loop { .. } => {
                    branches += 1;
                    loops += 1;
                }
                Operator::Block { .. }
                | Operator::If { .. }
                | Operator::Else
                | Operator::Br { .. }
                | Operator::BrIf { .. } => branches += 1,
                Operator::BrTable { targets } => branches += u64::from(targets.len()),
                Operator::Call { .. }
                | Operator::CallIndirect { .. }
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. } => calls += 1,
                _ => {}
            }
        }
        // None of these is more than the bytes of a module, so that nothing overflows.
        Ok(BODY + calls * CALL + loops * LOOP + branches * (BRANCH + variables * VARIABLE))
    }

    /// Notes that a local is used; true the first time. One that cannot be is the validator's to refuse.
    fn uses(&mut self, index: u32) -> bool {
        const MOST_LOCALS: usize = 50_000;
        let index = index as usize;
        if index >= MOST_LOCALS {
            return false;
        }
        if index >= self.used.len() {
            self.used.resize(index + 1, false);
        }
        self.used.get_mut(index).is_some_and(|used| !std::mem::replace(used, true))
    }
}

fn too_heavy(what: &str, most: u64) -> Error {
    Error::new(
        Code::TooLarge,
        format!(
            "{what}, told from its functions, calls, branches and variables; at most {most} is compiled. Compile it with optimisation, \
             or split what has that many"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::wasm::check::check;
    use crate::{Settings, Source};

    /// A command of so many functions that set one of their locals in so many branches each.
    fn command(functions: usize, locals: usize, branches: usize) -> Result<(), Error> {
        let branch = |n: usize| {
            let (asked, set) = (n % locals, (n * 7 + 1) % locals);
            format!("(if (local.get {asked}) (then (local.set {set} (i32.const 7))))")
        };
        let body: String = (0..branches).map(branch).collect();
        let locals = " i32".repeat(locals);
        let all = format!("(func (local{locals}) {body})").repeat(functions);
        let code = format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {all})"#);
        let source = Source { name: "f".into(), file: "f.wat".into(), code: code.into_bytes().into() };
        check(&source, &Arc::new(Settings::default()), 8 << 20).map(drop)
    }

    #[test]
    fn what_takes_long_to_compile_is_refused_before_it_is_compiled() {
        command(1, 100, 1_200).unwrap();
        command(20, 100, 1_200).unwrap();
        for (functions, locals, branches, said) in [
            (1, 1_000, 1_000, "function 2 of its code weighs 2030400"),
            (1, 10, 21_000, "function 2 of its code weighs 1050400"),
            (40, 100, 1_200, "its first 38 functions weigh 10227200"),
        ] {
            let error = command(functions, locals, branches).unwrap_err();
            assert_eq!(error.code, Code::TooLarge);
            assert!(error.message.starts_with(said), "{error}");
        }
    }

    #[test]
    fn calls_and_loops_weigh_too() {
        let weight = |body: &str| {
            let wasm = wat::parse_str(format!("(module (func $f (local i32 i64) {body}))")).unwrap();
            let mut found = None;
            for payload in wasmparser::Parser::new(0).parse_all(&wasm) {
                if let wasmparser::Payload::CodeSectionEntry(body) = payload.unwrap() {
                    found = Some(Total::default().weigh(&body).unwrap());
                }
            }
            found.unwrap()
        };
        assert_eq!(weight(""), BODY);
        assert_eq!(weight("(call $f) (call $f)"), BODY + 2 * CALL);
        assert_eq!(weight("(loop (br 0))"), BODY + LOOP + 2 * BRANCH);
        let variables = "(local.set 0 (i32.const 1)) (drop (local.get 0)) (drop (local.get 1))";
        assert_eq!(
            weight(&format!("(block (br_table 0 0 0 (i32.const 1))) {variables}")),
            BODY + 3 * (BRANCH + 2 * VARIABLE)
        );
    }
}
