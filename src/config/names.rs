//! Names: their form, that each is defined once, and that whoever is named exists.

use std::collections::BTreeMap;

use super::codes;
use super::de::list;
use super::problem::{Problem, Problems};
use super::read::closest;
use super::texts::Span;
use super::tree::{Node, Value};

/// A name becomes a segment of topic names (`hexafn.out.<target>`), of paths and of URLs.
const MAX_NAME: usize = 64;

/// The names of one kind of definition and where each is defined.
#[derive(Debug, Clone, Default)]
pub struct Names {
    kind: &'static str,
    known: BTreeMap<String, Span>,
}

impl Names {
    /// Collects the names of `nodes`; a malformed or repeated one is reported. A definition whose other settings are
    /// wrong counts as well: who refers to it is not to blame.
    pub fn collect(kind: &'static str, nodes: &[Node], problems: &mut Problems) -> Self {
        let mut names = Self { kind, known: BTreeMap::new() };
        for node in nodes {
            // A name that is missing or no string is reported when the definition is read.
            let Some(value) = node.get("name") else { continue };
            let Value::String(name) = &value.value else { continue };
            // The name of a test is a sentence for people.
            if kind != "test"
                && let Err(why) = check(kind, name)
            {
                problems.push(Problem::error(&codes::NAME, value.span.clone(), why).help(match kind {
                    "topic" => "e.g. `orders.eu.paid`".to_owned(),
                    _ => format!("e.g. `{}`", suggestion(name)),
                }));
            }
            if let Some(first) = names.known.get(name) {
                problems.push(
                    Problem::error(
                        &codes::DUPLICATE,
                        value.span.clone(),
                        format!("there are two {kind}s named `{name}`"),
                    )
                    .label("defined again here")
                    .related(first.clone(), "first defined here")
                    .help("give one of them another name"),
                );
            } else {
                names.known.insert(name.clone(), value.span.clone());
            }
        }
        names
    }

    /// Whether it exists.
    pub fn contains(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The error of a name that nothing defines.
    pub fn unknown(&self, name: &str, span: Span, who: &str) -> Problem {
        let kind = self.kind;
        let message = format!("{who} names the {kind} `{name}`, which does not exist");
        let problem = Problem::error(&codes::UNKNOWN_NAME, span, message);
        let words: Vec<&str> = self.known.keys().map(String::as_str).collect();
        let problem = match closest(name, &words) {
            Some(close) => problem.label(format!("did you mean `{close}`?")).replace(close),
            None => problem.label("unknown"),
        };
        problem.help(match words.as_slice() {
            [] => format!("no {kind} is defined; define it: [[{kind}]] with name = \"{name}\""),
            [_] => format!("the only {kind} is {}", list(&words)),
            [..] if words.len() <= 12 => format!("the {kind}s are {}", list(&words)),
            [..] => format!("there are {} {kind}s, among them {}", words.len(), list(&words[..12])),
        })
    }
}

/// The form of names of a kind as a regular expression, for editors; `None` where a name is a sentence for people.
pub fn pattern(kind: &str) -> Option<String> {
    match kind {
        "test" => None,
        "topic" => Some(r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$".to_owned()),
        _ => Some(format!("^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$")),
    }
}

/// Why a name cannot be used.
pub(crate) fn check(kind: &str, name: &str) -> Result<(), String> {
    if kind == "topic" {
        return hexafn_actors::topic::pattern::check_settable(name).map_err(|e| e.to_string());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() {
        return Err(format!("the name of a {kind} cannot be empty"));
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name of this {kind} has {} bytes; at most {MAX_NAME} are allowed", name.len()));
    }
    if !name.bytes().all(plain) {
        return Err(format!("`{name}` is not a name: letters, digits, `_` and `-` are allowed"));
    }
    Ok(())
}

fn suggestion(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(MAX_NAME).collect();
    while out.contains("--") {
        out = out.replace("--", "-");
    }
    let out = out.trim_matches('-');
    if out.is_empty() { "my-name".to_owned() } else { out.to_owned() }
}
