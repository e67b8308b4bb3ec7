//! The scanner: drives logos, takes over at strings, checks brackets, and says what is not a token.

use logos::Logos;

use super::block;
use super::escape::{End, Mode, text};
use super::layout::arrange;
use super::token::{Raw, Token};
use super::{MAX_BRACKETS, MAX_SOURCE, is_bidi};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::number;

/// The tokens of a source, and what was wrong on the way.
pub(crate) struct Scanned<'s> {
    pub(crate) tokens: Vec<(usize, Token<'s>, usize)>,
    pub(crate) findings: Vec<Diagnostic>,
    /// Brackets or strings do not pair: parsing would only report what follows from that.
    pub(crate) broken: bool,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Paren,
    Bracket,
    Brace,
    Interpolation,
    String,
    Block,
    Template,
}

impl Open {
    fn closer(self) -> &'static str {
        match self {
            Self::Paren => ")",
            Self::Bracket => "]",
            Self::Brace | Self::Interpolation => "}",
            Self::Block => "\"\"\"",
            Self::String | Self::Template => "\"",
        }
    }
}

struct Scanner<'s> {
    source: &'s str,
    at: usize,
    open: Vec<(Open, usize)>,
    tokens: Vec<(usize, Token<'s>, usize)>,
    findings: Vec<Diagnostic>,
    broken: bool,
}

/// Reads `source` as code, or as a template: text with `${…}`.
pub(crate) fn scan(source: &str, template: bool) -> Scanned<'_> {
    let mut scanner =
        Scanner { source, at: 0, open: Vec::new(), tokens: Vec::new(), findings: Vec::new(), broken: false };
    if source.len() > MAX_SOURCE {
        scanner.fatal(
            Diagnostic::new(codes::TOO_LONG, 0..0, format!("the program is longer than {} KiB", MAX_SOURCE / 1024))
                .label("the source begins here"),
        );
    } else {
        scanner.bidirectional();
        if template {
            scanner.open.push((Open::Template, 0));
            scanner.push(Token::StringStart, 0, 0);
        }
        scanner.run();
    }
    Scanned {
        tokens: if scanner.broken { Vec::new() } else { arrange(scanner.tokens) },
        findings: scanner.findings,
        broken: scanner.broken,
    }
}

impl<'s> Scanner<'s> {
    fn push(&mut self, token: Token<'s>, start: usize, end: usize) {
        self.tokens.push((start, token, end));
    }

    fn fatal(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
        self.broken = true;
    }

    fn bidirectional(&mut self) {
        if let Some((at, c)) = self.source.char_indices().find(|(_, c)| is_bidi(*c)) {
            self.findings.push(
                Diagnostic::new(
                    codes::BIDI,
                    at..at + c.len_utf8(),
                    format!("the control character U+{:04X} changes the direction of text", u32::from(c)),
                )
                .label("invisible, and makes the program read differently from what it does")
                .help(format!("write it as an escape in a string: \\u{{{:x}}}", u32::from(c))),
            );
        }
    }

    fn run(&mut self) {
        while !self.broken {
            match self.open.last() {
                Some((Open::String, _)) => self.text(Mode::Line),
                Some((Open::Block, _)) => self.text(Mode::Block),
                Some((Open::Template, _)) => self.text(Mode::Template),
                _ if self.at >= self.source.len() => break,
                _ => self.code(),
            }
            if self.open.is_empty() && self.at >= self.source.len() {
                break;
            }
        }
        if let Some((open, at)) = self.open.last().copied().filter(|_| !self.broken) {
            self.unclosed(open, at);
        }
    }

