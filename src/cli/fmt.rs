//! `hexafn fmt`: lays out `*.hexa` files. What does not parse is never changed.

use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{Done, Failure, print, say};

/// The longest file, as the language has it.
const LONGEST: u64 = 256 << 10;

/// `hexafn fmt`
#[derive(Debug, Args)]
pub struct Fmt {
    /// Files, and folders of which all `*.hexa` are taken; `-` lays out standard input.
    #[arg(default_value = "config")]
    paths: Vec<PathBuf>,
    /// Change nothing; exit code 1 when a file would be changed.
    #[arg(long)]
    check: bool,
}

/// Lays out files.
pub fn fmt(args: &Fmt) -> Done {
    if args.paths == [Path::new("-")] {
        let text = String::from_utf8(super::input(LONGEST)?);
        let text = text.map_err(|e| Failure::new(1, format!("standard input is not UTF-8: {e}")))?;
        print::exactly(&hexafn_dsl::format(&text).map_err(|e| Failure::new(1, e.render(false)))?);
        return Ok(());
    }
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files, 0)?;
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(1, "there is no *.hexa file; name files or folders"));
    }
    let (mut changed, mut broken) = (0, Vec::new());
    for path in &files {
        let at = |e: std::io::Error| Failure::new(1, format!("{}: {e}", path.display()));
        if std::fs::metadata(path).map_err(at)?.len() > LONGEST {
            return Err(Failure::new(1, format!("{} is longer than {LONGEST} bytes", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(at)?;
        match hexafn_dsl::format(&text) {
            Ok(laid_out) if laid_out == text => {}
            Ok(laid_out) => {
                changed += 1;
                say(format!("{}{}", if args.check { "would change " } else { "" }, path.display()));
                if !args.check {
                    replace(path, &laid_out).map_err(at)?;
                }
            }
            Err(found) => {
                let shown = found.render(std::io::stderr().is_terminal());
                broken.push(format!("{}:\n{}", path.display(), shown.trim_end()));
            }
        }
    }
    if !broken.is_empty() {
        return Err(Failure::new(1, broken.join("\n")));
    }
    if args.check && changed > 0 {
        return Err(Failure::new(1, format!("{changed} of {} files would be changed: run `hexafn fmt`", files.len())));
    }
    Ok(())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>, depth: u32) -> Done {
    let at = |e: std::io::Error| Failure::new(1, format!("{}: {e}", path.display()));
    if !std::fs::symlink_metadata(path).map_err(at)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > 16 {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(at)? {
        let entry = entry.map_err(at)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(at)?);
        // A link may lead out of the folder, or round in a circle.
        if kind.is_dir() {
            collect(&path, files, depth + 1)?;
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "hexa") {
            files.push(path);
        }
    }
    Ok(())
}

/// The whole new text or the whole old one, whatever happens in between.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions();
    let beside = path.with_extension("hexa.new");
    std::fs::write(&beside, text)?;
    std::fs::set_permissions(&beside, mode)?;
    std::fs::rename(&beside, path)
}
