//! Reads a type out of a tree and reports everything that is wrong with it, not only the first thing: what serde
//! stumbles over is reported, passed over, and the value is read again.

use serde::de::DeserializeOwned;

use super::codes;
use super::de::{At, Fault, FaultKind, Skip, list};
use super::problem::{Problem, Problems};
use super::texts::Span;
use super::tree::{Entry, Node, Value};

/// After this many faults in one table the rest is left for the next time.
const MAX_FAULTS: usize = 50;

/// Reads `node`, which `what` names to people (`source `github``, `[server]`). `None` when anything was wrong; it is
/// in `problems` then.
pub fn read<T: DeserializeOwned>(node: &Node, what: &str, problems: &mut Problems) -> Option<T> {
    Reader::new(node, what).read(problems)
}

/// A table to be read as a type.
pub struct Reader<'a> {
    node: &'a Node,
    what: &'a str,
    beside: &'a [&'a str],
    skip: Skip,
}

impl<'a> Reader<'a> {
    /// Reads `node`, which `what` names to people.
    pub fn new(node: &'a Node, what: &'a str) -> Self {
        Self { node, what, beside: &[], skip: Skip::new() }
    }

    /// Keys that the table may have beside those of the type; somebody else reads them.
    #[must_use]
    pub fn beside(mut self, keys: &'a [&'a str]) -> Self {
        self.beside = keys;
        self.skip.extend(keys.iter().filter_map(|key| self.node.entry(key)).map(|e| e.key_span.start));
        self
    }

    /// Places whose error is known.
    #[must_use]
    pub fn passing_over(mut self, places: Skip) -> Self {
        self.skip.extend(places);
        self
    }

    /// Reads. `None` when anything was wrong.
    pub fn read<T: DeserializeOwned>(self, problems: &mut Problems) -> Option<T> {
        let (value, right) = self.read_what_fits(problems);
        value.filter(|_| right)
    }

    /// Reads, with the default in place of what is wrong, so that the rest can be checked further; and whether nothing
    /// was wrong.
    pub fn read_what_fits<T: DeserializeOwned>(mut self, problems: &mut Problems) -> (Option<T>, bool) {
        let Self { node, what, beside, .. } = self;
        for round in 0..MAX_FAULTS {
            match T::deserialize(At { node, skip: &self.skip }) {
                Ok(value) => return (Some(value), round == 0),
                Err(fault) => {
                    let blame = blame::<T>(node, &fault, &self.skip);
                    if !missing_since_skipped(node, &fault, &self.skip) {
                        problems.push(explain(node, &fault, blame.as_ref(), what, beside));
                    }
                    let fresh = blame.is_some_and(|b| self.skip.insert(b.id));
                    if !fresh {
                        return (None, false);
                    }
                }
            }
        }
        (None, false)
    }
}

/// What a fault is about: a key or element, by its position in [`Skip`], its name, and the places to mark.
struct Blame<'a> {
    id: usize,
    name: String,
    /// Of an element: the list that it is in.
    list: Option<String>,
    key_span: Span,
    node: &'a Node,
}

impl<'a> Blame<'a> {
    fn entry(entry: &'a Entry) -> Self {
        let (name, key_span) = (entry.key.clone(), entry.key_span.clone());
        Self { id: entry.key_span.start, name, list: None, key_span, node: &entry.node }
    }

    /// The same, where the list that it is in is found in this table or list.
    fn within(mut self, outer: &str) -> Self {
        if let Some(list) = &mut self.list {
            *list = if list.is_empty() { outer.to_owned() } else { format!("{outer}.{list}") };
        }
        self
    }

    /// What is to blame, of what.
    fn named(&self, what: &str) -> String {
        match &self.list {
            Some(list) if !list.is_empty() => format!("{} of `{list}` of {what}", self.name),
            _ => format!("`{}` of {what}", self.name),
        }
    }
}

/// The innermost key or element that holds the fault.
fn blame<'a, T: DeserializeOwned>(node: &'a Node, fault: &Fault, skip: &Skip) -> Option<Blame<'a>> {
    let span = fault.span.clone().unwrap_or_else(|| node.span.clone());
    let found = innermost(node, &span, skip);
    let table = match &found {
        Some(found) if found.node.span == span && found.key_span != span => found.node,
        Some(_) => return found,
        None => node,
    };
    // serde buffers tables whose type depends on one of their keys, and a buffered value has lost its place: then the
    // key to blame is the one that is named, or the one without which another fault (or none) is left.
    let live = || table.entries().iter().filter(|e| !skip.contains(&e.key_span.start));
    let guilty = match &fault.kind {
        FaultKind::Missing(_) => None,
        FaultKind::UnknownField { name, .. } => live().find(|e| e.key == *name),
        _ => live().find(|entry| {
            let mut without = skip.clone();
            without.insert(entry.key_span.start);
            match T::deserialize(At { node, skip: &without }) {
                Ok(_) => true,
                Err(other) if entry.node.span == span => other.kind != fault.kind,
                Err(other) => other.kind != fault.kind && !matches!(other.kind, FaultKind::Missing(_)),
            }
        }),
    };
    guilty.map(Blame::entry).or(found)
}