    fn unclosed(&mut self, open: Open, at: usize) {
        let end = self.source.len();
        let finding = match open {
            Open::String => Diagnostic::new(codes::UNTERMINATED, at..at + 1, "this string does not end")
                .label("begins here")
                .help("close it with `\"`; `${` in it begins an expression, `\\$` is a dollar sign"),
            Open::Block => Diagnostic::new(codes::UNTERMINATED, at..at + 3, "this string does not end")
                .label("begins here")
                .help("close it with `\"\"\"`; `${` in it begins an expression, `\\$` is a dollar sign"),
            Open::Interpolation => Diagnostic::new(codes::UNCLOSED, at..at + 2, "this `${` is never closed")
                .label("expects `}`")
                .replace(end..end, "}"),
            _ => {
                let opener = &self.source[at..at + 1];
                Diagnostic::new(codes::UNCLOSED, at..at + 1, format!("this `{opener}` is never closed"))
                    .label(format!("expects `{}`", open.closer()))
            }
        };
        self.fatal(finding);
    }

    fn text(&mut self, mode: Mode) {
        let start = self.at;
        let (text, at, end) = text(self.source, start, mode, &mut self.findings);
        if !text.is_empty() {
            self.push(Token::Text(text), start, at);
        }
        self.at = at;
        match end {
            End::Interpolation => {
                self.push(Token::InterpolationStart, at, at + 2);
                self.at += 2;
                self.enter(Open::Interpolation, at);
            }
            End::Newline => {}
            End::Quote if mode == Mode::Block => {
                let opened = self.open.pop().map_or(0, |(_, opened)| opened);
                let first =
                    self.tokens.iter().rposition(|(start, token, _)| *start == opened && *token == Token::StringStart);
                let tokens = self.tokens.split_off(first.map_or(0, |first| first + 1));
                self.tokens.extend(block::unindent(self.source, opened + 3, at, tokens));
                self.push(Token::StringEnd, at, at + 3);
                self.at += 3;
            }
            End::Quote => {
                self.push(Token::StringEnd, at, at + 1);
                self.at += 1;
                self.open.pop();
            }
            End::Source if mode == Mode::Template => {
                self.push(Token::StringEnd, at, at);
                self.open.pop();
            }
            End::Source => {
                if let Some((open, at)) = self.open.last().copied() {
                    self.unclosed(open, at);
                }
            }
        }
    }

    fn enter(&mut self, open: Open, at: usize) {
        if self.open.len() >= MAX_BRACKETS {
            self.fatal(
                Diagnostic::new(codes::TOO_DEEP, at..at + 1, format!("nested deeper than {MAX_BRACKETS} levels"))
                    .label("this level is one too many")
                    .help("name parts of the expression with `let`, or move them into a function"),
            );
        }
        self.open.push((open, at));
    }

    fn leave(&mut self, closer: &'static str, at: usize) -> Option<Open> {
        match self.open.last().copied() {
            Some((open, _))
                if open.closer() == closer && !matches!(open, Open::String | Open::Block | Open::Template) =>
            {
                self.open.pop();
                Some(open)
            }
            Some((open, opened)) => {
                let (row, column) = crate::diagnostic::position(self.source, opened);
                self.fatal(
                    Diagnostic::new(codes::UNCLOSED, at..at + 1, format!("`{closer}` closes nothing here"))
                        .label(format!("expected `{}`", open.closer()))
                        .help(format!("`{}` at {row}:{column} is still open", &self.source[opened..opened + 1])),
                );
                None
            }
            None => {
                self.fatal(
                    Diagnostic::new(codes::UNCLOSED, at..at + 1, format!("`{closer}` closes nothing"))
                        .label("no bracket is open here")
                        .replace(at..at + 1, ""),
                );
                None
            }
        }
    }

    /// Code up to the next string or the end of an interpolation.
    fn code(&mut self) {
        let source = self.source;
        let base = self.at;
        let mut lexer = Raw::lexer(&source[base..]);
        while let Some(raw) = lexer.next() {
            let span = base + lexer.span().start..base + lexer.span().end;
            self.at = span.end;
            let Ok(raw) = raw else {
                self.unknown(span);
                continue;
            };
            self.token(raw, span.start, span.end);
            let in_text = matches!(self.open.last(), Some((Open::String | Open::Block | Open::Template, _)));
            // A raw string was read by hand.
            if in_text || self.broken || self.at != span.end {
                return;
            }
        }
        self.at = source.len();
    }

