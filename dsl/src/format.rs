//! The one way to lay out a program. The tokens stay as they are, parentheses and spellings included; what changes is
//! the space between them, `;` and `,` at the ends of lines, and nothing else. So comments keep their places, and the
//! meaning cannot change: the tree of the result is compared with that of the source before it is handed out.

mod node;
mod print;
mod read;
#[cfg(test)]
mod tests;
mod tokens;

use crate::diagnostic::{Diagnostics, Severity};
use crate::parser::{parse, parse_module};

/// Columns of a line.
const WIDTH: usize = 100;

/// Lays out a program or a module: lines of up to 100 columns, an indentation of two spaces, at most one blank line in a
/// row. Braces and brackets that were written over several lines, and chains of operators that were broken, stay so.
/// What is in strings is not touched.
///
/// # Errors
/// When the text does not parse; it is never changed then.
///
/// ```
/// let text = "fn total( xs )=sum(xs)\n\n\n\ntotal( [ 1,2 ] )   # three";
/// assert_eq!(hexafn_dsl::format(text)?, "fn total(xs) = sum(xs)\n\ntotal([1, 2]) # three\n");
/// # Ok::<(), hexafn_dsl::Diagnostics>(())
/// ```
pub fn format(text: &str) -> Result<String, Diagnostics> {
    let tree = match tree(text) {
        Ok(tree) => tree,
        Err(findings) => return Err(Diagnostics::new("program", text, findings)),
    };
    let result = lay_out(text).filter(|out| self::tree(out).is_ok_and(|other| other == tree));
    // A layout that would read differently is a bug of this module, and not a reason to touch the source.
    Ok(result.unwrap_or_else(|| text.to_owned()))
}

/// The tree of a module or of a program, as text without places.
fn tree(text: &str) -> Result<String, Vec<crate::diagnostic::Diagnostic>> {
    let wrong =
        |findings: &[crate::diagnostic::Diagnostic]| findings.iter().any(|finding| finding.severity == Severity::Error);
    if let (Some(declarations), findings) = parse_module(text, 0)
        && !wrong(&findings)
    {
        return Ok(format!("{declarations:?}"));
    }
    match parse(text, false) {
        (Some(tree), findings) if !wrong(&findings) => Ok(format!("{tree:?}")),
        (_, findings) => Err(findings),
    }
}

/// What is broken within a line may have to break what is around it, which the next layout does.
fn lay_out(text: &str) -> Option<String> {
    const MOST: usize = 4;
    let mut out = laid_out(text)?;
    for _ in 1..MOST {
        let again = laid_out(&out)?;
        if again == out {
            break;
        }
        out = again;
    }
    Some(out)
}

fn laid_out(text: &str) -> Option<String> {
    let program = read::program(tokens::tokens(text))?;
    Some(print::print(&program))
}
