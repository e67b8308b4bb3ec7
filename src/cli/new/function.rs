//! The files of a new function: the example of its language, and what is needed around it.

use clap::ValueEnum;

/// The job that all of them do.
const JOB: &str = "prices an order in cents, and tells the topic `orders.large` about large ones";

/// An event that is a large order.
const EVENT: &str = r#"{
  "type": "order.created",
  "data": {
    "id": "o-1",
    "lines": [
      { "price": 4999, "count": 2 },
      { "price": 3, "count": 1 }
    ]
  }
}
"#;

const TYPES: &str = include_str!("../../../runtimes/types/hexafn.d.ts");

/// The languages that a function can be begun in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// The language of hexaFn.
    Dsl,
    /// JavaScript.
    Js,
    /// TypeScript, compiled to JavaScript.
    Ts,
    /// Lua.
    Lua,
    /// Rust, compiled to WebAssembly.
    Rust,
    /// C, compiled to WebAssembly.
    C,
    /// AssemblyScript, compiled to WebAssembly.
    Assemblyscript,
}

/// How a language is built and run.
struct Kind {
    title: &'static str,
    /// What the configuration calls its runtime.
    runtime: &'static str,
    /// What is run, with `{name}` for the name of the function.
    artifact: &'static str,
    /// What building needs.
    needs: &'static str,
    /// The commands that build it; empty when it runs as it is written.
    build: &'static str,
    /// Files that building leaves and that need not be kept.
    ignored: &'static str,
    /// The file of the function itself.
    source: (&'static str, &'static str),
    /// The files around it.
    around: &'static [(&'static str, &'static str)],
}

impl Language {
    fn kind(self) -> Kind {
        let written = Kind {
            title: "",
            runtime: "",
            artifact: "",
            needs: "",
            build: "",
            ignored: "",
            source: ("", ""),
            around: &[],
        };
        match self {
            Self::Dsl => Kind {
                title: "the language of hexaFn",
                runtime: "dsl",
                artifact: "{name}.hexa",
                source: ("{name}.hexa", include_str!("../../../config/examples/functions/price.hexa")),
                ..written
            },
            Self::Js => Kind {
                title: "JavaScript",
                runtime: "js",
                artifact: "{name}.js",
                source: ("{name}.js", include_str!("../../../config/examples/functions/price.js")),
                around: &[("hexafn.d.ts", TYPES)],
                ..written
            },
            Self::Lua => Kind {
                title: "Lua",
                runtime: "lua",
                artifact: "{name}.lua",
                source: ("{name}.lua", include_str!("../../../config/examples/functions/price.lua")),
                ..written
            },
            Self::Ts => Kind {
                title: "TypeScript",
                runtime: "js",
                artifact: "dist/{name}.js",
                needs: "Node.js and npm",
                build: "npm install\nnpm run build",
                ignored: "dist/\nnode_modules/\n",
                source: ("{name}.ts", include_str!("../../../config/examples/functions/price.ts")),
                around: &[
                    ("hexafn.d.ts", TYPES),
                    ("package.json", include_str!("typescript/package.json")),
                    ("tsconfig.json", include_str!("typescript/tsconfig.json")),
                ],
            },
            Self::Rust => Kind {
                title: "Rust",
                runtime: "wasm",
                artifact: "target/wasm32-wasip1/release/{name}.wasm",
                needs: "Rust 1.85 or later with the target `wasm32-wasip1` (`rustup target add wasm32-wasip1`)",
                build: "cargo build --release --target wasm32-wasip1",
                ignored: "target/\n",
                source: ("src/main.rs", include_str!("../../../config/examples/functions/price.rs")),
                around: &[
                    ("src/hexafn.rs", include_str!("../../../runtimes/types/hexafn.rs")),
                    ("Cargo.toml", include_str!("rust/Cargo.toml.in")),
                ],
            },
            Self::C => Kind {
                title: "C",
                runtime: "wasm",
                artifact: "{name}.wasm",
                needs: "clang, lld and a C library for WASI (Debian: `clang`, `lld`, `wasi-libc`, `libclang-rt-dev-wasm32`)",
                build: "clang --target=wasm32-wasi -O2 -Wall -Wextra -s -o {name}.wasm {name}.c",
                ignored: "*.wasm\n",
                source: ("{name}.c", include_str!("../../../config/examples/functions/price.c")),
                around: &[
                    ("hexafn.h", include_str!("../../../runtimes/types/hexafn.h")),
                    ("json.h", include_str!("../../../config/examples/functions/json.h")),
                ],
            },
            Self::Assemblyscript => Kind {
                title: "AssemblyScript",
                runtime: "wasm",
                artifact: "dist/{name}.wasm",
                needs: "Node.js and npm",
                build: "npm install\nnpm run build",
                ignored: "dist/\nnode_modules/\n",
                source: ("assembly/index.ts", include_str!("../../../config/examples/functions/price.assembly.ts")),
                around: &[
                    ("assembly/hexafn.ts", include_str!("../../../runtimes/types/hexafn.assembly.ts")),
                    ("assembly/json.ts", include_str!("../../../config/examples/functions/json.assembly.ts")),
                    ("assembly/tsconfig.json", include_str!("assemblyscript/tsconfig.json")),
                    ("package.json", include_str!("assemblyscript/package.json")),
                ],
            },
        }
    }

