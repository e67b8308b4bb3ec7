//! The names that a module, or the program, declares and imports.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{Compiler, Declared};
use crate::ast::{Declarations, Name};
use crate::check::Types;
use crate::codes;
use crate::diagnostic::{Diagnostic, listed};
use crate::modules::Loaded;

/// More functions than calls can name.
const MOST_FUNCTIONS: usize = 60_000;

/// The names of one file.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) functions: HashMap<String, usize>,
    /// Of the constants that were computed already.
    pub(super) constants: HashMap<String, usize>,
    imported: Vec<Imported>,
    /// Names whose module could not be loaded, which was reported.
    missing: HashSet<String>,
}

struct Imported {
    name: Name,
    /// The module and its name for it.
    module: usize,
    original: String,
    used: bool,
}

impl<'a> Compiler<'a> {
    /// Adds the scope of a file. The modules that it imports from were added before.
    pub(super) fn declare(&mut self, own: &'a Declarations, imports: &[Option<usize>], modules: &[Loaded]) {
        let mut scope = Scope::default();
        for (import, module) in own.imports.iter().zip(imports) {
            let Some(loaded) = module.and_then(|module| modules.get(module)) else {
                scope.missing.extend(import.names.iter().map(|(_, name)| name.text.clone()));
                continue;
            };
            let module = module.unwrap_or_default();
            for (original, name) in &import.names {
                self.import(&mut scope, loaded, module, original, name);
            }
        }
        for function in &own.functions {
            let name = &function.name;
            let index = self.functions.len();
            // A function of the program hides a built-in of its name, so that new built-ins never break a program.
            if let Entry::Vacant(entry) = scope.functions.entry(name.text.clone()) {
                entry.insert(index);
            } else {
                self.findings.push(
                    Diagnostic::new(codes::DEFINED_TWICE, name.span, format!("`{}` is defined twice", name.text))
                        .label("second definition"),
                );
            }
            if index == MOST_FUNCTIONS {
                self.findings.push(
                    Diagnostic::new(codes::TOO_MANY_NAMES, name.span, format!("more than {MOST_FUNCTIONS} functions"))
                        .label("one too many"),
                );
            }
            self.functions.push(Declared {
                name: name.clone(),
                params: &function.params,
                body: &function.body,
                scope: self.scopes.len(),
                depth: function.body.depth,
                result: Types::ANY,
                fallible: false,
            });
        }
        self.scopes.push(scope);
    }

    fn import(&mut self, scope: &mut Scope, loaded: &Loaded, module: usize, original: &Name, name: &Name) {
        let own = &loaded.declarations;
        let functions = own.functions.iter().map(|function| function.name.text.as_str());
        let constants = own.constants.iter().map(|constant| constant.name.text.as_str());
        let names: Vec<&str> = functions.chain(constants).collect();
        if !names.contains(&original.text.as_str()) {
            scope.missing.insert(name.text.clone());
            if loaded.broken {
                return;
            }
            let path = &loaded.source.path;
            let mut finding =
                Diagnostic::new(codes::NOT_EXPORTED, original.span, format!("`{path}` has no `{}`", original.text))
                    .label("not declared there")
                    .help(format!("it declares {}", listed(names.iter().copied())));
            if let Some(near) = self.nearest(&original.text, names.iter().copied()) {
                finding = finding.replace(original.span, near);
            }
            self.report(finding);
            return;
        }
        if scope.imported.iter().any(|other| other.name.text == name.text) {
            self.report(
                Diagnostic::new(codes::DEFINED_TWICE, name.span, format!("`{}` is imported twice", name.text))
                    .label("second one")
                    .help("give it a name of its own: `name as other`"),
            );
        }
        let theirs = self.scopes.get(module).and_then(|theirs| theirs.functions.get(&original.text));
        if let Some(index) = theirs {
            scope.functions.insert(name.text.clone(), *index);
        }
        let (name, original) = (name.clone(), original.text.clone());
        scope.imported.push(Imported { name, module, original, used: false });
    }

    fn used_import(&mut self, name: &str) -> Option<(usize, String)> {
        let scope = self.scopes.get_mut(self.scope)?;
        let imported = scope.imported.iter_mut().find(|imported| imported.name.text == name)?;
        imported.used = true;
        Some((imported.module, imported.original.clone()))
    }

    /// The function of a name, here.
    pub(super) fn own_function(&mut self, name: &str) -> Option<usize> {
        let index = self.scopes.get(self.scope)?.functions.get(name).copied()?;
        self.used_import(name);
        Some(index)
    }

    /// Whether a function of the name is declared or imported here.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.scopes.get(self.scope).is_some_and(|scope| scope.functions.contains_key(name))
    }

    /// Whether the name would have come from a module that was reported.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.scopes.get(self.scope).is_some_and(|scope| scope.missing.contains(name))
    }

    pub(super) fn own_functions(&self) -> Vec<&str> {
        let names = self.scopes.get(self.scope).map(|scope| scope.functions.keys().map(String::as_str));
        let mut names: Vec<&str> = names.into_iter().flatten().collect();
        names.sort_unstable();
        names
    }

    /// The constant of a name, here.
    pub(super) fn own_constant(&mut self, name: &str) -> Option<usize> {
        if let Some(index) = self.scopes.get(self.scope)?.constants.get(name) {
            return Some(*index);
        }
        if !self.is_constant(name) {
            return None;
        }
        let (module, original) = self.used_import(name)?;
        self.scopes.get(module)?.constants.get(&original).copied()
    }

    pub(super) fn is_constant(&self, name: &str) -> bool {
        let Some(scope) = self.scopes.get(self.scope) else { return false };
        scope.constants.contains_key(name)
            || scope.imported.iter().any(|imported| {
                let theirs = self.scopes.get(imported.module);
                imported.name.text == name
                    && theirs.is_some_and(|theirs| theirs.constants.contains_key(&imported.original))
            })
    }

    pub(super) fn constant_names(&self) -> Vec<&str> {
        let Some(scope) = self.scopes.get(self.scope) else { return Vec::new() };
        let imported = scope.imported.iter().map(|imported| imported.name.text.as_str());
        let mut names: Vec<&str> = scope.constants.keys().map(String::as_str).collect();
        names.extend(imported.filter(|name| self.is_constant(name)));
        names.sort_unstable();
        names
    }

    /// Warns about imports that nothing uses, and about constants of the program: those of a module may be for others.
    pub(super) fn unused_declarations(&mut self) {
        let main = self.scopes.len().saturating_sub(1);
        let unused = |name: &Name, what: &str, help: String| {
            Diagnostic::warning(codes::UNUSED_BINDING, name.span, format!("`{}` is never used", name.text))
                .label(format!("{what} here"))
                .help(help)
        };
        for (at, scope) in self.scopes.iter().enumerate() {
            for imported in scope.imported.iter().filter(|imported| !imported.used) {
                self.findings.push(unused(&imported.name, "imported", "remove it from the import".to_owned()));
            }
            let constants = scope.constants.values().filter_map(|index| self.constants.get(*index));
            for known in constants.filter(|known| at == main && !known.used) {
                let help = format!("remove it, or name it `_{}`", known.name.text);
                self.findings.push(unused(&known.name, "defined", help));
            }
        }
    }
}
