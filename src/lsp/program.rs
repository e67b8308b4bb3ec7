//! Programs and modules as they are typed: findings, what a word means, what can stand here, where something is declared.

use hexafn_dsl::{
    Builtin, CompileOptions, Declaration, Diagnostics, ModuleError, Modules, ProgramKind, SourceText, builtins, tools,
};
use lsp_types::{
    CompletionItem, CompletionItemKind, Diagnostic, DiagnosticSeverity, Documentation, GotoDefinitionResponse, Hover,
    HoverContents, Location, MarkupContent, MarkupKind, NumberOrString,
};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Encoding, Open, toml, uri_of};
use crate::config::modules::Folder;

/// Modules as they are shown, else as they are on disk.
struct Shown<'a> {
    folder: PathBuf,
    disk: Folder,
    open: &'a Open,
    /// The module that is checked, under its own path.
    own: Option<(&'a str, &'a Arc<str>)>,
}

impl<'a> Shown<'a> {
    fn of(path: &Path, open: &'a Open) -> Self {
        let folder = toml::folder(path).or_else(|| path.parent().map(Path::to_owned)).unwrap_or_default();
        Self { disk: Folder::new(&folder), folder, open, own: None }
    }
}

impl Modules for Shown<'_> {
    fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
        if let Some((own, text)) = self.own
            && own == path
        {
            return Ok(text.clone());
        }
        let full = self.folder.join(path);
        match self.open.values().find(|document| document.path == full) {
            Some(document) => Ok(document.text.clone()),
            None => self.disk.load(path),
        }
    }
}

/// Whether a text is a module: it declares, and gives no result.
fn is_module(text: &str, found: &Diagnostics) -> bool {
    !hexafn_dsl::module_declarations(text).is_empty() && found.iter().any(|d| d.code == hexafn_dsl::codes::NO_RESULT)
}

/// What is wrong with a text.
pub(super) fn findings(path: &Path, text: &Arc<str>, open: &Open, encoding: Encoding) -> Vec<Diagnostic> {
    let mut shown = Shown::of(path, open);
    let check = |text: &str, modules: &Shown<'_>| {
        let source = SourceText { name: "", text };
        let options = CompileOptions::default().modules(modules);
        hexafn_dsl::compile_with(&source, ProgramKind::Function, &options)
    };
    let found = match check(text, &shown) {
        Ok(program) => program.warnings().clone(),
        Err(found) if is_module(text, &found) => {
            // A module is checked by whoever imports all of it.
            let folder = shown.folder.clone();
            let own = path.strip_prefix(&folder).ok().and_then(Path::to_str).unwrap_or("module.hexa");
            shown.own = Some((own, text));
            let names: Vec<String> = hexafn_dsl::module_declarations(text).into_iter().map(|d| d.name).collect();
            let importer = format!("import {{ {} }} from \"{own}\"\nnull", names.join(", "));
            let found = match check(&importer, &shown) {
                Ok(program) => program.warnings().clone(),
                Err(found) => found,
            };
            let of_module = found.iter().filter(|d| d.module.as_ref().is_some_and(|m| &*m.path == own));
            return of_module.map(|d| told(d, text, encoding)).collect();
        }
        Err(found) => found,
    };
    found.iter().filter(|d| d.module.is_none()).map(|d| told(d, text, encoding)).collect()
}

fn told(found: &hexafn_dsl::Diagnostic, text: &str, encoding: Encoding) -> Diagnostic {
    let mut message = found.message.clone();
    let suggestion = found.replacement.as_ref().map(|(_, with)| format!("suggestion: {with}"));
    let label = Some(&found.label).filter(|l| !l.is_empty());
    for more in [label, found.help.as_ref(), suggestion.as_ref()].into_iter().flatten() {
        message.push('\n');
        message.push_str(more);
    }
    Diagnostic {
        range: encoding.range(text, found.span.clone()),
        severity: Some(match found.severity {
            hexafn_dsl::Severity::Error => DiagnosticSeverity::ERROR,
            hexafn_dsl::Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(found.code.to_string())),
        source: Some("hexafn".to_owned()),
        message,
        ..Diagnostic::default()
    }
}

/// The word at a place: letters, digits and `_`.
fn word(text: &str, at: usize) -> Range<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let start = text[..at].char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(at, |(i, _)| i);
    let end = text[at..].find(|c| !part(c)).map_or(text.len(), |i| at + i);
    start..end
}

/// The path and the text of a module.
type ModuleOf = (String, Arc<str>);

/// A function or constant that a word stands for, and the module it comes from.
fn declared(name: &str, path: &Path, text: &str, open: &Open) -> Option<(Declaration, Option<ModuleOf>)> {
    let of = |text: &str, name: &str| hexafn_dsl::module_declarations(text).into_iter().find(|d| d.name == name);
    if let Some(own) = of(text, name) {
        return Some((own, None));
    }
    let shown = Shown::of(path, open);
    imports(text).into_iter().find_map(|(names, module)| {
        let (theirs, _) = names.iter().find(|(_, ours)| ours == name)?;
        let text = shown.load(&module).ok()?;
        Some((of(&text, theirs)?, Some((module, text))))
    })
}

/// Names of a module, each as it is there and as it is called here.
type Imported = (Vec<(String, String)>, String);

