//! `hexafn lsp` and `hexafn fmt`: the language server as a real editor (Neovim) uses it, and layout of files.

use super::service::Scenario;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = "import { double } from \"lib/m.hexa\"\n\n{ n: len(double(event.data.xs)) }\n";
const MODULE: &str = "/// Twice each of them.\nfn double(xs) = [x * 2 for x in xs]\n";
const CONFIG: &str = "[[source]]\nname = \"in\"\nkind = \"webhook\"\ntopic = \"in\"\nverify = { scheme = \"standard\", secrets = [\"env:SECRET\"] }\n\n\
[[function]]\nname = \"f\"\nfile = \"functions/f.hexa\"\n\n[[trigger]]\nname = \"t\"\non = \"in\"\nrun = \"f\"\nto = [\"out\"]\n\n\
[[target]]\nname = \"out\"\nkind = \"topic\"\n";

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What the editor was told, of a folder with a program, a module and their configuration.
fn edited() -> Value {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cfg");
    write(&folder, "functions/f.hexa", PROGRAM);
    write(&folder, "lib/m.hexa", MODULE);
    write(&folder, "hexafn.toml", CONFIG);
    let out = dir.path().join("seen.json");
    let ran = Command::new("nvim")
        .args(["--headless", "--clean", "-n", "-S", "tests/editor/client.lua"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("HEXAFN", env!("CARGO_BIN_EXE_hexafn"))
        .env("FOLDER", &folder)
        .env("OUT", &out)
        .env("XDG_STATE_HOME", dir.path())
        .output()
        .expect("nvim is not there; run: scripts/deps test");
    let told = std::fs::read_to_string(&out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let seen: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(seen.get("failed"), None, "{seen}");
    seen
}

fn labels(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap()).collect()
}

#[test]
fn an_editor_finds_what_is_wrong_what_words_mean_and_where_they_are_declared() {
    let seen = edited();
    let nothing: Vec<&str> = Vec::new();
    for right in ["right", "module_right", "toml_right"] {
        assert_eq!(seen[right], serde_json::json!(nothing), "{right}: {seen}");
    }
    // Columns are bytes in Neovim: the umlaut before the second one is two, the emoji four.
    assert_eq!(
        seen["wrong"],
        serde_json::json!(["2:5 HX0203 unknown function `lenn`", "2:49 HX0201 unknown name `nope`"])
    );
    assert_eq!(seen["module_wrong"], serde_json::json!(["1:21 HX0201 unknown name `two`"]));
    assert!(seen["toml_wrong"][0].as_str().unwrap().starts_with("0:1 HX1003"), "{}", seen["toml_wrong"]);

    let hover = seen["hover_builtin"]["contents"]["value"].as_str().unwrap();
    assert!(hover.contains("len(") && hover.contains("```hexa"), "{hover}");
    let hover = seen["hover_import"]["contents"]["value"].as_str().unwrap();
    assert!(hover.contains("fn double(xs)") && hover.contains("Twice each of them."), "{hover}");
    assert!(seen["definition"]["uri"].as_str().unwrap().ends_with("/cfg/lib/m.hexa"), "{seen}");
    assert_eq!(seen["definition"]["range"]["start"], serde_json::json!({ "line": 1, "character": 3 }));

    assert!(labels(&seen["fields"]).contains(&"headers") && !labels(&seen["fields"]).contains(&"len"));
    let words = labels(&seen["words"]);
    assert!(["double", "len", "match", "event"].iter().all(|word| words.contains(word)), "{words:?}");
    assert_eq!(seen["layout"], serde_json::json!([]), "it is laid out already");
    assert_eq!(seen["stopped"], true);
}

#[test]
fn files_are_laid_out_and_broken_ones_are_left_alone() {
    let scenario = Scenario::new("pipeline");
    let path = |name: &str| scenario.path("cfg/functions").join(name);
    write(&scenario.path("cfg/functions"), "a.hexa", "{a:1,   b:[1,2]} # kept");
    write(&scenario.path("cfg/functions"), "b.hexa", "{ (");
    let ran = scenario.run(&["fmt", "--check", "cfg"]);
    assert!(ran.code == Some(1) && ran.out.contains("a.hexa") && ran.err.contains("b.hexa"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(path("a.hexa")).unwrap(), "{a:1,   b:[1,2]} # kept", "--check changes nothing");

    let ran = scenario.run(&["fmt", "cfg"]);
    assert!(ran.code == Some(1) && ran.err.contains("HX0111"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(path("a.hexa")).unwrap(), "{ a: 1, b: [1, 2] } # kept\n");
    assert_eq!(std::fs::read_to_string(path("b.hexa")).unwrap(), "{ (");

    std::fs::remove_file(path("b.hexa")).unwrap();
    assert_eq!(scenario.run(&["fmt", "--check", "cfg"]).code, Some(0));
}
