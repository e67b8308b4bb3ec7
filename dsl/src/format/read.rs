//! Tokens to nodes, along the grammar. The text is known to parse; what is read differently here than there makes the
//! whole thing give up, rather than lose a token.

use super::node::{Group, Item, Kind, Node, Program, Style};
use super::tokens::{Lexeme, closes, separates};
use crate::lexer::Token;

struct Reader<'s> {
    tokens: Vec<Lexeme<'s>>,
    at: usize,
    lost: bool,
}

/// Levels of binary operators, from loose to tight.
const NOT: usize = 2;
const PIPE: usize = 4;
const UNARY: usize = 8;

pub(super) fn program(tokens: Vec<Lexeme<'_>>) -> Option<Program<'_>> {
    let mut reader = Reader { tokens, at: 0, lost: false };
    let (items, _) = reader.items(Reader::item);
    let tail = reader.lead();
    let whole = !reader.lost && reader.at + 1 == reader.tokens.len();
    whole.then_some(Program { tokens: reader.tokens, items, tail })
}

impl<'s> Reader<'s> {
    fn kind(&self, ahead: usize) -> &Token<'s> {
        self.tokens.get(self.at + ahead).map_or(&Token::Newline, |token| &token.kind)
    }

    fn is(&self, kind: &Token<'s>) -> bool {
        self.kind(0) == kind
    }

    fn is_word(&self, ahead: usize) -> bool {
        matches!(self.kind(ahead), Token::Word(_))
    }

    /// The position of the next token, which is taken.
    fn take(&mut self) -> usize {
        let at = self.at;
        self.at += 1;
        at
    }

    fn token(&mut self) -> Node<'s> {
        if closes(self.kind(0)) {
            self.lost = true;
            return Node::run(Vec::new());
        }
        let at = self.take();
        Node::token(&self.tokens, at)
    }

    fn lead(&mut self) -> Vec<super::tokens::Comment<'s>> {
        self.tokens.get_mut(self.at).map(|token| std::mem::take(&mut token.lead)).unwrap_or_default()
    }

    /// Items up to a closing bracket; whether a line end separates some of them.
    fn items(&mut self, read: fn(&mut Self) -> Node<'s>) -> (Vec<Item<'s>>, bool) {
        let mut items = Vec::new();
        let mut lines = false;
        while !closes(self.kind(0)) && !self.lost {
            let lead = self.lead();
            let begin = self.at;
            let blank = self.tokens.get(begin).is_some_and(|token| token.blank);
            let continues = *self.kind(0) == Token::Minus;
            let node = read(self);
            let mut after = Vec::new();
            if let Some(token) = self.tokens.get_mut(self.at) {
                if separates(&token.kind) {
                    lines |= token.text == "\n";
                    after = std::mem::take(&mut token.trail);
                    self.at += 1;
                } else if closes(&token.kind) {
                    after = std::mem::take(&mut token.inner);
                } else {
                    self.lost = true;
                }
            }
            items.push(Item { lead, blank, continues, node, after });
        }
        (items, lines)
    }

    fn group(&mut self, style: Style, read: fn(&mut Self) -> Node<'s>) -> Node<'s> {
        let open = self.take();
        let newline = self.tokens.get(self.at).is_some_and(|token| token.newline);
        let (items, lines) = self.items(read);
        let tail = self.lead();
        let close = self.at;
        let kind = self.kind(0).clone();
        if matches!(kind, Token::RightParen | Token::RightBracket | Token::RightBrace) {
            self.at += 1;
        } else {
            self.lost = true;
        }
        let several = matches!(style, Style::List | Style::Block | Style::Arms);
        let forced = !items.is_empty() && several && (newline || lines);
        let bare = style == Style::One || items.iter().any(|item| matches!(item.node.kind, Kind::Lines(_)));
        let padded = kind == Token::RightBrace;
        let group = Group { style, open, close, items, tail, forced, padded, comma: false, bare };
        Node::group(&self.tokens, group)
    }

    fn item(&mut self) -> Node<'s> {
        match self.kind(0) {
            Token::Let | Token::Const => {
                let word = self.token();
                let pattern = self.pattern();
                let assign = self.token();
                let value = self.expr();
                Node::run(vec![(false, word), (true, pattern), (true, assign), (true, value)])
            }
            Token::Fn => {
                let mut parts = vec![(false, self.token()), (true, self.token())];
                parts.push((false, self.group(Style::Arguments, Self::part)));
                if self.is(&Token::Assign) {
                    parts.push((true, self.token()));
                    parts.push((true, self.expr()));
                } else {
                    parts.push((true, self.block()));
                }
                Node::run(parts)
            }
            Token::Import => {
                let word = self.token();
                let names = self.group(Style::List, Self::imported);
                let from = self.token();
                let path = self.token();
                Node::run(vec![(false, word), (true, names), (true, from), (true, path)])
            }
            _ => self.expr(),
        }
    }

    fn imported(&mut self) -> Node<'s> {
        let mut parts = vec![(false, self.token())];
        while self.is_word(0) {
            parts.push((true, self.token()));
        }
        Node::run(parts)
    }

    /// An expression, or a lambda.
    fn expr(&mut self) -> Node<'s> {
        match self.kind(0) {
            Token::Emit => {
                let mut parts = vec![(false, self.token()), (true, self.token()), (true, self.binary(0))];
                if self.is(&Token::Key) {
                    parts.push((true, self.token()));
                    parts.push((true, self.binary(0)));
                }
                Node::run(parts)
            }
            Token::Try => {
                let word = self.token();
                let body = self.binary(0);
                let body = Node::run(vec![(false, word), (true, body)]);
                let otherwise = self.take();
                let value = self.expr();
                Node::chain(&self.tokens, body, vec![(vec![otherwise], value)])
            }
            Token::Word(_) if *self.kind(1) == Token::Arrow => {
                let parts = vec![(false, self.token()), (true, self.token()), (true, self.expr())];
                Node::run(parts)
            }
            Token::LambdaParen => {
                let params = self.group(Style::Arguments, Self::part);
                let parts = vec![(false, params), (true, self.token()), (true, self.expr())];
                Node::run(parts)
            }
            _ => self.binary(0),
        }
    }

    fn binary(&mut self, level: usize) -> Node<'s> {
        if level == UNARY {
            return self.unary();
        }
        if level == NOT {
            if self.is(&Token::Not) {
                let parts = vec![(false, self.token()), (true, self.binary(NOT))];
                return Node::run(parts);
            }
            return self.binary(level + 1);
        }
        let first = self.binary(level + 1);
        let mut rest = Vec::new();
        while self.is_operator(level) {
            let mut ops = vec![self.take()];
            if self.tokens.get(self.at - 1).is_some_and(|token| token.kind == Token::Not) {
                ops.push(self.take());
            }
            let operand = if level == PIPE { self.piped(self.at - 1) } else { self.binary(level + 1) };
            rest.push((ops, operand));
        }
        if rest.is_empty() { first } else { Node::chain(&self.tokens, first, rest) }
    }

    fn is_operator(&self, level: usize) -> bool {
        let kind = self.kind(0);
        match level {
            0 => *kind == Token::Or,
            1 => *kind == Token::And,
            3 => match kind {
                Token::Not => *self.kind(1) == Token::In,
                kind => matches!(
                    kind,
                    Token::Equal
                        | Token::NotEqual
                        | Token::Less
                        | Token::LessEqual
                        | Token::Greater
                        | Token::GreaterEqual
                        | Token::In
                ),
            },
            PIPE => matches!(kind, Token::Pipe | Token::With | Token::Without),
            5 => matches!(kind, Token::Plus | Token::Minus),
            6 => matches!(kind, Token::Star | Token::Slash | Token::Percent),
            7 => *kind == Token::Default,
            _ => false,
        }
    }

    /// What stands behind `|>`, `with` or `without`.
    fn piped(&mut self, op: usize) -> Node<'s> {
        if self.tokens.get(op).is_some_and(|token| token.kind != Token::Pipe) {
            return self.group(Style::List, Self::change);
        }
        let call = self.called();
        if !self.is(&Token::Default) {
            return call;
        }
        let parts = vec![(false, call), (true, self.token()), (true, self.binary(7))];
        Node::run(parts)
    }

    /// A name, and the arguments of a call if there are some.
    fn called(&mut self) -> Node<'s> {
        let mut parts = vec![(false, self.token())];
        if self.is(&Token::Bang) {
            parts.push((false, self.token()));
        }
        if self.is(&Token::LeftParen) {
            parts.push((false, self.group(Style::Arguments, Self::expr)));
        }
        match parts.len() {
            1 => parts.pop().map_or_else(|| Node::run(Vec::new()), |(_, name)| name),
            _ => Node::run(parts),
        }
    }

    fn change(&mut self) -> Node<'s> {
        let mut parts = Vec::new();
        loop {
            match self.kind(0) {
                Token::LeftBracket => parts.push((false, self.group(Style::One, Self::expr))),
                Token::Word(_) | Token::StringStart | Token::Dot => parts.push((false, self.token())),
                _ => break,
            }
        }
        if self.is(&Token::Colon) {
            parts.push((false, self.token()));
            parts.push((true, self.expr()));
        }
        Node::run(parts)
    }

    fn unary(&mut self) -> Node<'s> {
        match self.kind(0) {
            Token::Minus => {
                let parts = vec![(false, self.token()), (false, self.unary())];
                Node::run(parts)
            }
            Token::Fail => {
                let parts = vec![(false, self.token()), (true, self.unary())];
                Node::run(parts)
            }
            _ => self.postfix(),
        }
    }

    fn postfix(&mut self) -> Node<'s> {
        let first = self.primary();
        let mut parts = vec![(false, first)];
        loop {
            match self.kind(0) {
                Token::Dot | Token::SafeDot => {
                    parts.push((false, self.token()));
                    parts.push((false, self.token()));
                }
                Token::LeftBracket | Token::SafeBracket => parts.push((false, self.group(Style::One, Self::expr))),
                _ => break,
            }
        }
        match parts.pop() {
            Some((_, only)) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                Node::run(parts)
            }
            None => Node::run(parts),
        }
    }

    fn primary(&mut self) -> Node<'s> {
        match self.kind(0) {
            Token::Word(_) => self.called(),
            Token::LeftParen => self.group(Style::One, Self::expr),
            Token::LeftBracket => self.group(Style::List, Self::element),
            Token::LeftBrace => match self.kind(1) {
                Token::Let | Token::Const | Token::Import | Token::Fn | Token::Emit => {
                    self.group(Style::Block, Self::item)
                }
                _ => self.group(Style::List, Self::entry),
            },
            Token::If => self.choice(),
            Token::Match => {
                let word = self.token();
                let subject = self.expr();
                let arms = self.group(Style::Arms, Self::arm);
                Node::run(vec![(false, word), (true, subject), (true, arms)])
            }
            _ => self.token(),
        }
    }

    fn choice(&mut self) -> Node<'s> {
        let mut arms = Vec::new();
        let mut words = vec![self.take()];
        loop {
            let test = self.expr();
            let block = self.block();
            arms.push((words, Some(test), block));
            if !self.is(&Token::Else) || self.lost {
                break;
            }
            words = vec![self.take()];
            if self.is(&Token::If) {
                words.push(self.take());
                continue;
            }
            let block = self.block();
            arms.push((words, None, block));
            break;
        }
        Node::choice(&self.tokens, arms)
    }

    /// Braces where a block can stand.
    fn block(&mut self) -> Node<'s> {
        if !self.is(&Token::LeftBrace) {
            return self.token();
        }
        let keyed = matches!(self.kind(1), Token::Word(_) | Token::StringStart);
        let list = match self.kind(1) {
            Token::Spread | Token::RightBrace => true,
            _ if keyed && *self.kind(2) == Token::Colon => true,
            Token::Word(_) if *self.kind(2) == Token::Comma => true,
            Token::LeftBracket => self.computed_key(),
            _ => false,
        };
        if !list {
            return self.group(Style::Block, Self::item);
        }
        let alone = self.is_word(1) && *self.kind(2) == Token::Comma && *self.kind(3) == Token::RightBrace;
        let mut node = self.group(Style::List, Self::entry);
        if let Kind::Group(group) = &mut node.kind
            && alone
        {
            group.comma = true;
            node.flat = node.flat.map(|flat| flat + 1);
        }
        node
    }

    /// `{ [ … ]:`
    fn computed_key(&self) -> bool {
        let mut depth = 0usize;
        for ahead in 1.. {
            match self.kind(ahead) {
                Token::LeftBracket | Token::SafeBracket | Token::LeftParen | Token::LambdaParen | Token::LeftBrace => {
                    depth += 1;
                }
                Token::Newline => return false,
                kind if closes(kind) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return *self.kind(ahead + 1) == Token::Colon;
                    }
                }
                _ => {}
            }
        }
        false
    }

    fn element(&mut self) -> Node<'s> {
        let node = self.spread();
        self.comprehended(node)
    }

    fn spread(&mut self) -> Node<'s> {
        if self.is(&Token::Spread) {
            let parts = vec![(false, self.token()), (false, self.expr())];
            return Node::run(parts);
        }
        self.expr()
    }

    fn entry(&mut self) -> Node<'s> {
        if self.is(&Token::Spread) {
            return self.element();
        }
        let key = if self.is(&Token::LeftBracket) { self.group(Style::One, Self::expr) } else { self.token() };
        if !self.is(&Token::Colon) {
            return key;
        }
        let parts = vec![(false, key), (false, self.token()), (true, self.expr())];
        self.comprehended(Node::run(parts))
    }

    /// `for` and `if` behind what they repeat.
    fn comprehended(&mut self, node: Node<'s>) -> Node<'s> {
        if !self.is(&Token::For) {
            return node;
        }
        let mut lines = vec![node];
        let mut forced = false;
        loop {
            forced |= self.tokens.get(self.at).is_some_and(|token| token.newline) && !closes(self.kind(0));
            let mut parts = Vec::new();
            match self.kind(0) {
                Token::For => {
                    parts.push((false, self.token()));
                    parts.push((true, self.pattern()));
                    if self.is(&Token::Comma) {
                        parts.push((false, self.token()));
                        parts.push((true, self.pattern()));
                    }
                    parts.push((true, self.token()));
                    parts.push((true, self.expr()));
                }
                Token::If => {
                    parts.push((false, self.token()));
                    parts.push((true, self.expr()));
                }
                _ => break,
            }
            lines.push(Node::run(parts));
        }
        Node::lines(lines, forced)
    }

    fn arm(&mut self) -> Node<'s> {
        let mut parts = vec![(false, self.pattern())];
        if self.is(&Token::If) {
            parts.push((true, self.token()));
            parts.push((true, self.binary(0)));
        }
        parts.push((true, self.token()));
        parts.push((true, self.expr()));
        Node::run(parts)
    }

    /// A pattern of `match`, `let`, `for` or a parameter.
    fn pattern(&mut self) -> Node<'s> {
        let first = self.single();
        let mut rest = Vec::new();
        while self.is(&Token::Bar) {
            let op = self.take();
            rest.push((vec![op], self.single()));
        }
        if rest.is_empty() { first } else { Node::chain(&self.tokens, first, rest) }
    }

    fn single(&mut self) -> Node<'s> {
        match self.kind(0) {
            Token::LeftBracket | Token::LeftBrace => self.group(Style::List, Self::part),
            Token::Minus => {
                let parts = vec![(false, self.token()), (false, self.token())];
                Node::run(parts)
            }
            Token::Word(_) if self.is_word(1) => {
                let parts = vec![(false, self.token()), (true, self.token())];
                Node::run(parts)
            }
            _ => self.token(),
        }
    }

    /// What a pattern consists of, and parameters.
    fn part(&mut self) -> Node<'s> {
        if self.is(&Token::Spread) {
            let mut parts = vec![(false, self.token())];
            if self.is_word(0) {
                parts.push((false, self.token()));
            }
            return Node::run(parts);
        }
        if *self.kind(1) == Token::Colon {
            let parts = vec![(false, self.token()), (false, self.token()), (true, self.pattern())];
            return Node::run(parts);
        }
        self.pattern()
    }
}
