//! Values of JavaScript from and to JSON text. Whole numbers that a double would round are `BigInt`s, other such numbers
//! what `JSON.rawJSON` makes; both go out with the same digits.

use std::borrow::Cow;

use rquickjs::function::This;
use rquickjs::object::Filter;
use rquickjs::{Array, Coerced, Ctx, Function, IntoJs, Object, String as JsString, Type, Value};

use super::Fault;
use crate::Error;
use crate::json::{self, Build, Writer};

/// How often the walk over a value asks the clock, in values: reading properties runs no code that would be interrupted.
const LOOK_EVERY: u32 = 256;

/// What the prelude took hold of before the function could change it.
pub(super) struct Tools<'js>(Object<'js>);

impl<'js> Tools<'js> {
    pub fn new(object: Object<'js>) -> Self {
        Self(object)
    }

    fn function(&self, name: &str) -> rquickjs::Result<Function<'js>> {
        self.0.get(name)
    }

    /// A number that a double would change.
    fn exact(&self, text: &str) -> rquickjs::Result<Value<'js>> {
        let whole = !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
        self.function(if whole { "whole" } else { "rawJSON" })?.call((text,))
    }

    /// The JSON text that an object stands for, where it is of `JSON.rawJSON`.
    fn raw(&self, object: &Object<'js>) -> rquickjs::Result<Option<String>> {
        match self.function("isRawJSON")?.call((object.clone(),))? {
            true => object.get("rawJSON").map(Some),
            false => Ok(None),
        }
    }

    /// Whether it is an array: a proxy of one is one, too.
    fn is_array(&self, object: &Object<'js>) -> rquickjs::Result<bool> {
        if !object.is_proxy() {
            return Ok(object.is_array());
        }
        self.function("isArray")?.call((object.clone(),))
    }

    /// What `Object.prototype.toString` calls it.
    fn kind(&self, object: Object<'js>) -> rquickjs::Result<String> {
        self.function("kind")?.call((This(object),))
    }

    /// What `console` shows of an object, where it shows anything.
    pub fn show(&self, object: Value<'js>) -> rquickjs::Result<Option<JsString<'js>>> {
        self.function("show")?.call((object,))
    }

    /// Makes a `Date` of the global one that takes the time from `now`.
    pub fn stop_time(&self, now: Function<'js>) -> rquickjs::Result<()> {
        self.function("stopTime")?.call((now,))
    }

    /// The text with U+FFFD for each half of a surrogate pair.
    pub fn well_formed(&self, text: JsString<'js>) -> rquickjs::Result<JsString<'js>> {
        self.function("toWellFormed")?.call((This(text),))
    }
}

/// The value of a JSON text.
///
/// # Errors
/// The text of the reason; an exception of the engine may wait in the context.
pub(super) fn read<'js>(ctx: &Ctx<'js>, tools: &Tools<'js>, json: &[u8]) -> Result<Value<'js>, String> {
    if json::exact_numbers(json).is_empty() {
        // The engine's own parser is several times faster than building values from here.
        return ctx.json_parse(json).map_err(|e| e.to_string());
    }
    json::read(&Builder { ctx, tools }, json)
}

struct Builder<'a, 'js> {
    ctx: &'a Ctx<'js>,
    tools: &'a Tools<'js>,
}

impl<'js> Build<'_> for Builder<'_, 'js> {
    type Value = Value<'js>;
    type List = (Array<'js>, usize);
    type Error = rquickjs::Error;

    fn null(&self) -> Value<'js> {
        Value::new_null(self.ctx.clone())
    }

    fn bool(&self, value: bool) -> Value<'js> {
        Value::new_bool(self.ctx.clone(), value)
    }

    fn number(&self, value: f64) -> Value<'js> {
        Value::new_number(self.ctx.clone(), value)
    }

    fn exact(&self, text: &str) -> rquickjs::Result<Value<'js>> {
        self.tools.exact(text)
    }

    fn text(&self, text: Cow<'_, str>) -> rquickjs::Result<Value<'js>> {
        text.as_ref().into_js(self.ctx)
    }

    fn list(&self, values: Vec<Value<'js>>) -> rquickjs::Result<Self::List> {
        let mut list = (Array::new(self.ctx.clone())?, 0);
        values.into_iter().try_for_each(|value| self.push(&mut list, value))?;
        Ok(list)
    }

    fn push(&self, list: &mut Self::List, value: Value<'js>) -> rquickjs::Result<()> {
        list.0.set(list.1, value)?;
        list.1 += 1;
        Ok(())
    }

    fn end_list(&self, list: Self::List) -> Value<'js> {
        list.0.into_value()
    }

    fn map(&self, members: Vec<(Cow<'_, str>, Value<'js>)>) -> rquickjs::Result<Value<'js>> {
        let map = Object::new(self.ctx.clone())?;
        for (key, value) in members {
            // A property of its own, even where the prototype has a setter of that name: `__proto__`.
            map.prop(&*key, rquickjs::object::Property::from(value).writable().configurable().enumerable())?;
        }
        Ok(map.into_value())
    }
}

/// Writes one value as JSON.
pub(super) struct Output<'a, 'js> {
    tools: &'a Tools<'js>,
    fault: &'a Fault<'a, 'js>,
    writer: Writer,
    seen: u32,
}

impl<'a, 'js> Output<'a, 'js> {
    pub fn new(tools: &'a Tools<'js>, fault: &'a Fault<'a, 'js>, limit: usize) -> Self {
        Self { tools, fault, writer: Writer::new(limit), seen: 0 }
    }

