//! Whole configurations, right and wrong. The wrong ones are snapshots of everything that a person sees.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod right;
mod schema;
mod wrong;

use super::*;
use std::path::Path;

/// A folder with these files, loaded with this environment and these flags; the folder's name in the output is
/// `config`.
struct Case {
    folder: tempfile::TempDir,
    options: Options,
}

impl Case {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join("config").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            if name.starts_with("secrets/") {
                private(&path);
            }
        }
        let options = Options {
            dir: folder.path().join("config"),
            base_dir: folder.path().to_owned(),
            overrides: Vec::new(),
            env: BTreeMap::new(),
            secrets: SecretMode::Required,
            shown: Shown::new(),
            coverage: false,
            keeps_compiled: false,
        };
        Self { folder, options }
    }

    fn toml(text: &str) -> Self {
        Self::new(&[("hexafn.toml", text)])
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.options.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.options.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn without_secrets(mut self) -> Self {
        self.options.secrets = SecretMode::Optional;
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.options)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// What a person sees: the errors, or the warnings.
    fn told(&self) -> String {
        let text = match self.load() {
            Ok(loaded) => loaded.warnings.render(false),
            Err(errors) => errors.render(false),
        };
        let root = format!("{}/", self.folder.path().display());
        text.replace(&root, "")
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
