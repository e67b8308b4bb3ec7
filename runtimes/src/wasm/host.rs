//! One call as a guest sees it, whatever engine runs it: the imports of module `hexafn`, and the state that they and those
//! of WASI share. Every pointer and length that a guest gives is checked here, and nowhere else.

use crate::{Code, Error, HttpRequest, Level, Session};

/// Why a guest does not run on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It did what it may not, or failed by itself.
    Failed(Error),
    /// It ended itself with this status.
    Exit(i32),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The linear memory of a guest.
pub(crate) trait Memory {
    /// Its size in bytes.
    fn size(&self) -> usize;
    /// Copies from it; `false` when the range is not inside.
    fn get(&self, at: usize, into: &mut [u8]) -> bool;
    /// Copies to it; `false` when the range is not inside.
    fn put(&mut self, at: usize, bytes: &[u8]) -> bool;
}

impl Memory for &mut [u8] {
    fn size(&self) -> usize {
        self.len()
    }

    fn get(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(found) = at.checked_add(into.len()).and_then(|end| <[u8]>::get(self, at..end)) else { return false };
        into.copy_from_slice(found);
        true
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = at.checked_add(bytes.len()).and_then(|end| <[u8]>::get_mut(self, at..end)) else {
            return false;
        };
        place.copy_from_slice(bytes);
        true
    }
}

/// A range as a guest gives it: two `i32` that are meant without sign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub at: usize,
    pub len: usize,
}

impl Range {
    pub fn new(at: i64, len: i64) -> Self {
        Self { at: at as u32 as usize, len: len as u32 as usize }
    }

    /// The bytes, at most `most` of them.
    ///
    /// # Errors
    /// [`Code::Abi`] when the range is not inside the memory, whatever `most` is.
    pub fn bytes(self, memory: &dyn Memory, what: &str, most: usize) -> Result<Vec<u8>, Error> {
        if self.at + self.len > memory.size() {
            return Err(self.outside(memory, what));
        }
        let mut bytes = vec![0; self.len.min(most)];
        if memory.get(self.at, &mut bytes) { Ok(bytes) } else { Err(self.outside(memory, what)) }
    }

    fn outside(self, memory: &dyn Memory, what: &str) -> Error {
        Error::new(
            Code::Abi,
            format!(
                "{what} should lie at {:#x} with {} bytes, which is not inside its memory of {} bytes",
                self.at,
                self.len,
                memory.size()
            ),
        )
    }

    /// The text, of at most `most` bytes.
    fn text(self, memory: &dyn Memory, what: &str, most: usize) -> Result<String, Error> {
        if self.at + self.len > memory.size() {
            return Err(self.outside(memory, what));
        }
        if self.len > most {
            return Err(Error::new(
                Code::OutputTooLarge,
                format!("{what} has {} bytes; at most {most} are allowed", self.len),
            ));
        }
        let bytes = self.bytes(memory, what, most)?;
        String::from_utf8(bytes).map_err(|e| Error::new(Code::Abi, format!("{what} is not UTF-8: {e}")))
    }
}

/// Writes to the memory of a guest.
///
/// # Errors
/// [`Code::Abi`] when the place is not inside it.
pub(crate) fn write(memory: &mut dyn Memory, at: usize, bytes: &[u8], what: &str) -> Result<(), Error> {
    if memory.put(at, bytes) {
        return Ok(());
    }
    Err(Range { at, len: bytes.len() }.outside(memory, what))
}

/// The most bytes of a topic, a key, a namespace, a name.
const NAME: usize = 4 << 10;

/// What an import does; gives its result, if it has one.
pub(crate) type Run = fn(&mut Call, &mut dyn Memory, &[i64]) -> Result<i64, Stop>;

/// What a function must be granted to import something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    Nothing,
    Emit,
    Kv,
    Http,
}

/// A function that a module may import.
pub(crate) struct Import {
    pub module: &'static str,
    pub name: &'static str,
    /// One letter a parameter: `i` is `i32`, `I` is `i64`.
    pub params: &'static str,
    /// The same for the results.
    pub results: &'static str,
    pub grant: Grant,
    pub run: Run,
}