    fn unknown(&mut self, span: std::ops::Range<usize>) {
        let text = &self.source[span.clone()];
        // Named once above.
        if text.chars().any(is_bidi) {
            return;
        }
        let mut finding = Diagnostic::new(
            codes::UNKNOWN_CHARACTER,
            span.clone(),
            format!("`{}` means nothing here", text.escape_debug()),
        )
        .label("unknown character");
        finding = match text {
            "“" | "”" => finding.help("write plain quotes").replace(span, "\""),
            "&" => finding.help("write `and`"),
            "?" => finding.help("write `if c { a } else { b }`; `??` gives a default and `?.` a careful access"),
            "$" => finding.help("`${…}` belongs into a string in double quotes"),
            _ => finding,
        };
        self.findings.push(finding);
    }

    fn foreign(&mut self, start: usize, end: usize, ours: &'static str) {
        let theirs = &self.source[start..end];
        self.findings.push(
            Diagnostic::new(codes::FOREIGN_OPERATOR, start..end, format!("the language has no `{theirs}`"))
                .label(format!("write `{ours}`"))
                .replace(start..end, if ours == "not" { "not " } else { ours }),
        );
    }

    fn token(&mut self, raw: Raw, start: usize, end: usize) {
        let source = self.source;
        let text = &source[start..end];
        let token = match raw {
            Raw::Newline => Token::Newline,
            Raw::Word => return self.word(text, start, end),
            Raw::Integer | Raw::Decimal | Raw::Duration | Raw::BadNumber => return self.number(raw, start, end),
            Raw::Quote => {
                self.push(Token::StringStart, start, end);
                return self.enter(Open::String, start);
            }
            Raw::BlockQuote => {
                self.push(Token::StringStart, start, end);
                return self.enter(Open::Block, start);
            }
            Raw::SingleBlock => {
                let Some(len) = source[end..].find("'''") else {
                    return self.fatal(
                        Diagnostic::new(codes::UNTERMINATED, start..end, "this string does not end")
                            .label("begins here")
                            .help("close it with `'''`"),
                    );
                };
                let close = end + len;
                self.push(Token::StringStart, start, end);
                let text = block::raw(&source[end..close]);
                if !text.is_empty() {
                    self.push(Token::Text(text), end, close);
                }
                self.push(Token::StringEnd, close, close + 3);
                self.at = close + 3;
                return;
            }
            Raw::SingleQuoted => {
                self.push(Token::StringStart, start, start + 1);
                if end - start > 2 {
                    self.push(Token::Text(source[start + 1..end - 1].into()), start + 1, end - 1);
                }
                Token::StringEnd
            }
            Raw::OpenSingleQuoted => {
                return self.fatal(
                    Diagnostic::new(codes::UNTERMINATED, start..start + 1, "this string does not end")
                        .label("begins here")
                        .help("close it with `'`; a string that holds `'` is written in double quotes"),
                );
            }
            Raw::LeftParen | Raw::LeftBracket | Raw::SafeBracket | Raw::LeftBrace => {
                let (open, token) = match raw {
                    Raw::LeftParen => (Open::Paren, Token::LeftParen),
                    Raw::LeftBracket => (Open::Bracket, Token::LeftBracket),
                    Raw::SafeBracket => (Open::Bracket, Token::SafeBracket),
                    _ => (Open::Brace, Token::LeftBrace),
                };
                self.enter(open, start);
                token
            }
            Raw::RightParen if self.leave(")", start).is_some() => Token::RightParen,
            Raw::RightBracket if self.leave("]", start).is_some() => Token::RightBracket,
            Raw::RightBrace => match self.leave("}", start) {
                Some(Open::Interpolation) => Token::InterpolationEnd,
                Some(_) => Token::RightBrace,
                None => return,
            },
            Raw::RightParen | Raw::RightBracket => return,
            Raw::SafeDot => Token::SafeDot,
            Raw::Default => Token::Default,
            Raw::Spread => Token::Spread,
            Raw::Dot => Token::Dot,
            Raw::Comma => Token::Comma,
            Raw::Colon => Token::Colon,
            Raw::Semicolon => Token::Separator,
            Raw::Arrow => Token::Arrow,
            Raw::Pipe => Token::Pipe,
            Raw::Equal => {
                if text == "===" {
                    self.foreign(start, end, "==");
                }
                Token::Equal
            }
            Raw::NotEqual => {
                if text != "!=" {
                    self.foreign(start, end, "!=");
                }
                Token::NotEqual
            }
            Raw::LessEqual => Token::LessEqual,
            Raw::GreaterEqual => Token::GreaterEqual,
            Raw::Less => Token::Less,
            Raw::Greater => Token::Greater,
            Raw::Assign => Token::Assign,
            Raw::Plus => Token::Plus,
            Raw::Minus => Token::Minus,
            Raw::Star => Token::Star,
            Raw::Slash => Token::Slash,
            Raw::Percent => Token::Percent,
            Raw::AndAnd => {
                self.foreign(start, end, "and");
                Token::And
            }
            Raw::OrOr => {
                self.foreign(start, end, "or");
                Token::Or
            }
            Raw::Bar => Token::Bar,
            // Directly behind a name it belongs to a call.
            Raw::Bang if matches!(self.tokens.last(), Some((_, Token::Word(_), before)) if *before == start) => {
                Token::Bang
            }
            Raw::Bang => {
                self.foreign(start, end, "not");
                Token::Not
            }
        };
        self.push(token, start, end);
    }

