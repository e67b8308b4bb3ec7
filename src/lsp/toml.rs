//! The TOML of a configuration, as the editor shows it.

use lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString, Position, Range};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Encoding, Open};
use crate::config::{self, Options, SecretMode, Shown};

/// The folder of the configuration that a file belongs to: the nearest one above it that holds TOML with definitions.
pub(super) fn folder(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take(8).find(|dir| holds_configuration(dir)).map(Path::to_owned)
}

fn holds_configuration(dir: &Path) -> bool {
    const HEADS: [&str; 7] =
        ["[[source]]", "[[trigger]]", "[[function]]", "[[target]]", "[[topic]]", "[server]", "[[test]]"];
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let toml = entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    toml.take(50).any(|path| {
        // A long file is none that a person writes.
        let short = std::fs::metadata(&path).is_ok_and(|meta| meta.len() < 1 << 20);
        let text = if short { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        text.lines().any(|line| HEADS.iter().any(|head| line.trim_start().starts_with(head)))
    })
}

/// The TOML files of a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    paths
}

/// The documents of a folder that the editor shows, saved or not.
pub(super) fn shown(folder: &Path, open: &Open) -> Shown {
    let within = open.values().filter(|document| document.path.starts_with(folder));
    within.map(|document| (document.path.clone(), document.text.clone())).collect()
}

/// What is wrong, by file; also the files in which nothing is. Files are read as they are shown, else as they are on disk.
pub(super) fn findings(folder: &Path, open: &Open, encoding: Encoding) -> BTreeMap<PathBuf, Vec<Diagnostic>> {
    let mut found: BTreeMap<PathBuf, Vec<Diagnostic>> =
        files(folder).into_iter().map(|path| (path, Vec::new())).collect();
    let shown = shown(folder, open);
    found.extend(shown.keys().map(|path| (path.clone(), Vec::new())));
    let options = Options { secrets: SecretMode::Sample, shown: shown.clone(), ..Options::new(folder) };
    let json = match config::load(&options) {
        Ok(loaded) => serde_json::json!({ "warnings": loaded.warnings.to_json() }),
        Err(errors) => errors.to_json(),
    };
    for (group, severity) in [("errors", DiagnosticSeverity::ERROR), ("warnings", DiagnosticSeverity::WARNING)] {
        for problem in json[group].as_array().into_iter().flatten() {
            let place = &problem["place"];
            let Some(file) = place["file"].as_str().map(PathBuf::from) else { continue };
            let text = match shown.get(&file) {
                Some(text) => text.to_string(),
                None => std::fs::read_to_string(&file).unwrap_or_default(),
            };
            let number = |name: &str| place[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
            let start = position(&text, number("line"), number("column"), encoding);
            // The excerpt's end is not told; the word is marked.
            let word = text.lines().nth(start.line as usize).map_or(0, |line| {
                let from = line.chars().skip(number("column") as usize - 1);
                from.take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '-')
                    .map(|c| encoding.width(c.encode_utf8(&mut [0; 4])))
                    .sum()
            });
            let mut message = problem["message"].as_str().unwrap_or_default().to_owned();
            for more in [&problem["label"]].into_iter().chain(problem["help"].as_array().into_iter().flatten()) {
                if let Some(more) = more.as_str() {
                    message.push('\n');
                    message.push_str(more);
                }
            }
            found.entry(file).or_default().push(Diagnostic {
                range: Range::new(start, Position::new(start.line, start.character + u32::max(word, 1))),
                severity: Some(severity),
                code: problem["code"].as_str().map(|code| NumberOrString::String(code.to_owned())),
                source: Some("hexafn".to_owned()),
                message,
                ..Diagnostic::default()
            });
        }
    }
    found
}

/// From line and column in characters, counted from 1.
fn position(text: &str, line: u32, column: u32, encoding: Encoding) -> Position {
    let line = line.saturating_sub(1);
    let shown = text.lines().nth(line as usize).unwrap_or_default();
    let before: String = shown.chars().take(column.saturating_sub(1) as usize).collect();
    Position::new(line, encoding.width(&before))
}