    /// The JSON text of a value.
    ///
    /// # Errors
    /// It is no value of JSON, too deep, or too large; or reading it ran code that failed.
    pub fn write(mut self, value: Value<'js>) -> Result<Vec<u8>, Error> {
        let value = self.asked(value, "")?;
        self.value(value)?;
        Ok(self.writer.into_bytes())
    }

    fn engine(&self, error: rquickjs::Error) -> Error {
        self.fault.of(error)
    }

    /// Counts a value or a property, and looks at the clock now and then.
    fn look(&mut self) -> Result<(), Error> {
        self.seen += 1;
        if self.seen.is_multiple_of(LOOK_EVERY) && self.fault.call.watch.must_stop() {
            return Err(self.fault.stopped());
        }
        Ok(())
    }

    /// What is written of a value at this key: what its `toJSON` gives, where it has one.
    fn asked(&self, value: Value<'js>, key: &str) -> Result<Value<'js>, Error> {
        let Some(object) = value.as_object() else { return Ok(value) };
        let to_json: Value<'js> = object.get("toJSON").map_err(|e| self.engine(e))?;
        match to_json.as_function() {
            Some(to_json) => to_json.call((This(object.clone()), key)).map_err(|e| self.engine(e)),
            None => Ok(value),
        }
    }

    /// Writes a value that was asked.
    fn value(&mut self, value: Value<'js>) -> Result<(), Error> {
        self.look()?;
        match value.type_of() {
            Type::Null | Type::Undefined | Type::Uninitialized => self.writer.raw("null"),
            Type::Bool => self.writer.raw(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Type::Int | Type::Float => self.writer.number(value.as_number().unwrap_or(f64::NAN)),
            Type::String => match value.as_string() {
                Some(text) => {
                    let text = self.text(text)?;
                    self.writer.text(&text)
                }
                None => Err(self.writer.bad("is no text")),
            },
            Type::BigInt => {
                let digits: Coerced<String> = value.get().map_err(|e| self.engine(e))?;
                self.writer.raw(&digits)
            }
            Type::Symbol | Type::Function | Type::Constructor | Type::Module => {
                Err(self.writer.bad(&format!("is a {}, which JSON does not have", value.type_name())))
            }
            _ => match value.into_object() {
                Some(object) => self.object(object),
                None => Err(self.writer.bad("is nothing that JSON has")),
            },
        }
    }

    fn text(&self, text: &JsString<'js>) -> Result<String, Error> {
        text.to_string().map_err(|error| match error {
            rquickjs::Error::Utf8(_) => {
                self.writer.bad("is a text with half of a surrogate pair, which is no character; use `toWellFormed()`")
            }
            other => self.engine(other),
        })
    }

    fn object(&mut self, object: Object<'js>) -> Result<(), Error> {
        if self.tools.is_array(&object).map_err(|e| self.engine(e))? {
            return self.array(&object);
        }
        if object.get_prototype().is_none()
            && let Some(json) = self.tools.raw(&object).map_err(|e| self.engine(e))?
        {
            return self.writer.raw(&json);
        }
        self.writer.raw("{")?;
        let mut first = true;
        for property in object.own_props::<JsString<'js>, Value<'js>>(Filter::default()) {
            let (key, value) = property.map_err(|e| self.engine(e))?;
            self.look()?;
            let key = self.text(&key)?;
            // An object with a first character may be a text, whose characters are not what was meant.
            if first && key == "0" {
                self.plain(object.clone())?;
            }
            let value = self.asked(value, &key)?;
            // As `JSON.stringify` does: a property that is undefined is one that is not there.
            if value.is_undefined() {
                continue;
            }
            if !first {
                self.writer.raw(",")?;
            }
            first = false;
            self.writer.text(&key)?;
            self.writer.raw(":")?;
            self.writer.enter_key(&key)?;
            self.value(value)?;
            self.writer.leave();
        }
        if first {
            self.plain(object)?;
        }
        self.writer.raw("}")
    }

    /// What has no properties may hold its content elsewhere, which would be lost.
    fn plain(&self, object: Object<'js>) -> Result<(), Error> {
        let kind = self.tools.kind(object).map_err(|e| self.engine(e))?;
        let kind = kind.trim_start_matches("[object ").trim_end_matches(']');
        let instead = match kind {
            "Map" => "return `Object.fromEntries(map)`",
            "Set" => "return `[...set]`",
            "Promise" => "`await` it",
            "Error" => "throw it, or return its `message`",
            "RegExp" | "Number" | "String" | "Boolean" | "BigInt" | "ArrayBuffer" | "DataView" | "WeakMap"
            | "WeakSet" => "return a plain value",
            "Generator" | "AsyncGenerator" => "return an array: `[...generator]`",
            _ if kind.ends_with("Array") => "return an array: `[...values]`",
            _ if kind.ends_with("Iterator") || kind == "Iterator Helper" => "return an array: `[...iterator]`",
            _ => return Ok(()),
        };
        Err(self.writer.bad(&format!("is a {kind}, which JSON does not have; {instead}")))
    }

    fn array(&mut self, array: &Object<'js>) -> Result<(), Error> {
        let Coerced(length): Coerced<f64> = array.get("length").map_err(|e| self.engine(e))?;
        self.writer.raw("[")?;
        let mut index: u32 = 0;
        while f64::from(index) < length {
            if index > 0 {
                self.writer.raw(",")?;
            }
            let value: Value<'js> = array.get(index).map_err(|e| self.engine(e))?;
            self.writer.enter_index(index as usize)?;
            let value = self.asked(value, &index.to_string())?;
            self.value(value)?;
            self.writer.leave();
            index += 1;
        }
        self.writer.raw("]")
    }
}
