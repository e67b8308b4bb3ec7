//! The one function through which a context reaches its [`Session`]; the prelude makes the API of it.

use std::rc::Rc;

use rquickjs::function::Rest;
use rquickjs::{Coerced, Ctx, Exception, Function, Object, Value};

use super::value::{Output, Tools, read};
use super::{Call, Fault};
use crate::{Code, Error, HttpRequest, Level, Session};

/// Calls the prelude's `setup` with the function and `ctx`; gives its tools.
pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    call: &Rc<Call>,
    setup: &Function<'js>,
    told: Value<'js>,
) -> rquickjs::Result<Object<'js>> {
    let call = call.clone();
    let host = move |ctx: Ctx<'js>, args: Rest<Value<'js>>| -> rquickjs::Result<Value<'js>> {
        let mut args = args.0.into_iter();
        let operation = args.next().and_then(|v| v.as_int()).unwrap_or(-1);
        // Passed along, since a value that a Rust closure holds is one that the engine cannot collect.
        let Some(tools) = args.next().and_then(Value::into_object) else {
            return Err(Exception::throw_type(&ctx, "the host is called by the prelude alone"));
        };
        let tools = Tools::new(tools, Value::new_undefined(ctx.clone()));
        let result = Operation { ctx: &ctx, call: &call, tools: &tools }.run(operation, &mut args);
        result.map_err(|failure| match failure {
            Failure::Engine(error) => error,
            Failure::Host(error) => throw(&ctx, &call, error),
        })
    };
    setup.call((Function::new(ctx.clone(), host)?, told))
}

/// Throws an error of the host, with its `code`. One of a limit ends the call, whatever the function catches.
fn throw(ctx: &Ctx<'_>, call: &Call, error: Error) -> rquickjs::Error {
    let exception = match Exception::from_message(ctx.clone(), &error.message) {
        Ok(exception) => exception,
        Err(failed) => return failed,
    };
    if let Err(failed) = exception.as_object().set("code", error.code.as_str()) {
        return failed;
    }
    if error.code.is_limit() {
        call.watch.broke(error);
    } else {
        *call.thrown.borrow_mut() = Some(error);
    }
    exception.throw()
}

enum Failure {
    Engine(rquickjs::Error),
    Host(Error),
}

impl From<rquickjs::Error> for Failure {
    fn from(error: rquickjs::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

struct Operation<'a, 'js> {
    ctx: &'a Ctx<'js>,
    call: &'a Rc<Call>,
    tools: &'a Tools<'js>,
}

impl<'js> Operation<'_, 'js> {
    fn run(&self, operation: i32, args: &mut impl Iterator<Item = Value<'js>>) -> Result<Value<'js>, Failure> {
        let undefined = || Value::new_undefined(self.ctx.clone());
        let mut next = || args.next().unwrap_or_else(undefined);
        match operation {
            0 => {
                let level = match text(&next())?.as_str() {
                    "debug" => Level::Debug,
                    "warn" => Level::Warn,
                    "error" => Level::Error,
                    _ => Level::Info,
                };
                let message = text(&next())?;
                self.session(|s| s.log(level, &message))?;
                Ok(undefined())
            }
            1 => Ok(Value::new_number(self.ctx.clone(), self.session(|s| Ok(s.random_unit()))?)),
            2 => Ok(Value::new_number(self.ctx.clone(), self.session(|s| Ok(s.now_ms()))? as f64)),
            3 => {
                let topic = text(&next())?;
                let data = self.json(next())?;
                let key = next();
                let key = if key.is_null() { None } else { Some(text(&key)?) };
                self.session(|s| s.emit(&topic, key.as_deref(), data))?;
                Ok(undefined())
            }
            4 => {
                let (namespace, key) = (text(&next())?, text(&next())?);
                match self.session(|s| s.kv_get(&namespace, &key))? {
                    Some(json) => self.value(json.as_bytes()),
                    None => Ok(undefined()),
                }
            }
            5 => {
                let (namespace, key) = (text(&next())?, text(&next())?);
                let value = self.json(next())?;
                self.session(|s| s.kv_put(&namespace, &key, Some(value)))?;
                Ok(undefined())
            }
            6 => {
                let (namespace, key) = (text(&next())?, text(&next())?);
                self.session(|s| s.kv_put(&namespace, &key, None))?;
                Ok(undefined())
            }
            7 => {
                let request = self.json(next())?;
                let request: HttpRequest = serde_json::from_str(&request)
                    .map_err(|e| Error::new(Code::Host, format!("this is not a request: {e}")))?;
                let answer = self.session(|s| s.http(request))?;
                let answer = serde_json::to_string(&answer)
                    .map_err(|e| Error::new(Code::Host, format!("the answer is not JSON: {e}")))?;
                self.value(answer.as_bytes())
            }
            _ => Err(Error::new(Code::Host, "there is no such operation").into()),
        }
    }

    fn session<T>(&self, work: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let gone = || Error::new(Code::Host, "the call is over");
        self.call.session.borrow_mut().as_mut().map_or_else(|| Err(gone()), work)
    }

    /// A value of the function, as JSON text. May run its code (getters, `toJSON`).
    fn json(&self, value: Value<'js>) -> Result<String, Failure> {
        let fault = Fault { ctx: self.ctx, call: self.call, file: "" };
        let limit = self.session(|s| Ok(s.settings().limits.output))?;
        if value.is_undefined() {
            return Err(Error::new(Code::BadOutput, "undefined is no JSON; give null or a value").into());
        }
        let bytes = Output::new(self.tools, &fault, limit).write(value)?;
        String::from_utf8(bytes).map_err(|_| Error::new(Code::BadOutput, "this is no text").into())
    }

    fn value(&self, json: &[u8]) -> Result<Value<'js>, Failure> {
        read(self.ctx, self.tools, json).map_err(|e| match self.ctx.has_exception() {
            true => Failure::Engine(rquickjs::Error::Exception),
            false => Failure::Host(Error::new(Code::Host, format!("the host gave no JSON: {e}"))),
        })
    }
}

fn text(value: &Value<'_>) -> Result<String, Failure> {
    let text = value.get::<Coerced<String>>();
    text.map(|t| t.0).map_err(|error| match error {
        rquickjs::Error::Utf8(_) => {
            Failure::Host(Error::new(Code::BadOutput, "half of a surrogate pair is no text; use `toWellFormed()`"))
        }
        other => Failure::Engine(other),
    })
}
