//! `hexafn test`: tests in a configuration, from a request to targets that are played; what it says when one does not hold.

use super::service::{Ran, Scenario};
use serde_json::{Value, json};
use std::path::Path;

fn scenario() -> Scenario {
    Scenario::new("tested")
}

fn test(scenario: &Scenario, more: &[&str]) -> Ran {
    scenario.run(&[&["test", "--config", "cfg"], more].concat())
}

/// The tests of the scenario with one change, which must be there to make.
fn changed(from: &str, to: &str) -> Scenario {
    let scenario = scenario();
    let text = std::fs::read_to_string(scenario.path("cfg/tests.toml")).unwrap();
    assert!(text.contains(from), "the tests hold no `{from}`");
    scenario.file("tests.toml", &text.replacen(from, to, 1))
}

/// Where the expectation that was changed stands, as it is told.
fn place(changed: &Scenario) -> String {
    let text = |s: &Scenario| std::fs::read_to_string(s.path("cfg/tests.toml")).unwrap();
    let (before, after) = (text(&scenario()), text(changed));
    let at = before.lines().zip(after.lines()).position(|(b, a)| a != b).expect("something was changed");
    let lines: Vec<&str> = after.lines().collect();
    let head = lines[..=at].iter().rposition(|l| l.starts_with("[[test")).unwrap();
    format!("cfg/tests.toml:{}", head + 1)
}

#[test]
fn what_holds_passes_without_secrets_and_says_what_no_test_reached() {
    let scenario = scenario();
    let ran = test(&scenario, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.iter().filter(|l| l.starts_with("ok ")).count(), 7, "{ran:?}");
    let end = [
        "7 of 7 tests passed",
        "  triggers that fired: 4 of 5; never: never",
        "  triggers that an event reached: 4 of 5; never: never",
        "  functions that ran: 3 of 4; never: unused",
        "  branches that were taken: 5 of 5",
    ];
    assert_eq!(lines[7..], end, "{ran:?}");
    assert_eq!(test(&scenario, &[]).out, ran.out, "a run gives the same every time");
    assert!(!scenario.path("data").exists(), "nothing is stored");
    // The very secrets that a start cannot do without.
    let served = scenario.run(&["serve", "--config", "cfg"]);
    assert!(served.code == Some(78) && served.err.contains("IT_SECRET_THAT_NOBODY_SETS"), "{served:?}");
}

#[test]
fn what_does_not_hold_is_told_with_its_place_and_the_difference() {
    for (from, to, expected) in [
        ("status = 202", "status = 200", &["expected to be 200, and is 202"][..]),
        ("count = 1", "count = 2", &["trigger `note` was expected to be fired 2 times, and was fired"]),
        ("attempts = 3", "attempts = 2", &["target `web`: the event: 2 attempts were expected, and 3 were made"]),
        ("dead = false", "dead = true", &["a dead letter was expected, and it arrived after 3 attempts"]),
        (
            "body = { size = 3 }",
            "body = { size = 4 }",
            &["what is sent differs", "-    \"size\": 4", "+    \"size\": 3"],
        ),
        (
            "data = { size = 3, by = \"mona\" }\nassert",
            "data = { size = 5, by = \"mona\" }\nassert",
            &["topic `kept`: the event: its data differs", "-  \"size\": 5", "+  \"size\": 3"],
        ),
        (
            "assert = \"event.data.size == 3\"",
            "assert = \"event.data.size == 7\"",
            &["does not hold", "event.data.size = 3"],
        ),
        ("key = \"mona\"", "key = \"lisa\"", &["its key was expected to be `lisa`", "mona"]),
        ("contains = { size = 3 }", "contains = { colour = 3 }", &["its data lacks something", "-  \"colour\": 3"]),
        ("topic = \"sizes\"", "topic = \"nowhere\"", &["topic `nowhere` was expected to get an event, and got none"]),
        ("status = 401", "status = 202", &["expected to be 202, and is 401 (signature-refused"]),
        ("code = \"signature-refused\"", "code = \"body-invalid\"", &["expected to be `body-invalid`, and is 401"]),
        (
            "outcome = \"none\"",
            "outcome = \"fired\"",
            &["trigger `note` was expected to be fired, and no event reached it"],
        ),
        ("outcome = \"skipped\"", "outcome = \"fired\"", &["and was skipped", "event.data.size = 1"]),
        ("answer = { sum = 3 }", "answer = { sum = 4 }", &["the answer differs", "-  \"sum\": 4", "+  \"sum\": 3"]),
        (
            "at = \"2026-05-01T08:20",
            "at = \"2026-05-01T08:30",
            &["its data lacks", "+  \"at\": \"2026-05-01T08:20:00Z\""],
        ),
    ] {
        let scenario = changed(from, to);
        let ran = test(&scenario, &[]);
        let place = format!("  {}: ", place(&scenario));
        assert_eq!((ran.code, ran.out.matches("FAILED").count()), (Some(1), 1), "{to}: {ran:?}");
        assert!(ran.out.contains("6 of 7 tests passed"), "{to}: {ran:?}");
        let miss: String =
            ran.out.split(&place).nth(1).unwrap_or_else(|| panic!("{to}: no {place}: {}", ran.out)).into();
        for part in expected {
            assert!(miss.contains(part), "{to}: {part}: {}", ran.out);
        }
    }
}

