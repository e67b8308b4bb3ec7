//! The one function through which a virtual machine reaches its [`Session`]; the prelude makes the API of it.

use std::rc::Rc;

use mlua::{Function, Lua, LuaString, Table, Value, Variadic};

use super::Call;
use super::value::{Builder, Output, is_number, kind};
use crate::session::Headers;
use crate::{Code, Error, HttpRequest, Level, Session};

/// `host(operation, ...)`: true and a value, or false and a message.
pub(super) fn function(lua: &Lua, call: &Rc<Call>, array: &Table) -> mlua::Result<Function> {
    let (call, array) = (call.clone(), array.clone());
    lua.create_function(move |lua, (operation, args): (LuaString, Variadic<Value>)| {
        let builder = Builder { lua, array: &array };
        let mut args = args.into_iter();
        let operation = operation.to_str()?;
        let result = Operation { lua, builder: &builder, call: &call }.run(&operation, &mut args);
        match result {
            Ok(value) => Ok((true, value)),
            Err(Failure::Engine(error)) => Err(error),
            Err(Failure::Host(error)) => {
                let message = lua.create_string(&error.message)?;
                // One of a limit ends the call, whatever the function catches.
                if error.code.is_limit() {
                    call.watch.broke(error);
                } else {
                    *call.thrown.borrow_mut() = Some(error);
                }
                Ok((false, Value::String(message)))
            }
        }
    })
}

enum Failure {
    Engine(mlua::Error),
    Host(Error),
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

struct Operation<'a> {
    lua: &'a Lua,
    builder: &'a Builder<'a>,
    call: &'a Rc<Call>,
}

