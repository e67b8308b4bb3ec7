//! Problems as people and programs read them. The style is that of the language's own diagnostics
//! (`hexafn_dsl::Diagnostics::render`), whose findings come through here as well, at their place in the configuration.

use serde_json::{Value as Json, json};
use std::fmt::Write as _;

use super::problem::{Problem, Severity};
use super::texts::{Span, Texts};

/// Lines of a marked range that are shown; a longer one is cut.
const MAX_LINES: usize = 6;
/// Characters of a line that are shown around a mark.
const MAX_WIDTH: usize = 140;

struct Paint(bool);

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// All problems and a closing line with their number.
pub fn report(texts: &Texts, problems: &[Problem], colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    for problem in problems {
        one(texts, problem, &paint, &mut out);
        out.push('\n');
    }
    let count = |s| problems.iter().filter(|p| p.severity == s).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(paint.with("1;31", &plural(errors, "error")));
    }
    if warnings > 0 {
        parts.push(paint.with("1;33", &plural(warnings, "warning")));
    }
    if !parts.is_empty() {
        let tail = if errors > 0 { "; nothing was started or changed" } else { "" };
        put(&mut out, format_args!("{}{tail}\n", parts.join(", ")));
    }
    out
}

/// Writing to a `String` cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ignored: std::fmt::Result = out.write_fmt(text);
}

fn one(texts: &Texts, problem: &Problem, paint: &Paint, out: &mut String) {
    let (word, style) = match problem.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let head = paint.with(style, &format!("{word}[{}]", problem.code));
    put(out, format_args!("{head}: {}\n", visible(&problem.message)));
    let mut margin = 1;
    if let Some(span) = &problem.span {
        margin = width_of_margin(texts, problem);
        excerpt(texts, span, problem.label.as_deref(), margin, "-->", '^', style, paint, out);
        for (span, label) in &problem.related {
            excerpt(texts, span, Some(label), margin, ":::", '-', "1;34", paint, out);
        }
    }
    let equals = paint.with("1;34", "=");
    for help in &problem.help {
        for (number, line) in help.lines().enumerate() {
            let lead = if number == 0 { paint.with("32", "help:") } else { "     ".to_owned() };
            put(out, format_args!("{:margin$} {equals} {lead} {}\n", "", visible(line)));
        }
    }
    let said = problem.label.as_deref().is_some_and(|l| l.starts_with("did you mean"));
    if let Some((span, new)) = problem.replacement.as_ref().filter(|_| !said) {
        let change = match (texts.slice(span), new.as_str()) {
            ("", new) => format!("insert `{new}`"),
            (old, "") => format!("remove `{old}`"),
            (old, new) => format!("write `{new}` instead of `{old}`"),
        };
        put(out, format_args!("{:margin$} {equals} {} {}\n", "", paint.with("32", "suggestion:"), visible(&change)));
    }
}

fn width_of_margin(texts: &Texts, problem: &Problem) -> usize {
    let spans = problem.span.iter().chain(problem.related.iter().map(|(s, _)| s));
    let last = spans.filter_map(|s| texts.place(s.end.max(s.start))).map(|p| p.line).max().unwrap_or(1);
    last.to_string().len()
}

