//! `hexafn new`: a configuration, or a function in one of the languages, to start from.

use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

use super::{Done, Failure, say};
use crate::config::names;

mod function;

use function::Language;

/// The files of the shipped example, as `hexafn new` and `hexafn demo` write them.
const EXAMPLE: [(&str, &str); 10] = [
    ("hexafn.toml", include_str!("../../config/hexafn.toml")),
    ("sources.toml", include_str!("../../config/sources.toml")),
    ("topics.toml", include_str!("../../config/topics.toml")),
    ("triggers.toml", include_str!("../../config/triggers.toml")),
    ("functions.toml", include_str!("../../config/functions.toml")),
    ("targets.toml", include_str!("../../config/targets.toml")),
    ("tests.toml", include_str!("../../config/tests.toml")),
    ("lib/text.hexa", include_str!("../../config/lib/text.hexa")),
    ("samples/push.json", include_str!("../../config/samples/push.json")),
    ("functions/summarize.hexa", include_str!("../../config/functions/summarize.hexa")),
];

/// `hexafn new`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct New {
    /// The folder of the configuration; must be empty or absent.
    #[arg(required = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a function with a sample event, and how to build, try and configure it.
    Function {
        /// Its name.
        name: String,
        /// Its language.
        #[arg(long)]
        lang: Language,
        /// The folder; must be empty or absent. Its name, when not given.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Writes what was asked for.
pub fn new(new: New) -> Done {
    match (new.what, new.dir) {
        (Some(What::Function { name, lang, dir }), _) => write_function(&name, lang, dir.as_deref()),
        (None, dir) => write_configuration(&dir.unwrap_or_default()),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |e| Failure::new(1, format!("{}: {e}", path.display()))
}

/// Nothing that is there is overwritten.
fn refuse_used(dir: &Path) -> Done {
    let used = match dir.read_dir() {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(at(dir)(error)),
    };
    if used {
        return Err(Failure::new(1, format!("{} is not empty; name a folder that does not exist yet", dir.display())));
    }
    Ok(())
}

/// Writes a file, and the folders above it.
fn write(path: &Path, text: &str) -> Done {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(at(parent))?;
    }
    std::fs::write(path, text).map_err(at(path))
}

fn write_configuration(dir: &Path) -> Done {
    refuse_used(dir)?;
    write_example(dir)?;
    say(format!(
        "wrote a configuration to {0}\n  hexafn check --config {0}\n  hexafn test --config {0}\n  hexafn serve --config {0}",
        dir.display()
    ));
    Ok(())
}

/// Writes the example and the secret that it refers to.
pub fn write_example(dir: &Path) -> Done {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    for (name, text) in EXAMPLE {
        write(&dir.join(name), text)?;
    }
    let secrets = dir.join("secrets");
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&secrets).map_err(at(&secrets))?;
    let path = secrets.join("github");
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|e| Failure::new(1, format!("no randomness from the system: {e}")))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut f| f.write_all(hex::encode(random).as_bytes())).map_err(at(&path))
}

fn write_function(name: &str, language: Language, dir: Option<&Path>) -> Done {
    names::check("function", name).map_err(|why| Failure::new(2, why))?;
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let message = format!("`{name}` does not begin with a letter, as names of packages do; write e.g. `fn-{name}`");
        return Err(Failure::new(2, message));
    }
    let dir = dir.unwrap_or(Path::new(name));
    refuse_used(dir)?;
    for (file, text) in language.files(name) {
        write(&dir.join(file), &text)?;
    }
    say(format!("wrote a function to {0}; {0}/README.md says how to build, try and configure it", dir.display()));
    Ok(())
}
