//! The nodes directly within a node.

use super::{Args, Base, Clause, Element, Key, Line, Member, Node, Op, Piece, Yield};

impl Node {
    /// Calls `each` with every node directly within this one, in the order of evaluation.
    pub(crate) fn parts(&mut self, each: &mut dyn FnMut(&mut Node)) {
        match &mut self.op {
            Op::Const(_) | Op::Local(_) | Op::Field(_) | Op::Drop | Op::Rest(_) => {}
            Op::Path(path) => {
                if let Base::Node(base) = &mut path.base {
                    each(base);
                }
            }
            Op::Index { base, index, .. } => {
                each(base);
                each(index);
            }
            Op::Not(operand) | Op::Negate(operand) | Op::Fail(operand) => each(operand),
            Op::All(operands) | Op::Any(operands) => operands.iter_mut().for_each(each),
            Op::Arith(_, sides) | Op::Compare(_, sides) | Op::Default(sides) | Op::In { sides, .. } => {
                each(&mut sides.0);
                each(&mut sides.1);
            }
            Op::CompareConst(_, sides) => each(&mut sides.0),
            Op::If { arms, otherwise } => {
                for (test, then) in arms {
                    each(test);
                    each(then);
                }
                otherwise.iter_mut().for_each(|node| each(node));
            }
            Op::Block { lines, result } => {
                in_lines(lines, each);
                each(result);
            }
            Op::Match(choice) => {
                each(&mut choice.subject);
                for arm in &mut choice.arms {
                    arm.guard.iter_mut().for_each(&mut *each);
                    each(&mut arm.body);
                }
            }
            Op::Each(all) => {
                for clause in &mut all.clauses {
                    match clause {
                        Clause::For { items, lines, .. } => {
                            each(items);
                            in_lines(lines, each);
                        }
                        Clause::If(test) => each(test),
                    }
                }
                match &mut all.yields {
                    Yield::Item(node) | Yield::Items(node) | Yield::Members(node) => each(node),
                    Yield::Member(key, value) => {
                        each(key);
                        each(value);
                    }
                }
            }
            Op::With(with) => {
                each(&mut with.base);
                for (keys, value) in &mut with.changes {
                    in_keys(keys, each);
                    each(value);
                }
            }
            Op::Without(without) => {
                each(&mut without.base);
                without.paths.iter_mut().for_each(|keys| in_keys(keys, each));
            }
            Op::Emit(emission) => {
                each(&mut emission.topic);
                each(&mut emission.value);
                emission.key.iter_mut().for_each(each);
            }
            Op::Try(attempt) => {
                each(&mut attempt.body);
                each(&mut attempt.otherwise);
            }
            Op::Text(pieces) => pieces.iter_mut().for_each(|piece| {
                if let Piece::Value(node) = piece {
                    each(node);
                }
            }),
            Op::Array(elements) => elements.iter_mut().for_each(|element| {
                let (Element::Item(node) | Element::Spread(node)) = element;
                each(node);
            }),
            Op::Object { values, .. } => values.iter_mut().for_each(each),
            Op::ObjectOf(members) => members.iter_mut().for_each(|member| match member {
                Member::Known(_, node) | Member::Spread(node) => each(node),
                Member::Computed(key, value) => {
                    each(key);
                    each(value);
                }
            }),
            Op::Call(call) => in_args(&mut call.call, each),
            Op::CallPattern(call) => in_args(&mut call.call, each),
            Op::CallPrepared(call) => in_args(&mut call.call, each),
            Op::CallLambda(call) => {
                in_args(&mut call.call, each);
                each(&mut call.lambda.body);
            }
            Op::CallFunction { args, .. } => args.iter_mut().for_each(each),
            Op::Covered(covered) => each(&mut covered.node),
        }
    }
}

fn in_lines(lines: &mut [Line], each: &mut dyn FnMut(&mut Node)) {
    for line in lines {
        let (Line::Let(_, node) | Line::Do(node)) = line;
        each(node);
    }
}

fn in_keys(keys: &mut [Key], each: &mut dyn FnMut(&mut Node)) {
    for key in keys {
        if let Key::Computed(node) = key {
            each(node);
        }
    }
}

fn in_args(args: &mut Args, each: &mut dyn FnMut(&mut Node)) {
    args.args.iter_mut().for_each(each);
}
