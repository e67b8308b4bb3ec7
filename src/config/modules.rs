//! The modules that programs import: `*.hexa` files within the configuration's folder, each read once.

use hexafn_dsl::{ModuleError, Modules, Program};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{self, Root, Shown};
use super::texts::Texts;

/// Modules of a folder.
pub struct Folder {
    dir: PathBuf,
    shown: Shown,
    read: RefCell<BTreeMap<String, Module>>,
}

struct Module {
    path: PathBuf,
    text: Arc<str>,
    /// Where its text begins among all texts, once an error was shown in it.
    base: Option<usize>,
}

impl Folder {
    /// The modules below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), shown: Shown::new(), read: RefCell::default() }
    }

    /// With texts that stand in for what is on disk.
    #[must_use]
    pub fn showing(self, shown: &Shown) -> Self {
        Self { shown: shown.clone(), ..self }
    }

    /// Every module that was read, with its text: a change of one is a change of the configuration.
    pub fn files(&self) -> Vec<(PathBuf, Arc<str>)> {
        self.read.borrow().values().map(|m| (m.path.clone(), m.text.clone())).collect()
    }

    /// The texts that a program is made of besides its own: part of its version.
    pub fn texts_of(&self, program: &Program) -> Vec<Arc<str>> {
        let read = self.read.borrow();
        program.modules().filter_map(|path| read.get(path)).map(|module| module.text.clone()).collect()
    }

    /// Where the text of a module begins among all texts.
    pub fn base(&self, path: &str, texts: &mut Texts) -> Option<usize> {
        let mut read = self.read.borrow_mut();
        let module = read.get_mut(path)?;
        let base = module.base.unwrap_or_else(|| texts.add(module.path.display().to_string(), module.text.clone()));
        module.base = Some(base);
        Some(base)
    }
}

impl Modules for Folder {
    fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
        if let Some(known) = self.read.borrow().get(path) {
            return Ok(known.text.clone());
        }
        let found = files::read_within(Root { dir: &self.dir, shown: &self.shown }, path, &(0..0), "import");
        let (full, text) = found.map_err(|problem| {
            if self.dir.join(path).exists() {
                ModuleError::Unreadable(problem.message.clone())
            } else {
                ModuleError::NotFound
            }
        })?;
        let text: Arc<str> = text.into();
        let module = Module { path: full, text: text.clone(), base: None };
        self.read.borrow_mut().insert(path.to_owned(), module);
        Ok(text)
    }
}
