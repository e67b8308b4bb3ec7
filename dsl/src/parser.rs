//! Text to syntax tree: runs the lexer and the generated parser, and words what the parser reports.

use lalrpop_util::ParseError;

use crate::ast::{Context, Declarations, Expr, ExprKind};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::grammar;
use crate::lexer::{Token, scan};

/// Parses a program or a template. The tree is there unless brackets or strings do not pair.
pub(crate) fn parse(source: &str, template: bool) -> (Option<Expr>, Vec<Diagnostic>) {
    let (tree, findings) = run(source, 0, template, |cx, tokens| {
        if template {
            grammar::TemplateParser::new().parse(cx, tokens)
        } else {
            grammar::ProgramParser::new().parse(cx, tokens).map(|(l, items, r)| cx.block(l, r, items))
        }
    });
    (tree.filter(|tree| !matches!(tree.kind, ExprKind::Error)), findings)
}

/// Parses a module, whose places are counted from `base` on.
pub(crate) fn parse_module(source: &str, base: usize) -> (Option<Declarations>, Vec<Diagnostic>) {
    run(source, base, false, |cx, tokens| {
        grammar::ProgramParser::new().parse(cx, tokens).map(|(_, items, _)| cx.module(items))
    })
}

type Spanned<'s> = (usize, Token<'s>, usize);
type Parsed<'s, T> = Result<T, ParseError<usize, Token<'s>, ()>>;

fn run<'s, T>(
    source: &'s str,
    base: usize,
    template: bool,
    parse: impl FnOnce(&mut Context, &mut dyn Iterator<Item = Result<Spanned<'s>, ()>>) -> Parsed<'s, T>,
) -> (Option<T>, Vec<Diagnostic>) {
    let scanned = scan(source, template);
    let mut findings = scanned.findings;
    for finding in &mut findings {
        finding.shift(base as isize);
    }
    if scanned.broken {
        return (None, findings);
    }
    let mut cx = Context::default();
    let tokens: Vec<Spanned<'s>> =
        scanned.tokens.into_iter().map(|(start, token, end)| (start + base, token, end + base)).collect();
    let tree = match parse(&mut cx, &mut tokens.iter().cloned().map(Ok)) {
        Ok(tree) => Some(tree),
        Err(error) => {
            let (found, expected) = recovered(error);
            let end = base + source.len();
            let at = found.map_or(end..end, |(start, end)| start..end);
            cx.recoveries.push(crate::ast::Recovery { at, expected });
            None
        }
    };
    findings.append(&mut cx.findings);
    findings.extend(cx.recoveries.iter().map(|recovery| worded(source, base, &tokens, recovery)));
    (tree, findings)
}

/// Where the parser stopped, and what could have stood there.
pub(crate) fn recovered(error: ParseError<usize, Token<'_>, ()>) -> (Option<(usize, usize)>, Vec<String>) {
    match error {
        ParseError::UnrecognizedToken { token: (start, _, end), expected } => (Some((start, end)), expected),
        ParseError::ExtraToken { token: (start, _, end) } => (Some((start, end)), Vec::new()),
        ParseError::UnrecognizedEof { location, expected } => (Some((location, location)), expected),
        ParseError::InvalidToken { location } => (Some((location, location)), Vec::new()),
        ParseError::User { error: () } => (None, Vec::new()),
    }
}

fn worded(source: &str, base: usize, tokens: &[Spanned<'_>], recovery: &crate::ast::Recovery) -> Diagnostic {
    let at = recovery.at.clone();
    let position = tokens.iter().position(|(start, _, end)| *start == at.start && *end == at.end);
    let found = position.map(|position| &tokens[position].1);
    let previous = position.and_then(|position| position.checked_sub(1)).map(|position| &tokens[position].1);
    let text = source.get(at.start - base..at.end - base).unwrap_or_default();
    let what = match found {
        _ if at.start - base >= source.len() => "the program ends too early".to_owned(),
        Some(Token::Separator) if text != ";" => "the line ends too early".to_owned(),
        Some(Token::StringStart) => "unexpected string".to_owned(),
        Some(Token::InterpolationEnd) => "unexpected end of `${…}`".to_owned(),
        _ if at.is_empty() => "the program ends too early".to_owned(),
        _ => format!("unexpected `{text}`"),
    };
    let finding = Diagnostic::new(codes::UNEXPECTED, at.clone(), what).label(expectation(&recovery.expected));
    match (found, previous) {
        (Some(Token::Assign), _) => {
            finding.help("equality is `==`; a name is bound by `let name = …`").replace(at, "==")
        }
        (Some(Token::Arrow), _) => finding.help(
            "a lambda stands only as an argument of a function: `map(xs, x => x.id)`; name one with `fn f(x) = …`",
        ),
        (Some(Token::Bar), _) => {
            finding.help("`|` stands between patterns of a `match`; write `or`, or `|>` to pass a value on")
        }
        (Some(Token::Comma), Some(Token::Comma)) => finding.replace(at, ""),
        (Some(Token::Colon), _) => {
            finding.help("an object is written `{ key: value }`; a choice is `if c { a } else { b }`")
        }
        (Some(keyword), _) if is_keyword(keyword) => finding.help(format!("`{text}` is a word of the language")),
        _ => finding,
    }
}

fn is_keyword(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::In
            | Token::If
            | Token::Else
            | Token::Let
            | Token::Fn
            | Token::True
            | Token::False
            | Token::Null
            | Token::Drop
            | Token::Fail
            | Token::Match
            | Token::For
            | Token::Emit
            | Token::Try
            | Token::TryElse
            | Token::Const
            | Token::Import
            | Token::And
            | Token::Or
            | Token::Not
    )
}

/// "expected an expression", "expected `)` or an operator", …
fn expectation(expected: &[String]) -> String {
    let names: Vec<&str> = expected.iter().map(|name| name.trim_matches('"')).collect();
    let has = |name: &str| names.contains(&name);
    let mut parts: Vec<String> = Vec::new();
    if has("integer") && has("null") {
        parts.push("an expression".to_owned());
    } else if has("name") {
        parts.push("a name".to_owned());
    }
    let operator = has("==") || has("*") || has("+");
    for name in ["=", "(", ")", "]", "}", "{", ":", "=>", ","] {
        if has(name) && !(parts.first().is_some_and(|part| part == "an expression") && matches!(name, "(" | "{")) {
            parts.push(format!("`{name}`"));
        }
    }
    if has("end of ${") {
        parts.push("`}`".to_owned());
    }
    if operator {
        parts.push("an operator".to_owned());
    }
    if has(";") {
        parts.push("a new line".to_owned());
    }
    match parts.as_slice() {
        [] => "not expected here".to_owned(),
        [one] => format!("expected {one}"),
        [first @ .., last] => format!("expected {} or {last}", first.join(", ")),
    }
}
