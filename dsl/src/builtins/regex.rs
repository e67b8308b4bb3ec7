//! Regular expressions. They take linear time; a constant pattern is compiled with the program.

use regex::Regex;

use super::args::text;
use super::{Row, Run};
use crate::eval::{Machine, Result};
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "matches",
        signature: "(text: string, pattern: string) -> bool",
        doc: "Whether the regular expression matches anywhere in the text. Patterns take linear time; write them in \
              single quotes.",
        examples: &[("matches('v1.2.3', '^v\\d+')", "true")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            Ok(Value::Bool(regex.is_match(text(a, 0))))
        }),
    },
    Row {
        name: "captures",
        signature: "(text: string, pattern: string) -> object | null",
        doc: "The groups of the first match: numbered as `\"0\"`, `\"1\"`, … and by name; null without a match.",
        examples: &[
            ("captures('v1.2', '(?<major>\\d+)\\.(\\d+)')", "{\"0\":\"1.2\",\"1\":\"1\",\"2\":\"2\",\"major\":\"1\"}"),
            ("captures('x', '\\d')", "null"),
        ],
        run: Run::Pattern(captures),
    },
    Row {
        name: "find_all",
        signature: "(text: string, pattern: string) -> array",
        doc: "All matches of a regular expression.",
        examples: &[("find_all('#12 and #7', '#\\d+')", "[\"#12\",\"#7\"]")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut found = Vec::new();
            for part in regex.find_iter(text(a, 0)) {
                rescanned(m, a, part.end())?;
                found.push(Value::text(part.as_str()));
            }
            m.budget.make(text(a, 0).len())?;
            m.array(found)
        }),
    },
    Row {
        name: "regex_replace",
        signature: "(text: string, pattern: string, to: string) -> string",
        doc: "The text with every match replaced; `$1` and `${name}` in `to` stand for groups.",
        examples: &[
            ("regex_replace('a1b22', '\\d+', '#')", "\"a#b#\""),
            ("regex_replace('ab', '(a)(b)', '$2$1')", "\"ba\""),
        ],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let (subject, to) = (text(a, 0), text(a, 2));
            let mut count = 0usize;
            for part in regex.find_iter(subject) {
                rescanned(m, a, part.end())?;
                count += 1;
            }
            // A group may be as long as the text: cap before making.
            m.budget.make(count.saturating_mul(to.len().saturating_add(16)))?;
            let groups = to.matches('$').count();
            if groups > 0 {
                m.budget.make(subject.len().saturating_mul(groups))?;
            }
            let replaced = regex.replace_all(subject, to).into_owned();
            m.string(replaced)
        }),
    },
    Row {
        name: "regex_split",
        signature: "(text: string, pattern: string) -> array",
        doc: "The parts between the matches of a regular expression.",
        examples: &[("regex_split('a, b;c', '[,;] *')", "[\"a\",\"b\",\"c\"]")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut parts = Vec::new();
            let mut at = 0;
            for part in regex.split(text(a, 0)) {
                at += part.len();
                rescanned(m, a, at)?;
                parts.push(Value::text(part));
            }
            m.budget.make(text(a, 0).len())?;
            m.array(parts)
        }),
    },
    Row {
        name: "find_match",
        signature: "(text: string, pattern: string) -> string | null",
        doc: "The first match of a regular expression; null if there is none.",
        examples: &[("find_match('order #12', '#\\d+')", "\"#12\"")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            match regex.find(text(a, 0)) {
                Some(part) => m.string(part.as_str().to_owned()),
                None => Ok(Value::Null),
            }
        }),
    },
    Row {
        name: "captures_all",
        signature: "(text: string, pattern: string) -> array",
        doc: "The groups of every match, as `captures` gives them for the first.",
        examples: &[(
            "captures_all('a=1 b=2', '(?<key>\\w)=(?<value>\\d)') |> map(x => x.key + x.value)",
            "[\"a1\",\"b2\"]",
        )],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut found = Vec::new();
            for groups in regex.captures_iter(text(a, 0)) {
                rescanned(m, a, groups.get(0).map_or(0, |whole| whole.end()))?;
                found.push(groups_object(m, regex, &groups)?);
            }
            m.array(found)
        }),
    },
    Row {
        name: "count_matches",
        signature: "(text: string, pattern: string) -> int",
        doc: "How often a regular expression matches, without overlaps.",
        examples: &[("count_matches('a1b22', '\\d+')", "2")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut count = 0;
            for part in regex.find_iter(text(a, 0)) {
                rescanned(m, a, part.end())?;
                count += 1;
            }
            Ok(Value::Int(count))
        }),
    },
];

fn captures<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>], regex: &Regex) -> Result<Value<'e>> {
    scanned(m, args)?;
    match regex.captures(text(args, 0)) {
        Some(found) => groups_object(m, regex, &found),
        None => Ok(Value::Null),
    }
}

fn groups_object<'e>(m: &mut Machine<'_, 'e>, regex: &Regex, found: &regex::Captures<'_>) -> Result<Value<'e>> {
    let whole = found.get(0).map_or(0, |whole| whole.len());
    m.budget.step(found.len() as u64)?;
    // Groups overlap: each may be as long as the match.
    m.budget.make(found.iter().flatten().map(|group| group.len()).sum::<usize>() + whole)?;
    let mut object = ObjectBuilder::with_capacity(found.len());
    let group = |group: Option<regex::Match<'_>>| group.map_or(Value::Null, |group| Value::text(group.as_str()));
    for (at, part) in found.iter().enumerate() {
        object.push_new(Text::Shared(at.to_string().into()), group(part));
    }
    for name in regex.capture_names().flatten() {
        object.push_new(Text::Shared(name.into()), group(found.name(name)));
    }
    m.object(object)
}

fn scanned(m: &mut Machine<'_, '_>, args: &[Value<'_>]) -> Result<()> {
    m.budget.step(text(args, 0).len() as u64 / 8)
}

/// Searching on after a match may look at all of the rest, so many matches can cost the square of the text.
fn rescanned(m: &mut Machine<'_, '_>, args: &[Value<'_>], at: usize) -> Result<()> {
    m.budget.step(1 + text(args, 0).len().saturating_sub(at) as u64 / 256)
}
