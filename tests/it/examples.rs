//! The examples of `config/examples` are valid, each by itself, and their own tests pass.

use super::service::Scenario;
use std::path::Path;

/// A configuration that is this example, with the folder of its files.
fn example(path: &Path) -> Scenario {
    let scenario = Scenario::empty();
    std::fs::create_dir_all(scenario.path("cfg/functions")).unwrap();
    std::fs::copy(path, scenario.path("cfg/hexafn.toml")).unwrap();
    for entry in std::fs::read_dir(path.with_file_name("functions")).unwrap() {
        let file = entry.unwrap();
        std::fs::copy(file.path(), scenario.path("cfg/functions").join(file.file_name())).unwrap();
    }
    scenario
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples")
}

#[test]
fn every_example_is_a_valid_configuration() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let scenario = example(&path);
        let checked = scenario.run(&["check", "--config", "cfg"]);
        assert_eq!(checked.code, Some(0), "{}: {}{}", path.display(), checked.out, checked.err);
        if std::fs::read_to_string(&path).unwrap().contains("[[test]]") {
            let tested = scenario.run(&["test", "--config", "cfg"]);
            assert_eq!(tested.code, Some(0), "{}: {}{}", path.display(), tested.out, tested.err);
        }
        seen += 1;
    }
    assert!(seen >= 11, "{seen} examples in {}", folder().display());
}

#[test]
fn one_job_in_three_languages_gives_the_same_to_the_byte() {
    let scenario = example(&folder().join("functions.toml"));
    let run = |function: &str, data: &str| {
        std::fs::write(scenario.path("order.json"), data).unwrap();
        let ran = scenario.run(&["run", function, "--config", "cfg", "--data", "@order.json"]);
        assert_eq!(ran.code, Some(0), "{function}: {}{}", ran.out, ran.err);
        ran.out
    };
    for (order, expected) in [
        (
            r#"{"id":"o-1","lines":[{"price":4999,"count":2},{"price":3,"count":1}]}"#,
            "emit orders.large key o-1: {\"id\":\"o-1\",\"total\":10001}\n{\"id\":\"o-1\",\"items\":3,\"total\":10001}\n",
        ),
        (r#"{"id":"ö\n","lines":[]}"#, "{\"id\":\"ö\\n\",\"items\":0,\"total\":0}\n"),
    ] {
        for function in ["price-dsl", "price-js", "price-lua"] {
            assert_eq!(run(function, order), expected, "{function}");
        }
    }
    let large = format!(r#"{{"id":"{}"}}"#, "x".repeat(200_000));
    for order in [r#"{"id":"o-1"}"#, &large] {
        let passed: serde_json::Value = serde_json::from_str(&run("pass-wasm", order)).unwrap();
        assert_eq!(passed["event"]["data"].to_string(), order);
        assert_eq!(passed["ctx"]["function"], "pass-wasm");
    }
}
