//! Nodes to text: on one line where they fit, and otherwise broken from the outside inwards.

use super::WIDTH;
use super::node::{Group, Item, Kind, Node, Program, Style};
use super::tokens::{Comment, Lexeme};

const INDENT: usize = 2;

struct Printer<'p, 's> {
    tokens: &'p [Lexeme<'s>],
    out: String,
    indent: usize,
    column: usize,
    /// Nothing is on the line yet, not even its indentation.
    fresh: bool,
    /// A comment ended the line.
    ended: bool,
}

pub(super) fn print(program: &Program<'_>) -> String {
    let mut printer =
        Printer { tokens: &program.tokens, out: String::new(), indent: 0, column: 0, fresh: true, ended: false };
    printer.items(&program.items, Style::Block, "");
    printer.tail(&program.tail, program.items.is_empty());
    if !printer.out.is_empty() {
        printer.out.push('\n');
    }
    printer.out
}

impl<'s> Printer<'_, 's> {
    fn newline(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.fresh = true;
        self.ended = false;
        self.column = self.indent;
    }

    fn blank(&mut self) {
        self.out.push('\n');
    }

    fn column(&self) -> usize {
        if self.fresh || self.ended { self.indent } else { self.column }
    }

    fn write(&mut self, text: &str) {
        if self.fresh {
            self.out.extend(std::iter::repeat_n(' ', self.indent));
            self.column = self.indent;
            self.fresh = false;
        }
        self.out.push_str(text);
        match text.rsplit_once('\n') {
            Some((_, last)) => self.column = last.chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn comment(&mut self, text: &str) {
        self.write(text);
        self.ended = true;
    }

    fn space(&mut self, space: bool) {
        if space && !self.fresh && !self.ended {
            self.write(" ");
        }
    }

    fn token(&mut self, space: bool, at: usize) {
        let tokens = self.tokens;
        let Some(token) = tokens.get(at) else { return };
        for comment in &token.lead {
            if !self.fresh {
                self.newline();
            }
            self.comment(comment.text);
        }
        if self.ended {
            self.newline();
        }
        self.space(space);
        self.write(token.text);
        for comment in &token.trail {
            self.space(true);
            self.comment(comment);
        }
    }

    fn fits(&self, space: bool, node: &Node<'s>, after: usize) -> bool {
        node.flat.is_some_and(|flat| self.column() + usize::from(space) + flat + after <= WIDTH)
    }

    /// Writes a node; `after` columns of its last line are needed by what follows.
    fn node(&mut self, space: bool, node: &Node<'s>, after: usize) {
        let broken = !self.fits(space, node, after);
        match &node.kind {
            Kind::Token(at) => self.token(space, *at),
            Kind::Run(parts) => {
                for (at, (inner, part)) in parts.iter().enumerate() {
                    let rest = parts.get(at + 1..).unwrap_or_default();
                    self.node(if at == 0 { space } else { *inner }, part, self.ahead(rest, after));
                }
            }
            Kind::Chain { first, rest, forced } => self.chain(space, first, rest, (broken, *forced), after),
            Kind::Lines(parts) => self.lines(space, parts, broken, after),
            Kind::Group(group) => self.group(space, group, broken, after),
            Kind::If(arms) => {
                for (at, (words, test, block)) in arms.iter().enumerate() {
                    for (nth, word) in words.iter().enumerate() {
                        self.token(space || at + nth > 0, *word);
                    }
                    if let Some(test) = test {
                        self.node(true, test, if broken { 2 } else { 0 });
                    }
                    match &block.kind {
                        Kind::Group(group) => self.group(true, group, broken, after),
                        _ => self.node(true, block, after),
                    }
                }
            }
        }
    }

    fn lines(&mut self, space: bool, parts: &[Node<'s>], broken: bool, after: usize) {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 && broken {
                self.newline();
            }
            let after = if at + 1 == parts.len() { after } else { 0 };
            self.node(space || at > 0, part, after);
        }
    }

    fn chain(
        &mut self,
        space: bool,
        first: &Node<'s>,
        rest: &[(Vec<usize>, Node<'s>)],
        (broken, forced): (bool, bool),
        after: usize,
    ) {
        let hugs = broken && !forced && self.chain_hugs(space, first, rest);
        let lines = broken && !hugs;
        self.node(space, first, 0);
        self.indent += if lines { INDENT } else { 0 };
        for (at, (ops, operand)) in rest.iter().enumerate() {
            if lines {
                self.newline();
            }
            for op in ops {
                self.token(true, *op);
            }
            self.node(true, operand, if at + 1 == rest.len() { after } else { 0 });
        }
        self.indent -= if lines { INDENT } else { 0 };
    }

    /// Whether all but the end of the last operand fits on this line.
    fn chain_hugs(&self, space: bool, first: &Node<'s>, rest: &[(Vec<usize>, Node<'s>)]) -> bool {
        let Some(((last_ops, last), before)) = rest.split_last() else { return false };
        let ops =
            |ops: &[usize]| -> Option<usize> { ops.iter().map(|op| Some(self.tokens.get(*op)?.flat()? + 1)).sum() };
        let between: Option<usize> = before.iter().map(|(own, node)| Some(ops(own)? + node.flat? + 1)).sum();
        let Some(((first, between), own)) = first.flat.zip(between).zip(ops(last_ops)) else { return false };
        let head = first + between + own + 1 + self.reach(last);
        last.hugs() && self.column() + usize::from(space) + head <= WIDTH
    }

    fn group(&mut self, space: bool, group: &Group<'s>, broken: bool, after: usize) {
        let empty = group.items.is_empty() && group.tail.is_empty();
        let pad = group.padded && !empty;
        if empty || !broken || self.group_hugs(space, group) {
            self.token(space, group.open);
            let separator = if group.style == Style::Block { ";" } else { "," };
            for (at, item) in group.items.iter().enumerate() {
                let last = at + 1 == group.items.len();
                self.node(pad || at > 0, &item.node, if last { after + 1 } else { 0 });
                if !last || group.comma {
                    self.write(separator);
                }
            }
            self.token(pad, group.close);
            return;
        }
        self.token(space, group.open);
        self.indent += INDENT;
        if !group.items.is_empty() {
            self.newline();
        }
        let end = if group.bare || !matches!(group.style, Style::List | Style::Arguments) { "" } else { "," };
        self.items(&group.items, group.style, end);
        self.tail(&group.tail, group.items.is_empty());
        self.indent -= INDENT;
        self.newline();
        self.token(false, group.close);
    }

    /// Whether arguments, or what is in parentheses, stay on this line up to the opening bracket that the last one has.
    fn group_hugs(&self, space: bool, group: &Group<'s>) -> bool {
        let commented = group.items.iter().any(|item| !item.lead.is_empty() || !item.after.is_empty());
        let opened = self.tokens.get(group.open).is_some_and(|token| token.flat().is_some());
        if commented || !opened || !group.tail.is_empty() || !matches!(group.style, Style::One | Style::Arguments) {
            return false;
        }
        let Some((last, before)) = group.items.split_last() else { return false };
        let before: Option<usize> = before.iter().map(|item| Some(item.node.flat? + 2)).sum();
        before.is_some_and(|before| {
            let head = 1 + before + self.reach(&last.node);
            last.node.hugs() && self.column() + usize::from(space) + head <= WIDTH
        })
    }

    /// Items below one another, from the line that was begun.
    fn items(&mut self, items: &[Item<'s>], style: Style, end: &str) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.newline();
            }
            for (nth, comment) in item.lead.iter().enumerate() {
                if comment.blank && at + nth > 0 {
                    self.blank();
                }
                self.comment(comment.text);
                self.newline();
            }
            if item.blank && (at > 0 || !item.lead.is_empty()) {
                self.blank();
            }
            let next = items.get(at + 1);
            let separator = match (style, next) {
                (Style::List | Style::Arguments, Some(_)) => ",",
                (Style::Arms, Some(next)) if next.continues => ",",
                (Style::Block, Some(next)) if next.continues => ";",
                (_, Some(_)) => "",
                (_, None) => end,
            };
            match &item.node.kind {
                // A comprehension that does not fit with its brackets has a line for each of its parts.
                Kind::Lines(parts) => self.lines(false, parts, true, 0),
                _ => self.node(false, &item.node, separator.len()),
            }
            self.write(separator);
            for (nth, comment) in item.after.iter().enumerate() {
                if nth > 0 {
                    self.newline();
                }
                self.space(true);
                self.comment(comment);
            }
        }
    }

    /// Comments behind the last item.
    fn tail(&mut self, comments: &[Comment<'_>], first: bool) {
        for (at, comment) in comments.iter().enumerate() {
            if !(self.fresh && self.out.is_empty()) {
                self.newline();
            }
            if comment.blank && !(first && at == 0) {
                self.blank();
            }
            self.comment(comment.text);
        }
    }

    /// Columns that must follow on the same line.
    fn ahead(&self, rest: &[(bool, Node<'s>)], after: usize) -> usize {
        let mut total = 0;
        for (space, node) in rest {
            total += usize::from(*space) + self.head(node);
            if breaks(node) {
                return total;
            }
        }
        total + after
    }

    /// Columns up to where a node that hugs breaks.
    fn reach(&self, node: &Node<'s>) -> usize {
        match &node.kind {
            Kind::Run(parts) => match parts.split_last() {
                Some(((space, last), before)) => {
                    let before = before.iter().map(|(space, node)| usize::from(*space) + node.flat.unwrap_or(WIDTH));
                    before.sum::<usize>() + usize::from(*space) + self.reach(last)
                }
                None => 0,
            },
            Kind::If(arms) => {
                let test = arms.first().and_then(|(_, test, _)| test.as_ref()?.flat);
                5 + test.unwrap_or(WIDTH)
            }
            _ => self.head(node),
        }
    }

    /// Columns up to where a node can break first.
    fn head(&self, node: &Node<'s>) -> usize {
        match &node.kind {
            Kind::Token(at) => self
                .tokens
                .get(*at)
                .map_or(0, |token| token.text.split('\n').next().map_or(0, |line| line.chars().count())),
            Kind::Run(parts) => self.ahead(parts, 0),
            Kind::Chain { first, .. } => self.head(first),
            Kind::Lines(parts) => parts.first().map_or(0, |part| self.head(part)),
            Kind::Group(group) => {
                if group.items.is_empty() {
                    2
                } else {
                    1
                }
            }
            Kind::If(arms) => match arms.first() {
                Some((_, Some(test), _)) => 3 + self.head(test) + if breaks(test) { 0 } else { 2 },
                _ => 2,
            },
        }
    }
}

/// Whether a line can end within the node.
fn breaks(node: &Node<'_>) -> bool {
    match &node.kind {
        Kind::Token(_) => node.flat.is_none(),
        Kind::Run(parts) => parts.iter().any(|(_, part)| breaks(part)),
        Kind::Group(group) => !group.items.is_empty() || !group.tail.is_empty(),
        Kind::Chain { .. } | Kind::Lines(_) | Kind::If(_) => true,
    }
}
