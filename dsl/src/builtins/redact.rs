//! What must not be seen by everybody, taken out.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use regex::Regex;

use super::args::{count, optional_text, text};
use super::case::mapped;
use super::collections::collected;
use super::objects::{is_object, members};
use super::paths::{edited, paths};
use super::{Expression, Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "redact",
        signature: "(value: object | array, paths: array | string, with?: string) -> object | array",
        doc: "The value with what is at the paths replaced by `[redacted]`. A path names keys, and elements by their \
              number; `*` stands for every key or element, and arrays are passed through.",
        examples: &[
            (
                "redact({ user: { email: 'a@b.c', id: 1 } }, ['user.email'])",
                "{\"user\":{\"email\":\"[redacted]\",\"id\":1}}",
            ),
            ("redact([{ a: 1 }, { a: 2 }], 'a', '*')", "[{\"a\":\"*\"},{\"a\":\"*\"}]"),
            ("redact({ a: ['x', 'y'], b: ['z'] }, ['a.1', 'b.*'], '*')", "{\"a\":[\"x\",\"*\"],\"b\":[\"*\"]}"),
        ],
        run: Run::Pure(|m, a| {
            let paths = paths(m, &a[1])?;
            let with = a.get(2).cloned().unwrap_or(Value::Str(Text::Borrowed("[redacted]")));
            edited(m, &a[0], &paths.iter().map(String::as_str).collect::<Vec<_>>(), Some(&with))
        }),
    },
    Row {
        name: "redact_pattern",
        signature: "(value: any, pattern: string, with?: string) -> any",
        doc: "The value with every match of a regular expression, in every string, number and key of it, replaced by \
              `[redacted]`. `$1` in `with` stands for a group. A number with a match becomes a string; a key that would \
              be there twice gets a number behind it.",
        examples: &[
            ("redact_pattern({ note: 'token=abc123 ok' }, 'token=\\w+', 'token=***')", "{\"note\":\"token=*** ok\"}"),
            ("redact_pattern({ phone: 15551234567, n: 7 }, '^1555\\d{7}$')", "{\"phone\":\"[redacted]\",\"n\":7}"),
        ],
        run: Run::Pattern(|m, a, regex| {
            let with = optional_text(a, 2).unwrap_or(MARK).to_owned();
            let groups = with.matches('$').count();
            rewritten(m, &a[0], &mut |m, subject, _| {
                m.budget.step(regex.search(subject.len()))?;
                let mut count = 0usize;
                for part in regex.find_iter(subject) {
                    m.budget.step(regex.search_on(subject.len().saturating_sub(part.end())))?;
                    count += 1;
                }
                if count == 0 {
                    return Ok(None);
                }
                m.budget.make(count.saturating_mul(with.len()).saturating_add(groups.saturating_mul(subject.len())))?;
                Ok(Some(regex.replace_all(subject, with.as_str()).into_owned()))
            })
        }),
    },
    Row {
        name: "redact_keys",
        signature: "(value: any, pattern: string, with?: string) -> any",
        doc: "The value with `[redacted]` for everything under a key, at any depth, that the regular expression \
              matches.",
        examples: &[(
            "redact_keys({ user: { apiToken: 'x', id: 1 } }, '(?i)token|secret|password')",
            "{\"user\":{\"apiToken\":\"[redacted]\",\"id\":1}}",
        )],
        run: Run::Pattern(|m, a, regex| {
            let with = a.get(2).cloned().unwrap_or(Value::Str(Text::Borrowed(MARK)));
            keys_redacted(m, &a[0], regex, &with)
        }),
    },
    Row {
        name: "redact_cards",
        signature: "(value: any, with?: string) -> any",
        doc: "The value with the numbers of payment cards (13 to 19 digits, in groups or not, with a right check \
              digit) in its strings and keys masked but for the last four digits, or replaced. A number that is one \
              becomes a string; one that begins with 1 is a time, unless it has the 15 digits of an airline's card.",
        examples: &[
            ("redact_cards('paid with 4111 1111 1111 1111.')", "\"paid with **** **** **** 1111.\""),
            ("redact_cards({ card: 4111111111111111 })", "{\"card\":\"************1111\"}"),
            ("redact_cards('order 1234567890123456')", "\"order 1234567890123456\""),
        ],
        run: Run::Pure(|m, a| {
            let with = optional_text(a, 1).map(str::to_owned);
            rewritten(m, &a[0], &mut |m, subject, is_number| {
                if is_number && may_be_time(subject) {
                    return Ok(None);
                }
                m.budget.step(subject.len() as u64)?;
                m.budget.make(with.as_ref().map_or(0, |with| with.len().saturating_mul(subject.len() / 13)))?;
                Ok(cards_masked(subject, with.as_deref()))
            })
        }),
    },
    Row {
        name: "redact_emails",
        signature: "(value: any, with?: string) -> any",
        doc: "The value with the e-mail addresses in its strings and keys replaced by `[redacted]`. A key that would be \
              there twice gets a number behind it.",
        examples: &[
            ("redact_emails(['write to jo.doe@example.org, please'])", "[\"write to [redacted], please\"]"),
            ("redact_emails({ 'a@example.org': 1, 'b@example.org': 2 })", "{\"[redacted]\":1,\"[redacted] 2\":2}"),
        ],
        run: Run::Pure(|m, a| {
            let with = optional_text(a, 1).unwrap_or(MARK).to_owned();
            rewritten(m, &a[0], &mut |m, subject, _| {
                m.budget.step(subject.len() as u64 / 8)?;
                let marks = subject.matches('@').count();
                if marks == 0 {
                    return Ok(None);
                }
                m.budget.step((marks as u64).saturating_mul(1 + subject.len() as u64 / 256))?;
                m.budget.make(marks.saturating_mul(with.len()))?;
                Ok(Some(emails()?.replace_all(subject, regex::NoExpand(&with)).into_owned()))
            })
        }),
    },
    Row {
        name: "mask",
        signature: "(text: string, keep?: int, with?: string) -> string",
        doc: "The text with `*` (or the first character of `with`) for each character but the last `keep` (4 if not \
              given); all of them if the text is not at least twice as long.",
        examples: &[("mask('sk_live_abcdef1234')", "\"**************1234\""), ("mask('secret', 4)", "\"******\"")],
        run: Run::Pure(|m, a| {
            let keep = if a.len() > 1 { count(a, 1, "keep")? } else { 4 };
            let fill = optional_text(a, 2).and_then(|fill| fill.chars().next()).unwrap_or('*');
            let size = text(a, 0).chars().count();
            let keep = if size >= keep.saturating_mul(2) { keep } else { 0 };
            m.budget.make(size.saturating_mul(fill.len_utf8()))?;
            mapped(m, a, |text| {
                let hidden = std::iter::repeat_n(fill, size - keep);
                hidden.chain(text.chars().skip(size - keep)).collect()
            })
        }),
    },
    Row {
        name: "is_card_number",
        signature: "(text: string) -> bool",
        doc: "Whether the text is 13 to 19 digits, spaces and dashes aside, with a right check digit (Luhn).",
        examples: &[("is_card_number('4111-1111-1111-1111')", "true"), ("is_card_number('4111111111111112')", "false")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 16)?;
            let plain = text(a, 0).trim();
            let shape = plain.chars().all(|c| c.is_ascii_digit() || c == ' ' || c == '-');
            Ok(Value::Bool(shape && luhn(&plain.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>())))
        }),
    },
    Row {
        name: "is_email",
        signature: "(text: string) -> bool",
        doc: "Whether the text has the form of an e-mail address: what a form may accept, not what RFC 5322 allows.",
        examples: &[("is_email('jo.doe+x@example.org')", "true"), ("is_email('jo@localhost')", "false")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 8)?;
            let subject = text(a, 0);
            let whole = emails()?.find(subject).is_some_and(|found| found.range() == (0..subject.len()));
            Ok(Value::Bool(whole && subject.len() <= 254 && !subject.contains("..")))
        }),
    },
];

