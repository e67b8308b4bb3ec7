//! Comprehensions.

use super::{Compiler, Typed};
use crate::ast::{Clause, Element, Entry, Expr, Span, Yield};
use crate::check::Types;
use crate::code::{self, Each, Node, Op};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::value::Value;

impl<'a> Compiler<'a> {
    pub(super) fn each(&mut self, yields: &Yield, clauses: &[Clause], span: Span) -> Typed {
        let mark = self.frame.mark();
        let mut before = Vec::new();
        let clauses = clauses
            .iter()
            .map(|clause| match clause {
                Clause::If(test) => {
                    let node = self.tested(test, "the test of a comprehension");
                    let facts = self.facts(test);
                    before.extend(self.assume(&facts.yes));
                    code::Clause::If(node)
                }
                Clause::For { first, second, items } => {
                    let element = self.element_of(items);
                    let (node, types) = self.walked(items, second.is_some());
                    let mut lines = Vec::new();
                    let (first, second) = match second {
                        None => (self.bind_element(first, element, &mut lines), None),
                        Some(second) => {
                            let keys = [(Types::OBJECT, Types::STRING), (Types::ARRAY, Types::INT)];
                            let key = keys.iter().filter(|(walked, _)| types.overlaps(*walked));
                            let key = key.fold(Types::NEVER, |all, (_, key)| all.or(*key));
                            let first = self.bind_element(first, (key, None), &mut lines);
                            (first, Some(self.bind_element(second, element, &mut lines)))
                        }
                    };
                    code::Clause::For { items: node, first, second, lines: lines.into() }
                }
            })
            .collect();
        let (yields, types) = match yields {
            Yield::Element(Element::Item(item)) => (code::Yield::Item(self.expr(item).0), Types::ARRAY),
            Yield::Element(Element::Spread(items)) => {
                (code::Yield::Items(self.spread(items, Types::ARRAY)), Types::ARRAY)
            }
            Yield::Entry(Entry::Member { key, value }) => {
                let key = Node { span: key.span, op: Op::Const(Value::text(&key.text)) };
                (code::Yield::Member(key, self.expr(value).0), Types::OBJECT)
            }
            Yield::Entry(Entry::Computed { key, value }) => {
                let key = self.object_key(key);
                (code::Yield::Member(key, self.expr(value).0), Types::OBJECT)
            }
            Yield::Entry(Entry::Spread(members)) => {
                (code::Yield::Members(self.spread(members, Types::OBJECT)), Types::OBJECT)
            }
        };
        self.restore(before);
        self.release(mark);
        (Node { span, op: Op::Each(Box::new(Each { yields, clauses })) }, types)
    }

    /// What a `for` walks over.
    fn walked(&mut self, items: &Expr, by_key: bool) -> Typed {
        let (node, types) = self.expr(items);
        let fits = if by_key { Types::ARRAY.or(Types::OBJECT) } else { Types::ARRAY };
        if types != Types::NEVER && !types.overlaps(fits) {
            let finding = Diagnostic::new(
                codes::OPERAND_TYPE,
                items.span,
                format!("this `for` walks over {fits}, not over {types}"),
            )
            .label(format!("this is {types}"));
            self.report(if types.overlaps(Types::OBJECT) {
                finding.help("over the members of an object: `for key, value in x`")
            } else {
                finding
            });
        }
        (node, types)
    }

    /// A key that is computed.
    pub(super) fn object_key(&mut self, key: &Expr) -> Node {
        let (node, types) = self.expr(key);
        if types != Types::NEVER && !types.overlaps(Types::STRING) {
            self.report(
                Diagnostic::new(codes::OPERAND_TYPE, key.span, format!("a key is a string, never {types}"))
                    .label(format!("this is {types}"))
                    .help("make a text of it: \"${x}\""),
            );
        }
        node
    }
}
