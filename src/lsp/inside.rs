//! Programs that are written in strings of TOML, and the names that definitions call each other by.

use lsp_types::{CompletionItem, GotoDefinitionResponse, Hover, Location, Position, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Encoding, Open, program, toml, uri_of};
use crate::config::embedded::Embedded;
use crate::config::problem::Problems;
use crate::config::texts::Texts;
use crate::config::tree::{self, Node, Value};

/// The settings that hold a program; other strings are templates where they hold `${`.
const PROGRAMS: [&str; 5] = ["when", "code", "filter", "assert", "by"];
/// The settings that name a definition, and its kind. `fallback` names one of its own kind.
const NAMES: [(&str, &str); 5] =
    [("run", "function"), ("of", "function"), ("to", "target"), ("trigger", "trigger"), ("source", "source")];
/// The settings that name a file of the folder.
const FILES: [&str; 3] = ["file", "schema", "input"];

/// A string of TOML under the cursor.
struct Inside {
    /// The string, decoded.
    text: Arc<str>,
    /// Where its bytes are in the file.
    places: Embedded,
    /// The cursor in it.
    at: usize,
    /// The setting.
    key: String,
    /// The kind of definition that it is a setting of.
    kind: String,
}

impl Inside {
    fn find(text: &str, at: usize) -> Option<Self> {
        let root = tree::parse(text, 0, &mut Problems::default());
        let (node, way) = string_at(&root, at, &mut Vec::new())?;
        let mut texts = Texts::default();
        texts.add("", text);
        let decoded = node.text()?;
        let places = Embedded::new(&texts, &node.span, decoded);
        let at = places.inside(at)?;
        let (kind, key) = (way.first()?.clone(), way.last()?.clone());
        Some(Self { text: decoded.into(), places, at, key, kind })
    }

    /// Whether the cursor is in a program: in the whole string, or between `${` and `}`.
    fn is_program(&self) -> bool {
        if PROGRAMS.contains(&self.key.as_str()) {
            return true;
        }
        let before = &self.text[..self.at];
        self.key != "description" && before.rfind("${").is_some_and(|open| !before[open..].contains('}'))
    }

    /// A range of the string, in the file.
    fn range(&self, file: &str, range: Range, encoding: Encoding) -> Range {
        let (start, end) = (encoding.offset(&self.text, range.start), encoding.offset(&self.text, range.end));
        encoding.range(file, self.places.span(&(start..end)))
    }
}

/// The string at a place, with the keys that lead to it.
fn string_at<'n>(node: &'n Node, at: usize, way: &mut Vec<String>) -> Option<(&'n Node, Vec<String>)> {
    match &node.value {
        Value::String(_) => (node.span.start < at && at < node.span.end).then(|| (node, way.clone())),
        Value::Array(items) => items.iter().find_map(|item| string_at(item, at, way)),
        Value::Table(entries) => entries.iter().find_map(|entry| {
            way.push(entry.key.clone());
            let found = string_at(&entry.node, at, way);
            way.pop();
            found
        }),
        _ => None,
    }
}

/// What a word of a program within the TOML means.
pub(super) fn hover(path: &Path, text: &str, at: usize, open: &Open, encoding: Encoding) -> Option<Hover> {
    let inside = Inside::find(text, at).filter(Inside::is_program)?;
    let mut hover = program::hover(path, &inside.text, inside.at, open, encoding)?;
    hover.range = hover.range.map(|range| inside.range(text, range, encoding));
    Some(hover)
}

/// What can stand at a place of a program within the TOML.
pub(super) fn completion(path: &Path, text: &str, at: usize, open: &Open) -> Option<Vec<CompletionItem>> {
    let inside = Inside::find(text, at).filter(Inside::is_program)?;
    Some(program::completion(path, &inside.text, inside.at, open))
}

/// Where a word of a program, a definition that is called by its name, or a file is.
pub(super) fn definition(
    path: &Path,
    text: &str,
    at: usize,
    open: &Open,
    encoding: Encoding,
) -> Option<GotoDefinitionResponse> {
    let inside = Inside::find(text, at)?;
    if inside.is_program() {
        let found = program::definition(path, &inside.text, inside.at, open, encoding)?;
        let GotoDefinitionResponse::Scalar(mut location) = found else { return Some(found) };
        if uri_of(path).as_deref() == Some(location.uri.as_str()) {
            location.range = inside.range(text, location.range, encoding);
        }
        return Some(GotoDefinitionResponse::Scalar(location));
    }
    let folder = toml::folder(path)?;
    if FILES.contains(&inside.key.as_str()) {
        let file = folder.join(&*inside.text);
        let start = Position::new(0, 0);
        let found = file.is_file().then(|| uri_of(&file)?.parse().ok()).flatten()?;
        return Some(GotoDefinitionResponse::Scalar(Location::new(found, Range::new(start, start))));
    }
    let kind = match inside.key.as_str() {
        "fallback" => inside.kind.as_str(),
        key => NAMES.iter().find(|(setting, _)| *setting == key)?.1,
    };
    let (file, range) = named(&folder, kind, &inside.text, open, encoding)?;
    Some(GotoDefinitionResponse::Scalar(Location::new(uri_of(&file)?.parse().ok()?, range)))
}

/// The definition of a kind and a name, in any file of the folder.
fn named(folder: &Path, kind: &str, name: &str, open: &Open, encoding: Encoding) -> Option<(PathBuf, Range)> {
    let shown = toml::shown(folder, open);
    toml::files(folder).into_iter().find_map(|file| {
        let text = shown.get(&file).cloned().or_else(|| std::fs::read_to_string(&file).ok().map(Into::into))?;
        let root = tree::parse(&text, 0, &mut Problems::default());
        let all = root.get(kind)?.items();
        let name = all.iter().filter_map(|node| node.get("name")).find(|node| node.text() == Some(name))?;
        let range = encoding.range(&text, name.span.clone());
        Some((file, range))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn programs_within_strings_are_found_by_the_cursor() {
        let text = "[[trigger]]\nname = 'ä'\nwhen = \"event.type == \\\"x\\\" and len(event.data.a) > 1\"\n\
                              [[target]]\nurl = 'https://${event.key}/x'\ndescription = '${no}'\n";
        let at = |needle: &str| Inside::find(text, text.find(needle).unwrap());
        let inside = at("len(").unwrap();
        assert_eq!((&inside.text[inside.at..inside.at + 3], &*inside.key, &*inside.kind), ("len", "when", "trigger"));
        assert!(inside.is_program());
        assert!(at("event.key").unwrap().is_program() && !at("/x'").unwrap().is_program());
        assert!(!at("no}").unwrap().is_program());
        assert!(at("name").is_none() && at("[[target").is_none());
    }
}
