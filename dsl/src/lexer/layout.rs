//! What the tokens around a token decide: which line ends separate, which words are names, which parenthesis opens a
//! lambda.

use super::token::Token;

type Spanned<'s> = (usize, Token<'s>, usize);

/// Makes of the scanner's tokens those of the grammar.
pub(super) fn arrange(raw: Vec<Spanned<'_>>) -> Vec<Spanned<'_>> {
    let mut out: Vec<Spanned<'_>> = Vec::with_capacity(raw.len());
    // Whether the innermost bracket is one in which line ends separate.
    let mut braces = vec![true];
    for at in 0..raw.len() {
        let (start, token, end) = raw[at].clone();
        let token = match token {
            Token::Newline | Token::Separator => {
                let explicit = token == Token::Separator;
                if separates(&raw, at, &out, explicit, braces.last() == Some(&true)) {
                    out.push((start, Token::Separator, end));
                }
                continue;
            }
            Token::LeftBrace => {
                braces.push(true);
                token
            }
            Token::LeftParen => {
                braces.push(false);
                if opens_lambda(&raw, at) { Token::LambdaParen } else { token }
            }
            Token::LeftBracket | Token::SafeBracket | Token::InterpolationStart => {
                braces.push(false);
                token
            }
            Token::RightBrace | Token::RightParen | Token::RightBracket | Token::InterpolationEnd => {
                braces.pop();
                token
            }
            token => token,
        };
        out.push((start, token, end));
    }
    out
}

fn separates(raw: &[Spanned<'_>], at: usize, out: &[Spanned<'_>], explicit: bool, in_braces: bool) -> bool {
    let Some((_, last, _)) = out.last() else { return false };
    if *last == Token::Separator || *last == Token::LeftBrace {
        return false;
    }
    let mut rest = raw[at + 1..].iter().map(|(_, token, _)| token).filter(|token| **token != Token::Newline);
    let Some(next) = rest.next() else { return false };
    if matches!(next, Token::RightBrace | Token::Separator) {
        return false;
    }
    if explicit {
        return true;
    }
    in_braces && ends_expression(last) && !(continues(next) || (*next == Token::Not && rest.next() == Some(&Token::In)))
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
            | Token::Arrow
            | Token::Comma
            | Token::Colon
            | Token::Assign
    )
}

/// `( word, word ) =>`
fn opens_lambda(raw: &[Spanned<'_>], at: usize) -> bool {
    let mut rest = raw[at + 1..].iter().map(|(_, token, _)| token).filter(|token| **token != Token::Newline);
    loop {
        match rest.next() {
            Some(Token::Word(_) | Token::Comma) => {}
            Some(Token::RightParen) => return rest.next() == Some(&Token::Arrow),
            _ => return false,
        }
    }
}
