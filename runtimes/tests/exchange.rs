//! What holds for all bytes between service and worker, and for all values between events and functions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/canonical.rs"]
mod canonical;
#[path = "support/json_text.rs"]
mod json_text;
#[path = "support/scripts.rs"]
mod scripts;

use std::time::Duration;

use allocation_counter::measure;
use canonical::canonical;
use hexafn_runtimes::protocol::{Answer, Ask, DoneHead, Frame, Kind, Load, MAX_FRAME, Ready, read, write};
use hexafn_runtimes::{
    Code, Ctx, Done, Emit, Error, HostError, HttpRequest, HttpResponse, JsRuntime, Level, Limits, Line, LuaRuntime,
    Output, Runtime, Settings, Usage, Write,
};
use json_text::json_text;
use proptest::prelude::*;
use proptest::sample::Index;
use scripts::Script;

/// Reads all frames, and each as every head that there is; gives how many there were.
fn decoded(mut bytes: &[u8]) -> usize {
    let (len, mut frames) = (bytes.len(), Vec::<Frame>::new());
    let counted = measure(|| {
        while let Ok(Some(frame)) = read(&mut bytes) {
            frames.push(frame);
        }
    });
    // What was announced and did not come takes no memory, whatever length it has.
    let most = 4 * len as u64 + (256 << 10);
    assert!(counted.bytes_max <= most, "{len} bytes took {} bytes of memory", counted.bytes_max);
    for frame in &frames {
        drop(frame.head::<Load>());
        drop(frame.head::<Ready>());
        drop(frame.head::<Ask>());
        drop(frame.head::<Answer>());
        drop(frame.head::<DoneHead>().map(|head| head.done(frame.tail.clone())));
        drop(frame.head::<Error>());
        drop(frame.head::<Ctx>());
    }
    frames.len()
}

fn request() -> impl Strategy<Value = HttpRequest> {
    let headers = prop::collection::vec((".{0,8}", ".{0,8}"), 0..3);
    (".{0,8}", ".{0,20}", headers, prop::option::of(".{0,20}")).prop_map(|(method, url, headers, body)| HttpRequest {
        method,
        url,
        headers,
        body,
    })
}

fn done() -> impl Strategy<Value = Done> {
    let emitted =
        (".{0,8}", prop::option::of(".{0,8}"), json_text()).prop_map(|(topic, key, data)| Emit { topic, key, data });
    let written = (".{0,8}", ".{0,8}", prop::option::of(json_text())).prop_map(|(namespace, key, value)| Write {
        namespace,
        key,
        value,
    });
    let output =
        (prop::option::of(json_text()), prop::collection::vec(emitted, 0..3), prop::collection::vec(written, 0..3))
            .prop_map(|(value, emitted, writes)| {
                Ok(Output { value: value.map(|v| v.into_bytes().into()), emitted, writes })
            });
    let failed =
        (".{0,30}", any::<Option<(u32, u32)>>(), prop::option::of(".{0,30}")).prop_map(|(message, place, stack)| {
            let error = Error::new(Code::Thrown, message);
            let error = place.map_or(error.clone(), |(line, column)| error.at(line, column));
            Err(stack.map_or(error.clone(), |stack| error.stack(stack)))
        });
    let logs = prop::collection::vec(".{0,20}".prop_map(|message| Line { level: Level::Warn, message }), 0..3);
    let usage = any::<(u64, Option<u64>, u64)>().prop_map(|(wall, fuel, host_calls)| Usage {
        wall: Duration::from_nanos(wall),
        fuel,
        host_calls,
        ..Usage::default()
    });
    (prop_oneof![output, failed], logs, usage, any::<bool>()).prop_map(|(result, logs, usage, logs_cut)| Done {
        result,
        usage,
        logs,
        logs_cut,
    })
}

fn framed(kind: Kind, head: &impl serde::Serialize, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, kind, head, tail).unwrap();
    bytes
}

/// A frame of any kind, as bytes.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let load = (".{0,8}", prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(name, code)| {
        let load =
            Load { language: "js".into(), file: name.clone(), name, settings: Settings::default(), prove: false };
        framed(Kind::Load, &load, &code)
    });
    let ready = ".{0,20}".prop_map(|sandbox| framed(Kind::Ready, &Ready { sandbox }, b""));
    let ask = prop_oneof![
        (".{0,8}", ".{0,8}").prop_map(|(namespace, key)| Ask::KvGet { namespace, key }),
        request().prop_map(Ask::Http),
    ];
    let answer = prop_oneof![
        prop::option::of(json_text()).prop_map(|value| Answer::Kv(Ok(value))),
        ".{0,20}".prop_map(|why| Answer::Http(Err(HostError(why)))),
        (any::<u16>(), ".{0,20}")
            .prop_map(|(status, body)| { Answer::Http(Ok(HttpResponse { status, headers: Vec::new(), body })) }),
    ];
    prop_oneof![
        load,
        ready,
        ask.prop_map(|ask| framed(Kind::Ask, &ask, b"")),
        answer.prop_map(|answer| framed(Kind::Answer, &answer, b"")),
        done().prop_map(|done| {
            let (head, tail) = DoneHead::of(done);
            framed(Kind::Done, &head, &tail)
        }),
        json_text().prop_map(|event| framed(Kind::Call, &Ctx::default(), event.as_bytes())),
    ]
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// The length of the frame, or that of its head.
    Length(bool, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = prop_oneof![any::<u32>(), 0..64u32, Just(MAX_FRAME as u32), Just(MAX_FRAME as u32 + 1)];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, more)| Damage::Insert(at, more)),
        (any::<bool>(), length).prop_map(|(head, length)| Damage::Length(head, length)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Length(head, length) if bytes.len() >= 9 => {
                let at = if *head { 5 } else { 0 };
                bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Self::Set(..) | Self::Length(..) => {}
        }
    }
}