    /// The files of a function of this name: their paths in its folder, and their texts.
    pub fn files(self, name: &str) -> Vec<(String, String)> {
        let kind = self.kind();
        let named = |text: &str| text.replace("{name}", name);
        let (source, text) = kind.source;
        let mut files = vec![
            ("README.md".to_owned(), named(&kind.readme())),
            ("event.json".to_owned(), EVENT.to_owned()),
            ("function.toml".to_owned(), named(&kind.settings())),
            (named(source), text.to_owned()),
        ];
        files.extend(kind.around.iter().map(|(path, text)| ((*path).to_owned(), named(text))));
        if !kind.ignored.is_empty() {
            files.push((".gitignore".to_owned(), kind.ignored.to_owned()));
        }
        files
    }
}

impl Kind {
    /// The end of the artifact's path: its name in a configuration.
    fn file(&self) -> &'static str {
        self.artifact.rsplit('/').next().unwrap_or(self.artifact)
    }

    /// Whether its emissions are granted; the language of hexaFn names them in its text.
    fn is_granted(&self) -> bool {
        self.runtime != "dsl"
    }

    fn settings(&self) -> String {
        let mut text = format!(
            "[[function]]\nname = \"{{name}}\"\nruntime = \"{}\"\nfile = \"functions/{}\"\n",
            self.runtime,
            self.file()
        );
        if self.is_granted() {
            text.push_str("emit = [\"orders.large\"]              # all that it may do beside giving a result\n");
        }
        text
    }

    fn readme(&self) -> String {
        let Self { title, artifact, needs, build, source, .. } = self;
        let mut text = format!(
            "# {{name}}\n\nA function of hexaFn in {title}. It {JOB}: change `{}` into what you need.\n",
            source.0
        );
        if !build.is_empty() {
            text.push_str(&format!("\n## Build\n\nThis needs {needs}.\n\n```sh\n{build}\n```\n"));
        }
        let emit = if self.is_granted() { " --emit orders.large" } else { "" };
        text.push_str(&format!(
            "\n## Try\n\n```sh\nhexafn run {artifact} --event event.json{emit}\n```\n\nWith `--watch` it runs again when \
             `{artifact}` or `event.json` changes.\n"
        ));
        text.push_str(&format!(
            "\n## Use\n\nCopy `{artifact}` to the folder `functions` of a configuration, and add what `function.toml` \
             holds to one of its `*.toml`\nfiles. A trigger then names it: `run = \"{{name}}\"`. `hexafn check` says \
             what is wrong.\n"
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_written_twice_and_no_name_is_left_open() {
        for language in Language::value_variants() {
            let files = language.files("score");
            let mut paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), files.len(), "{language:?}");
            for (path, text) in &files {
                assert!(!path.contains("{name}") && !text.contains("{name}"), "{language:?}: {path}");
                assert!(text.ends_with('\n'), "{language:?}: {path}");
            }
        }
    }
}
