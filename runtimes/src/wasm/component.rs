//! The world `hexafn:function` for components: the same session behind it as behind the imports of core modules.

use super::wasmtime::State;
use crate::{Code, Error, HttpRequest, Level};

mod bindings {
    #![allow(missing_docs, clippy::all)] // Generated from the WIT, which has the texts.
    wasmtime::component::bindgen!({
        path: "wit/function.wit",
        world: "function",
        imports: { default: trappable },
    });
}

use bindings::hexafn::function::{clock, keys, logs, randomness, topics, variables, web};
pub(crate) use bindings::{Function, FunctionPre};

impl State {
    /// Keeps why the guest must stop; the engine's error says only that.
    pub(super) fn stop(&mut self, error: Error) -> wasmtime::Error {
        self.call.stop = Some(super::host::Stop::Failed(error));
        wasmtime::Error::msg("stopped by the host")
    }

    /// What the store or the network could not do is the guest's to handle; all else stops it.
    fn answer<T>(&mut self, result: Result<T, Error>) -> wasmtime::Result<Result<T, String>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) if error.code == Code::Host => Ok(Err(error.message)),
            Err(error) => Err(self.stop(error)),
        }
    }
}

impl logs::Host for State {
    fn log(&mut self, level: logs::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            logs::Level::Debug => Level::Debug,
            logs::Level::Info => Level::Info,
            logs::Level::Warn => Level::Warn,
            logs::Level::Error => Level::Error,
        };
        self.call.session.log(level, &message).map_err(|e| self.stop(e))
    }
}

impl variables::Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<String> {
        self.call.session.env(&name).map_err(|e| self.stop(e))
    }
}

impl clock::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(self.call.session.now_ms())
    }
}

impl randomness::Host for State {
    fn next(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call.session.random())
    }
}

impl topics::Host for State {
    fn emit(&mut self, topic: String, key: Option<String>, data: String) -> wasmtime::Result<()> {
        self.call.session.emit(&topic, key.as_deref(), data).map_err(|e| self.stop(e))
    }
}

impl keys::Host for State {
    fn get(&mut self, namespace: String, key: String) -> wasmtime::Result<Result<Option<String>, String>> {
        let found = self.call.session.kv_get(&namespace, &key);
        self.answer(found)
    }

    fn put(&mut self, namespace: String, key: String, value: String) -> wasmtime::Result<()> {
        self.call.session.kv_put(&namespace, &key, Some(value)).map_err(|e| self.stop(e))
    }

    fn delete(&mut self, namespace: String, key: String) -> wasmtime::Result<()> {
        self.call.session.kv_put(&namespace, &key, None).map_err(|e| self.stop(e))
    }
}

impl web::Host for State {
    fn send(&mut self, request: web::Request) -> wasmtime::Result<Result<web::Response, String>> {
        let web::Request { method, url, headers, body } = request;
        let response = self.call.session.http(HttpRequest { method, url, headers, body });
        let response = self.answer(response)?;
        Ok(response.map(|r| web::Response { status: r.status, headers: r.headers, body: r.body }))
    }
}