#[test]
fn what_is_sent_and_how_targets_answer_decide() {
    for (from, to, failing) in [
        // The clock: within the hour a repetition is known, after it it is not.
        ("after = \"59m\"", "after = \"61m\"", "a repetition is known for an hour"),
        ("after = \"61m\"", "after = \"59m\"", "and forgotten after it"),
        (
            "after = \"1h\"\n\n[[test.expect]]\ntopic = \"kept\"",
            "after = \"2h\"\n\n[[test.expect]]\ntopic = \"kept\"",
            "a function is tried again by the clock of the test",
        ),
        // The signature, the type, the answers.
        ("signed = false", "signed = true", "what is not signed is refused"),
        ("event = \"push\"", "event = \"issues\"", "a push is noted after two refusals"),
        ("answers = [503, \"timeout\", 200]", "answers = [503, 200]", "a push is noted after two refusals"),
        ("answers = [503, \"timeout\", 200]", "answers = [503]", "a push is noted after two refusals"),
        ("answers = [\"refused\"]", "answers = [\"refused\", 204]", "a push is given up after three"),
    ] {
        let ran = test(&changed(from, to), &["-o", "json"]);
        assert_eq!(ran.code, Some(1), "{to}: {ran:?}");
        let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let failed = |t: &&Value| t["ok"] == false;
        let names: Vec<&Value> = told["tests"].as_array().unwrap().iter().filter(failed).map(|t| &t["name"]).collect();
        assert_eq!(names, [failing], "{to}: {told}");
    }
}

