//! `hexafn repl`: the language, line by line, on an event of one's choice.

use clap::Args;
use hexafn_actors::clock::Wall;
use hexafn_actors::event::Event;
use hexafn_actors::function;
use hexafn_actors::log::{Record, TopicId};
use hexafn_dsl::{
    Budget, CompileOptions, CtxView, Input, Limits, ProgramKind, Seed, SourceText, Value, builtins, compile_with,
    module_declarations,
};
use rustyline::error::ReadlineError;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use super::{Done, Failure, print, say, table};
use crate::config::modules::Folder;

/// The largest value that is printed, in bytes.
const SHOWN: usize = 1 << 20;

/// `hexafn repl`
#[derive(Debug, Args)]
pub struct Repl {
    /// The data of the event: text, `@FILE`, or `-` for standard input.
    #[arg(long, short)]
    data: Option<String>,
    /// The type of the event.
    #[arg(long = "type", value_name = "TYPE", default_value = "event")]
    kind: String,
    /// The folder that modules are imported from.
    #[arg(long, short, default_value = "config", value_name = "DIR", env = "HEXAFN_CONFIG")]
    config: PathBuf,
}

const HELP: &str = "\
An expression is evaluated on `event`; `let`, `const`, `fn` and `import` lines are kept for those that follow.
  :event JSON      or :event @FILE: other data for the event
  :type NAME       another type for it
  :builtin NAME    what a built-in function does
  :forget          drops what is kept
  :help  :quit";

struct Session {
    folder: Folder,
    record: Record,
    kept: Vec<String>,
}

/// Reads lines until the end of the input.
pub fn repl(args: &Repl) -> Done {
    let data = args.data.as_deref().map(super::data).transpose()?.unwrap_or_else(|| b"{}".to_vec());
    let mut session =
        Session { folder: Folder::new(&args.config), record: record(&args.kind, data)?, kept: Vec::new() };
    if !std::io::stdin().is_terminal() {
        for line in std::io::stdin().lock().lines() {
            if !session.line(&line?) {
                break;
            }
        }
        return Ok(());
    }
    let mut editor = rustyline::DefaultEditor::new().map_err(|e| Failure::new(1, e.to_string()))?;
    say("hexaFn's language; :help says more");
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                // A history that is full forgets the oldest line.
                editor.add_history_entry(&line).ok();
                if !session.line(&line) {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::new(1, error.to_string())),
        }
    }
}

fn record(kind: &str, data: Vec<u8>) -> Result<Record, Failure> {
    let doc = hexafn_dsl::json::Doc::parse(data.clone().into(), &hexafn_dsl::json::Limits::default());
    doc.map_err(|e| Failure::new(1, format!("the data is not JSON that is accepted: {e}")))?;
    let event = Event::new("/repl", kind, data.into());
    Ok(Record::new("repl".into(), TopicId(0), 1, Wall::now(), event))
}

impl Session {
    /// Takes a line; `false` ends the session.
    fn line(&mut self, line: &str) -> bool {
        let line = line.trim();
        match line.strip_prefix(':') {
            Some(command) => return self.command(command),
            None if line.is_empty() => {}
            None => self.program(line),
        }
        !print::is_closed()
    }

    fn command(&mut self, command: &str) -> bool {
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "q" | "quit" | "exit" => return false,
            "event" => match super::data(rest).and_then(|data| record(&self.record.event.kind, data)) {
                Ok(record) => self.record = record,
                Err(failure) => say(failure.message),
            },
            "type" => self.record.event.kind = rest.into(),
            "forget" => self.kept.clear(),
            "builtin" => match builtins().iter().find(|builtin| builtin.name == rest) {
                Some(builtin) => {
                    say(format!("{}{}\n  {}", builtin.name, builtin.signature, builtin.doc));
                    for (program, gives) in builtin.examples {
                        say(format!("  {program}  # {gives}"));
                    }
                }
                None => {
                    let near = hexafn_actors::names::near(rest, builtins().iter().map(|builtin| builtin.name));
                    say(format!("there is no built-in function `{}`; {near}", table::plain(rest)));
                }
            },
            "help" | "h" => say(HELP),
            _ => say(format!("there is no command `:{}`\n{HELP}", table::plain(name))),
        }
        true
    }

    fn program(&mut self, line: &str) {
        let keeps = ["let ", "const ", "fn ", "import "].iter().any(|word| line.starts_with(word));
        // Imports and declarations stand before everything else, whatever the order they were typed in.
        let order = |line: &String| match line.split(' ').next() {
            Some("import") => 0,
            Some("const" | "fn") => 1,
            _ => 2,
        };
        let mut lines = self.kept.clone();
        // A function or constant that is declared again is another one from here on, as a `let` is.
        let own = module_declarations(line);
        lines.retain(|kept| !module_declarations(kept).iter().any(|old| own.iter().any(|new| new.name == old.name)));
        lines.push(line.to_owned());
        lines.sort_by_key(order);
        let mut text = lines.join("\n");
        if keeps {
            text.push_str("\nnull");
        }
        let options = CompileOptions::default().modules(&self.folder);
        let program = match compile_with(&SourceText { name: "repl", text: &text }, ProgramKind::Function, &options) {
            Ok(program) => program,
            Err(found) => return say(found.render(std::io::stdout().is_terminal()).trim_end()),
        };
        let now = Wall::now();
        let ctx = CtxView {
            trigger: "repl",
            function: "repl",
            attempt: 1,
            now_us: now.0,
            env: &[],
            seed: Seed { number: u64::try_from(now.0).unwrap_or(0), ..Seed::default() },
        };
        let input = Input { event: function::view(&self.record, true), ctx };
        let outcome = match program.run(&input, &mut Budget::new(Limits::default())) {
            Ok(outcome) => outcome,
            Err(error) => return say(table::plain(&error.to_string())),
        };
        for emit in &outcome.emitted {
            let key = emit.key.as_ref().map_or_else(String::new, |key| format!(" key {}", table::plain(key)));
            say(format!("emit {}{key}: {}", table::plain(&emit.topic), shown(&emit.value)));
        }
        if keeps {
            self.kept = lines;
        } else if matches!(outcome.value, Value::Drop) {
            say("drop");
        } else {
            say(shown(&outcome.value));
        }
    }
}

fn shown(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    match value.write_json(&mut out, SHOWN) {
        Ok(()) => table::plain(&String::from_utf8_lossy(&out)),
        Err(_) => format!("more than {SHOWN} bytes"),
    }
}
