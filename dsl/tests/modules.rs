//! Programs that import, from modules in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use hexafn_dsl::{
    Budget, CompileOptions, Diagnostics, Input, ModuleError, Modules, Program, ProgramKind, SourceText, compile,
    compile_with, module_declarations,
};

struct Memory(&'static [(&'static str, &'static str)]);

impl Modules for Memory {
    fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
        match self.0.iter().find(|(own, _)| *own == path) {
            Some((_, "unreadable")) => Err(ModuleError::Unreadable("it is no text".to_owned())),
            Some((_, text)) => Ok((*text).into()),
            None => Err(ModuleError::NotFound),
        }
    }
}

const LIBRARY: Memory = Memory(&[
    (
        "lib/money.hexa",
        "import { round_cent } from \"lib/round.hexa\"\n\n## With the tax.\nfn gross(net) = round_cent(net * (1 + RATE))\n\
         const RATE = 0.19\nconst RATES = { de: RATE, fr: 0.2 }\nfn sure(x) = x ?? fail \"no amount\"\n\
         fn tell(x) = emit \"money.${event.type}\" x key \"k\"",
    ),
    ("lib/round.hexa", "fn round_cent(x) = round(x, DIGITS)\nconst DIGITS = 2\n"),
    ("a.hexa", "import { b } from \"b.hexa\"\nfn a() = b()"),
    ("b.hexa", "import { c } from \"c.hexa\"\nfn b() = c()"),
    ("c.hexa", "import { a } from \"a.hexa\"\nfn c() = a()"),
    ("self.hexa", "import { me } from \"self.hexa\"\nfn me() = 1"),
    ("values.hexa", "let x = 1\nfn f() = 1\nf()"),
    ("broken.hexa", "fn f(x) = x +\nfn g() = 1"),
    ("wrong.hexa", "# first\nfn f(x) = upper(5)\nfn g() = evnt.type"),
    ("loose.hexa", "fn f(x) = {\n  let unused = 1\n  x\n}"),
    ("open.hexa", "fn f(x) = (x"),
    ("data.hexa", "unreadable"),
    ("recursive.hexa", "fn f(x) = f(x)"),
]);

fn compiled(text: &str, kind: ProgramKind) -> Result<Program, Diagnostics> {
    compile_with(&SourceText { name: "main", text }, kind, &CompileOptions::default().modules(&LIBRARY))
}

fn value(text: &str) -> String {
    let program = compiled(text, ProgramKind::Function).unwrap_or_else(|findings| panic!("{findings}"));
    let outcome = program.run(&Input::EMPTY, &mut Budget::default());
    outcome.map_or_else(|error| error.to_string(), |outcome| outcome.value.to_json(1000).unwrap())
}

#[test]
fn names_are_imported() {
    assert_eq!(value("import { gross } from \"lib/money.hexa\"\ngross(10)"), "11.90");
    assert_eq!(value("import { gross as total, RATE } from \"lib/money.hexa\"\n[total(10), RATE]"), "[11.90,0.19]");
    assert_eq!(
        value("import {\n  RATES,\n  gross,\n} from \"lib/money.hexa\"\nmap([1, 2], gross) + [RATES.fr]"),
        "[1.19,2.38,0.2]"
    );
    assert_eq!(
        value("import { RATE } from 'lib/money.hexa'\nconst TWICE = RATE * 2\nfn f() = TWICE + RATE\nf()"),
        "0.57"
    );
    // Neither the helpers of a module nor what it imports are seen outside; names of the program do not reach it.
    assert_eq!(
        value(
            "import { gross } from \"lib/money.hexa\"\nfn round_cent(x) = 0\nconst RATE = 5\n[gross(1), round_cent(1), RATE]"
        ),
        "[1.19,0,5]"
    );
    // `from` and `as` are names elsewhere.
    assert_eq!(value("let from = 1\nlet as = 2\nfrom + as"), "3");
}

#[test]
fn errors_at_run_time_name_the_module() {
    let program =
        compiled("import { sure } from \"lib/money.hexa\"\n\nsure!(event.data)", ProgramKind::Function).unwrap();
    let error = program.eval(&Input::EMPTY, &mut Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "lib/money.hexa:7:19: HX0509: no amount in `fail \"no amount\"`");
    assert_eq!(program.modules().collect::<Vec<_>>(), ["lib/money.hexa", "lib/round.hexa"]);
}

#[test]
fn what_modules_emit_is_known_when_it_is_called() {
    let program = compiled("import { tell } from \"lib/money.hexa\"\ntell(1)\n2", ProgramKind::Function).unwrap();
    assert!(program.emits().computed);
    let outcome = program.run(&Input::EMPTY, &mut Budget::default()).unwrap();
    assert_eq!(outcome.emitted[0].key.as_ref().unwrap().as_str(), "k");
    let program = compiled("import { gross } from \"lib/money.hexa\"\ngross(1)", ProgramKind::Function).unwrap();
    assert!(program.emits().is_empty());
    // A condition may use the other functions of such a module.
    assert!(compiled("import { gross } from \"lib/money.hexa\"\ngross(1) > 1", ProgramKind::Condition).is_ok());
    let findings =
        compiled("import { tell } from \"lib/money.hexa\"\ntell(1) ?? true", ProgramKind::Condition).unwrap_err();
    assert_eq!(findings.iter().next().unwrap().module.as_ref().unwrap().path.as_ref(), "lib/money.hexa");
}