fn innermost<'a>(node: &'a Node, span: &Span, skip: &Skip) -> Option<Blame<'a>> {
    let within = |outer: &Span| outer.start <= span.start && span.end <= outer.end;
    match &node.value {
        Value::Table(entries) => entries.iter().filter(|e| !skip.contains(&e.key_span.start)).find_map(|entry| {
            if within(&entry.key_span) {
                return Some(Blame::entry(entry));
            }
            // A header's span covers its line only, so what is in the table may lie outside of it.
            let deeper = innermost(&entry.node, span, skip);
            deeper
                .map(|deeper| deeper.within(&entry.key))
                .or_else(|| within(&entry.node.span).then(|| Blame::entry(entry)))
        }),
        Value::Array(items) => {
            items.iter().enumerate().filter(|(_, item)| !skip.contains(&item.span.start)).find_map(|(index, item)| {
                let whole = || Blame {
                    id: item.span.start,
                    name: format!("element {}", index + 1),
                    list: Some(String::new()),
                    key_span: item.span.clone(),
                    node: item,
                };
                innermost(item, span, skip).or_else(|| within(&item.span).then(whole))
            })
        }
        _ => None,
    }
}

/// A key that is missing only because it was wrong and passed over (its value, or its spelling) has been reported.
fn missing_since_skipped(node: &Node, fault: &Fault, skip: &Skip) -> bool {
    let FaultKind::Missing(name) = fault.kind else { return false };
    fn any(node: &Node, name: &str, skip: &Skip) -> bool {
        let meant = |key: &str| key == name || closest(key, &[name]).is_some();
        let reported = |e: &Entry| meant(&e.key) && skip.contains(&e.key_span.start);
        node.items().iter().any(|n| any(n, name, skip))
            || node.entries().iter().any(|e| reported(e) || any(&e.node, name, skip))
    }
    any(node, name, skip)
}

fn explain(node: &Node, fault: &Fault, blame: Option<&Blame<'_>>, what: &str, beside: &[&str]) -> Problem {
    let place = fault.span.clone().unwrap_or_else(|| node.span.clone());
    let value_place = || blame.map_or(place.clone(), |b| inner_place(&place, b));
    let named = |b: &Blame<'_>| b.named(what);
    match &fault.kind {
        FaultKind::UnknownField { name, expected } => {
            let span = blame.map_or(place, |b| b.key_span.clone());
            let own = node.entry(name).is_some_and(|e| e.key_span == span);
            let expected: Vec<&str> =
                if own { expected.iter().chain(beside).copied().collect() } else { expected.to_vec() };
            unknown_field(span, name, &expected, what)
        }
        FaultKind::UnknownVariant { name, expected } => {
            let of = blame.map_or_else(|| what.to_owned(), named);
            unknown_word(value_place(), name, expected, &of)
        }
        FaultKind::Missing(name) => {
            let inner = blame.map_or_else(|| what.to_owned(), named);
            Problem::error(&codes::MISSING, place, format!("{inner} has no `{name}`"))
                .label(format!("`{name}` must be set here"))
        }
        FaultKind::Type { found, expected } => {
            let of = blame.map_or_else(|| what.to_owned(), named);
            Problem::error(&codes::VALUE, value_place(), format!("{of} must be {expected}"))
                .label(format!("this is {found}"))
        }
        FaultKind::Other(message) => {
            let of = blame.map_or_else(|| what.to_owned(), named);
            Problem::error(&codes::VALUE, value_place(), format!("{of}: {message}"))
        }
    }
}

/// The place of the fault when it is within the value, else the value.
fn inner_place(place: &Span, blame: &Blame<'_>) -> Span {
    let value = &blame.node.span;
    if value.start <= place.start && place.end <= value.end { place.clone() } else { value.clone() }
}

/// What is called one way by some kinds of source and another way by others.
const SYNONYMS: [[&str; 2]; 2] = [["headers", "keep_headers"], ["keep_headers", "headers"]];

/// The error of a key that does not exist.
pub fn unknown_field(span: Span, name: &str, expected: &[&str], what: &str) -> Problem {
    let other = SYNONYMS.iter().find_map(|pair| match pair {
        [one, other] | [other, one] if *one == name && expected.contains(other) => Some(*other),
        _ => None,
    });
    let close = other.or_else(|| closest(name, expected));
    let problem = Problem::error(&codes::UNKNOWN_FIELD, span, format!("{what} has no setting `{name}`"))
        .help(format!("the settings are {}", list(expected)));
    match close {
        Some(close) => problem.label(format!("did you mean `{close}`?")).replace(close),
        None => problem.label("unknown setting"),
    }
}

/// The error of a word that is none of the choices.
pub fn unknown_word(span: Span, name: &str, expected: &[&str], of: &str) -> Problem {
    let close = closest(name, expected);
    let problem =
        Problem::error(&codes::UNKNOWN_KIND, span, format!("{of} cannot be \"{name}\"")).help(match expected {
            [only] => format!("the only choice is `{only}`"),
            _ => format!("the choices are {}", list(expected)),
        });
    match close {
        Some(close) => problem.label(format!("did you mean \"{close}\"?")).replace(format!("\"{close}\"")),
        None => problem.label("unknown choice"),
    }
}

/// The word nearest to `name`, when it is near enough to be meant: a slip of the keys, or the same beginning.
pub fn closest<'a>(name: &str, words: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    words
        .iter()
        .map(|word| {
            let other = word.to_lowercase();
            let slip = lower.len() > 2 && strsim::damerau_levenshtein(&lower, &other) <= 1 + lower.len() / 8;
            let score = strsim::jaro_winkler(&lower, &other);
            (if slip { score.max(0.9) } else { score }, *word)
        })
        .filter(|(score, _)| *score >= 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
