//! The functions that every program has. A function is one row of its group's table: name, signature, documentation,
//! examples, implementation. The examples run as tests, and the reference is printed from the rows.

mod args;
mod arithmetic;
mod arrays;
mod base;
mod calendar;
mod case;
mod cidr;
mod collections;
mod convert;
mod csv;
mod durations;
mod escape;
mod find;
mod foreign;
mod group;
mod hash;
mod hmac;
mod ids;
mod json;
mod jwt;
mod layout;
mod merge;
mod number_text;
mod objects;
mod paths;
mod presence;
mod random;
mod redact;
mod regex;
mod round;
pub(crate) mod schema;
mod search;
mod semver;
mod sets;
mod slices;
mod sort;
mod split;
mod time;
mod totals;
mod transform;
mod trim;
mod types;
mod url;
mod zones;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use crate::check::Types;
use crate::code::Lambda;
use crate::eval::{Machine, Result};
use crate::value::Value;

pub(crate) use regex::{Expression, pattern};

pub(crate) type PureFn = for<'p, 'e> fn(&mut Machine<'p, 'e>, &mut [Value<'e>]) -> Result<Value<'e>>;
pub(crate) type PatternFn = for<'p, 'e> fn(&mut Machine<'p, 'e>, &mut [Value<'e>], &Expression) -> Result<Value<'e>>;
pub(crate) type LambdaFn = for<'p, 'e> fn(&mut Machine<'p, 'e>, &mut [Value<'e>], &'p Lambda) -> Result<Value<'e>>;

pub(crate) type PreparedFn = for<'p, 'e> fn(&mut Machine<'p, 'e>, &mut [Value<'e>], &Prepared) -> Result<Value<'e>>;

/// How an argument is prepared, and the steps that each part of it costs when that is done at run time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepare {
    pub(crate) make: fn(&Value<'_>) -> std::result::Result<Prepared, String>,
    pub(crate) each: u64,
}

/// How a function is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// From its arguments alone.
    Pure(PureFn),
    /// From the context as well, so that it is never computed ahead.
    Context(PureFn),
    /// With its second argument as a regular expression.
    Pattern(PatternFn),
    /// With what its second argument stands for: prepared once if that is a constant.
    Prepared(Prepare, PreparedFn),
    /// The same, from the context as well.
    PreparedContext(Prepare, PreparedFn),
    /// With a lambda as its last argument.
    Lambda(LambdaFn),
    /// With or without a lambda.
    Either(PureFn, LambdaFn),
}

/// What a function makes of an argument before it looks at the others.
#[derive(Debug)]
pub(crate) enum Prepared {
    Schema(Box<schema::Schema>),
    Keys(jwt::Keys),
    Networks(Vec<ipnet::IpNet>),
    Versions(::semver::VersionReq),
}

impl Prepared {
    /// Whether it may come from an event.
    pub(crate) fn untrusted(&self) -> std::result::Result<(), String> {
        match self {
            Self::Schema(schema) => schema.untrusted(),
            _ => Ok(()),
        }
    }
}

/// A row of a table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) doc: &'static str,
    /// Programs and the JSON that they give.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    pub(crate) run: Run,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name, for documentation.
    pub name: &'static str,
    /// What it takes.
    pub types: Types,
    /// It may be left out.
    pub optional: bool,
    /// It takes all further arguments.
    pub rest: bool,
    /// It is a lambda with this many parameters.
    pub lambda: Option<usize>,
}

/// A built-in function.
#[derive(Clone, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// The group that it is documented in.
    pub group: &'static str,
    /// Parameters and result as text.
    pub signature: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Programs and the JSON that they give.
    pub examples: &'static [(&'static str, &'static str)],
    /// The parameters.
    pub params: Vec<Param>,
    /// What it gives.
    pub result: Types,
    /// It interprets text of others, and fails on what it does not understand: the signature ends with `!`.
    pub fallible: bool,
    pub(crate) run: Run,
}

impl Builtin {
    fn new(group: &'static str, row: &Row) -> Self {
        let (params, result) = row.signature.rsplit_once("->").unwrap_or((row.signature, "any"));
        let (result, fallible) = result.strip_suffix('!').map_or((result, false), |result| (result, true));
        let inside = params.trim().trim_start_matches('(').strip_suffix(')').unwrap_or_default();
        Self {
            name: row.name,
            group,
            signature: row.signature,
            doc: row.doc,
            examples: row.examples,
            params: split_params(inside).into_iter().map(param).collect(),
            result: Types::parse(result),
            fallible,
            run: row.run,
        }
    }

    /// The fewest and the most arguments; no most if it takes any number.
    pub fn arity(&self) -> (usize, Option<usize>) {
        let fewest = self.params.iter().filter(|param| !param.optional && !param.rest).count();
        let most = if self.params.iter().any(|param| param.rest) { None } else { Some(self.params.len()) };
        (fewest, most)
    }

    pub(crate) fn param(&self, at: usize) -> Option<&Param> {
        self.params.get(at).or_else(|| self.params.last().filter(|param| param.rest))
    }
}

/// Splits at the commas outside of parentheses.
fn split_params(text: &'static str) -> Vec<&'static str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn param(text: &'static str) -> Param {
    let (name, types) = text.split_once(':').unwrap_or((text, "any"));
    let (rest, name) = name.strip_prefix("...").map_or((false, name), |name| (true, name));
    let (optional, name) = name.strip_suffix('?').map_or((false, name), |name| (true, name));
    let types = types.trim();
    let lambda = types.strip_prefix("fn(").map(|params| params.matches(',').count() + 1);
    Param { name, types: Types::parse(types), optional, rest, lambda }
}

const GROUPS: [(&str, &[Row]); 42] = [
    ("Strings", case::ROWS),
    ("Strings", trim::ROWS),
    ("Strings", search::ROWS),
    ("Strings", split::ROWS),
    ("Strings", layout::ROWS),
    ("Strings", regex::ROWS),
    ("Strings", escape::ROWS),
    ("Collections", collections::ROWS),
    ("Collections", slices::ROWS),
    ("Collections", arrays::ROWS),
    ("Collections", sets::ROWS),
    ("Collections with a function", transform::ROWS),
    ("Collections with a function", find::ROWS),
    ("Collections with a function", totals::ROWS),
    ("Collections with a function", sort::ROWS),
    ("Collections with a function", group::ROWS),
    ("Objects", objects::ROWS),
    ("Objects", paths::ROWS),
    ("Objects", merge::ROWS),
    ("Objects", presence::ROWS),
    ("Objects", redact::ROWS),
    ("Numbers", round::ROWS),
    ("Numbers", arithmetic::ROWS),
    ("Numbers", number_text::ROWS),
    ("Numbers", random::ROWS),
    ("Types and conversions", types::ROWS),
    ("Types and conversions", convert::ROWS),
    ("Types and conversions", json::ROWS),
    ("Types and conversions", csv::ROWS),
    ("Types and conversions", schema::ROWS),
    ("Types and conversions", semver::ROWS),
    ("Time", time::ROWS),
    ("Time", calendar::ROWS),
    ("Time", zones::ROWS),
    ("Time", durations::ROWS),
    ("Codings and hashes", base::ROWS),
    ("Codings and hashes", url::ROWS),
    ("Codings and hashes", hash::ROWS),
    ("Codings and hashes", hmac::ROWS),
    ("Codings and hashes", jwt::ROWS),
    ("Identifiers and networks", ids::ROWS),
    ("Identifiers and networks", cidr::ROWS),
];

/// All built-in functions, by group.
pub fn builtins() -> &'static [Builtin] {
    static ALL: OnceLock<Vec<Builtin>> = OnceLock::new();
    ALL.get_or_init(|| {
        let rows = GROUPS.iter().flat_map(|(group, rows)| rows.iter().map(|row| Builtin::new(group, row)));
        rows.collect()
    })
}

/// The built-in of a name.
pub(crate) fn builtin(name: &str) -> Option<&'static Builtin> {
    static INDEX: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    let index = INDEX.get_or_init(|| builtins().iter().enumerate().map(|(at, builtin)| (builtin.name, at)).collect());
    index.get(name).and_then(|at| builtins().get(*at))
}

/// What a function of another language is called here.
pub(crate) fn elsewhere(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let plain = lower.trim_end_matches('!');
    foreign::NAMES.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests;
