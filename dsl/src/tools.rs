//! What tools for people need to know of the language: an editor's completion, a prompt.

use crate::eval::{CTX_FIELDS, EVENT_FIELDS};

/// The words that are not names.
pub const KEYWORDS: [&str; 23] = [
    "and", "const", "drop", "else", "emit", "fail", "false", "fn", "for", "from", "if", "import", "in", "key", "let",
    "match", "not", "null", "or", "true", "try", "with", "without",
];

/// The fields of `event`.
pub fn event_fields() -> impl Iterator<Item = &'static str> {
    EVENT_FIELDS.iter().map(|(name, _)| *name)
}

/// The fields of `ctx`.
pub fn ctx_fields() -> impl Iterator<Item = &'static str> {
    CTX_FIELDS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Token;

    #[test]
    fn the_words_are_those_of_the_lexer() {
        // Words in their places only; elsewhere they are names.
        let contextual = ["from", "key", "with", "without"];
        for word in KEYWORDS {
            assert_eq!(Token::keyword(word).is_some(), !contextual.contains(&word), "{word}");
        }
    }
}
