//! The examples of `config/examples` are valid, each by itself, and their own tests pass.

use super::service::Scenario;
use std::path::Path;

#[test]
fn every_example_is_a_valid_configuration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let scenario = Scenario::empty();
        std::fs::create_dir(scenario.path("cfg")).unwrap();
        std::fs::copy(&path, scenario.path("cfg/hexafn.toml")).unwrap();
        let checked = scenario.run(&["check", "--config", "cfg"]);
        assert_eq!(checked.code, Some(0), "{}: {}{}", path.display(), checked.out, checked.err);
        if std::fs::read_to_string(&path).unwrap().contains("[[test]]") {
            let tested = scenario.run(&["test", "--config", "cfg"]);
            assert_eq!(tested.code, Some(0), "{}: {}{}", path.display(), tested.out, tested.err);
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} examples in {}", folder.display());
}
