//! Values of Lua from and to JSON text.
//!
//! A table is an object unless it is known to be an array: it came from one, `array` marked it, or its keys are 1 to n.
//! `null` is a value of its own, since a table cannot hold nil. Numbers that a double would round are of the type
//! [`Exact`]. Keys of objects go out in the order of their bytes: the order in a table is no one's.

use std::borrow::Cow;

use mlua::{Either, IntoLua, Lua, LuaString, MetaMethod, Table, UserData, UserDataMethods, Value};

use super::Call;
use crate::Error;
use crate::json::{self, Build, Writer};

/// How often the walk over a value asks the clock, in values.
const LOOK_EVERY: u32 = 256;

/// A number with all its digits. It can be kept, compared, shown and returned, but not calculated with. The digits are a
/// string of Lua, so that they count as memory of the function.
#[derive(Debug)]
struct Exact(LuaString);

/// Whether a text is a number as JSON writes it.
pub(super) fn is_number(text: &str) -> bool {
    let number = text.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit());
    number && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok_and(|v| v.get() == text)
}

impl UserData for Exact {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.clone()));
        methods.add_meta_function(MetaMethod::Eq, |_, (a, b): (Value, Value)| {
            let text = |v: &Value| v.as_userdata().and_then(|u| Some(u.borrow::<Self>().ok()?.0.clone()));
            Ok(text(&a).zip(text(&b)).is_some_and(|(a, b)| a == b))
        });
    }
}

/// What a value is called in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        other if other.is_null() => "null",
        other => other.type_name(),
    }
}

/// The metatable of arrays: read-only, and hidden from `getmetatable`.
pub(super) fn array(lua: &Lua) -> mlua::Result<Table> {
    let array = lua.create_table()?;
    array.raw_set("__metatable", "array")?;
    array.set_readonly(true);
    Ok(array)
}

/// Makes values.
pub(super) struct Builder<'l> {
    pub lua: &'l Lua,
    /// What [`array`] made.
    pub array: &'l Table,
}

impl Builder<'_> {
    /// The value of a JSON text.
    ///
    /// # Errors
    /// The text of the reason.
    pub fn read(&self, json: &[u8]) -> Result<Value, String> {
        json::read(self, json)?.into_lua(self.lua).map_err(|e| e.to_string())
    }

    /// A number with all its digits.
    ///
    /// # Errors
    /// No memory.
    pub fn digits(&self, text: &str) -> mlua::Result<Value> {
        let digits = self.lua.create_string(text)?;
        self.lua.create_userdata(Exact(digits)).map(Value::UserData)
    }

    /// Marks a table as an array.
    ///
    /// # Errors
    /// It has a metatable of its own, or is read-only.
    pub fn mark(&self, table: &Table) -> mlua::Result<()> {
        if self.is_marked(table) {
            return Ok(());
        }
        if table.metatable().is_some() || table.is_readonly() {
            return Err(mlua::Error::runtime("a table with a metatable, or a frozen one, cannot be made an array"));
        }
        table.set_metatable(Some(self.array.clone()))
    }

    fn is_marked(&self, table: &Table) -> bool {
        table.metatable().is_some_and(|meta| meta == *self.array)
    }
}

/// A value on its way into a table. A text goes there as it is: as a [`Value`] it would be a handle first, which takes several
/// times as long as the text itself.
type Piece<'t> = Either<&'t str, Either<String, Value>>;

fn piece<'t>(text: Cow<'t, str>) -> Piece<'t> {
    match text {
        Cow::Borrowed(text) => Either::Left(text),
        Cow::Owned(text) => Either::Right(Either::Left(text)),
    }
}

fn made<'t>(value: Value) -> Piece<'t> {
    Either::Right(Either::Right(value))
}

impl<'t> Build<'t> for Builder<'_> {
    type Value = Piece<'t>;
    type List = Table;
    type Error = mlua::Error;

    fn null(&self) -> Piece<'t> {
        made(Value::NULL)
    }

    fn bool(&self, value: bool) -> Piece<'t> {
        made(Value::Boolean(value))
    }

    fn number(&self, value: f64) -> Piece<'t> {
        made(Value::Number(value))
    }

    fn exact(&self, text: &str) -> mlua::Result<Piece<'t>> {
        self.digits(text).map(made)
    }

    fn text(&self, text: Cow<'t, str>) -> mlua::Result<Piece<'t>> {
        Ok(piece(text))
    }

    fn list(&self, values: Vec<Piece<'t>>) -> mlua::Result<Table> {
        let list = self.lua.create_sequence_from(values)?;
        list.set_metatable(Some(self.array.clone()))?;
        Ok(list)
    }

    fn push(&self, list: &mut Table, value: Piece<'t>) -> mlua::Result<()> {
        list.raw_push(value)
    }

    fn end_list(&self, list: Table) -> Piece<'t> {
        made(Value::Table(list))
    }

    fn map(&self, members: Vec<(Cow<'t, str>, Piece<'t>)>) -> mlua::Result<Piece<'t>> {
        let members = members.into_iter().map(|(name, value)| (piece(name), value));
        self.lua.create_table_from(members).map(|map| made(Value::Table(map)))
    }
}