    fn word(&mut self, text: &'s str, start: usize, end: usize) {
        let last = self.tokens.iter().rev().map(|(_, token, _)| token).find(|token| **token != Token::Newline);
        let after_dot = matches!(last, Some(Token::Dot | Token::SafeDot));
        // A key of an object may be any word: `{ if: 1 }`.
        let key = matches!(last, Some(Token::LeftBrace | Token::Comma))
            && self.source[end..].trim_start_matches([' ', '\t']).starts_with(':');
        let token = match Token::keyword(text) {
            Some(keyword) if !after_dot && !key => keyword,
            _ => Token::Word(text),
        };
        self.push(token, start, end);
    }

    fn number(&mut self, raw: Raw, start: usize, end: usize) {
        let text = self.source[start..end].replace('_', "");
        let value = match raw {
            Raw::Integer => {
                text.parse().map(Token::Integer).ok().or_else(|| number::decimal(&text).map(Token::Decimal))
            }
            Raw::Decimal => number::decimal(&text).map(Token::Decimal),
            Raw::Duration => duration(&text).map(Token::Duration),
            _ => None,
        };
        if let Some(token) = value {
            return self.push(token, start, end);
        }
        let shown = if text.len() > 40 { format!("{}…", text.chars().take(40).collect::<String>()) } else { text };
        let finding =
            Diagnostic::new(codes::BAD_NUMBER, start..end, format!("`{shown}` is not a number of the language"));
        self.findings.push(match raw {
            Raw::BadNumber => finding
                .label("digits and letters do not mix")
                .help("a duration has a unit: us, ms, s, m, h, d, w, as in `1h30m`; a name begins with a letter"),
            Raw::Duration => finding.label("longer than 290,000 years"),
            _ => finding.label("has more than 28 digits").help("a number of more digits is kept as text, in quotes"),
        });
        self.push(Token::Integer(0), start, end);
    }
}

/// Microseconds of a text such as `1h30m`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..length] {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "w" => 604_800_000_000,
            _ => return None,
        };
        rest = &rest[length..];
        total = total.checked_add(count.checked_mul(unit)?)?;
    }
    Some(total)
}
