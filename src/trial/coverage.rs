//! Which branches of conditions and functions no test took.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::config::Counted;

/// The branches of a configuration after its tests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Branches {
    /// Those that a test took.
    pub covered: usize,
    /// All of them.
    pub of: usize,
    /// The covered ones in percent, of which 100 says that there is none to cover.
    pub percent: f64,
    /// Those that no test took, by file and line.
    pub never: Vec<Missed>,
}

/// A branch that no test took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What the branch is: `true`, `false`, `then`, `else`, `arm` …
    pub kind: &'static str,
    /// Whose it is: `function `double``.
    pub of: String,
    /// The beginning of its text.
    pub text: String,
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, column, kind, of, text } = self;
        write!(f, "{file}:{line}:{column}: {of}, {kind}: {text}")
    }
}

/// Puts the counts of all programs together. A branch of a module is one, in however many programs it is.
pub fn branches(counted: &[Counted]) -> Branches {
    let mut all: BTreeMap<(&str, usize, usize, &str), (bool, Missed)> = BTreeMap::new();
    for Counted { who, program, places } in counted {
        let each = program.branches().iter().zip(program.taken()).zip(places);
        for ((branch, taken), place) in each {
            let kind = branch.kind.name();
            let (seen, _) = all.entry((&*place.name, place.line, place.column, kind)).or_insert_with(|| {
                let of = match (&branch.module, &branch.function) {
                    (Some(_), Some(function)) => format!("function `{function}`"),
                    (None, Some(function)) => format!("{who}, `{function}`"),
                    (_, None) => who.clone(),
                };
                let (file, line, column) = (place.name.to_string(), place.line, place.column);
                (false, Missed { file, line, column, kind, of, text: branch.text.clone() })
            });
            *seen |= taken > 0;
        }
    }
    let of = all.len();
    let never: Vec<Missed> = all.into_values().filter(|(seen, _)| !seen).map(|(_, missed)| missed).collect();
    let covered = of - never.len();
    let percent = if of == 0 { 100.0 } else { covered as f64 * 100.0 / of as f64 };
    Branches { covered, of, percent, never }
}
