//! Regular expressions. They take linear time; a constant pattern is compiled with the program.

use std::ops::Deref;

use regex::Regex;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

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
            scanned(m, a, regex)?;
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
            scanned(m, a, regex)?;
            let mut found = Vec::new();
            for part in regex.find_iter(text(a, 0)) {
                rescanned(m, a, regex, part.end())?;
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
            scanned(m, a, regex)?;
            let (subject, to) = (text(a, 0), text(a, 2));
            let mut count = 0usize;
            for part in regex.find_iter(subject) {
                rescanned(m, a, regex, part.end())?;
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
            scanned(m, a, regex)?;
            let mut parts = Vec::new();
            let mut at = 0;
            for part in regex.split(text(a, 0)) {
                at += part.len();
                rescanned(m, a, regex, at)?;
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
            scanned(m, a, regex)?;
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
            scanned(m, a, regex)?;
            let mut found = Vec::new();
            for groups in regex.captures_iter(text(a, 0)) {
                rescanned(m, a, regex, groups.get(0).map_or(0, |whole| whole.end()))?;
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
            scanned(m, a, regex)?;
            let mut count = 0;
            for part in regex.find_iter(text(a, 0)) {
                rescanned(m, a, regex, part.end())?;
                count += 1;
            }
            Ok(Value::Int(count))
        }),
    },
];

fn captures<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>], regex: &Expression) -> Result<Value<'e>> {
    scanned(m, args, regex)?;
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

fn scanned(m: &mut Machine<'_, '_>, args: &[Value<'_>], regex: &Expression) -> Result<()> {
    m.budget.step(regex.search(text(args, 0).len()))
}

fn rescanned(m: &mut Machine<'_, '_>, args: &[Value<'_>], regex: &Expression, at: usize) -> Result<()> {
    m.budget.step(regex.search_on(text(args, 0).len().saturating_sub(at)))
}

/// A compiled regular expression, and what a search costs.
#[derive(Debug)]
pub(crate) struct Expression {
    regex: Regex,
    /// How often each byte of the text is looked at, if it comes to the worst.
    looks: u64,
}

impl Expression {
    /// The steps of a search in a text of so many bytes.
    pub(super) fn search(&self, bytes: usize) -> u64 {
        (bytes as u64 / 8).saturating_mul(self.looks)
    }

    /// The steps of going on behind a match: it may look at all of the rest, so many matches can cost the square of the
    /// text.
    pub(super) fn search_on(&self, bytes: usize) -> u64 {
        1 + (bytes as u64 / 256).saturating_mul(self.looks)
    }
}

impl Deref for Expression {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.regex
    }
}

/// Compiles a pattern within the size limits.
pub(crate) fn pattern(text: &str) -> std::result::Result<Expression, String> {
    const LARGEST: usize = 1 << 20;
    let regex =
        regex::RegexBuilder::new(text).size_limit(LARGEST).dfa_size_limit(2 * LARGEST).nest_limit(64).build().map_err(
            |why| {
                match why {
                    regex::Error::CompiledTooBig(limit) => {
                        format!("the pattern needs more than {limit} bytes when compiled")
                    }
                    // The last line says what is wrong; the lines before draw it, which the diagnostic does already.
                    why => why.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
                }
            },
        )?;
    let choices = regex_syntax::parse(text).map_or(0, |hir| choices(&hir));
    Ok(Expression { regex, looks: 1 + choices.saturating_sub(FREE) / 8 })
}

/// Choices of a pattern whose search costs no more than that of others.
const FREE: u64 = 64;

/// In how many places of a pattern a search can be at once, about: where there is a choice, and where something is counted.
/// So many of them that an automaton has too many states, and each is followed for each byte. Words that are written out,
/// and lists of words, have one way.
fn choices(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => 0,
        // A letter in either case is a letter.
        HirKind::Class(Class::Unicode(class)) if one_letter(class) => 0,
        HirKind::Class(_) => 1,
        HirKind::Capture(group) => choices(&group.sub),
        HirKind::Concat(parts) => parts.iter().map(choices).sum(),
        HirKind::Alternation(parts) => 1 + parts.iter().map(choices).sum::<u64>(),
        HirKind::Repetition(repeated) => {
            let times = u64::from(repeated.max.unwrap_or(repeated.min).max(1));
            choices(&repeated.sub).max(1).saturating_mul(times)
        }
    }
}

fn one_letter(class: &ClassUnicode) -> bool {
    let Some(first) = class.ranges().first().map(ClassUnicodeRange::start) else { return false };
    let mut letter = ClassUnicode::new([ClassUnicodeRange::new(first, first)]);
    letter.case_fold_simple();
    letter == *class
}