#[test]
fn refused_imports() {
    for (name, text) in [
        ("missing", "import { f } from \"none.hexa\"\nf(1)"),
        ("parent", "import { f } from \"lib/../../secret.hexa\"\nf(1)"),
        ("absolute", "import { f } from \"/etc/passwd\"\nf(1)"),
        ("unreadable", "import { f } from \"data.hexa\"\nmap([1], f)"),
        ("cycle", "import { a } from \"a.hexa\"\na()"),
        ("cycle_of_one", "import { me } from \"self.hexa\"\nme()"),
        ("not_exported", "import { gros } from \"lib/money.hexa\"\ngros(1)"),
        ("not_handed_on", "import { round_cent } from \"lib/money.hexa\"\nround_cent(1)"),
        ("values", "import { f } from \"values.hexa\"\nf()"),
        ("broken_module", "import { f, g } from \"broken.hexa\"\nf(1) + g()"),
        ("open_module", "import { f } from \"open.hexa\"\nf(1) + nothing"),
        ("wrong_module", "import { f } from \"wrong.hexa\"\nf(1)"),
        ("recursive_module", "import { f } from \"recursive.hexa\"\nf(1)"),
        ("imported_twice", "import { f, f } from \"loose.hexa\"\nf(1)"),
        ("interpolated_path", "import { f } from \"${event.type}\"\nf(1)"),
        ("of", "import { f } of \"loose.hexa\"\nf(1)"),
        ("in_a_block", "if true { import { f } from \"loose.hexa\"; f(1) } else { 2 }"),
    ] {
        let findings = compiled(text, ProgramKind::Function).expect_err(name);
        insta::assert_snapshot!(name, format!("{text}\n\n{}", findings.render(false)));
    }
    let text = "import { f } from \"loose.hexa\"\nf(1)";
    let findings = compile(&SourceText { name: "main", text }, ProgramKind::Function).unwrap_err();
    insta::assert_snapshot!("no_modules", format!("{text}\n\n{}", findings.render(false)));
    assert!(findings.to_json().contains("\"line\":1,\"column\":19"));
}

#[test]
fn warnings_about_imports() {
    let text = "import { f, } from \"loose.hexa\"\nimport { RATE, gross } from \"lib/money.hexa\"\ngross(1)";
    let program = compiled(text, ProgramKind::Function).unwrap();
    insta::assert_snapshot!("warnings_about_imports", format!("{text}\n\n{}", program.warnings().render(false)));
    let json = program.warnings().to_json();
    assert!(json.contains("\"source\":\"loose.hexa\"") && json.contains("\"source\":\"main\""), "{json}");
}

#[test]
fn paths_that_leave_are_never_loaded() {
    struct Never;
    impl Modules for Never {
        fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
            panic!("{path} was asked for")
        }
    }
    for path in ["", "/", "/a", "..", "../a", "a/../b", "a//b", "./a", "a/.", "a/", "c:/a", "http://a", "a\\b", "a\nb"]
    {
        let text = format!("import {{ f }} from '{path}'\nf(1)");
        let source = SourceText { name: "main", text: &text };
        let findings = compile_with(&source, ProgramKind::Function, &CompileOptions::default().modules(&Never));
        assert!(findings.unwrap_err().iter().any(|finding| finding.code.to_string() == "HX0216"), "{path}");
    }
}

#[test]
fn chains_of_modules_end() {
    struct Chain;
    impl Modules for Chain {
        fn load(&self, path: &str) -> Result<Arc<str>, ModuleError> {
            let at: u64 = path.trim_end_matches(".hexa").parse().map_err(|_| ModuleError::NotFound)?;
            Ok(format!("import {{ f as g }} from \"{}.hexa\"\nfn f() = g()", at + 1).into())
        }
    }
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let source = SourceText { name: "main", text: "import { f } from \"0.hexa\"\nf()" };
        let options = CompileOptions::default().modules(&Chain);
        let findings = compile_with(&source, ProgramKind::Function, &options).unwrap_err();
        assert!(findings.render(false).contains("at most 64 modules"), "{findings}");
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn declarations_of_a_module() {
    let text = LIBRARY.load("lib/money.hexa").unwrap();
    let own = module_declarations(&text);
    assert_eq!(own.iter().map(|own| own.name.as_str()).collect::<Vec<_>>(), ["gross", "RATE", "RATES", "sure", "tell"]);
    assert_eq!(own[0].doc, "With the tax.");
    assert!(module_declarations("fn f(").is_empty());
}
