//! The one way to show a table. What comes from outside is escaped, so that no event can write to the terminal.

/// Columns that hold why something failed: they are cut wherever they stand, since a receiver's answer fills a screen. The whole
/// text is in `-o json`, and in the `show` of what it is of.
const FAILURES: [&str; 7] = ["CAUSE", "MESSAGE", "REPLY", "LAST", "ERROR", "WHY DISABLED", "LAST FAILURE"];
/// The width of a failure.
const FAILURE: usize = 100;
/// The width of any other column but the last, which is not cut.
const WIDEST: usize = 60;

/// Text without control characters, and without those that change the direction of text: they can make a line look like
/// another (Trojan Source, CVE-2021-42574).
pub fn plain(text: &str) -> String {
    let turns =
        |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// The same for a text of several lines, such as a diagnostic with its place.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(|line| plain(line.trim_end_matches('\r'))).collect::<Vec<_>>().join("\n")
}

/// A value as one cell.
pub fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(s) => plain(s),
        serde_json::Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => plain(&other.to_string()),
    }
}

/// Rows of JSON objects as a table of the named fields: `(heading, field)`; a field may be a path `a.b`.
pub fn of(rows: &[serde_json::Value], columns: &[(&str, &str)]) -> String {
    let get = |row: &serde_json::Value, path: &str| {
        let value = path.split('.').try_fold(row, |v, key| v.get(key));
        cell(value.unwrap_or(&serde_json::Value::Null))
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, field)| get(row, field)).collect()).collect();
    let headings: Vec<String> = columns.iter().map(|(h, _)| (*h).to_owned()).collect();
    let most: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, (heading, _))| match (FAILURES.contains(heading), at + 1 == columns.len()) {
            (true, _) => FAILURE,
            (false, true) => usize::MAX,
            (false, false) => WIDEST,
        })
        .collect();
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in &cells {
        for ((width, most), cell) in widths.iter_mut().zip(&most).zip(row) {
            *width = (*width).max(cell.chars().count().min(*most));
        }
    }
    let line = |row: &[String]| {
        let mut text = String::new();
        for (at, ((cell, width), most)) in row.iter().zip(&widths).zip(&most).enumerate() {
            let shown: String = if cell.chars().count() <= *most {
                cell.clone()
            } else {
                cell.chars().take(most - 1).chain(['…']).collect()
            };
            text.push_str(&shown);
            if at + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(shown.chars().count()) + 2));
            }
        }
        text.trim_end().to_owned()
    };
    let mut out = vec![line(&headings)];
    out.extend(cells.iter().map(|row| line(row)));
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_escapes_are_shown() {
        let rows =
            [serde_json::json!({"a": "x", "b": {"c": 1}}), serde_json::json!({"a": "long\u{1b}[31m", "b": null})];
        assert_eq!(of(&rows, &[("A", "a"), ("C", "b.c")]), "A               C\nx               1\nlong\\u{1b}[31m  -");
        let long = [serde_json::json!({"a": "y".repeat(70), "cause": "x".repeat(300)})];
        let table = of(&long, &[("A", "a"), ("CAUSE", "cause")]);
        let row = table.lines().nth(1).unwrap_or_default();
        assert_eq!(
            row,
            format!("{}…  {}…", "y".repeat(59), "x".repeat(99)),
            "one width for failures, also in the last"
        );
        assert_eq!(plain("pay\u{202e}001\u{85}é"), "pay\\u{202e}001\\u{85}é");
        assert_eq!(plain_lines("a\r\n  b\u{1b}\n"), "a\n  b\\u{1b}\n");
    }
}
