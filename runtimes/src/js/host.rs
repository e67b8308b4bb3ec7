//! What a function reaches its [`Session`] by: `ctx.emit`, `ctx.kv`, `ctx.http`, `console`, `Math.random`, `Date.now`.

use std::rc::Rc;

use rquickjs::function::Rest;
use rquickjs::object::{Filter, Property};
use rquickjs::{Array, Coerced, Ctx, Exception, Function, IntoJs, Object, String as JsString, Symbol, Type, Value};

use super::names::Names;
use super::value::{Output, Tools, read};
use super::{Call, Fault};
use crate::session::Headers;
use crate::{Code, Error, HttpRequest, HttpResponse, Level, Session};

/// Completes `ctx`, and makes the globals that reach the host, of those that the source can name.
pub(super) fn install<'js>(ctx: &Ctx<'js>, call: &Rc<Call>, names: Names, told: &Object<'js>) -> rquickjs::Result<()> {
    let prototype = Function::prototype(ctx.clone());
    let native = Native { ctx, call, prototype };
    told.set("emit", native.of("emit", emit)?)?;
    let kv = Object::new(ctx.clone())?;
    kv.set("get", native.of("get", kv_get)?)?;
    kv.set("put", native.of("put", kv_put)?)?;
    kv.set("delete", native.of("delete", kv_delete)?)?;
    told.set("kv", kv)?;
    told.set("http", native.of("http", http)?)?;

    let globals = ctx.globals();
    if names.console {
        let console = Object::new(ctx.clone())?;
        for (name, level) in [
            ("debug", Level::Debug),
            ("info", Level::Info),
            ("log", Level::Info),
            ("warn", Level::Warn),
            ("error", Level::Error),
        ] {
            console.set(name, native.of(name, move |on, args| log(on, level, args))?)?;
        }
        globals.set("console", console)?;
    }
    // Assigned to what is there, so that they stay as hidden as they are.
    if names.math {
        let random =
            native.of("random", |on, _| Ok(Value::new_number(on.ctx.clone(), on.session(|s| Ok(s.random_unit()))?)))?;
        globals.get::<_, Object<'js>>("Math")?.set("random", random)?;
    }
    if names.date {
        let now =
            native.of("now", |on, _| Ok(Value::new_number(on.ctx.clone(), on.session(|s| Ok(s.now_ms()))? as f64)))?;
        if call.is_granted_time() {
            globals.get::<_, Object<'js>>("Date")?.set("now", now)?;
        } else {
            call.tools(ctx)?.stop_time(now)?;
        }
    }
    if names.buffers {
        globals.remove("Atomics")?;
        globals.remove("SharedArrayBuffer")?;
    }
    globals.remove("eval")
}

/// What functions of the host are made with.
struct Native<'a, 'js> {
    ctx: &'a Ctx<'js>,
    call: &'a Rc<Call>,
    /// That of this context. The binding of the engine gives all functions of a runtime the one of the context that came first, by
    /// which one call would reach the next.
    prototype: Object<'js>,
}

impl<'js> Native<'_, 'js> {
    fn of<F>(&self, name: &str, work: F) -> rquickjs::Result<Function<'js>>
    where
        F: Fn(&Operation<'_, 'js>, &mut Arguments<'js>) -> Result<Value<'js>, Failure> + 'js,
    {
        let call = self.call.clone();
        let native = move |ctx: Ctx<'js>, args: Rest<Value<'js>>| -> rquickjs::Result<Value<'js>> {
            let tools = call.tools(&ctx)?;
            let mut args = Arguments { ctx: ctx.clone(), given: args.0.into_iter() };
            let result = work(&Operation { ctx: &ctx, call: &call, tools: &tools }, &mut args);
            result.map_err(|failure| match failure {
                Failure::Engine(error) => error,
                Failure::Host(error) => throw(&ctx, &call, error),
            })
        };
        let function = Function::new(self.ctx.clone(), native)?.with_name(name)?;
        function.set_prototype(Some(&self.prototype))?;
        Ok(function)
    }
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

/// What a function gave; undefined where it gave less.
struct Arguments<'js> {
    ctx: Ctx<'js>,
    given: std::vec::IntoIter<Value<'js>>,
}