impl Operation<'_> {
    fn run(&self, operation: &str, args: &mut impl Iterator<Item = Value>) -> Result<Value, Failure> {
        let mut next = || args.next().unwrap_or(Value::Nil);
        match operation {
            "log" => {
                let level = match text(&next(), "level")?.as_str() {
                    "debug" => Level::Debug,
                    "warn" => Level::Warn,
                    "error" => Level::Error,
                    _ => Level::Info,
                };
                let message = next();
                let message = message.as_string().map(LuaString::to_string_lossy).unwrap_or_default();
                self.session(|s| s.log(level, &message))?;
                Ok(Value::Nil)
            }
            "array" => {
                let Value::Table(table) = next() else {
                    return Err(Error::new(Code::Thrown, "array takes a table").into());
                };
                let marked = self.builder.mark(&table);
                marked.map_err(|e| Error::new(Code::Thrown, e.to_string()))?;
                Ok(Value::Table(table))
            }
            "exact" => {
                let digits = text(&next(), "number")?;
                if !is_number(&digits) {
                    return Err(Error::new(Code::Thrown, "exact takes a number as JSON writes it: \"12.50\"").into());
                }
                Ok(self.builder.digits(&digits)?)
            }
            "show" => {
                let room = self.session(|s| Ok(s.log_room()))?;
                // One that JSON does not have, or is too long for the log, is shown otherwise.
                let json = Output::new(self.call, self.builder, room).write(next()).ok();
                Ok(match json {
                    Some(json) => Value::String(self.lua.create_string(json)?),
                    None => Value::Nil,
                })
            }
            "raised" => {
                *self.call.raised.borrow_mut() = Some(next());
                Ok(Value::Nil)
            }
            "now" => Ok(Value::Number(self.session(|s| Ok(s.now_ms()))? as f64)),
            "random" => Ok(Value::Number(self.session(|s| Ok(s.random_unit()))?)),
            "emit" => {
                let topic = text(&next(), "topic")?;
                let data = self.json(next(), "data")?;
                let key = match next() {
                    Value::Nil => None,
                    // What is null in the event.
                    key if key.is_null() => None,
                    key => Some(text(&key, "key")?),
                };
                self.session(|s| s.emit(&topic, key.as_deref(), data))?;
                Ok(Value::Nil)
            }
            "get" => {
                let (namespace, key) = (text(&next(), "namespace")?, text(&next(), "key")?);
                match self.session(|s| s.kv_get(&namespace, &key))? {
                    Some(json) => self.builder.read(json.as_bytes()).map_err(|e| {
                        match e.contains("not enough memory") {
                            true => Error::new(Code::Memory, "the value does not fit in `limits.memory`"),
                            false => Error::new(Code::Host, e),
                        }
                        .into()
                    }),
                    None => Ok(Value::Nil),
                }
            }
            "put" => {
                let (namespace, key) = (text(&next(), "namespace")?, text(&next(), "key")?);
                let value = self.json(next(), "value")?;
                self.session(|s| s.kv_put(&namespace, &key, Some(value)))?;
                Ok(Value::Nil)
            }
            "delete" => {
                let (namespace, key) = (text(&next(), "namespace")?, text(&next(), "key")?);
                self.session(|s| s.kv_put(&namespace, &key, None))?;
                Ok(Value::Nil)
            }
            "http" => {
                let Value::Table(request) = next() else {
                    return Err(Error::new(Code::Host, "a request is a table: { url = \"https://…\" }").into());
                };
                let answer = self.request(&request)?;
                let answer = self.session(|s| s.http(answer))?;
                let headers = self.lua.create_table()?;
                for (name, value) in answer.headers {
                    let before: Option<String> = headers.raw_get(&*name)?;
                    headers.raw_set(name, before.map_or(value.clone(), |before| format!("{before}, {value}")))?;
                }
                let table = self.lua.create_table()?;
                table.raw_set("status", answer.status)?;
                table.raw_set("headers", headers)?;
                table.raw_set("body", answer.body)?;
                Ok(Value::Table(table))
            }
            _ => Err(Error::new(Code::Host, "there is no such operation").into()),
        }
    }

    fn request(&self, table: &Table) -> Result<HttpRequest, Failure> {
        let optional = |name: &str| -> Result<Option<String>, Failure> {
            match table.raw_get::<Value>(name)? {
                Value::Nil => Ok(None),
                value => text(&value, name).map(Some),
            }
        };
        let url = optional("url")?.unwrap_or_default();
        self.session(|s| s.may_request(&url))?;
        let mut headers = self.session(|s| Ok(Headers::within(s.settings().limits.output)))?;
        if let Value::Table(given) = table.raw_get::<Value>("headers")? {
            for pair in given.pairs::<Value, Value>() {
                let (name, value) = pair?;
                headers.add(text(&name, "header")?, text(&value, "header")?)?;
            }
        }
        let mut headers = headers.into_vec();
        headers.sort();
        let body = match table.raw_get::<Value>("body")? {
            Value::Nil => None,
            Value::String(body) => Some(text(&Value::String(body), "body")?),
            value => Some(self.json(value, "body")?),
        };
        let method = optional("method")?.unwrap_or_else(|| "GET".to_owned());
        Ok(HttpRequest { method, url, headers, body })
    }

    fn session<T>(&self, work: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let gone = || Error::new(Code::Host, "the call is over");
        self.call.session.borrow_mut().as_mut().map_or_else(|| Err(gone()), work)
    }

    /// A value of the function, as JSON text.
    fn json(&self, value: Value, what: &str) -> Result<String, Error> {
        let limit = self.session(|s| Ok(s.settings().limits.output))?;
        if value.is_nil() {
            return Err(Error::new(Code::BadOutput, format!("the {what} is nil; give a value, or `null`")));
        }
        let bytes = Output::new(self.call, self.builder, limit).write(value)?;
        String::from_utf8(bytes).map_err(|_| Error::new(Code::BadOutput, "this is no text"))
    }
}

fn text(value: &Value, what: &str) -> Result<String, Failure> {
    let text = match value {
        Value::String(text) => text.to_str().ok().map(|t| t.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    text.ok_or_else(|| Error::new(Code::Thrown, format!("the {what} is {}; it is a string", kind(value))).into())
}