/// Writes one value as JSON. Runs no code of the function: metatables are not asked.
pub(super) struct Output<'a> {
    call: &'a Call,
    builder: &'a Builder<'a>,
    writer: Writer,
    seen: u32,
}

impl<'a> Output<'a> {
    pub fn new(call: &'a Call, builder: &'a Builder<'a>, limit: usize) -> Self {
        Self { call, builder, writer: Writer::new(limit), seen: 0 }
    }

    /// The JSON text of a value.
    ///
    /// # Errors
    /// It is no value of JSON, too deep, or too large.
    pub fn write(mut self, value: Value) -> Result<Vec<u8>, Error> {
        self.value(&value)?;
        Ok(self.writer.into_bytes())
    }

    /// Counts a value, and looks at the clock now and then.
    fn look(&mut self) -> Result<(), Error> {
        self.seen += 1;
        if self.seen.is_multiple_of(LOOK_EVERY)
            && self.call.watch.must_stop()
            && let Some(broken) = self.call.watch.broken()
        {
            return Err(broken);
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), Error> {
        self.look()?;
        match value {
            Value::Nil => self.writer.raw("null"),
            Value::Boolean(value) => self.writer.raw(if *value { "true" } else { "false" }),
            Value::Integer(value) => self.writer.raw(&value.to_string()),
            Value::Number(value) => self.writer.number(*value),
            Value::String(text) => {
                let text = self.text(text)?;
                self.writer.text(&text)
            }
            Value::Table(table) => self.table(table),
            Value::UserData(data) => match data.borrow::<Exact>() {
                Ok(exact) => {
                    let digits = self.text(&exact.0)?;
                    self.writer.raw(&digits)
                }
                Err(_) => Err(self.writer.bad("is a userdata, which JSON does not have")),
            },
            null if null.is_null() => self.writer.raw("null"),
            other => Err(self.writer.bad(&format!("is a {}, which JSON does not have", other.type_name()))),
        }
    }

    fn text(&self, text: &LuaString) -> Result<String, Error> {
        let bytes = text.as_bytes();
        let text = std::str::from_utf8(&bytes);
        text.map(str::to_owned).map_err(|_| self.writer.bad("is a string that is not UTF-8; encode it, say as hex"))
    }

    fn table(&mut self, table: &Table) -> Result<(), Error> {
        let length = table.raw_len();
        let marked = self.builder.is_marked(table);
        if marked || length > 0 { self.array(table, length, marked) } else { self.map(table) }
    }

    fn array(&mut self, table: &Table, length: usize, marked: bool) -> Result<(), Error> {
        let mut keys: usize = 0;
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair.map_err(|e| self.writer.bad(&format!("cannot be read: {e}")))?;
            self.look()?;
            keys += 1;
            let index = key.as_number().or_else(|| key.as_integer().map(|i| i as f64));
            if !index.is_some_and(|i| i >= 1.0 && i <= length as f64 && i.fract() == 0.0) {
                let what = if marked { "is an array" } else { "has the keys of an array" };
                let key = match &key {
                    // What `tostring` gives of others is where they lie in memory, or runs the function's code.
                    Value::String(_) | Value::Number(_) | Value::Integer(_) => key.to_string().unwrap_or_default(),
                    other => format!("of the type {}", kind(other)),
                };
                return Err(self.writer.bad(&format!(
                    "{what} of {length}, and also the key {key}; JSON has arrays or objects (a hole takes `null`)"
                )));
            }
        }
        if keys < length {
            return Err(self.writer.bad("is an array with holes; put `null` where nothing is"));
        }
        self.writer.raw("[")?;
        for index in 1..=length {
            if index > 1 {
                self.writer.raw(",")?;
            }
            let value: Value = table.raw_get(index).map_err(|e| self.writer.bad(&format!("cannot be read: {e}")))?;
            self.writer.enter_index(index)?;
            self.value(&value)?;
            self.writer.leave();
        }
        self.writer.raw("]")
    }

    fn map(&mut self, table: &Table) -> Result<(), Error> {
        let mut members = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|e| self.writer.bad(&format!("cannot be read: {e}")))?;
            self.look()?;
            let Value::String(key) = &key else {
                return Err(self.writer.bad(&format!(
                    "has a key of the type {}; keys of objects are strings, arrays begin at 1 and have no holes",
                    key.type_name()
                )));
            };
            members.push((self.text(key)?, value));
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.writer.raw("{")?;
        for (at, (key, value)) in members.iter().enumerate() {
            if at > 0 {
                self.writer.raw(",")?;
            }
            self.writer.text(key)?;
            self.writer.raw(":")?;
            self.writer.enter_key(key)?;
            self.value(value)?;
            self.writer.leave();
        }
        self.writer.raw("}")
    }
}
