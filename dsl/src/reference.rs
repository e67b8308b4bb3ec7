//! The reference of the built-in functions, as Markdown. The semantics stand here too, beside the code that they
//! describe; `docs/dsl/reference.md` is this text, and a test keeps it current.

use crate::builtins::builtins;

const LANGUAGE: &str = include_str!("reference/language.md");

/// The whole reference.
pub fn reference() -> String {
    let mut out = String::from(LANGUAGE);
    out.push_str(
        "\n## Built-in functions\n\nA `?` marks a parameter that may be left out, `...` one that takes any number \
                  of arguments, `fn(x)` a lambda or the name of a function. A `!` at the end \
                  marks a function that reads what others wrote and fails on what it does not understand: `f(x) ?? y`, `try \
                  f(x) else y` or `f!(x)` says what happens then. In `x |> f(a)` the value `x` is the first argument.\n",
    );
    let mut group = "";
    for builtin in builtins() {
        if builtin.group != group {
            group = builtin.group;
            out.push_str(&format!("\n### {group}\n"));
        }
        out.push_str(&format!("\n#### `{}{}`\n\n{}\n\n```hexa\n", builtin.name, builtin.signature, builtin.doc));
        for (program, result) in builtin.examples {
            out.push_str(&format!("{program}  # {result}\n"));
        }
        out.push_str("```\n");
    }
    out
}
