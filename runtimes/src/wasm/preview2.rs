//! WASI preview 2 for components, with as little behind it as behind preview 1: what compilers put under every program
//! works, files and sockets can be imported and not be called. So what compilers make for WASI runs as it is.
//!
//! The crate `wasmtime-wasi` is not used, for the reasons that `wasi` gives.

use std::time::{Duration, Instant};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut};

use super::host::Stop;
pub use super::wasi::Output;
use super::wasi::{self, CHUNK};
use super::wasmtime::State;
use crate::{Code, Error};

mod bindings {
    #![allow(missing_docs, clippy::all)] // Generated from the WIT, which has the texts.
    wasmtime::component::bindgen!({
        path: "wit/wasi.wit",
        world: "hexafn:wasi/command",
        imports: { default: trappable },
        with: {
            "wasi:io/error.error": super::Failure,
            "wasi:io/poll.pollable": super::Pollable,
            "wasi:io/streams.input-stream": super::Input,
            "wasi:io/streams.output-stream": super::Output,
            "wasi:cli/terminal-input.terminal-input": super::Terminal,
            "wasi:cli/terminal-output.terminal-output": super::Terminal,
        },
    });
}

pub(super) use bindings::{Command, CommandPre};

use bindings::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
    terminal_stdout,
};
use bindings::wasi::clocks::{monotonic_clock, wall_clock};
use bindings::wasi::io::{error, poll, streams};
use bindings::wasi::random::{insecure, insecure_seed, random};
use streams::StreamError;

/// The packages of which something may be imported.
const PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// What a component exports that is a program.
const RUN: &str = "wasi:cli/run";
/// The version, which all those of 0.2 fit.
const VERSION: &str = "@0.2.";
/// What a guest can wait for at the same time, at most.
const MOST_WAITS: usize = 1_000;
/// The resolution of its clocks, in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// What a stream that failed would tell; none does.
pub struct Failure;
/// Standard input.
pub struct Input;
/// There is none.
pub struct Terminal;
/// Something to wait for. Its number is a place in [`Waits`].
pub struct Pollable;

/// When each thing that a guest can wait for is ready; `None` is a free place.
#[derive(Debug, Default)]
pub(super) struct Waits(Vec<Option<Instant>>);

/// Whether a component may import an interface of WASI.
///
/// # Errors
/// [`Code::Denied`], with what to do.
pub(super) fn interface(name: &str) -> Result<(), Error> {
    let denied = |message: String| Err(Error::new(Code::Denied, format!("it imports `{name}`, {message}")));
    if name.starts_with("wasi:http/") {
        return denied(
            "which does not exist here; `hexafn:function/web` sends requests, with `http` of the function".into(),
        );
    }
    let known = PACKAGES.iter().any(|package| name.starts_with(package));
    if !known {
        return denied(format!(
            "which does not exist here; of WASI there are {}",
            PACKAGES.map(|p| format!("`{p}…`")).join(", ")
        ));
    }
    if !name.contains(VERSION) {
        return denied("of another version of WASI; there is preview 2 (`@0.2.…`)".into());
    }
    Ok(())
}

/// Whether it is what a program exports.
pub(super) fn is_run(export: &str) -> bool {
    export.strip_prefix(RUN).is_some_and(|version| version.starts_with(VERSION))
}

/// Adds what works.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Command::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// Adds what a component imports of WASI beside it, to stop whoever calls it.
pub(super) fn link_others(linker: &mut Linker<State>, engine: &Engine, component: &Component) -> wasmtime::Result<()> {
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        if !name.starts_with("wasi:") || works(name) {
            continue;
        }
        let mut instance = linker.instance(name)?;
        for (export, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => refuse(&mut instance, name, export)?,
                ComponentItem::Resource(_) => instance.resource(export, resource(export), |_, _| Ok(()))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether an interface is one of those of the world, in whatever version of 0.2.
fn works(name: &str) -> bool {
    const WIT: &str = include_str!("../../wit/wasi.wit");
    let plain = |name: &str| name.split_once('@').map(|(plain, _)| plain.to_owned());
    let wanted = plain(name);
    WIT.lines().filter_map(|line| line.trim().strip_prefix("import ")).any(|import| plain(import) == wanted)
}

/// The type of a resource that an interface without anything behind it names: its own, or one that it has from `wasi:io`.
fn resource(name: &str) -> ResourceType {
    match name {
        "error" | "io-error" => ResourceType::host::<Failure>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "input-stream" => ResourceType::host::<Input>(),
        "output-stream" => ResourceType::host::<Output>(),
        _ => ResourceType::host::<()>(),
    }
}

fn refuse(instance: &mut LinkerInstance<'_, State>, interface: &str, function: &str) -> wasmtime::Result<()> {
    // Asked by every program that could open a file.
    if interface.starts_with("wasi:filesystem/preopens@") && function == "get-directories" {
        return instance.func_new(function, |_, _, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::List(Vec::new());
            }
            Ok(())
        });
    }
    let called = format!("{interface}#{function}");
    instance.func_new(function, move |mut store: StoreContextMut<'_, State>, _, _, _| {
        let message = format!("it calls `{called}`; a function has no files and no sockets");
        Err(store.data_mut().stop(Error::new(Code::Denied, message)))
    })
}

