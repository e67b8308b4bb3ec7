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
    /// A component.
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

/// A function of an interface: its name, its type, and whether it needs memory.
type Imported = (&'static str, &'static str, bool);

/// The interfaces of the world.
const INTERFACES: [(&str, &[Imported]); 7] = [
    ("logs", &[("log", r#"(param "level" $level) (param "message" string)"#, true)]),
    ("variables", &[("get", r#"(param "name" string) (result string)"#, true)]),
    ("clock", &[("now-ms", "(result s64)", false)]),
    ("randomness", &[("next", "(result u64)", false)]),
    ("topics", &[("emit", r#"(param "topic" string) (param "key" (option string)) (param "data" string)"#, true)]),
    (
        "keys",
        &[
            (
                "get",
                r#"(param "namespace" string) (param "key" string) (result (result (option string) (error string)))"#,
                true,
            ),
            ("put", r#"(param "namespace" string) (param "key" string) (param "value" string)"#, true),
            ("delete", r#"(param "namespace" string) (param "key" string)"#, true),
        ],
    ),
    ("web", &[("send", r#"(param "request" $request) (result (result $response (error string)))"#, true)]),
];

/// What interfaces define before their functions.
fn types(interface: &str) -> &'static str {
    match interface {
        "logs" => r#"(type $level' (enum "debug" "info" "warn" "error")) (export "level" (type $level (eq $level')))"#,
        "web" => {
            r#"(type $header (tuple string string))
            (type $headers (list $header))
            (type $request' (record (field "method" string) (field "url" string) (field "headers" $headers)
              (field "body" (option string))))
            (export "request" (type $request (eq $request')))
            (type $response' (record (field "status" u16) (field "headers" $headers) (field "body" string)))
            (export "response" (type $response (eq $response')))"#
        }
        _ => "",
    }
}

/// Where the memory of a component's program ends that it knows of; what it is given lies behind.
const KNOWN_MEMORY: usize = 512 << 10;

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
        if shape == Shape::Component {
            linker.arg("--import-memory").arg(format!("--initial-memory={KNOWN_MEMORY}"));
        }
        finished(linker.args(["-o", "program.wasm"]));
        let module = fs::read(self.path("program.wasm")).unwrap();
        if shape == Shape::Component { component(&module) } else { module }
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

/// The module as a component of the world `hexafn:function/function`, with the interfaces that it imports and no more.
///
/// The wrapper is text; its text has an empty module where the compiled one then stands.
fn component(module: &[u8]) -> Vec<u8> {
    let (mut imports, mut lowered, mut given) = (String::new(), String::new(), String::new());
    for (interface, functions) in INTERFACES {
        let name = format!("hexafn:function/{interface}@1.0.0");
        if !module.windows(name.len()).any(|bytes| bytes == name.as_bytes()) {
            continue;
        }
        let mut exports = types(interface).to_owned();
        let mut cores = String::new();
        for (function, ty, memory) in functions {
            exports += &format!("(export \"{function}\" (func {ty}))\n");
            let options = if *memory { r#"(memory $mem) (realloc $realloc)"# } else { "" };
            lowered += &format!(
                "(alias export ${interface} \"{function}\" (func ${interface}-{function}))
                (core func $core-{interface}-{function} (canon lower (func ${interface}-{function}) {options}))\n"
            );
            cores += &format!("(export \"{function}\" (func $core-{interface}-{function}))");
        }
        imports += &format!("(import \"{name}\" (instance ${interface} {exports}))\n");
        given += &format!("(with \"{name}\" (instance {cores}))\n");
    }
    let wrapper = format!(
        r#"(component
        {imports}
        (core module $memory
          (memory (export "memory") {pages})
          (global $next (mut i32) (i32.const {KNOWN_MEMORY}))
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (global.get $next))
            (global.set $next
              (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
            (block $fits
              (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
              (if (i32.eq
                    (memory.grow (i32.sub (i32.div_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 65536))
                      (memory.size)))
                    (i32.const -1))
                (then unreachable)))
            (local.get $at)))
        (core instance $m (instantiate $memory))
        (alias core export $m "memory" (core memory $mem))
        (alias core export $m "realloc" (core func $realloc))
        {lowered}
        (core module $program)
        (core instance $p (instantiate $program
          (with "env" (instance (export "memory" (memory $mem))))
          {given}))
        (alias core export $p "handle" (core func $handle))
        (func (export "handle") (param "event" string) (param "ctx" string)
          (result (result (option string) (error string)))
          (canon lift (core func $handle) (memory $mem) (realloc $realloc))))"#,
        pages = KNOWN_MEMORY >> 16,
    );
    let wrapper = wat::parse_str(&wrapper).unwrap_or_else(|e| panic!("{e}\n{wrapper}"));
    with_module(&wrapper, 1, module)
}

/// The component with its core module of this number replaced. A component is a head of 8 bytes and sections: a kind (1
/// is a core module), a length (LEB128), as many bytes.
fn with_module(component: &[u8], number: usize, module: &[u8]) -> Vec<u8> {
    let (mut out, mut at, mut seen) = (component[..8].to_vec(), 8, 0);
    while at < component.len() {
        let kind = component[at];
        let (mut len, mut shift, mut body) = (0, 0, at + 1);
        loop {
            let byte = component[body];
            len |= usize::from(byte & 0x7f) << shift;
            (shift, body) = (shift + 7, body + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let end = body + len;
        if kind == 1 && seen == number {
            out.push(1);
            let mut rest = module.len();
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
            out.extend(module);
        } else {
            out.extend(&component[at..end]);
        }
        seen += usize::from(kind == 1);
        at = end;
    }
    out
}
