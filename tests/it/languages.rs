//! `hexafn new function`: what it writes is built by the commands that it writes, and does the same in every language, byte
//! for byte.

use super::compilers::{copy_packages, lock_crates, root, shell};
use super::service::Scenario;
use std::path::Path;

/// Data of events, and what comes of each: the emission, if any, and the output.
const JOBS: [(&str, &str); 5] = [
    (
        r#"{"id":"o-1","lines":[{"price":4999,"count":2},{"price":3,"count":1}]}"#,
        "emit orders.large key o-1: {\"id\":\"o-1\",\"total\":10001}\n{\"id\":\"o-1\",\"items\":3,\"total\":10001}\n",
    ),
    (r#"{"lines":[],"id":"none"}"#, "{\"id\":\"none\",\"items\":0,\"total\":0}\n"),
    (
        r#"{ "id" : "spaces, and more than is asked for", "by": { "lines": [[]], "id": null },
             "lines" : [ { "tags": ["}", "\"]"], "count": 100, "price": 100 } ] }"#,
        "{\"id\":\"spaces, and more than is asked for\",\"items\":100,\"total\":10000}\n",
    ),
    // Every kind of escape, in its shortest form, and none where none is needed.
    (
        r#"{"id":"\u00f6 \"\\\/\b\f\n\r\t\u0001\u001f\u007f \u2028 \ud83d\ude00 😀 ß","lines":[]}"#,
        "{\"id\":\"ö \\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f} \u{2028} 😀 😀 ß\",\"items\":0,\"total\":0}\n",
    ),
    (
        r#"{"id":"much","lines":[{"price":1000000000,"count":9007199},{"price":254740991,"count":1}]}"#,
        "emit orders.large key much: {\"id\":\"much\",\"total\":9007199254740991}\n\
         {\"id\":\"much\",\"items\":9007200,\"total\":9007199254740991}\n",
    ),
];