impl State {
    fn wait_until(&mut self, ready: Instant) -> wasmtime::Result<Resource<Pollable>> {
        let Waits(waits) = &mut self.waits;
        let free = waits.iter().position(Option::is_none);
        let place = free.unwrap_or(waits.len());
        if place >= MOST_WAITS {
            let message = format!("it wants to wait for more than {MOST_WAITS} things at the same time");
            return Err(self.stop(Error::new(Code::Memory, message)));
        }
        match waits.get_mut(place) {
            Some(wait) => *wait = Some(ready),
            None => waits.push(Some(ready)),
        }
        Ok(Resource::new_own(place as u32))
    }

    fn ready_at(&self, pollable: &Resource<Pollable>) -> wasmtime::Result<Instant> {
        let found = self.waits.0.get(pollable.rep() as usize).copied().flatten();
        found.ok_or_else(|| wasmtime::Error::msg("it waits for something that is gone"))
    }

    /// Sleeps, no longer than the call may take.
    fn sleep_until(&mut self, ready: Instant) -> wasmtime::Result<()> {
        let wait = ready.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(self.call.session.time_left()));
        self.in_time()
    }

    fn in_time(&mut self) -> wasmtime::Result<()> {
        if self.call.session.is_late() {
            let late = self.call.session.late();
            return Err(self.stop(late));
        }
        Ok(())
    }

    fn exit(&mut self, status: i32) -> wasmtime::Error {
        self.call.stop = Some(Stop::Exit(status));
        wasmtime::Error::msg("ended by itself")
    }

    /// What is left of standard input, at most so much of it; a function that is no program has none.
    fn take_input(&mut self, most: u64) -> wasmtime::Result<Result<Vec<u8>, StreamError>> {
        self.in_time()?;
        let call = &mut self.call;
        let left = call.stdout.as_ref().and_then(|_| call.input.get(call.read..)).unwrap_or_default();
        if left.is_empty() {
            return Ok(Err(StreamError::Closed));
        }
        let part = left[..left.len().min(CHUNK).min(usize::try_from(most).unwrap_or(CHUNK))].to_vec();
        call.read += part.len();
        Ok(Ok(part))
    }

    fn print(&mut self, stream: &Resource<Output>, bytes: &[u8]) -> wasmtime::Result<Result<(), StreamError>> {
        self.in_time()?;
        if bytes.len() > CHUNK {
            let message = format!("it writes {} bytes at once; at most {CHUNK} were offered", bytes.len());
            return Err(self.stop(Error::new(Code::Abi, message)));
        }
        let output = if stream.rep() == Output::Error as u32 { Output::Error } else { Output::Result };
        match wasi::print(&mut self.call, output, bytes) {
            Ok(()) => Ok(Ok(())),
            Err(error) => Err(self.stop(error)),
        }
    }

    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let most = self.call.session.settings().limits.memory;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= most) else {
            let message =
                format!("it asks for {len} random bytes; it may have {most} bytes of memory (`limits.memory`)");
            return Err(self.stop(Error::new(Code::Memory, message)));
        };
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let number = self.call.session.random().to_le_bytes();
            bytes.extend(number.iter().take(len - bytes.len()));
            if bytes.len() % CHUNK == 0 {
                self.in_time()?;
            }
        }
        Ok(bytes)
    }
}