/// What the first lines of a text import. Read from the text alone, so that it is known while other lines are wrong.
fn imports(text: &str) -> Vec<Imported> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("import") {
        rest = &rest[at + "import".len()..];
        let Some((names, after)) = rest.trim_start().strip_prefix('{').and_then(|r| r.split_once('}')) else {
            continue;
        };
        let Some(path) = after.trim_start().strip_prefix("from").map(str::trim_start) else { continue };
        let quote = path.chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(module) = quote.and_then(|q| path[1..].split(q).next()) else { continue };
        let names = names.split(',').filter_map(|one| {
            let mut words = one.split_whitespace();
            let theirs = words.next()?.to_owned();
            let ours = words.nth(1).map_or_else(|| theirs.clone(), ToOwned::to_owned);
            Some((theirs, ours))
        });
        found.push((names.collect(), module.to_owned()));
    }
    found
}

fn markdown(value: String) -> MarkupContent {
    MarkupContent { kind: MarkupKind::Markdown, value }
}

fn about_builtin(builtin: &Builtin) -> String {
    let mut text = format!("```hexa\n{}{}\n```\n{}", builtin.name, builtin.signature, builtin.doc);
    for (program, gives) in builtin.examples.iter().take(3) {
        text.push_str(&format!("\n```hexa\n{program}  # {gives}\n```"));
    }
    text
}

fn about_declaration(declaration: &Declaration, module: Option<&str>) -> String {
    let head = match &declaration.params {
        Some(params) => format!("fn {}({})", declaration.name, params.join(", ")),
        None => format!("const {}", declaration.name),
    };
    let from = module.map_or_else(String::new, |module| format!("\n\nfrom `{module}`"));
    format!("```hexa\n{head}\n```\n{}{from}", declaration.doc)
}

/// What a word means.
pub(super) fn hover(path: &Path, text: &str, at: usize, open: &Open, encoding: Encoding) -> Option<Hover> {
    let span = word(text, at);
    let name = text.get(span.clone()).filter(|name| !name.is_empty())?;
    // A member of a value is not a function of that name.
    if text[..span.start].ends_with('.') {
        return None;
    }
    let about = match declared(name, path, text, open) {
        Some((declaration, module)) => about_declaration(&declaration, module.as_ref().map(|(path, _)| path.as_str())),
        None => about_builtin(builtins().iter().find(|builtin| builtin.name == name)?),
    };
    let range = Some(encoding.range(text, span));
    Some(Hover { contents: HoverContents::Markup(markdown(about)), range })
}

/// What can stand at a place.
pub(super) fn completion(path: &Path, text: &str, at: usize, open: &Open) -> Vec<CompletionItem> {
    let before = &text[..word(text, at).start];
    let item = |label: &str, kind| CompletionItem { label: label.to_owned(), kind: Some(kind), ..Default::default() };
    if let Some(base) = before.strip_suffix("?.").or_else(|| before.strip_suffix('.')) {
        let base = &base[word(base, base.len()).start..];
        return match base {
            "event" => tools::event_fields().map(|name| item(name, CompletionItemKind::FIELD)).collect(),
            "ctx" => tools::ctx_fields().map(|name| item(name, CompletionItemKind::FIELD)).collect(),
            _ => Vec::new(),
        };
    }
    let mut items: Vec<CompletionItem> = ["event", "ctx"].map(|name| item(name, CompletionItemKind::VARIABLE)).into();
    items.extend(tools::KEYWORDS.iter().map(|word| item(word, CompletionItemKind::KEYWORD)));
    items.extend(builtins().iter().map(|builtin| CompletionItem {
        detail: Some(builtin.signature.to_owned()),
        documentation: Some(Documentation::MarkupContent(markdown(about_builtin(builtin)))),
        ..item(builtin.name, CompletionItemKind::FUNCTION)
    }));
    let own = hexafn_dsl::module_declarations(text).into_iter().map(|declaration| (declaration, None));
    let shown = Shown::of(path, open);
    let imported = imports(text).into_iter().flat_map(|(names, module)| {
        let text = shown.load(&module).unwrap_or_default();
        let all = hexafn_dsl::module_declarations(&text);
        names.into_iter().filter_map(move |(theirs, ours)| {
            let mut declaration = all.iter().find(|d| d.name == theirs)?.clone();
            declaration.name = ours;
            Some((declaration, Some(module.clone())))
        })
    });
    items.extend(own.chain(imported).map(|(declaration, module)| {
        let kind =
            if declaration.params.is_some() { CompletionItemKind::FUNCTION } else { CompletionItemKind::CONSTANT };
        let about = markdown(about_declaration(&declaration, module.as_deref()));
        CompletionItem { documentation: Some(Documentation::MarkupContent(about)), ..item(&declaration.name, kind) }
    }));
    items
}

/// Where a word is declared.
pub(super) fn definition(
    path: &Path,
    text: &str,
    at: usize,
    open: &Open,
    encoding: Encoding,
) -> Option<GotoDefinitionResponse> {
    let name = text.get(word(text, at)).filter(|name| !name.is_empty())?;
    let (declaration, module) = declared(name, path, text, open)?;
    let (file, range) = match &module {
        None => (path.to_owned(), encoding.range(text, declaration.span)),
        Some((module, text)) => (Shown::of(path, open).folder.join(module), encoding.range(text, declaration.span)),
    };
    let uri = uri_of(&file)?.parse().ok()?;
    Some(GotoDefinitionResponse::Scalar(Location::new(uri, range)))
}
