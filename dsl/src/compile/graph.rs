//! Which function calls which.

use super::Compiler;
use crate::ast::{MAX_DEPTH, Span};
use crate::codes;
use crate::diagnostic::Diagnostic;

impl<'a> Compiler<'a> {
    /// No function reaches itself, and the deepest chain of calls fits the stack.
    pub(super) fn check_calls(&mut self, depth: u32, span: Span) {
        let count = self.functions.len();
        // 0: not seen, 1: on the way, 2: done. The order of finishing is a topological one, callees first.
        let mut state = vec![0u8; count];
        let mut total: Vec<u32> = self.functions.iter().map(|function| function.depth).collect();
        for start in 0..count {
            let mut stack = vec![(start, 0usize)];
            while let Some((function, next)) = stack.pop() {
                if next == 0 {
                    if state[function] != 0 {
                        continue;
                    }
                    state[function] = 1;
                }
                let Some(&callee) = self.calls[function].get(next) else {
                    state[function] = 2;
                    let below = self.calls[function].iter().map(|callee| total[*callee]).max().unwrap_or(0);
                    total[function] = total[function].saturating_add(below);
                    continue;
                };
                stack.push((function, next + 1));
                match state[callee] {
                    0 => stack.push((callee, 0)),
                    1 => {
                        let name = self.functions[callee].name.clone();
                        self.report(
                            Diagnostic::new(
                                codes::RECURSION,
                                name.span,
                                format!("the function `{}` calls itself", name.text),
                            )
                            .label(if callee == function {
                                "calls itself in its body"
                            } else {
                                "through other functions"
                            })
                            .help(
                                "every program ends: use `map`, `filter` or `fold` over a collection, or `range(a, b)`",
                            ),
                        );
                        return;
                    }
                    _ => {}
                }
            }
        }
        let below = self.calls[count].iter().map(|callee| total[*callee]).max().unwrap_or(0);
        let deepest = total.iter().copied().max().unwrap_or(0).max(depth.saturating_add(below));
        if deepest > MAX_DEPTH {
            self.report(
                Diagnostic::new(
                    codes::TOO_DEEP,
                    span,
                    format!("calls and expressions together are deeper than {MAX_DEPTH} levels"),
                )
                .label(format!("{deepest} levels"))
                .help("split the work over the elements of a collection instead of functions calling functions"),
            );
        }
    }
}
