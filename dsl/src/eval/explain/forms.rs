//! Explanations of what chooses: `if`, `match`, `try`, `any` and `all`, and the functions of the program.

use super::{Explanation, PartOutcome, Source, describe};
use crate::code::{CallLambda, Match, Node, Try};
use crate::eval::{Machine, Result, truth_of};
use crate::value::Value;

/// Elements that are shown when none of them decides.
const FEW: usize = 3;

impl<'p, 'e> Machine<'p, 'e> {
    pub(super) fn explain_choice(
        &mut self,
        arms: &'p [(Node, Node)],
        otherwise: Option<&'p Node>,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        for (at, (test, then)) in arms.iter().enumerate() {
            if self.explain_test(test, source, children)? {
                let result = self.child(then, source, children);
                let left = arms.get(at + 1..).unwrap_or_default();
                children
                    .extend(left.iter().map(|(test, _)| describe(test, source, PartOutcome::NotReached, Vec::new())));
                return result;
            }
        }
        otherwise.map_or(Ok(Value::Null), |otherwise| self.child(otherwise, source, children))
    }

    fn explain_test(&mut self, test: &'p Node, source: Source<'_>, children: &mut Vec<Explanation>) -> Result<bool> {
        let value = self.child(test, source, children)?;
        truth_of(&value).map_err(|fault| fault.at(test.span))
    }

    /// The patterns up to the one that fits, each with whether it does, and what its arm gives.
    pub(super) fn explain_match(
        &mut self,
        choice: &'p Match,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        let subject = self.child(&choice.subject, source, children)?;
        for (at, arm) in choice.arms.iter().enumerate() {
            let mut guards = Vec::new();
            let taken = if self.fits(&arm.pattern, &subject)? {
                arm.guard.as_ref().map_or(Ok(true), |guard| self.explain_test(guard, source, &mut guards))
            } else {
                Ok(false)
            };
            let shown = |outcome, children| Explanation {
                text: source.of(arm.span),
                span: arm.span.range(),
                outcome,
                children,
            };
            match taken {
                Ok(taken) => children.push(shown(PartOutcome::Value(taken.to_string()), guards)),
                Err(fault) => {
                    children.push(shown(PartOutcome::Failed("its guard failed".to_owned()), guards));
                    return Err(fault);
                }
            }
            if taken.is_ok_and(|taken| taken) {
                let result = self.child(&arm.body, source, children);
                for arm in choice.arms.get(at + 1..).unwrap_or_default() {
                    let (text, span) = (source.of(arm.span), arm.span.range());
                    children.push(Explanation { text, span, outcome: PartOutcome::NotReached, children: Vec::new() });
                }
                return result;
            }
        }
        Err(crate::eval::matching::no_arm(&subject))
    }

    pub(super) fn explain_try(
        &mut self,
        attempt: &'p Try,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        let emitted = self.emitted.len();
        let result = self.child(&attempt.body, source, children);
        match self.caught(attempt, emitted, result) {
            Some(result) => result,
            None => self.child(&attempt.otherwise, source, children),
        }
    }

    /// `any` and `all`: the element that decided, or a few of them.
    pub(super) fn explain_elements(
        &mut self,
        node: &'p Node,
        call: &'p CallLambda,
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        let [items] = &*call.call.args else { return self.eval(node) };
        let drawn = self.drawn;
        let items = self.child(items, source, children)?;
        let Some(elements) = items.items() else {
            self.drawn = drawn;
            return self.eval(node);
        };
        let wanted = call.call.name == "any";
        let mut few = Vec::new();
        for (at, element) in elements.enumerate() {
            self.budget.step(1)?;
            let shown = element.preview();
            if let Some(slot) = call.lambda.params.first() {
                self.set(*slot, element);
            }
            let mut inside = Vec::new();
            let truth = self.explain_test(&call.lambda.body, source, &mut inside);
            let decides = !truth.as_ref().is_ok_and(|truth| *truth != wanted);
            let shown = Explanation {
                text: format!("element {at}"),
                span: call.lambda.body.span.range(),
                outcome: PartOutcome::Value(shown),
                children: inside,
            };
            if decides {
                children.push(shown);
                return truth.map(Value::Bool);
            }
            if few.len() < FEW {
                few.push(shown);
            }
        }
        children.append(&mut few);
        Ok(Value::Bool(!wanted))
    }

    /// The arguments of a function of the program, and what is in its body.
    pub(super) fn explain_function(
        &mut self,
        function: u16,
        args: &'p [Node],
        source: Source<'_>,
        children: &mut Vec<Explanation>,
    ) -> Result<Value<'e>> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.child(arg, source, children)?);
        }
        self.framed(function, values, |machine, body| machine.child(body, Source { called: true, ..source }, children))
    }
}