impl error::HostError for State {
    fn to_debug_string(&mut self, _: Resource<Failure>) -> wasmtime::Result<String> {
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<Failure>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl error::Host for State {}

impl poll::HostPollable for State {
    fn ready(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<bool> {
        self.in_time()?;
        Ok(self.ready_at(&pollable)? <= Instant::now())
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        let ready = self.ready_at(&pollable)?;
        self.sleep_until(ready)
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        if let Some(wait) = self.waits.0.get_mut(pollable.rep() as usize) {
            *wait = None;
        }
        Ok(())
    }
}

impl poll::Host for State {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> wasmtime::Result<Vec<u32>> {
        let waits = pollables.iter().map(|one| self.ready_at(one)).collect::<wasmtime::Result<Vec<_>>>()?;
        let Some(first) = waits.iter().min().copied() else {
            return Err(
                self.stop(Error::new(Code::Abi, "it waits for nothing: the list of `wasi:io/poll#poll` is empty"))
            );
        };
        self.sleep_until(first)?;
        let now = Instant::now().max(first);
        Ok((0..).zip(waits).filter(|(_, ready)| *ready <= now).map(|(place, _)| place).collect())
    }
}

impl streams::Host for State {}

impl streams::HostInputStream for State {
    fn read(&mut self, _: Resource<Input>, len: u64) -> wasmtime::Result<Result<Vec<u8>, StreamError>> {
        self.take_input(len)
    }

    fn blocking_read(&mut self, _: Resource<Input>, len: u64) -> wasmtime::Result<Result<Vec<u8>, StreamError>> {
        self.take_input(len)
    }

    fn skip(&mut self, _: Resource<Input>, len: u64) -> wasmtime::Result<Result<u64, StreamError>> {
        Ok(self.take_input(len)?.map(|bytes| bytes.len() as u64))
    }

    fn blocking_skip(&mut self, _: Resource<Input>, len: u64) -> wasmtime::Result<Result<u64, StreamError>> {
        Ok(self.take_input(len)?.map(|bytes| bytes.len() as u64))
    }

    fn subscribe(&mut self, _: Resource<Input>) -> wasmtime::Result<Resource<Pollable>> {
        self.wait_until(Instant::now())
    }

    fn drop(&mut self, _: Resource<Input>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl streams::HostOutputStream for State {
    fn check_write(&mut self, _: Resource<Output>) -> wasmtime::Result<Result<u64, StreamError>> {
        self.in_time()?;
        Ok(Ok(CHUNK as u64))
    }

    fn write(&mut self, stream: Resource<Output>, bytes: Vec<u8>) -> wasmtime::Result<Result<(), StreamError>> {
        self.print(&stream, &bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<Output>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), StreamError>> {
        self.print(&stream, &bytes)
    }

    fn flush(&mut self, _: Resource<Output>) -> wasmtime::Result<Result<(), StreamError>> {
        self.in_time()?;
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, _: Resource<Output>) -> wasmtime::Result<Result<(), StreamError>> {
        self.in_time()?;
        Ok(Ok(()))
    }

    fn subscribe(&mut self, _: Resource<Output>) -> wasmtime::Result<Resource<Pollable>> {
        self.wait_until(Instant::now())
    }

    fn write_zeroes(&mut self, stream: Resource<Output>, len: u64) -> wasmtime::Result<Result<(), StreamError>> {
        // One more than is offered is refused like more bytes.
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(CHUNK + 1);
        self.print(&stream, &vec![0; len])
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<Output>,
        len: u64,
    ) -> wasmtime::Result<Result<(), StreamError>> {
        streams::HostOutputStream::write_zeroes(self, stream, len)
    }

    fn splice(
        &mut self,
        stream: Resource<Output>,
        _: Resource<Input>,
        len: u64,
    ) -> wasmtime::Result<Result<u64, StreamError>> {
        match self.take_input(len)? {
            Ok(bytes) => Ok(self.print(&stream, &bytes)?.map(|()| bytes.len() as u64)),
            Err(closed) => Ok(Err(closed)),
        }
    }

    fn blocking_splice(
        &mut self,
        stream: Resource<Output>,
        from: Resource<Input>,
        len: u64,
    ) -> wasmtime::Result<Result<u64, StreamError>> {
        streams::HostOutputStream::splice(self, stream, from, len)
    }

    fn drop(&mut self, _: Resource<Output>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl stdin::Host for State {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<Input>> {
        Ok(Resource::new_own(0))
    }
}

impl stdout::Host for State {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<Output>> {
        Ok(Resource::new_own(Output::Result as u32))
    }
}

impl stderr::Host for State {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<Output>> {
        Ok(Resource::new_own(Output::Error as u32))
    }
}

impl terminal_input::Host for State {}

impl terminal_input::HostTerminalInput for State {
    fn drop(&mut self, _: Resource<Terminal>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl terminal_output::Host for State {}

impl terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, _: Resource<Terminal>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl terminal_stdin::Host for State {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for State {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for State {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.call.session.ctx().env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(State::exit(self, i32::from(status.is_err())))
    }

    fn exit_with_code(&mut self, status: u8) -> wasmtime::Result<()> {
        Err(State::exit(self, i32::from(status)))
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok((self.call.session.elapsed().as_millis() as u64).saturating_mul(MILLISECOND))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(MILLISECOND)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<Pollable>> {
        let wait = Duration::from_nanos(when).saturating_sub(self.call.session.elapsed());
        self.subscribe_duration(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<Pollable>> {
        // No call lasts as long.
        let now = Instant::now();
        let wait = Duration::from_nanos(wait).min(self.call.session.time_left() + Duration::from_secs(1));
        self.wait_until(now + wait)
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let millis = u64::try_from(self.call.session.now_ms()).unwrap_or_default();
        let nanoseconds = ((millis % 1_000) * MILLISECOND) as u32;
        Ok(wall_clock::Datetime { seconds: millis / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: MILLISECOND as u32 })
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call.session.random())
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call.session.random())
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.call.session.random(), self.call.session.random()))
    }
}