const fn import(name: &'static str, params: &'static str, results: &'static str, grant: Grant, run: Run) -> Import {
    Import { module: "hexafn", name, params, results, grant, run }
}

/// Module `hexafn`; `docs/runtimes/wasm.md` has the table for people.
pub(crate) static IMPORTS: [Import; 11] = [
    import("log", "iii", "", Grant::Nothing, log),
    import("emit", "iiiiii", "", Grant::Emit, emit),
    import("env", "ii", "i", Grant::Nothing, env),
    import("kv_get", "iiii", "i", Grant::Kv, kv_get),
    import("kv_put", "iiiiii", "", Grant::Kv, kv_put),
    import("kv_delete", "iiii", "", Grant::Kv, kv_delete),
    import("http", "ii", "i", Grant::Http, http),
    import("take", "ii", "i", Grant::Nothing, take),
    import("now_ms", "", "I", Grant::Nothing, |call, _, _| Ok(call.session.now_ms())),
    import("random", "", "I", Grant::Nothing, |call, _, _| Ok(call.session.random() as i64)),
    import("fail", "ii", "", Grant::Nothing, fail),
];

/// One call of a guest.
pub(crate) struct Call {
    pub session: Session,
    /// The input as JSON: standard input of a command.
    pub input: Vec<u8>,
    /// How much of it was read.
    pub read: usize,
    /// Standard output of a command; `None` for other shapes, whose standard output is logged.
    pub stdout: Option<Vec<u8>>,
    /// The unfinished lines of standard output and standard error.
    pub lines: [Vec<u8>; 2],
    /// The end of standard error.
    pub complaint: Vec<u8>,
    /// Why it was stopped: an engine can hand on only that it was.
    pub stop: Option<Stop>,
    /// What `take` gives.
    result: Vec<u8>,
    taken: usize,
}

impl Call {
    /// A call with `event`, a JSON object.
    pub fn new(event: &[u8], session: Session, command: bool) -> Self {
        let ctx = session.ctx().json();
        let input = [br#"{"event":"#, event, br#","ctx":"#, &ctx, b"}"].concat();
        Self {
            session,
            input,
            read: 0,
            stdout: command.then(Vec::new),
            lines: [Vec::new(), Vec::new()],
            complaint: Vec::new(),
            stop: None,
            result: Vec::new(),
            taken: 0,
        }
    }

    /// Runs an import; why the guest must stop is kept for the engine's error.
    pub fn import(&mut self, run: Run, memory: &mut dyn Memory, args: &[i64]) -> Option<i64> {
        match run(self, memory, args) {
            Ok(result) => Some(result),
            Err(stop) => {
                self.stop = Some(stop);
                None
            }
        }
    }

    /// A piece of data, within `limits.output`.
    fn data(&self, range: Range, memory: &dyn Memory, what: &str) -> Result<String, Error> {
        range.text(memory, what, self.session.settings().limits.output)
    }

    /// Keeps a result for `take`, and gives its length.
    fn keep(&mut self, result: Vec<u8>) -> i64 {
        self.result = result;
        self.taken = 0;
        // Longer ones cannot be: the store and the network are capped far below.
        i64::from(i32::try_from(self.result.len()).unwrap_or(i32::MAX))
    }

    /// What the store or the network could not do is the guest's to handle; all else stops it.
    fn host_failed(&mut self, error: Error) -> Result<i64, Stop> {
        if error.code != Code::Host {
            return Err(error.into());
        }
        self.keep(error.message.into_bytes());
        Ok(HOST_FAILED)
    }
}

/// There is no such key.
const NONE: i64 = -1;
/// The host failed; `take` gives the message.
const HOST_FAILED: i64 = -2;

fn log(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[level, at, len] = args else { return Err(arity()) };
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        3 => Level::Error,
        other => {
            return Err(Error::new(
                Code::Abi,
                format!("the level of a log line is 0 (debug), 1 (info), 2 (warn) or 3 (error), not {other}"),
            )
            .into());
        }
    };
    // What is longer than all lines together is cut by the session; it need not be copied for that.
    let most = call.session.settings().limits.logs.saturating_add(4);
    let bytes = Range::new(at, len).bytes(memory, "the message of `log`", most)?;
    call.session.log(level, &String::from_utf8_lossy(&bytes))?;
    Ok(0)
}

