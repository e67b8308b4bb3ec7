//! The declarations for TypeScript, by the real compiler: right uses pass under `--strict`, each wrong one is found.

use super::compilers::{copy_packages, root};
use std::path::Path;
use std::process::Command;

/// What the compiler finds in a text, as `code: message` lines; none when it is right.
fn found(folder: &Path, file: &str, text: &str) -> Vec<String> {
    std::fs::write(folder.join(file), text).unwrap();
    let mut tsc = Command::new(folder.join("node_modules/.bin/tsc"));
    tsc.args([
        "--ignoreConfig",
        "--strict",
        "--noEmit",
        "--allowJs",
        "--checkJs",
        "--target",
        "ES2023",
        "--lib",
        "ES2023",
    ]);
    tsc.args(["--types", "", "--module", "ES2022", "--moduleResolution", "bundler", file]).current_dir(folder);
    let ran = tsc.output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<String> =
        printed.lines().filter_map(|line| line.split_once("error ")).map(|(_, e)| e.to_owned()).collect();
    assert_eq!(ran.status.success(), lines.is_empty(), "{file}: {printed}{}", String::from_utf8_lossy(&ran.stderr));
    lines
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_packages("typescript", folder.path());
    std::fs::copy(root().join("runtimes/types/hexafn.d.ts"), folder.path().join("hexafn.d.ts")).unwrap();
    folder
}

#[test]
fn the_examples_and_all_that_there_is_are_right_under_strict() {
    let folder = folder();
    let examples = root().join("config/examples/functions");
    for file in ["price.ts", "price.js"] {
        let text = std::fs::read_to_string(examples.join(file)).unwrap();
        assert_eq!(found(folder.path(), file, &text), [] as [String; 0], "{file}");
    }
    let declarations = std::fs::read_to_string(folder.path().join("hexafn.d.ts")).unwrap();
    assert_eq!(found(folder.path(), "hexafn.d.ts", &declarations), [] as [String; 0]);
    let everything = r#"
        import type { Event, Handler, HostError, Json, Output, Request, Response } from "./hexafn";
        type Data = { n: number };
        const handler: Handler<Data> = async (event: Event<Data>, ctx) => {
          const subject: string | null = event.subject;
          const region: string | undefined = ctx.env.REGION;
          const request: Request = { url: "https://api.example.com/", headers: { a: "b" }, body: { n: event.data.n } };
          const answer: Response = ctx.http(request);
          ctx.emit("a.b", { n: 1n, at: new Date(), absent: undefined, exact: JSON.rawJSON("0.10") });
          ctx.emit("a.b", [1, "b", null], { key: `${event.seq}` });
          ctx.kv.put("n", "k", event.headers);
          ctx.kv.delete("n", event.key ?? event.id);
          console.info(answer.status, subject, region, ctx.attempt, event.extensions, event.topic);
          const stored: Json = ctx.kv.get("n", "k");
          if (JSON.isRawJSON(stored)) return stored.rawJSON;
          try {
            ctx.emit("c", 1);
          } catch (error) {
            if ((error as HostError).code === "denied") return;
          }
          const output: Output = { a: [1, { b: "c" }] };
          return output;
        };
        export default handler;
        const plain: Handler = (event) => ({ id: event.data.id });
        export { plain };"#;
    assert_eq!(found(folder.path(), "everything.ts", everything), [] as [String; 0]);
}

#[test]
fn each_wrong_use_is_found() {
    let folder = folder();
    for (index, (body, code, said)) in [
        (r#"const f: Handler = (event, ctx) => ctx.emitt("a", 1);"#, "TS2551", "'emitt'"),
        (r#"const f: Handler = (event, ctx) => ctx.emit("a", {}, { key: 7 });"#, "TS2322", "'number'"),
        (r#"const f: Handler<{ id: string }> = (event) => event.data.idd;"#, "TS2339", "'idd'"),
        (r#"const f: Handler = (event) => event.typo;"#, "TS2339", "'typo'"),
        (r#"const f: Handler = (event) => event.subject.length;"#, "TS18047", "possibly 'null'"),
        (r#"const f: Handler = (event) => { event.id = "x"; };"#, "TS2540", "read-only"),
        (r#"const f: Handler = (_, ctx) => ctx.env.REGION.length;"#, "TS18048", "possibly 'undefined'"),
        (r#"const f: Handler = () => () => 1;"#, "TS2322", "'Handler"),
        (r#"const f: Handler = () => new Map();"#, "TS2322", "'Map"),
        (r#"const f: Handler = () => { setTimeout(() => {}, 1); };"#, "TS2304", "'setTimeout'"),
        (r#"const f: Handler = () => { fetch("https://api.example.com/"); };"#, "TS2304", "'fetch'"),
        (r#"const f: Handler = (_, ctx) => ctx.http({ uri: "https://api.example.com/" });"#, "TS2353", "'uri'"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("import type {{ Handler }} from \"./hexafn\";\n{body}\nexport default f;\n");
        let errors = found(folder.path(), &format!("wrong{index}.ts"), &text);
        assert!(errors.iter().any(|e| e.starts_with(code) && e.contains(said)), "{body}: {errors:?}");
    }
}
