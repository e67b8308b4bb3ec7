//! JSON that is shown as it came: its text is laid out anew, and nothing of it is read, so no number is rounded.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// A page of events or dead letters.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// What it holds.
    #[serde(alias = "events", alias = "letters")]
    pub rows: Vec<Box<RawValue>>,
    /// The sequence to go on at.
    pub next: u64,
    /// Of dead letters: how many there are, on this page or not.
    #[serde(default)]
    pub open: u64,
    /// Of dead letters: what the filter failed on.
    #[serde(default)]
    pub filter_failed: Option<FilterFailed>,
}

/// The letters that a filter failed on.
#[derive(Debug, Deserialize)]
pub struct FilterFailed {
    /// How many.
    pub letters: u64,
    /// Why on the first.
    pub error: String,
}

/// A member of an object.
pub fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    serde_json::from_str::<HashMap<String, &RawValue>>(object.get()).ok()?.remove(name)
}

/// Without the space between its parts: on one line.
pub fn compact(json: &str) -> String {
    lay_out(json, false)
}

/// A member or an element on each line, two spaces deeper inside.
pub fn pretty(json: &str) -> String {
    lay_out(json, true)
}

fn lay_out(json: &str, pretty: bool) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        if pretty {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    while let Some(c) = rest.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|end| matches!(end, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' if pretty => out.push_str(": "),
            _ => {
                out.push(c);
                in_text = c == '"';
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_layout_is_that_of_everybody_and_the_rest_stays() {
        let text = r#"{ "a\"{ ,: \\" : [ 1 , 2.50 , {} , [ ] ] , "b" : { "c" : null , "d" : " x : y " } , "e":"\\"}"#;
        let value: serde_json::Value = serde_json::from_str(&text.replace("2.50", "2.5")).unwrap();
        let exact = |shown: String| shown.replace("2.5", "2.50");
        assert_eq!(compact(text), exact(value.to_string()));
        assert_eq!(pretty(text), exact(format!("{value:#}")));
        let numbers = "[123456789012345678901234567890,0.12345678901234567891,1E400,-0.0]";
        assert_eq!(compact(&pretty(numbers)), numbers);
        assert_eq!((&*compact(" 7 "), &*pretty("\"x\"")), ("7", "\"x\""));
    }
}
