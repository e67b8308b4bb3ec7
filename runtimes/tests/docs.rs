//! The examples of the pages on the scripting languages give what the pages say.
#![allow(clippy::unwrap_used)]

#[path = "support/scripts.rs"]
mod scripts;

use std::path::Path;

use hexafn_runtimes::{JsRuntime, LuaRuntime, Runtime};
use scripts::Script;

/// The first block of this kind.
fn block<'t>(page: &'t str, kind: &str) -> &'t str {
    let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no block `{kind}`"));
    rest.split_once("```").unwrap().0.trim()
}

fn example(runtime: &dyn Runtime, page: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runtimes");
    let page = std::fs::read_to_string(folder.join(page)).unwrap();
    let mut script = Script::new(runtime, block(&page, runtime.name()));
    let done = script.call(block(&page, "json event"));
    let output = done.result.unwrap();
    assert_eq!(String::from_utf8_lossy(output.value.as_deref().unwrap()), block(&page, "json output"));
    let emitted: Vec<_> = output.emitted.iter().map(|e| (&*e.topic, e.key.as_deref())).collect();
    assert_eq!(emitted, [("orders.large", Some("9007199254740993"))]);
    assert_eq!(done.logs[0].message, "priced 9007199254740993");
}

#[test]
fn the_example_in_javascript_runs() {
    example(&JsRuntime, "javascript.md");
}

#[test]
fn the_example_in_lua_runs() {
    example(&LuaRuntime, "lua.md");
}

#[test]
fn the_types_name_what_there_is() {
    let types = include_str!("../types/hexafn.d.ts");
    let mut script =
        Script::new(&JsRuntime, "export default (event, ctx) => [...Object.keys(ctx), ...Object.keys(ctx.kv)]");
    let names: Vec<String> = serde_json::from_str(&script.text("{}")).unwrap();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let declared = [": ", "(", "?: "].iter().any(|after| types.contains(&format!("{name}{after}")));
        assert!(declared, "{name}");
    }
}