fn emit(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[topic, topic_len, key, key_len, data, data_len] = args else { return Err(arity()) };
    let topic = Range::new(topic, topic_len).text(memory, "the topic of `emit`", NAME)?;
    let key = Range::new(key, key_len).text(memory, "the key of `emit`", NAME)?;
    let data = call.data(Range::new(data, data_len), memory, "the data of `emit`")?;
    call.session.emit(&topic, (!key.is_empty()).then_some(&*key), data)?;
    Ok(0)
}

fn env(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[at, len] = args else { return Err(arity()) };
    let name = Range::new(at, len).text(memory, "the name of `env`", NAME)?;
    let value = call.session.env(&name)?;
    Ok(call.keep(value.into_bytes()))
}

/// Namespace and key.
fn place(memory: &dyn Memory, args: &[i64]) -> Result<(String, String), Stop> {
    let &[namespace, namespace_len, key, key_len, ..] = args else { return Err(arity()) };
    let namespace = Range::new(namespace, namespace_len).text(memory, "the namespace", NAME)?;
    let key = Range::new(key, key_len).text(memory, "the key", NAME)?;
    Ok((namespace, key))
}

fn kv_get(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let (namespace, key) = place(memory, args)?;
    match call.session.kv_get(&namespace, &key) {
        Ok(Some(value)) => Ok(call.keep(value.into_bytes())),
        Ok(None) => Ok(NONE),
        Err(error) => call.host_failed(error),
    }
}

fn kv_put(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let (namespace, key) = place(memory, args)?;
    let &[.., value, value_len] = args else { return Err(arity()) };
    let value = call.data(Range::new(value, value_len), memory, "the value of `kv_put`")?;
    call.session.kv_put(&namespace, &key, Some(value))?;
    Ok(0)
}

fn kv_delete(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let (namespace, key) = place(memory, args)?;
    call.session.kv_put(&namespace, &key, None)?;
    Ok(0)
}

