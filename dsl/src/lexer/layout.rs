//! What the tokens around a token decide: which line ends separate, which words are names, which parenthesis opens a
//! lambda.

use super::token::Token;

type Spanned<'s> = (usize, Token<'s>, usize);

/// What a bracket is, and what is open inside of it.
#[derive(Default)]
struct Level {
    /// Line ends separate in it.
    separates: bool,
    /// Its braces are the block of an `if`, which an `else` may follow.
    branch: bool,
    /// `if` and `match` that wait for their braces; true for `if`.
    waiting: Vec<bool>,
    /// An `emit` was begun, which may have a `key`.
    emits: bool,
    /// A `for` was begun: an `if` goes on with it.
    comprehends: bool,
}

/// Makes of the scanner's tokens those of the grammar.
pub(super) fn arrange(raw: Vec<Spanned<'_>>) -> Vec<Spanned<'_>> {
    let mut out: Vec<Spanned<'_>> = Vec::with_capacity(raw.len());
    let mut levels = vec![Level { separates: true, ..Level::default() }];
    let mut level = Level { separates: true, ..Level::default() };
    // Whether the last token closed the block of an `if`: an `else` behind it is that of the `if`.
    let mut closed_branch = false;
    for at in 0..raw.len() {
        let (start, token, end) = raw[at].clone();
        let was_closed = closed_branch;
        if token != Token::Newline {
            closed_branch = false;
        }
        let after_value = out.last().is_some_and(|(_, last, _)| ends_expression(last));
        let opens = |separates| Level { separates, ..Level::default() };
        let token = match token {
            Token::Newline | Token::Separator => {
                let explicit = token == Token::Separator;
                if separates(&raw, at, &out, explicit, &level) {
                    level = Level { separates: level.separates, branch: level.branch, ..Level::default() };
                    closed_branch = false;
                    out.push((start, Token::Separator, end));
                }
                continue;
            }
            Token::LeftBrace => {
                // The test of an `if` has ended when braces follow a value.
                let branch = after_value && level.waiting.pop() == Some(true);
                levels.push(std::mem::replace(&mut level, Level { branch, ..opens(true) }));
                token
            }
            Token::LeftParen => {
                let lambda = opens_lambda(&raw, at, out.last().map(|(_, last, _)| last));
                levels.push(std::mem::replace(&mut level, opens(false)));
                if lambda { Token::LambdaParen } else { token }
            }
            Token::LeftBracket | Token::SafeBracket | Token::InterpolationStart => {
                levels.push(std::mem::replace(&mut level, opens(false)));
                token
            }
            Token::RightBrace | Token::RightParen | Token::RightBracket | Token::InterpolationEnd => {
                closed_branch = level.branch;
                level = levels.pop().unwrap_or_default();
                token
            }
            Token::If | Token::Match => {
                level.waiting.push(token == Token::If);
                token
            }
            Token::Else if !was_closed => Token::TryElse,
            Token::Emit => {
                level.emits = true;
                token
            }
            Token::For => {
                level.comprehends = true;
                token
            }
            Token::Word("key") if level.emits && after_value => {
                level.emits = false;
                Token::Key
            }
            Token::Word(_) if after_value && updates(&raw, at) => {
                if token == Token::Word("with") {
                    Token::With
                } else {
                    Token::Without
                }
            }
            token => token,
        };
        out.push((start, token, end));
    }
    out
}

/// `with {` or `without {`
fn updates(raw: &[Spanned<'_>], at: usize) -> bool {
    matches!(raw[at].1, Token::Word("with" | "without"))
        && raw.get(at + 1).is_some_and(|(_, next, _)| *next == Token::LeftBrace)
}

fn separates(raw: &[Spanned<'_>], at: usize, out: &[Spanned<'_>], explicit: bool, level: &Level) -> bool {
    let Some((_, last, _)) = out.last() else { return false };
    if *last == Token::Separator || *last == Token::LeftBrace {
        return false;
    }
    let mut next_at = at + 1;
    while raw.get(next_at).is_some_and(|(_, token, _)| *token == Token::Newline) {
        next_at += 1;
    }
    let Some((_, next, _)) = raw.get(next_at) else { return false };
    if matches!(next, Token::RightBrace | Token::Separator) {
        return false;
    }
    if explicit {
        return true;
    }
    let goes_on = continues(next)
        || (*next == Token::Not && behind(raw, next_at) == Some(&Token::In))
        || (*next == Token::If && level.comprehends)
        || updates(raw, next_at);
    level.separates && ends_expression(last) && !goes_on
}

/// The token behind a position, wherever the line ends.
fn behind<'r, 's>(raw: &'r [Spanned<'s>], at: usize) -> Option<&'r Token<'s>> {
    raw.get(at + 1..)?.iter().map(|(_, token, _)| token).find(|token| **token != Token::Newline)
}

fn ends_expression(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Integer(_)
            | Token::Decimal(_)
            | Token::Duration(_)
            | Token::StringEnd
            | Token::RightParen
            | Token::RightBracket
            | Token::RightBrace
            | Token::True
            | Token::False
            | Token::Null
            | Token::Drop
            | Token::Bang
    )
}

fn continues(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Dot
            | Token::SafeDot
            | Token::SafeBracket
            | Token::Default
            | Token::Pipe
            | Token::Equal
            | Token::NotEqual
            | Token::Less
            | Token::LessEqual
            | Token::Greater
            | Token::GreaterEqual
            | Token::Plus
            | Token::Minus
            | Token::Star
            | Token::Slash
            | Token::Percent
            | Token::And
            | Token::Or
            | Token::In
            | Token::Else
            | Token::For
            | Token::Bar
            | Token::Arrow
            | Token::Comma
            | Token::Colon
            | Token::Assign
    )
}

/// `( … ) =>` where an argument or a value of `let` begins.
fn opens_lambda(raw: &[Spanned<'_>], at: usize, last: Option<&Token<'_>>) -> bool {
    if !matches!(last, Some(Token::LeftParen | Token::Comma | Token::Assign | Token::Arrow)) {
        return false;
    }
    let mut depth = 0usize;
    let mut rest = raw[at..].iter().map(|(_, token, _)| token);
    for token in rest.by_ref() {
        match token {
            Token::LeftParen | Token::LeftBrace | Token::LeftBracket => depth += 1,
            Token::RightParen | Token::RightBrace | Token::RightBracket => depth -= 1,
            // What parameters are made of.
            Token::Word(_)
            | Token::Comma
            | Token::Colon
            | Token::Spread
            | Token::Newline
            | Token::StringStart
            | Token::Text(_)
            | Token::StringEnd => {}
            _ => return false,
        }
        if depth == 0 {
            break;
        }
    }
    rest.find(|token| **token != Token::Newline) == Some(&Token::Arrow)
}