impl<'js> Arguments<'js> {
    fn next(&mut self) -> Value<'js> {
        self.given.next().unwrap_or_else(|| Value::new_undefined(self.ctx.clone()))
    }
}

fn log<'js>(on: &Operation<'_, 'js>, level: Level, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let mut message = String::new();
    // What is beyond is cut by the session, and need not be copied for that.
    let room = on.session(|s| Ok(s.log_room()))?;
    for (index, value) in args.given.by_ref().enumerate() {
        if room == 0 || message.len() > room {
            break;
        }
        if index > 0 {
            message.push(' ');
        }
        message.push_str(&on.shown(value)?);
    }
    on.session(|s| s.log(level, &message))?;
    Ok(on.undefined())
}

fn emit<'js>(on: &Operation<'_, 'js>, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let topic = name(&args.next(), "topic")?;
    let data = on.json(args.next())?;
    let key: Option<Value<'js>> = match args.next().into_object() {
        Some(options) => options.get("key")?,
        None => None,
    };
    let key = key.filter(|key| !key.is_undefined() && !key.is_null()).map(|key| name(&key, "key")).transpose()?;
    on.session(|s| s.emit(&topic, key.as_deref(), data))?;
    Ok(on.undefined())
}

fn kv_get<'js>(on: &Operation<'_, 'js>, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let (namespace, key) = (name(&args.next(), "namespace")?, name(&args.next(), "key")?);
    match on.session(|s| s.kv_get(&namespace, &key))? {
        Some(json) => on.value(json.as_bytes()),
        None => Ok(on.undefined()),
    }
}

fn kv_put<'js>(on: &Operation<'_, 'js>, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let (namespace, key) = (name(&args.next(), "namespace")?, name(&args.next(), "key")?);
    let value = on.json(args.next())?;
    on.session(|s| s.kv_put(&namespace, &key, Some(value)))?;
    Ok(on.undefined())
}

fn kv_delete<'js>(on: &Operation<'_, 'js>, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let (namespace, key) = (name(&args.next(), "namespace")?, name(&args.next(), "key")?);
    on.session(|s| s.kv_put(&namespace, &key, None))?;
    Ok(on.undefined())
}

fn http<'js>(on: &Operation<'_, 'js>, args: &mut Arguments<'js>) -> Result<Value<'js>, Failure> {
    let request = on.request(&args.next())?;
    let answer = on.session(|s| s.http(request))?;
    Ok(on.answer(&answer)?)
}

struct Operation<'a, 'js> {
    ctx: &'a Ctx<'js>,
    call: &'a Rc<Call>,
    tools: &'a Tools<'js>,
}