fn http(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[at, len] = args else { return Err(arity()) };
    let request = call.data(Range::new(at, len), memory, "the request of `http`")?;
    let request: HttpRequest = serde_json::from_str(&request).map_err(|e| {
        Error::new(
            Code::Abi,
            format!(r#"the request of `http` is not {{"url":…,"method":…,"headers":[[name,value],…],"body":…}}: {e}"#),
        )
    })?;
    match call.session.http(request) {
        Ok(response) => {
            let response = serde_json::to_vec(&response).map_err(|e| Error::new(Code::Host, e.to_string()))?;
            Ok(call.keep(response))
        }
        Err(error) => call.host_failed(error),
    }
}

fn take(call: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[at, cap] = args else { return Err(arity()) };
    let Range { at, len } = Range::new(at, cap);
    let left = call.result.get(call.taken..).unwrap_or_default();
    let part = &left[..left.len().min(len)];
    write(memory, at, part, "the buffer of `take`")?;
    let copied = part.len();
    call.taken += copied;
    Ok(copied as i64)
}

fn fail(_: &mut Call, memory: &mut dyn Memory, args: &[i64]) -> Result<i64, Stop> {
    let &[at, len] = args else { return Err(arity()) };
    let message = Range::new(at, len).bytes(memory, "the message of `fail`", Error::LONGEST)?;
    Err(Error::new(Code::Thrown, String::from_utf8_lossy(&message)).into())
}

/// The engines check signatures; this is for the compiler.
pub(crate) fn arity() -> Stop {
    Error::new(Code::Abi, "an import was called with another number of arguments than it has").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wasm::wasi;
    use crate::{Ctx, Grants, Limits, NoHost, Settings};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// The memory of the guest, in bytes.
    const SIZE: usize = 4 << 10;

    fn call(command: bool) -> Call {
        let limits = Limits { wall: Duration::from_millis(2), output: 256, logs: 64, ..Limits::default() };
        let all = vec![">".to_owned()];
        let grants = Grants {
            emit: all,
            kv: vec!["a".to_owned()],
            http: vec!["a".to_owned()],
            log: true,
            time: true,
            random: true,
        };
        let ctx = Ctx { env: vec![("a".to_owned(), "value".to_owned())], ..Ctx::default() };
        let session = Session::new(Arc::new(Settings { limits, grants }), Arc::new(ctx), Arc::new(NoHost));
        let mut call = Call::new(br#"{"id":"1"}"#, session, command);
        call.keep(b"what was asked for before".to_vec());
        call
    }

    /// What a guest may give for a pointer, a length or a number: most of all what is nearly right.
    fn argument() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => 0..SIZE as i64,
            2 => 0..40i64,
            2 => SIZE as i64 - 8..SIZE as i64 + 8,
            1 => any::<i32>().prop_map(i64::from),
            1 => prop::sample::select(vec![-1, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX]),
            1 => any::<i64>(),
        ]
    }

    /// Memory in which names, texts of JSON and vectors of buffers can be found.
    fn memory() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"a".to_vec()),
            Just(br#"{"url":"http://a/","body":"x"}"#.to_vec()),
            Just(b"[1,2]".to_vec()),
            prop::collection::vec(any::<u8>(), 1..16),
            (0..SIZE as u32 + 8, 0..64u32).prop_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat()),
        ];
        prop::collection::vec(piece, 1..80).prop_map(|pieces| {
            let mut memory = pieces.concat();
            memory.resize(SIZE, 0);
            memory
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn an_import_takes_any_arguments_and_stays_inside_the_memory(
            memory in memory(),
            args in prop::collection::vec(argument(), 9),
            command in any::<bool>(),
        ) {
            for import in IMPORTS.iter().chain(&wasi::IMPORTS) {
                // The engine gives as many as there are, and of their size.
                let args = import.params.chars().zip(&args);
                let args: Vec<i64> = args.map(|(ty, arg)| if ty == 'i' { i64::from(*arg as i32) } else { *arg }).collect();
                let mut call = call(command);
                // What lies behind the memory is not the guest's.
                let mut space = memory.clone();
                space.extend([0xa5; 64]);
                let (inside, behind) = space.split_at_mut(SIZE);
                let mut inside = &mut *inside;
                match (import.run)(&mut call, &mut inside, &args) {
                    Ok(result) => prop_assert!(import.results == "I" || i32::try_from(result).is_ok(), "{}", import.name),
                    Err(Stop::Exit(_)) => prop_assert_eq!(import.name, "proc_exit"),
                    // What `fail` says is the guest's.
                    Err(Stop::Failed(error)) => {
                        prop_assert!(error.code == Code::Thrown || !error.message.is_empty(), "{}", import.name);
                    }
                }
                prop_assert!(behind.iter().all(|byte| *byte == 0xa5), "{}", import.name);
                let limits = call.session.settings().limits.clone();
                prop_assert!(call.stdout.is_none_or(|out| out.len() <= limits.output), "{}", import.name);
                prop_assert!(call.complaint.len() <= Error::LONGEST, "{}", import.name);
            }
        }

        #[test]
        fn a_result_lies_inside_the_memory_or_is_an_error(
            result in prop_oneof![any::<i64>(), (argument(), argument()).prop_map(|(at, len)| at << 32 | len & 0xffff_ffff)],
            most in 0..2 * SIZE,
        ) {
            let mut memory: Vec<u8> = (0..SIZE).map(|at| at as u8).collect();
            let memory = &mut memory[..];
            let (at, len) = ((result >> 32) as u32 as usize, result as u32 as usize);
            match Range::new(result >> 32, result).bytes(&memory as &dyn Memory, "it", most) {
                Ok(found) => {
                    prop_assert!(at + len <= SIZE);
                    prop_assert_eq!(found, &memory[at..at + len.min(most)]);
                }
                Err(error) => {
                    prop_assert!(at + len > SIZE);
                    prop_assert_eq!(error.code, Code::Abi);
                }
            }
        }

        #[test]
        fn what_is_written_lies_inside_the_memory_or_is_an_error(at in argument(), len in 0..40usize) {
            let mut bytes = vec![0; SIZE];
            let mut memory = &mut bytes[..];
            let at = at as u32 as usize;
            let written = write(&mut memory, at, &vec![1; len], "it").is_ok();
            prop_assert_eq!(written, at + len <= SIZE);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == 1).count(), if written { len } else { 0 });
        }
    }
}
