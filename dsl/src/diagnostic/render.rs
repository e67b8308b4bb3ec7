//! Diagnostics as text and as JSON.

use std::fmt::Write as _;

use super::{Diagnostic, Diagnostics, Severity, position};
use crate::json::write_string;

/// How text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colours.
    Plain,
    /// ANSI escape sequences.
    Ansi,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const GREEN: &str = "32";
/// A line of a source is cut around the finding when it is longer.
const WIDEST: usize = 120;

pub(super) fn all(diagnostics: &Diagnostics, style: Style) -> String {
    let mut out = String::new();
    for (at, finding) in diagnostics.list.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        one(diagnostics, finding, style, &mut out);
    }
    out
}

fn one(source: &Diagnostics, finding: &Diagnostic, style: Style, out: &mut String) {
    let (word, colour) = match finding.severity {
        Severity::Error => ("error", RED),
        Severity::Warning => ("warning", YELLOW),
    };
    line(out, format_args!("{}: {}", style.paint(colour, &format!("{word}[{}]", finding.code)), finding.message));
    let (name, text) = source.source_of(finding);
    let (row, column) = position(text, finding.span.start);
    let margin = " ".repeat(row.to_string().len());
    let bar = style.paint(BLUE, "|");
    line(out, format_args!("{margin}{} {}:{row}:{column}", style.paint(BLUE, "-->"), name));
    let excerpt = Excerpt::new(text, finding, row, column);
    line(out, format_args!("{margin} {bar}"));
    line(out, format_args!("{} {bar} {}", style.paint(BLUE, &row.to_string()), excerpt.line));
    let carets = style.paint(colour, &"^".repeat(excerpt.width));
    let label = if finding.label.is_empty() { String::new() } else { format!(" {}", finding.label) };
    line(out, format_args!("{margin} {bar} {}{carets}{}", excerpt.indent, style.paint(colour, &label).trim_end()));
    if let Some(help) = &finding.help {
        for (at, part) in help.lines().enumerate() {
            let lead = if at == 0 { style.paint(GREEN, "help:") } else { "     ".to_owned() };
            line(out, format_args!("{margin} {} {lead} {part}", style.paint(BLUE, "=")));
        }
    }
    let changes = [("suggestion:", &finding.replacement), ("or:", &finding.alternative)];
    for (lead, change) in changes {
        let Some((span, new)) = change else { continue };
        let Some(old) = text.get(span.clone()) else { continue };
        let change = match (old.is_empty(), new.is_empty()) {
            (true, _) => format!("insert `{new}`"),
            (_, true) => format!("remove `{old}`"),
            _ => format!("write `{new}` instead of `{old}`"),
        };
        line(out, format_args!("{margin} {} {} {change}", style.paint(BLUE, "="), style.paint(GREEN, lead)));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").unwrap_or_default();
}

struct Excerpt {
    line: String,
    indent: String,
    width: usize,
}

impl Excerpt {
    fn new(text: &str, finding: &Diagnostic, row: usize, column: usize) -> Self {
        let full = text.split('\n').nth(row - 1).unwrap_or_default();
        let full: Vec<char> = full.strip_suffix('\r').unwrap_or(full).chars().map(visible).collect();
        let start = column - 1;
        let length = text.get(finding.span.clone()).unwrap_or_default();
        let length = length.split('\n').next().unwrap_or_default().chars().count();
        let width = length.clamp(1, full.len().saturating_sub(start).max(1));
        if full.len() <= WIDEST {
            return Self { line: full.iter().collect(), indent: " ".repeat(start), width };
        }
        let from = start.saturating_sub(WIDEST / 3);
        let to = (from + WIDEST).min(full.len());
        let mut line: String = full[from..to].iter().collect();
        let mut indent = start - from;
        if from > 0 {
            line.insert_str(0, "… ");
            indent += 2;
        }
        if to < full.len() {
            line.push_str(" …");
        }
        Self { line, indent: " ".repeat(indent), width: width.min(to.saturating_sub(start)).max(1) }
    }
}

/// Tabs, and characters that would change the direction or the look of the terminal, take one column.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || crate::lexer::is_bidi(c) => '\u{fffd}',
        c => c,
    }
}

pub(super) fn json(diagnostics: &Diagnostics) -> String {
    let mut out = Vec::new();
    out.push(b'[');
    for (at, finding) in diagnostics.list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let (name, text) = diagnostics.source_of(finding);
        let (row, column) = position(text, finding.span.start);
        out.push(b'{');
        let mut field = |name: &str, value: &str| {
            write_string(&mut out, name);
            out.push(b':');
            write_string(&mut out, value);
            out.push(b',');
        };
        field("code", &finding.code.to_string());
        field("severity", if finding.severity == Severity::Error { "error" } else { "warning" });
        field("source", name);
        field("message", &finding.message);
        field("label", &finding.label);
        if let Some(help) = &finding.help {
            field("help", help);
        }
        for (name, change) in [("replacement", &finding.replacement), ("alternative", &finding.alternative)] {
            let Some((span, text)) = change else { continue };
            let mut field = |name: &str, value: &str| {
                write_string(&mut out, name);
                out.push(b':');
                write_string(&mut out, value);
                out.push(b',');
            };
            field(name, text);
            let range = format!("\"{name}_start\":{},\"{name}_end\":{},", span.start, span.end);
            out.extend_from_slice(range.as_bytes());
        }
        let place = format!(
            "\"line\":{row},\"column\":{column},\"start\":{},\"end\":{}}}",
            finding.span.start, finding.span.end
        );
        out.extend_from_slice(place.as_bytes());
    }
    out.push(b']');
    String::from_utf8_lossy(&out).into_owned()
}
