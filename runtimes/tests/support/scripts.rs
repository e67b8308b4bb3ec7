//! Runs functions in tests.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hexafn_runtimes::{
    Code, Ctx, Done, Ended, Error, Grants, Host, HostError, HttpRequest, HttpResponse, Instance, Limits, Runtime,
    Session, Settings, Source, run,
};

/// A store and a network that remember.
#[derive(Default)]
pub struct TestHost {
    pub stored: HashMap<(String, String), String>,
    pub requests: Mutex<Vec<HttpRequest>>,
}

impl Host for TestHost {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        if key == "broken" {
            return Err(HostError("the store is closed".to_owned()));
        }
        Ok(self.stored.get(&(namespace.to_owned(), key.to_owned())).cloned())
    }

    fn http(&self, request: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        let body = format!("{} {}", request.method, request.body.clone().unwrap_or_default());
        let names = if request.url.ends_with("/names") {
            ["constructor", "constructor", "__proto__"].as_slice()
        } else {
            &["a", "a"]
        };
        let values = if request.url.ends_with("/names") { ["a", "b", "c"].as_slice() } else { &["1", "2"] };
        self.requests.lock().unwrap().push(request);
        let headers = names.iter().zip(values).map(|(&n, &v)| (n.to_owned(), v.to_owned())).collect();
        Ok(HttpResponse { status: 201, headers, body })
    }
}

/// A function with what it is granted, that can be called.
pub struct Script {
    instance: Box<dyn Instance>,
    calls: u32,
    pub settings: Arc<Settings>,
    pub ctx: Ctx,
    pub host: Arc<TestHost>,
}

/// With so much time that only what never ends reaches its end, on a busy machine, too.
pub fn limits() -> Limits {
    Limits { wall: Duration::from_secs(20), memory: 16 << 20, ..Limits::default() }
}

/// The same, for what is expected to end in this way.
pub fn limits_for(expected: Code) -> Limits {
    let wall = if expected == Code::Timeout { Duration::from_millis(100) } else { limits().wall };
    Limits { wall, ..limits() }
}

pub fn grants() -> Grants {
    Grants {
        emit: vec!["orders.*".to_owned()],
        kv: vec!["carts".to_owned()],
        http: vec!["api.example.com".to_owned()],
        log: true,
        time: true,
        random: false,
    }
}

pub fn compile(runtime: &dyn Runtime, code: &[u8]) -> Result<(), Error> {
    let source = Source { name: "test".into(), file: file(runtime).into(), code: code.into() };
    runtime.compile(&source, &Arc::new(Settings::default())).map(drop)
}

fn file(runtime: &dyn Runtime) -> String {
    format!("functions/test.{}", runtime.name())
}

impl Script {
    pub fn new(runtime: &dyn Runtime, code: &str) -> Self {
        Self::with(runtime, code, limits())
    }

    pub fn with(runtime: &dyn Runtime, code: &str, limits: Limits) -> Self {
        Self::in_file(runtime, &file(runtime), code, limits)
    }

    pub fn in_file(runtime: &dyn Runtime, file: &str, code: &str, limits: Limits) -> Self {
        let settings = Arc::new(Settings { limits, grants: grants() });
        let source = Source { name: "test".into(), file: file.into(), code: code.as_bytes().into() };
        let compiled = runtime.compile(&source, &settings).unwrap_or_else(|e| panic!("{e}\n{code}"));
        let ctx = Ctx {
            trigger: "t".to_owned(),
            function: "test".to_owned(),
            attempt: 2,
            now_ms: 1_767_323_045_000,
            now: "2026-01-02T03:04:05Z".to_owned(),
            env: vec![("REGION".to_owned(), "eu".to_owned())],
            seed: 42,
            ..Ctx::default()
        };
        let stored =
            HashMap::from([(("carts".to_owned(), "a".to_owned()), r#"{"n":12345678901234567890}"#.to_owned())]);
        let host = Arc::new(TestHost { stored, ..TestHost::default() });
        Self { instance: compiled.open().unwrap(), calls: 0, settings, ctx, host }
    }

    /// One call. Before every second one the instance may rest, as it does in a worker that is not busy.
    pub fn call(&mut self, event: &str) -> Done {
        self.calls += 1;
        if self.calls.is_multiple_of(2) {
            self.instance.rest();
        }
        let session = Session::new(self.settings.clone(), Arc::new(self.ctx.clone()), self.host.clone());
        run(&mut *self.instance, event.as_bytes(), session)
    }

    /// What the engine itself says of a call.
    pub fn ended(&mut self, event: &str) -> Ended {
        let session = Session::new(self.settings.clone(), Arc::new(self.ctx.clone()), self.host.clone());
        self.instance.call(event.as_bytes(), session)
    }

    /// The output as text; `<dropped>`; or the error as text.
    pub fn text(&mut self, event: &str) -> String {
        match self.call(event).result {
            Ok(output) => output.value.map_or("<dropped>".to_owned(), |v| String::from_utf8(v.into()).unwrap()),
            Err(error) => error.to_string(),
        }
    }

    pub fn error(&mut self, event: &str) -> Error {
        self.call(event).result.expect_err("it should fail")
    }

    pub fn code(&mut self, event: &str) -> Code {
        self.error(event).code
    }
}

/// One call, by itself: the instance may not even open.
pub fn call_once(runtime: &dyn Runtime, code: &str, settings: &Arc<Settings>, event: &str) -> Result<(), Error> {
    let source = Source { name: "test".into(), file: file(runtime).into(), code: code.as_bytes().into() };
    let mut instance = runtime.compile(&source, settings)?.open()?;
    let session = Session::new(settings.clone(), Arc::default(), Arc::new(TestHost::default()));
    run(&mut *instance, event.as_bytes(), session).result.map(drop)
}
