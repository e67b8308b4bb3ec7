//! The tokens.

use std::borrow::Cow;

use logos::Logos;
use rust_decimal::Decimal;

/// What logos sees in code. Strings are taken over by the scanner at their quote.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r]+")]
#[logos(skip(r"(#|//)[^\n]*", allow_greedy = true))]
pub(super) enum Raw {
    #[token("\n")]
    Newline,
    #[regex(r"[\p{XID_Start}_]\p{XID_Continue}*")]
    Word,
    #[regex(r"[0-9][0-9_]*", priority = 6)]
    Integer,
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9_]*([eE][+-]?[0-9]+)?", priority = 6)]
    #[regex(r"[0-9][0-9_]*[eE][+-]?[0-9]+", priority = 7)]
    Decimal,
    #[regex(r"([0-9]+(ms|us|s|m|h|d|w))+", priority = 7)]
    Duration,
    #[regex(r"[0-9][0-9_]*[\p{XID_Start}]\p{XID_Continue}*", priority = 3)]
    BadNumber,
    #[token("\"")]
    Quote,
    #[token("\"\"\"")]
    BlockQuote,
    #[token("'''")]
    SingleBlock,
    #[regex(r"'[^']*'")]
    SingleQuoted,
    #[regex(r"'[^']*", priority = 1)]
    OpenSingleQuoted,
    #[token("(")]
    LeftParen,
    #[token(")")]
    RightParen,
    #[token("[")]
    LeftBracket,
    #[token("]")]
    RightBracket,
    #[token("{")]
    LeftBrace,
    #[token("}")]
    RightBrace,
    #[token("?[")]
    SafeBracket,
    #[token("?.")]
    SafeDot,
    #[token("??")]
    Default,
    #[token("...")]
    Spread,
    #[token(".")]
    Dot,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token(";")]
    Semicolon,
    #[token("=>")]
    Arrow,
    #[token("|>")]
    Pipe,
    #[token("===")]
    #[token("==")]
    Equal,
    #[token("!==")]
    #[token("!=")]
    #[token("<>")]
    NotEqual,
    #[token("<=")]
    LessEqual,
    #[token(">=")]
    GreaterEqual,
    #[token("<")]
    Less,
    #[token(">")]
    Greater,
    #[token("=")]
    Assign,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("&&")]
    AndAnd,
    #[token("|")]
    Bar,
    #[token("||")]
    OrOr,
    #[token("!")]
    Bang,
}

/// What the grammar sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'s> {
    Word(&'s str),
    Integer(i64),
    Decimal(Decimal),
    Duration(i64),
    /// Opens a string; `Text` and interpolations follow, then `StringEnd`.
    StringStart,
    Text(Cow<'s, str>),
    InterpolationStart,
    InterpolationEnd,
    StringEnd,
    LeftParen,
    /// A parenthesis that opens the parameters of a lambda.
    LambdaParen,
    RightParen,
    LeftBracket,
    SafeBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Dot,
    SafeDot,
    Default,
    Spread,
    Comma,
    Colon,
    /// `;`, or the end of a line that separates.
    Separator,
    /// The end of a line, before it is known whether it separates.
    Newline,
    Arrow,
    Pipe,
    /// `!` directly behind a name: a call that may fail.
    Bang,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Assign,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    And,
    Or,
    Not,
    In,
    If,
    Else,
    Let,
    Fn,
    True,
    False,
    Null,
    Drop,
    Fail,
    Match,
    For,
    /// `with` and `without` are words of the language before a brace only, `key` only in an `emit`.
    With,
    Without,
    Emit,
    Key,
    Try,
    /// The `else` of a `try`.
    TryElse,
    Const,
    Import,
    Bar,
}

impl Token<'_> {
    pub(crate) fn keyword(word: &str) -> Option<Token<'static>> {
        Some(match word {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            "in" => Token::In,
            "if" => Token::If,
            "else" => Token::Else,
            "let" => Token::Let,
            "fn" => Token::Fn,
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            "drop" => Token::Drop,
            "fail" => Token::Fail,
            "match" => Token::Match,
            "for" => Token::For,
            "emit" => Token::Emit,
            "try" => Token::Try,
            "const" => Token::Const,
            "import" => Token::Import,
            _ => return None,
        })
    }
}
