//! What is laid out: tokens, and where lines may break between them.

use super::tokens::{Comment, Lexeme};

pub(super) struct Program<'s> {
    pub(super) tokens: Vec<Lexeme<'s>>,
    pub(super) items: Vec<Item<'s>>,
    /// Comments behind the last item.
    pub(super) tail: Vec<Comment<'s>>,
}

pub(super) struct Node<'s> {
    /// How wide it is on one line; nothing if it must take more.
    pub(super) flat: Option<usize>,
    pub(super) kind: Kind<'s>,
}

pub(super) enum Kind<'s> {
    Token(usize),
    /// One behind the other; true where a space stands before.
    Run(Vec<(bool, Node<'s>)>),
    /// Operands; lines break before operators.
    Chain {
        first: Box<Node<'s>>,
        rest: Vec<(Vec<usize>, Node<'s>)>,
        forced: bool,
    },
    /// Parts that stand side by side, or below one another.
    Lines(Vec<Node<'s>>),
    Group(Group<'s>),
    /// `if`, `else if` and `else`, each with what it tests and its braces.
    If(Vec<(Vec<usize>, Option<Node<'s>>, Node<'s>)>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// One expression, between brackets of any kind.
    One,
    /// Arguments and parameters.
    Arguments,
    /// Elements, entries and changes.
    List,
    /// Lines of code.
    Block,
    /// Arms of a `match`.
    Arms,
}

pub(super) struct Group<'s> {
    pub(super) style: Style,
    pub(super) open: usize,
    pub(super) close: usize,
    pub(super) items: Vec<Item<'s>>,
    /// Comments before the closing bracket.
    pub(super) tail: Vec<Comment<'s>>,
    /// Was written over several lines.
    pub(super) forced: bool,
    /// `{ a: 1 }` rather than `[1]`.
    pub(super) padded: bool,
    /// The comma behind the last item makes it what it is: `{ x, }` where a block could stand.
    pub(super) comma: bool,
    /// A comma may not stand behind the last item.
    pub(super) bare: bool,
}

pub(super) struct Item<'s> {
    /// Comments on lines of their own before it.
    pub(super) lead: Vec<Comment<'s>>,
    /// A blank line stands before it, behind its comments.
    pub(super) blank: bool,
    /// Begins with what would continue the line before.
    pub(super) continues: bool,
    pub(super) node: Node<'s>,
    /// Comments behind it.
    pub(super) after: Vec<&'s str>,
}

impl<'s> Node<'s> {
    pub(super) fn token(tokens: &[Lexeme<'s>], at: usize) -> Self {
        Self { flat: tokens.get(at).and_then(Lexeme::flat), kind: Kind::Token(at) }
    }

    pub(super) fn run(parts: Vec<(bool, Self)>) -> Self {
        let flat = parts.iter().map(|(space, node)| Some(node.flat? + usize::from(*space))).sum();
        Self { flat, kind: Kind::Run(parts) }
    }

    pub(super) fn chain(tokens: &[Lexeme<'s>], first: Self, rest: Vec<(Vec<usize>, Self)>) -> Self {
        let forced = rest.iter().filter_map(|(ops, _)| tokens.get(*ops.first()?)).any(|token| token.newline);
        let parts = rest.iter().map(|(ops, node)| {
            let ops: Option<usize> = ops.iter().map(|op| Some(tokens.get(*op)?.flat()? + 1)).sum();
            Some(ops? + 1 + node.flat?)
        });
        let rest_flat: Option<usize> = parts.sum();
        let flat = first.flat.zip(rest_flat).map(|(first, rest)| first + rest).filter(|_| !forced);
        Self { flat, kind: Kind::Chain { first: Box::new(first), rest, forced } }
    }

    pub(super) fn lines(parts: Vec<Self>, forced: bool) -> Self {
        let flat: Option<usize> = parts.iter().map(|node| Some(node.flat? + 1)).sum();
        Self { flat: flat.map(|flat| flat.saturating_sub(1)).filter(|_| !forced), kind: Kind::Lines(parts) }
    }

    pub(super) fn group(tokens: &[Lexeme<'s>], group: Group<'s>) -> Self {
        let items: Option<usize> = group
            .items
            .iter()
            .map(|item| {
                let alone = !item.lead.is_empty() || !item.after.is_empty();
                item.node.flat.filter(|_| !alone).map(|flat| flat + 2)
            })
            .sum();
        let bracket = |at: usize| tokens.get(at).and_then(Lexeme::flat);
        let flat = items.zip(bracket(group.open)).zip(bracket(group.close)).map(|((items, open), close)| {
            let items = items.saturating_sub(2) + usize::from(group.comma);
            open + items + close + if group.padded && !group.items.is_empty() { 2 } else { 0 }
        });
        let flat = flat.filter(|_| !group.forced && group.tail.is_empty());
        Self { flat, kind: Kind::Group(group) }
    }

    pub(super) fn choice(tokens: &[Lexeme<'s>], arms: Vec<(Vec<usize>, Option<Self>, Self)>) -> Self {
        let parts = arms.iter().map(|(words, test, block)| {
            let words: Option<usize> = words.iter().map(|word| Some(tokens.get(*word)?.flat()? + 1)).sum();
            let test = test.as_ref().map_or(Some(0), |test| Some(test.flat? + 1));
            Some(words? + test? + block.flat? + 1)
        });
        let flat: Option<usize> = parts.sum();
        Self { flat: flat.map(|flat| flat.saturating_sub(1)), kind: Kind::If(arms) }
    }

    /// Whether its end can stay open at the end of a line: `f(x => {` …
    pub(super) fn hugs(&self) -> bool {
        match &self.kind {
            Kind::Token(_) => self.flat.is_none(),
            Kind::Run(parts) => match parts.split_last() {
                Some(((_, last), before)) => before.iter().all(|(_, node)| node.flat.is_some()) && last.hugs(),
                None => false,
            },
            Kind::Group(group) => {
                !matches!(group.style, Style::One | Style::Arguments) && (!group.items.is_empty() || group.forced)
            }
            Kind::If(arms) => arms.iter().all(|(_, test, _)| test.as_ref().is_none_or(|test| test.flat.is_some())),
            Kind::Chain { .. } | Kind::Lines(_) => false,
        }
    }
}