#[test]
fn programs_get_json_and_names_choose() {
    let scenario = changed("attempts = 3", "attempts = 2");
    let ran = test(&scenario, &["-o", "json", "push", "answered"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((ran.code, &told["failed"]), (Some(1), &1.into()), "{told}");
    let tests = told["tests"].as_array().unwrap();
    let names: Vec<(&Value, &Value)> = tests.iter().map(|t| (&t["name"], &t["ok"])).collect();
    let expected = [
        ("a push is noted after two refusals", false),
        ("a push is given up after three", true),
        ("a question is answered", true),
    ]
    .map(|(name, ok)| (json!(name), json!(ok)));
    assert_eq!(names, expected.each_ref().map(|(name, ok)| (name, ok)));
    assert_eq!(tests[0]["origin"], "cfg/tests.toml:2", "{told}");
    let origin = place(&scenario);
    let miss = &tests[0]["misses"];
    assert_eq!((miss.as_array().map(Vec::len), &miss[0]["origin"]), (Some(1), &origin.into()));
    assert!(miss[0]["message"].as_str().unwrap().contains("2 attempts were expected"), "{told}");
    assert_eq!(tests[1]["misses"], json!([]));
    let coverage = &told["coverage"][0];
    assert_eq!(
        (&coverage["what"], &coverage["covered"], &coverage["of"]),
        (&"triggers that fired".into(), &2.into(), &5.into())
    );
    assert_eq!(coverage["never"], json!(["hesitant", "never", "tick"]), "of those that were chosen: {told}");

    let one = test(&scenario, &["question"]);
    assert!(one.code == Some(0) && one.out.contains("1 of 1 tests passed"), "what fails was not chosen: {one:?}");
    let none = test(&scenario, &["no such test"]);
    assert!(none.code == Some(1) && none.err.contains("a question is answered"), "those that there are: {none:?}");
    let without = scenario.file("tests.toml", "");
    let none = test(&without, &[]);
    assert!(none.code == Some(1) && none.err.contains("docs/testing.md"), "{none:?}");
}

#[test]
fn a_configuration_that_is_not_valid_is_told_and_no_test_is_run() {
    let parts = |outcome: &str| format!("trigger = \"note\"\noutcome = \"{outcome}\"");
    let mut untold = Vec::new();
    for (scenario, expected) in [
        (scenario().edit("when = 'event.type ==", "when = 'event.typ =="), "hexafn.toml:"),
        (changed("source = \"hub\"", "source = \"hbu\""), "`hub`"),
        (changed("source = \"hub\"", "sourse = \"hub\""), "sourse"),
        (changed("target = \"web\"", "target = \"wbe\""), "`web`"),
        (changed(&parts("fired"), &parts("fried")), "skipped"),
        (changed("assert = \"event.data.size == 3\"", "assert = \"event.data.size = 3\""), "HX0101"),
        (changed("answers = [503, ", "answers = [\"busy\", "), "refused"),
        (changed("after = \"59m\"", "after = \"soon\""), "soon"),
        (changed("now = \"2026-05-01T08:00:00Z\"", "now = \"yesterday\""), "yesterday"),
    ] {
        let ran = test(&scenario, &[]);
        assert!(ran.code == Some(78) && ran.out.is_empty(), "{expected}: {ran:?}");
        if !ran.err.contains(expected) {
            untold.push((expected, ran.err.clone()));
        }
        assert!(ran.err.contains(".toml:"), "with its place: {ran:?}");
        assert_eq!(scenario.run(&["check", "--config", "cfg"]).code, Some(78), "{expected}: check finds it, too");
        let ran = test(&scenario, &["-o", "json"]);
        let told: Value = serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        assert!(told["errors"].as_array().is_some_and(|e| !e.is_empty()), "{told}");
    }
    assert!(untold.is_empty(), "what is wrong is named: {untold:#?}");
    let absent = changed("data = { size = 3, by = \"mona\" }", "file = \"absent.json\"");
    let ran = test(&absent, &[]);
    assert!(ran.code.is_some_and(|code| code != 0) && format!("{ran:?}").contains("absent.json"), "{ran:?}");
}

const BRANCHES: &str = r#"
[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }

[[trigger]]
name = "big"
on = "in"
when = "event.data.n > 1 or event.data.big == true"
run = "grade"
to = ["out"]

[[function]]
name = "grade"
file = "grade.hexa"

[[target]]
name = "out"
kind = "topic"

[[test]]
name = "three is some"
send = { source = "in", data = { n = 3 } }
expect = { target = "out", data = '"some"' }
"#;

#[test]
fn branches_that_no_test_takes_are_listed_with_their_line_and_can_fail_the_run() {
    let grade = "if event.data.n > 100 {\n  \"many\"\n} else {\n  \"some\"\n}\n";
    let configured = |more: &str| {
        let scenario = Scenario::empty_config().file("grade.hexa", grade);
        scenario.file("hexafn.toml", &format!("{BRANCHES}{more}"))
    };
    let scenario = configured("");
    let ran = test(&scenario, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "branches that were taken: 2 of 5; never:",
        "cfg/grade.hexa:2:3: function `grade`, then: \"many\"",
        "cfg/hexafn.toml:11:9: `when` of trigger `big`, false: ",
        "cfg/hexafn.toml:11:29: `when` of trigger `big`, operand: event.data.big == true",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let ran = test(&scenario, &["-o", "json"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    let branches = &told["branches"];
    assert_eq!((&branches["covered"], &branches["of"], &branches["percent"]), (&2.into(), &5.into(), &40.0.into()));
    let missed = &branches["never"][0];
    assert_eq!(
        (&missed["file"], &missed["line"], &missed["kind"]),
        (&"cfg/grade.hexa".into(), &2.into(), &"then".into())
    );

    let ran = test(&scenario, &["--coverage-min", "41"]);
    assert!(ran.code == Some(1) && ran.err.contains("2 of 5 branches were taken: 40.0 %, less than 41 %"), "{ran:?}");
    assert_eq!(test(&scenario, &["--coverage-min", "40"]).code, Some(0));
    assert_eq!(test(&scenario, &["--coverage-min", "101"]).code, Some(2), "a wrong usage");

    let rest = "[[test]]\nname = \"the rest\"\nsend = [{ source = \"in\", data = { n = 0, big = false } }, \
                { source = \"in\", data = { n = 101 } }]\nexpect = { target = \"out\", data = '\"many\"' }\n";
    let ran = test(&configured(rest), &["--coverage-min", "100"]);
    assert!(ran.code == Some(0) && ran.out.contains("branches that were taken: 5 of 5"), "{ran:?}");
}

#[test]
fn the_shipped_configuration_passes_its_own_tests_and_so_does_a_new_one() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let scenario = Scenario::empty();
    let ran = scenario.run(&["test", "--config", shipped.to_str().unwrap()]);
    assert!(ran.code == Some(0) && ran.out.contains("4 of 4 tests passed"), "{ran:?}");
    assert_eq!(scenario.run(&["new", "cfg"]).code, Some(0));
    // Branches are named by their file.
    let out = ran.out.replace(shipped.to_str().unwrap(), "cfg");
    assert_eq!(test(&scenario, &[]).out, out, "what `new` writes is the same");
}

/// The blocks of a Markdown text that begin with these words: the rest of the first line, and the text.
fn blocks<'t>(text: &'t str, words: &str) -> Vec<(&'t str, &'t str)> {
    let begins = format!("```{words}");
    let parts = text.split("\n```").collect::<Vec<_>>();
    let all = parts.iter().map(|part| part.split_once('\n').unwrap_or((part, "")));
    all.filter(|(head, _)| format!("```{head}").starts_with(&begins)).collect()
}

#[test]
fn the_test_at_the_end_of_the_tutorial_passes_with_its_module_and_its_function() {
    let tutorial = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dsl/tutorial.md")).unwrap();
    let scenario = Scenario::empty();
    let write = |name: &str, text: &str| {
        let path = scenario.path("cfg").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let [(head, module)] = blocks(&tutorial, "hexa lib/")[..] else { panic!("one module is in the tutorial") };
    write(head.trim_start_matches("hexa "), module);
    let importer = blocks(&tutorial, "hexa").into_iter().find(|(_, text)| text.starts_with("import")).unwrap().1;
    write("functions/invoice.hexa", importer);
    let [(_, config)] = blocks(&tutorial, "toml")[..] else { panic!("one configuration is in the tutorial") };
    write("hexafn.toml", config);
    let ran = test(&scenario, &[]);
    assert!(ran.code == Some(0) && ran.out.contains("1 of 1 tests passed"), "{ran:?}");
    // It can fail: without the tax it does.
    write(head.trim_start_matches("hexa "), &module.replace("0.19", "0.0"));
    assert_eq!(test(&scenario, &[]).code, Some(1));
}

#[test]
fn a_body_from_outside_of_the_configuration_folder_is_refused() {
    let scenario = Scenario::empty();
    std::fs::create_dir_all(scenario.path("cfg")).unwrap();
    std::fs::write(scenario.path("secret.json"), "{}").unwrap();
    let config = "[[source]]\nname = \"in\"\nkind = \"webhook\"\ntopic = \"in\"\nverify = { scheme = \"none\" }\n\n\
        [[test]]\nname = \"reads\"\nsend = { source = \"in\", file = \"../secret.json\" }\nexpect = { status = 202 }\n";
    let ran = test(&scenario.file("hexafn.toml", config), &[]);
    assert!(ran.code == Some(1) && ran.out.contains("leads out of the configuration folder"), "{ran:?}");
}