const MARK: &str = "[redacted]";

fn emails() -> Result<&'static Regex> {
    static EMAILS: OnceLock<Option<Regex>> = OnceLock::new();
    let made = EMAILS.get_or_init(|| {
        Regex::new(r"[\w.!#$%&'*+/=?^`{|}~-]*[\w!#$%&'*+/=?^`{|}~-]@(?:[\w](?:[\w-]{0,61}[\w])?\.)+\p{L}{2,63}").ok()
    });
    // It is a constant that the examples compile.
    made.as_ref().ok_or_else(|| Fault::new(codes::BAD_ARGUMENT, "the pattern of addresses does not compile"))
}

/// The change of one text, which is that of a number or not; nothing if it stays.
type Rewrite<'f, 'p, 'e> = &'f mut dyn FnMut(&mut Machine<'p, 'e>, &str, bool) -> Result<Option<String>>;

/// The value with every string and number in it changed, as deep as values are.
fn rewritten<'p, 'e>(m: &mut Machine<'p, 'e>, value: &Value<'e>, change: Rewrite<'_, 'p, 'e>) -> Result<Value<'e>> {
    m.budget.step(1)?;
    let changed = match value {
        Value::Str(text) => Some(change(m, text, false)?),
        Value::Int(number) => Some(change(m, &number.to_string(), true)?),
        Value::Dec(number) => Some(change(m, &number.to_string(), true)?),
        Value::Number(text) => Some(change(m, text, true)?),
        _ => None,
    };
    if let Some(changed) = changed {
        return match changed {
            Some(new) => m.string(new),
            None => Ok(value.clone()),
        };
    }
    if value.array_len().is_some() {
        let mut items = collected(m, value)?;
        for item in &mut items {
            *item = rewritten(m, item, change)?;
        }
        return m.array(items);
    }
    if !is_object(value) {
        return Ok(value.clone());
    }
    let mut object = ObjectBuilder::with_capacity(value.members_len());
    let (mut renamed, mut all) = (Vec::new(), members(m, value)?);
    for (at, (key, member)) in all.iter_mut().enumerate() {
        *member = rewritten(m, member, change)?;
        m.budget.step(1)?;
        let is_number = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        if let Some(new) = change(m, key, is_number)? {
            renamed.push((at, new));
        }
    }
    if !renamed.is_empty() {
        rename(m, &mut all, renamed)?;
    }
    for (key, member) in all {
        object.push_new(key, member);
    }
    m.object(object)
}

