//! Prints the generated documentation: `reference` for `docs/dsl/reference.md`, `errors DIR` writes a page for each
//! error code into a folder.
#![allow(clippy::print_stdout)]

use std::path::Path;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["errors", folder] => {
            for explanation in hexafn_dsl::codes::ALL {
                std::fs::write(Path::new(folder).join(format!("{}.md", explanation.code)), explanation.page())?;
            }
        }
        _ => print!("{}", hexafn_dsl::reference()),
    }
    Ok(())
}