#[allow(clippy::too_many_arguments)] // one call each for the main and the related place; a struct would only rename them
fn excerpt(
    texts: &Texts,
    span: &Span,
    label: Option<&str>,
    margin: usize,
    arrow: &str,
    mark: char,
    style: &str,
    paint: &Paint,
    out: &mut String,
) {
    let (Some(place), Some((text, base))) = (texts.place(span.start), texts.text_at(span.start)) else { return };
    let bar = paint.with("1;34", "|");
    let name = visible(&text.name);
    put(out, format_args!("{:margin$}{} {name}:{}:{}\n", "", paint.with("1;34", arrow), place.line, place.column));
    put(out, format_args!("{:margin$} {bar}\n", ""));
    let shown = texts.shown(span.start);
    let original: Vec<&str> = text.text.split('\n').collect();
    let start = span.start - base;
    let end = (span.end - base).clamp(start, text.text.len());
    let last_line = text
        .text
        .get(..end.max(start + 1).min(text.text.len()).saturating_sub(1))
        .map_or(place.line, |t| t.matches('\n').count() + 1);
    let lines = place.line..=last_line.clamp(place.line, place.line + MAX_LINES - 1);
    let mut offset: usize = original.iter().take(place.line - 1).map(|l| l.len() + 1).sum();
    for (number, (line, raw)) in (1..).zip(shown.split('\n').zip(&original)).skip(place.line - 1) {
        if !lines.contains(&number) {
            break;
        }
        let from = start.saturating_sub(offset).min(raw.len());
        let to = end.saturating_sub(offset).min(raw.trim_end().len()).max(from);
        let columns = |bytes: usize| raw.get(..bytes).map_or(0, |t| t.chars().count());
        let indent = if number == place.line { 0 } else { raw.len() - raw.trim_start().len() };
        let (from, to) = (columns(from.max(indent)), columns(to));
        let view = View::new(line, from, to);
        let gutter = paint.with("1;34", &format!("{number:margin$} |"));
        put(out, format_args!("{gutter} {}\n", view.text));
        let last = number == *lines.end();
        let marks: String = std::iter::repeat_n(mark, view.length.max(1)).collect();
        let tail = label.filter(|_| last).map(|l| format!(" {}", visible(l))).unwrap_or_default();
        let marks = paint.with(style, &format!("{marks}{tail}"));
        put(out, format_args!("{:margin$} {bar} {:lead$}{marks}\n", "", "", lead = view.lead));
        offset += raw.len() + 1;
    }
    if last_line > *lines.end() {
        put(out, format_args!("{:margin$} {bar} …\n", ""));
    }
}

/// A line as shown: cut around the mark when it is very long, control characters made visible.
struct View {
    text: String,
    lead: usize,
    length: usize,
}

impl View {
    fn new(line: &str, from: usize, to: usize) -> Self {
        let line = line.trim_end();
        let total = line.chars().count();
        let skip = if total > MAX_WIDTH { from.saturating_sub(MAX_WIDTH / 3) } else { 0 };
        let part = |a: usize, b: usize| -> String { line.chars().skip(a).take(b.saturating_sub(a)).collect() };
        let end = (skip + MAX_WIDTH).min(total);
        let (before, marked) = (visible(&part(skip, from.min(end))), visible(&part(from, to.min(end))));
        let after = visible(&part(to.min(end).max(from.min(end)), end));
        let (left, right) = (if skip > 0 { "…" } else { "" }, if end < total { "…" } else { "" });
        Self {
            lead: before.chars().count() + left.chars().count(),
            length: marked.chars().count(),
            text: format!("{left}{before}{marked}{after}{right}"),
        }
    }
}

/// Control characters and those that change the direction of writing, as escapes: a terminal obeys none of them, and
/// nobody is shown another text than the one that counts.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if hidden(c) => put(&mut out, format_args!("{}", c.escape_unicode())),
            c => out.push(c),
        }
    }
    out
}

/// All problems for programs.
pub fn json(texts: &Texts, problems: &[Problem]) -> Json {
    let of = |severity: Severity| -> Vec<Json> {
        problems.iter().filter(|p| p.severity == severity).map(|p| one_json(texts, p)).collect()
    };
    json!({ "errors": of(Severity::Error), "warnings": of(Severity::Warning) })
}

fn one_json(texts: &Texts, problem: &Problem) -> Json {
    let place = |span: &Span| -> Json {
        let (Some(from), Some(to)) = (texts.place(span.start), texts.place(span.end.max(span.start))) else {
            return Json::Null;
        };
        json!({
            "file": &*from.name, "line": from.line, "column": from.column,
            "end_line": to.line, "end_column": to.column,
        })
    };
    let related: Vec<Json> =
        problem.related.iter().map(|(span, label)| json!({ "place": place(span), "message": label })).collect();
    json!({
        "code": problem.code,
        "message": problem.message,
        "label": problem.label,
        "place": problem.span.as_ref().map(place),
        "related": related,
        "help": problem.help,
        "replacement": problem.replacement.as_ref().map(|(span, text)| json!({ "place": place(span), "text": text })),
    })
}
