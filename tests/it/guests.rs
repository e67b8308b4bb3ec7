//! Functions in C for the conformance suite: one program in the three shapes that WebAssembly comes in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// What a module exports decides how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A core module with the interface of hexaFn.
    Core,
    /// A command of WASI preview 1.
    Command,
    /// A core module of the world, which hexaFn makes a component.
    Component,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Core, Self::Command, Self::Component];

    /// The object files that its modules are linked from, beside the program.
    fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["guest.o", "host.o", "core.o"],
            Self::Command => &["guest.o", "host-command.o", "command.o"],
            Self::Component => &["guest.o", "component.o"],
        }
    }
}

/// The programs in each shape: binary modules. As many are compiled at a time as there are processors.
pub fn build(programs: &[String]) -> BTreeMap<String, Vec<(Shape, Vec<u8>)>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let compilers: Vec<_> = programs
            .chunks(programs.len().div_ceil(threads).max(1))
            .map(|some| {
                scope.spawn(|| {
                    let shop = Workshop::open();
                    some.iter().map(|program| (program.clone(), shop.build(program))).collect::<Vec<_>>()
                })
            })
            .collect();
        compilers.into_iter().flat_map(|compiler| compiler.join().unwrap()).collect()
    })
}

/// A folder with the parts that all programs share, compiled.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    /// Compiles the shared parts.
    fn open() -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        for part in ["guest", "host", "core", "command", "component"] {
            shop.compile(&sources().join(format!("{part}.c")), &format!("{part}.o"), &[]);
        }
        shop.compile(&sources().join("host.c"), "host-command.o", &["-DCOMMAND"]);
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, source: &Path, object: &str, more: &[&str]) {
        let flags = ["--target=wasm32", "-Os", "-ffreestanding", "-fno-builtin", "-ffunction-sections"];
        let checks = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"];
        let mut clang = Command::new("clang");
        clang.args(flags).args(checks).args(more).arg("-I").arg(sources()).arg("-c").arg(source);
        finished(clang.arg("-o").arg(self.path(object)));
    }

    fn build(&self, program: &str) -> Vec<(Shape, Vec<u8>)> {
        let source = self.path("program.c");
        fs::write(&source, format!("#include \"guest.h\"\n{program}\n")).unwrap();
        self.compile(&source, "program.o", &[]);
        Shape::ALL.into_iter().map(|shape| (shape, self.link(shape))).collect()
    }

    fn link(&self, shape: Shape) -> Vec<u8> {
        let mut linker = Command::new("wasm-ld");
        linker.args(["--no-entry", "--gc-sections", "program.o"]).args(shape.parts()).current_dir(self.folder.path());
        finished(linker.args(["-o", "program.wasm"]));
        fs::read(self.path("program.wasm")).unwrap()
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/guest")
}

fn finished(command: &mut Command) {
    let missing = "install clang and lld (scripts/deps test): this test compiles functions in C";
    let done = command.output().unwrap_or_else(|e| panic!("{missing}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
