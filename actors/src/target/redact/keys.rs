//! What stands under a key in a text that holds JSON, found without reading it as JSON: an answer is cut anywhere, and its
//! line ends are written as `\n`.

use regex::Regex;
use std::borrow::Cow;

/// The text with `with` for each value whose key matches.
pub(super) fn hidden<'t>(text: &'t str, keys: &Regex, with: &str) -> Cow<'t, str> {
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(start) = text[at..].find('"').map(|found| at + found) {
        let end = string_end(text, start);
        at = end;
        let Some(value) = after_colon(text, end) else { continue };
        // Of one that is cut off right here there is no value.
        if value >= text.len() || !keys.is_match(text[start + 1..end].trim_end_matches('"')) {
            continue;
        }
        out.push_str(&text[copied..value]);
        out.push('"');
        out.push_str(with);
        out.push('"');
        at = value_end(text, value);
        copied = at;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Behind the string that begins here, or the end of the text.
fn string_end(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text[start + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return start + 1 + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Behind spaces and line ends, as they are or as they are shown.
fn after_space(text: &str, at: usize) -> usize {
    let mut rest = &text[at..];
    loop {
        let shorter = rest.trim_start();
        let shown = ["\\n", "\\r", "\\t"].iter().find_map(|space| shorter.strip_prefix(space));
        match shown {
            Some(less) => rest = less,
            None => return text.len() - shorter.len(),
        }
    }
}

/// Where the value begins, if what ended here is a key.
fn after_colon(text: &str, at: usize) -> Option<usize> {
    let colon = after_space(text, at);
    text[colon..].starts_with(':').then(|| after_space(text, colon + 1))
}

/// Behind the value that begins here, or the end of the text.
fn value_end(text: &str, start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' => at = string_end(text, at),
            '{' | '[' => (depth, at) = (depth + 1, at + 1),
            '}' | ']' | ',' if depth == 0 => return at,
            '}' | ']' => (depth, at) = (depth - 1, at + 1),
            c if depth == 0 && (c.is_whitespace() || c == '\\') => return at,
            c => at += c.len_utf8(),
        }
        if depth == 0 && matches!(c, '"' | '}' | ']') {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[\"{}\\[\\]:,\\\\ nae1é]{0,40}") {
            let keys = Regex::new("a").map_err(|e| proptest::test_runner::TestCaseError::fail(e.to_string()))?;
            let shown = hidden(&text, &keys, "*");
            proptest::prop_assert!(shown.len() <= text.len() + 3 * text.len());
        }
    }
}