/// What a function in this language gives that hands its data on, as it would be written in one way.
fn handed_on(runtime: &dyn Runtime, code: &str, json: &str) -> Result<String, Error> {
    let done = Script::new(runtime, code).call(&format!(r#"{{"data":{json}}}"#));
    done.result.map(|output| canonical(std::str::from_utf8(output.value.as_deref().unwrap()).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decoded(&bytes);
    }

    #[test]
    fn damaged_frames_are_frames_or_an_error(
        frames in prop::collection::vec(frame(), 1..4),
        damages in prop::collection::vec(damage(), 1..5),
    ) {
        let mut bytes = frames.concat();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        decoded(&bytes);
    }

    #[test]
    fn frames_are_read_as_they_were_written(frames in prop::collection::vec(frame(), 0..4)) {
        prop_assert_eq!(decoded(&frames.concat()), frames.len());
    }

    #[test]
    fn a_call_comes_back_as_it_was(done in done()) {
        let shown = format!("{done:?}");
        let (head, tail) = DoneHead::of(done);
        let bytes = framed(Kind::Done, &head, &tail);
        let frame = read(&mut &bytes[..]).unwrap().unwrap();
        let again = frame.head::<DoneHead>().unwrap().done(frame.tail);
        prop_assert_eq!(format!("{again:?}"), shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn javascript_hands_on_every_value_with_all_digits(json in json_text()) {
        let found = handed_on(&JsRuntime, "export default (event) => event.data", &json);
        prop_assert_eq!(found, Ok(canonical(&json)));
    }

    #[test]
    fn javascript_copies_every_value_with_all_digits(json in json_text()) {
        let copy = "const copy = (v) => Array.isArray(v) ? v.map(copy) : v === null || typeof v !== 'object' \
            || JSON.isRawJSON(v) ? v : Object.fromEntries(Object.entries(v).map(([k, w]) => [k, copy(w)]));
            export default (event) => copy(event.data)";
        prop_assert_eq!(handed_on(&JsRuntime, copy, &json), Ok(canonical(&json)));
    }

    #[test]
    fn lua_hands_on_every_value_with_all_digits(json in json_text()) {
        let found = handed_on(&LuaRuntime, "return function(event) return event.data end", &json);
        prop_assert_eq!(found, Ok(canonical(&json)));
    }
}

#[test]
fn a_number_beyond_all_doubles_is_no_event_and_no_result() {
    for (runtime, code, made) in [
        (
            &JsRuntime as &dyn Runtime,
            "export default (event) => event.data",
            "export default () => JSON.rawJSON('1e400')",
        ),
        (&LuaRuntime, "return function(event) return event.data end", "return function() return exact('1e400') end"),
    ] {
        assert_eq!(handed_on(runtime, code, "1e400").unwrap_err().code, Code::Input, "{}", runtime.name());
        assert_eq!(handed_on(runtime, made, "1").unwrap_err().code, Code::BadOutput, "{}", runtime.name());
    }
}

/// Arrays in arrays, so many.
fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn values_nest_as_deep_as_events_may_and_no_deeper() {
    for (runtime, code) in [
        (&JsRuntime as &dyn Runtime, "export default (event) => event.data"),
        (&LuaRuntime, "return function(event) return event.data end"),
    ] {
        for levels in [1, 63, 64] {
            assert_eq!(handed_on(runtime, code, &nested(levels)), Ok(nested(levels)), "{}", runtime.name());
        }
        for levels in [65, 66, 100] {
            let error = handed_on(runtime, code, &nested(levels)).unwrap_err();
            assert_eq!(error.code, Code::BadOutput, "{}, {levels} levels: {error}", runtime.name());
        }
        // Deeper than what reads it goes: an error of the run, not the end of the process.
        let error = handed_on(runtime, code, &nested(100_000)).unwrap_err();
        assert!(matches!(error.code, Code::Input | Code::Stack), "{}: {error}", runtime.name());
    }
}

#[test]
fn a_list_of_any_length_arrives_whole() {
    for length in [0, 1, 1_023, 1_024, 1_025, 5_000] {
        // A number that no double has, so that JavaScript's list is built here, too.
        let numbers: Vec<String> = (0..length).map(|n| format!("12345678901234567{n}")).collect();
        let event = format!("[{},[{}]]", length, numbers.join(","));
        let mut js = Script::new(&JsRuntime, "export default (event) => event");
        let mut lua = Script::new(&LuaRuntime, "return function(event) return event end");
        assert_eq!((js.text(&event), lua.text(&event)), (event.clone(), event), "{length}");
    }
}

#[test]
fn what_a_list_is_made_of_takes_no_memory_beside_that_of_the_function() {
    let limits = Limits { memory: 2 << 20, ..scripts::limits() };
    let mut lua = Script::with(&LuaRuntime, "return function(event) return #event end", limits);
    let event = format!("[{}0]", "0,".repeat(1 << 20));
    let mut ended = None;
    let counted = measure(|| ended = Some(lua.call(&event)));
    assert_eq!(ended.unwrap().result.unwrap_err().code, Code::Memory);
    assert!(counted.bytes_max < 4 << 20, "{} bytes", counted.bytes_max);
}