/// The `sh` blocks of a text.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// Writes a function, builds and tries it as its README says, and holds its results against those that all have. The page on
/// the language shows the same commands.
fn does_the_job(language: &str, artifact: &str, page: &str) {
    let scenario = Scenario::empty_config();
    let made = scenario.run(&["new", "function", "price", "--lang", language]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let folder = scenario.path("price");
    match language {
        "ts" => copy_packages("typescript", &folder),
        "assemblyscript" => copy_packages("assemblyscript", &folder),
        "rust" => lock_crates(&folder),
        _ => {}
    }
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/runtimes").join(page)).unwrap();
    for commands in blocks(&readme) {
        assert!(blocks(&page).contains(&commands), "the page has another way: {commands}");
    }
    assert!(page.contains(&format!("```text\n{}```", JOBS[0].1)), "the page has another output");
    let printed: Vec<String> = blocks(&readme).iter().map(|commands| shell(&folder, commands)).collect();
    // The last block tries it with the sample event, which is the first of the jobs.
    assert_eq!(printed.last().unwrap(), JOBS[0].1);

    let file = format!("price/{artifact}");
    std::fs::create_dir(scenario.path("cfg/functions")).unwrap();
    let name = Path::new(artifact).file_name().unwrap();
    std::fs::copy(scenario.path(&file), scenario.path("cfg/functions").join(name)).unwrap();
    std::fs::copy(folder.join("function.toml"), scenario.path("cfg/functions.toml")).unwrap();
    for (data, expected) in JOBS {
        std::fs::write(scenario.path("data.json"), data).unwrap();
        std::fs::write(scenario.path("event.json"), format!(r#"{{"type":"order.created","data":{data}}}"#)).unwrap();
        let granted: &[&str] = if language == "dsl" { &[] } else { &["--emit", "orders.large"] };
        let ran = scenario.run(&[&["run", &file, "--event", "event.json"], granted].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), expected), "{data}: {}", ran.err);
        let configured = scenario.run(&["run", "price", "--config", "cfg", "--data", "@data.json"]);
        assert_eq!((configured.code, configured.out.as_str()), (Some(0), expected), "{data}: {}", configured.err);
    }
    // What is no order is an error of the function, and no wrong price.
    let wrong = scenario.run(&["run", "price", "--config", "cfg", "--data", r#"{"id":7,"lines":[{}]}"#]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.out);
}

#[test]
fn the_language_of_hexafn_does_the_job() {
    does_the_job("dsl", "price.hexa", "dsl.md");
}

#[test]
fn javascript_does_the_job() {
    does_the_job("js", "price.js", "javascript.md");
}

#[test]
fn typescript_does_the_job() {
    does_the_job("ts", "dist/price.js", "typescript.md");
}

#[test]
fn lua_does_the_job() {
    does_the_job("lua", "price.lua", "lua.md");
}

#[test]
fn rust_does_the_job() {
    does_the_job("rust", "target/wasm32-wasip1/release/price.wasm", "rust.md");
}

#[test]
fn c_does_the_job() {
    does_the_job("c", "price.wasm", "c.md");
}

#[test]
fn assemblyscript_does_the_job() {
    does_the_job("assemblyscript", "dist/price.wasm", "assemblyscript.md");
}

/// The pages show the examples as they are.
#[test]
fn the_pages_show_the_examples() {
    for (page, example) in [
        ("dsl.md", "price.hexa"),
        ("typescript.md", "price.ts"),
        ("rust.md", "price.rs"),
        ("c.md", "price.c"),
        ("assemblyscript.md", "price.assembly.ts"),
    ] {
        let text = std::fs::read_to_string(root().join("config/examples/functions").join(example)).unwrap();
        let page = std::fs::read_to_string(root().join("docs/runtimes").join(page)).unwrap();
        assert!(page.contains(&format!("\n{text}```\n")), "{example}");
    }
}

#[test]
fn what_is_there_is_not_overwritten_and_what_is_unknown_is_listed() {
    let scenario = Scenario::empty();
    std::fs::create_dir(scenario.path("mine")).unwrap();
    std::fs::write(scenario.path("mine/mine.js"), "mine").unwrap();
    for (args, code, said) in [
        (&["mine", "--lang", "js"][..], 1, "mine is not empty"),
        (&["other", "--lang", "js", "--dir", "mine"], 1, "mine is not empty"),
        (&["other", "--lang", "js", "--dir", "mine/mine.js"], 1, "mine/mine.js"),
        (&["f", "--lang", "perl"], 2, "dsl, js, ts, lua, rust, c, assemblyscript"),
        (&["f"], 2, "--lang"),
        (&["a/b", "--lang", "js"], 2, "letters, digits, `_` and `-`"),
        (&["7up", "--lang", "rust"], 2, "`fn-7up`"),
    ] {
        let ran = scenario.run(&[&["new", "function"], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
    assert_eq!(std::fs::read_to_string(scenario.path("mine/mine.js")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(scenario.path("mine")).unwrap().count(), 1);
    assert!(!scenario.path("f").exists() && !scenario.path("other").exists());
    assert_eq!(scenario.run(&["new"]).code, Some(2));
    // Where it is said, an empty folder, and beside the word `function` a folder of any name for a configuration.
    let made = scenario.run(&["new", "function", "f", "--lang", "lua", "--dir", "deep/er"]);
    assert_eq!((made.code, scenario.path("deep/er/f.lua").is_file()), (Some(0), true), "{}", made.err);
    let made = scenario.run(&["new", "./function"]);
    assert_eq!((made.code, scenario.path("function/hexafn.toml").is_file()), (Some(0), true), "{}", made.err);
}

/// A function in C that calls all that `hexafn.h` declares is accepted with its grants, and refused without.
#[test]
fn the_header_for_c_declares_what_there_is() {
    let scenario = Scenario::empty_config().file(
        "f.toml",
        "[[function]]\nname = \"all\"\nruntime = \"wasm\"\nfile = \"all.wasm\"\nemit = [\"out\"]\nkv = [\"n\"]\nenv = [\"HOME\"]\n\
         http = [\"api.example.com\"]\n",
    );
    std::fs::copy(root().join("runtimes/types/hexafn.h"), scenario.path("hexafn.h")).unwrap();
    let source = r#"
        #include "hexafn.h"
        #include <stdio.h>
        #include <string.h>
        int main(void) {
          char text[64] = "";
          hexafn_log(1, "a line", 6);
          if (hexafn_now_ms() < 1 || hexafn_random() == hexafn_random()) hexafn_fail("clock or chance", 15);
          int32_t length = hexafn_env("HOME", 4);
          if (hexafn_take(text, sizeof text) != length) hexafn_fail("env", 3);
          if (hexafn_kv_get("n", 1, "k", 1) != -1) hexafn_fail("kv before", 9);
          hexafn_kv_put("n", 1, "k", 1, "[7]", 3);
          if (hexafn_kv_get("n", 1, "k", 1) != 3 || hexafn_take(text, 3) != 3) hexafn_fail("kv", 2);
          hexafn_kv_delete("n", 1, "k", 1);
          hexafn_emit("out", 3, "", 0, text, 3);
          const char *request = "{\"url\":\"https://api.example.com/\"}";
          if (hexafn_http(request, strlen(request)) != -2) hexafn_fail("http", 4);
          puts("true");
          return 0;
        }"#;
    std::fs::write(scenario.path("all.c"), source).unwrap();
    shell(&scenario.path("."), "clang --target=wasm32-wasi -O2 -Wall -Wextra -Werror -o cfg/all.wasm all.c");
    let ran = scenario.run(&["run", "all", "--config", "cfg", "--data", "{}"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "emit out: [7]\ntrue\n"), "{}", ran.err);
    let refused = scenario.run(&["run", "cfg/all.wasm", "--data", "{}"]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("denied"), "{}", refused.err);
}