impl<'js> Operation<'_, 'js> {
    fn undefined(&self) -> Value<'js> {
        Value::new_undefined(self.ctx.clone())
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

    /// What `console` shows of a value.
    fn shown(&self, value: Value<'js>) -> Result<String, Failure> {
        let text = match value.type_of() {
            Type::Symbol => {
                let description = value.get::<Symbol<'js>>()?.description()?;
                let description = if description.is_undefined() { String::new() } else { self.shown(description)? };
                return Ok(format!("Symbol({description})"));
            }
            _ if value.is_error() => {
                let Some(Coerced(message)) = self.unless_it_fails(value.get())? else {
                    return Ok("[error]".to_owned());
                };
                let mut message = self.lossy(&message)?;
                let stack = value.get::<Object<'js>>().and_then(|error| error.get::<_, Value<'js>>("stack"));
                if let Some(stack) = self.unless_it_fails(stack)?.as_ref().and_then(Value::as_string) {
                    message.push('\n');
                    message.push_str(&self.lossy(stack)?);
                }
                return Ok(message);
            }
            _ if value.is_object() && !value.is_function() => self.tools.show(value.clone())?,
            _ => None,
        };
        // What JSON does not have, such as functions, is shown as text; what does not let itself be shown, by its kind.
        let text = match text {
            Some(text) => text,
            None => match self.unless_it_fails(value.get())? {
                Some(Coerced(text)) => text,
                None => return Ok(format!("[{}]", value.type_name())),
            },
        };
        Ok(self.lossy(&text)?)
    }

    /// What a value says of itself, if it does: what it threw instead is of no interest, since no line of a log is a reason to lose an
    /// event.
    fn unless_it_fails<T>(&self, asked: rquickjs::Result<T>) -> Result<Option<T>, Failure> {
        match asked {
            Ok(said) => Ok(Some(said)),
            Err(error) if self.call.watch.must_stop() => Err(error.into()),
            Err(_) => {
                drop(self.ctx.catch());
                Ok(None)
            }
        }
    }

    /// A text for people: half of a surrogate pair becomes U+FFFD.
    fn lossy(&self, text: &JsString<'js>) -> rquickjs::Result<String> {
        match text.to_string() {
            Err(rquickjs::Error::Utf8(_)) => self.tools.well_formed(text.clone())?.to_string(),
            read => read,
        }
    }

    /// The request that `ctx.http` was given: a URL, or an object.
    fn request(&self, given: &Value<'js>) -> Result<HttpRequest, Failure> {
        if given.is_string() {
            return Ok(HttpRequest { method: "GET".to_owned(), url: text(given)?, ..HttpRequest::default() });
        }
        let Some(given) = given.as_object() else {
            let what = "ctx.http takes a URL, or an object with `url`, `method`, `headers` and `body`";
            return Err(Exception::throw_type(self.ctx, what).into());
        };
        let property = |name: &str| given.get::<_, Option<Value<'js>>>(name);
        let method = property("method")?.map_or_else(|| Ok("GET".to_owned()), |method| text(&method))?;
        let url = text(&given.get("url")?)?;
        self.session(|s| s.may_request(&url))?;
        let headers = property("headers")?.map_or_else(|| Ok(Vec::new()), |headers| self.headers(headers))?;
        let body = match property("body")? {
            None => None,
            Some(body) if body.is_string() => Some(text(&body)?),
            Some(body) => Some(self.json(body)?),
        };
        Ok(HttpRequest { method, url, headers, body })
    }

    /// Headers: an object, or a list of pairs.
    fn headers(&self, given: Value<'js>) -> Result<Vec<(String, String)>, Failure> {
        let not = || Exception::throw_type(self.ctx, "headers are an object, or a list of pairs of a name and a value");
        let mut headers = self.session(|s| Ok(Headers::within(s.settings().limits.output)))?;
        if let Some(pairs) = given.as_array() {
            for pair in pairs.iter::<Value<'js>>() {
                let pair: Array<'js> = pair?.into_array().ok_or_else(not)?;
                headers.add(text(&pair.get(0)?)?, text(&pair.get(1)?)?)?;
            }
            return Ok(headers.into_vec());
        }
        for property in given.as_object().ok_or_else(not)?.own_props::<String, Value<'js>>(Filter::default()) {
            let (name, value) = property?;
            headers.add(name, text(&value)?)?;
        }
        Ok(headers.into_vec())
    }

    /// The answer, as an object. Headers of the same name become one, and its `headers` inherit nothing, so that what was
    /// not sent is not there.
    fn answer(&self, answer: &HttpResponse) -> rquickjs::Result<Value<'js>> {
        let mut merged: Vec<(&str, String)> = Vec::with_capacity(answer.headers.len());
        for (name, value) in &answer.headers {
            match merged.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => {
                    known.push_str(", ");
                    known.push_str(value);
                }
                None => merged.push((name, value.clone())),
            }
        }
        let headers = Object::new(self.ctx.clone())?;
        headers.set_prototype(None)?;
        for (name, value) in merged {
            headers.prop(name, Property::from(value.into_js(self.ctx)?).writable().configurable().enumerable())?;
        }
        let object = Object::new(self.ctx.clone())?;
        object.set("status", answer.status)?;
        object.set("headers", headers)?;
        object.set("body", &*answer.body)?;
        Ok(object.into_value())
    }
}

/// The text of what is a name. Not that of just any value: all events that lack a member would share the key `undefined`.
fn name(value: &Value<'_>, what: &str) -> Result<String, Failure> {
    if value.is_string() || value.is_number() || value.is_big_int() {
        return text(value);
    }
    let kind = match value.type_of() {
        rquickjs::Type::Undefined | rquickjs::Type::Uninitialized => "undefined",
        rquickjs::Type::Null => "null",
        _ => "no text",
    };
    Err(Error::new(Code::Thrown, format!("the {what} is {kind}; it is a string")).into())
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