/// Gives members their new keys; one that is taken gets a number, since no key may be there twice.
fn rename<'e>(m: &mut Machine<'_, 'e>, all: &mut [(Text<'e>, Value<'e>)], renamed: Vec<(usize, String)>) -> Result<()> {
    let mut taken: HashSet<Box<str>> = HashSet::new();
    let mut next = renamed.iter().map(|(at, _)| *at).peekable();
    for (at, (key, _)) in all.iter().enumerate() {
        m.budget.step(1 + key.len() as u64 / 8)?;
        if next.next_if_eq(&at).is_none() {
            m.budget.make(key.len())?;
            taken.insert(key.as_str().into());
        }
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (at, new) in renamed {
        let count = counts.entry(new.clone()).or_default();
        let key = loop {
            *count += 1;
            m.budget.step(1)?;
            let key = if *count == 1 { new.clone() } else { format!("{new} {count}") };
            if taken.insert(key.as_str().into()) {
                break key;
            }
        };
        m.budget.make(3 * key.len())?;
        all[at].0 = Text::Shared(key.into());
    }
    Ok(())
}

fn keys_redacted<'e>(
    m: &mut Machine<'_, 'e>,
    value: &Value<'e>,
    keys: &Expression,
    with: &Value<'e>,
) -> Result<Value<'e>> {
    m.budget.step(1)?;
    if value.array_len().is_some() {
        let mut items = collected(m, value)?;
        for item in &mut items {
            *item = keys_redacted(m, item, keys, with)?;
        }
        return m.array(items);
    }
    if !is_object(value) {
        return Ok(value.clone());
    }
    let mut object = ObjectBuilder::with_capacity(value.members_len());
    for (key, member) in members(m, value)? {
        m.budget.step(1 + keys.search(key.len()))?;
        let member = if keys.is_match(&key) { with.clone() } else { keys_redacted(m, &member, keys, with)? };
        object.push_new(key, member);
    }
    m.object(object)
}

/// Whether a number can be milliseconds, microseconds or nanoseconds since 1970, of which one in ten has a right check digit.
/// Cards that begin with 1 are those of airlines, of 15 digits.
fn may_be_time(number: &str) -> bool {
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    number.starts_with('1') && digits != 15
}

/// The text with card numbers masked; nothing if there are none.
fn cards_masked(text: &str, with: Option<&str>) -> Option<String> {
    const FEWEST: usize = 13;
    /// The most common first: digits beside a card may make a longer number with a right check digit by chance.
    const SIZES: [usize; 7] = [16, 15, 19, 14, 13, 18, 17];
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        // A run of digits with single spaces or dashes between them.
        let start = at;
        let mut digits = Vec::new();
        while at < bytes.len() {
            if bytes[at].is_ascii_digit() {
                digits.push(at);
            } else if !(matches!(bytes[at], b' ' | b'-') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)) {
                break;
            }
            at += 1;
        }
        let end = digits.last().map_or(start, |last| last + 1);
        let plain: Vec<u8> = digits.iter().map(|at| bytes[*at]).collect();
        // A card may stand beside other numbers: the first part of the run that is one, beginning where a group begins.
        let begins = |first: usize| first == 0 || digits[first - 1] + 1 != digits[first];
        let ends = |last: usize| last + 1 == digits.len() || digits[last] + 1 != digits[last + 1];
        let mut first = 0;
        while first + FEWEST <= plain.len() {
            let found = SIZES
                .into_iter()
                .filter(|size| begins(first) && first + size <= plain.len())
                .find(|size| ends(first + size - 1) && luhn(&plain[first..first + size]));
            let Some(size) = found else {
                first += 1;
                continue;
            };
            let (from, to) = (digits[first], digits[first + size - 1] + 1);
            out.push_str(&text[copied..from]);
            match with {
                Some(with) => out.push_str(with),
                None => {
                    let kept = digits[first + size - 4];
                    out.extend(text[from..kept].chars().map(|c| if c.is_ascii_digit() { '*' } else { c }));
                    out.push_str(&text[kept..to]);
                }
            }
            copied = to;
            first += size;
        }
        at = end.max(at);
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// The check digit of payment cards, by Luhn; all zeros is no card.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            if at % 2 == 0 {
                digit
            } else if digit > 4 {
                2 * digit - 9
            } else {
                2 * digit
            }
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum > 0 && sum.is_multiple_of(10)
}
