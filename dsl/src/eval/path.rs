//! Reaching into values.
//!
//! A missing member and an element out of range are null, and so is everything below null. Reaching into something that
//! has no members (a number, a text) is an error, because it is nearly always a mistake about the shape of the event;
//! `?.` and `?[` give null there as well.

use std::sync::Arc;

use base64::Engine as _;

use super::{Machine, Result};
use crate::code::{Base, Field, Path, Step, StepKind};
use crate::codes;
use crate::fault::Fault;
use crate::input::Data;
use crate::json::{Kind, NodeRef};
use crate::value::{ObjectBuilder, SEARCHED, Text, Value};

/// Objects and arrays up to this size are searched for one step.
const FREE: usize = 64;

fn search_cost(size: usize) -> u64 {
    if size > FREE { size as u64 / 16 } else { 0 }
}

/// Steps of a search for a key.
fn key_cost(of: &Value<'_>, key: &str) -> u64 {
    match of {
        // Halved again and again, with a comparison of the key each time.
        Value::Object(object) if object.len() > SEARCHED => {
            u64::from(object.len().ilog2()) / 2 + key.len() as u64 / 256
        }
        Value::Node(node) => search_cost(node.len()),
        _ => 0,
    }
}

impl<'p, 'e> Machine<'p, 'e> {
    pub(super) fn field(&mut self, field: Field) -> Result<Value<'e>> {
        let (event, ctx) = (&self.input.event, &self.input.ctx);
        let text = |text: &'e str| Value::Str(Text::Borrowed(text));
        let optional = |text: Option<&'e str>| text.map_or(Value::Null, |text| Value::Str(Text::Borrowed(text)));
        Ok(match field {
            Field::Id => text(event.id),
            Field::Source => text(event.source),
            Field::Type => text(event.kind),
            Field::Subject => optional(event.subject),
            Field::Time => Value::Timestamp(event.time_us),
            Field::Topic => text(event.topic),
            Field::Seq => i64::try_from(event.seq).map_or(Value::Null, Value::Int),
            Field::Key => optional(event.key),
            Field::ContentType => optional(event.content_type),
            Field::TraceId => text(event.trace_id),
            Field::Data => self.data()?,
            Field::Headers => self.pairs(event.headers)?,
            Field::Extensions => self.pairs(event.extensions)?,
            Field::Trigger => text(ctx.trigger),
            Field::Function => text(ctx.function),
            Field::Attempt => Value::Int(i64::from(ctx.attempt)),
            Field::Now => Value::Timestamp(ctx.now_us),
            Field::Env => self.pairs(ctx.env)?,
            Field::Event => self.whole(EVENT_FIELDS)?,
            Field::Ctx => self.whole(CTX_FIELDS)?,
        })
    }

    fn whole(&mut self, fields: &'static [(&'static str, Field)]) -> Result<Value<'e>> {
        let mut object = ObjectBuilder::with_capacity(fields.len());
        for (name, field) in fields {
            let value = self.field(*field)?;
            object.push_new(Text::Borrowed(name), value);
        }
        self.object(object)
    }

    fn pairs(&mut self, pairs: &'e [(Arc<str>, Arc<str>)]) -> Result<Value<'e>> {
        let mut object = ObjectBuilder::with_capacity(pairs.len());
        for (name, value) in pairs {
            // A header that comes twice is joined as HTTP joins it.
            match object.position(name) {
                Some(at) => {
                    if let Some(old) = object.value_mut(at) {
                        let joined = [old.as_str().unwrap_or_default(), ", ", value].concat();
                        *old = self.string(joined)?;
                    }
                }
                None => object.push_new(Text::Borrowed(name), Value::Str(Text::Borrowed(value))),
            }
        }
        self.object(object)
    }

    fn data(&mut self) -> Result<Value<'e>> {
        Ok(match self.input.event.data {
            Data::None => Value::Null,
            Data::Json(doc) => Value::from_node(doc.root()),
            Data::Text(text) => Value::Str(Text::Borrowed(text)),
            Data::Bytes(bytes) => {
                self.budget.make(bytes.len() / 3 * 4 + 4)?;
                Value::string(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        })
    }

    pub(super) fn path(&mut self, path: &'p Path) -> Result<Value<'e>> {
        let steps = &path.steps;
        match &path.base {
            Base::Data => match self.input.event.data {
                Data::Json(doc) => self.walk_node(doc.root(), steps),
                _ => {
                    let data = self.data()?;
                    self.walk(&data, steps)
                }
            },
            Base::Headers => self.named(self.input.event.headers, steps, Field::Headers, true),
            Base::Extensions => self.named(self.input.event.extensions, steps, Field::Extensions, false),
            Base::Env => self.named(self.input.ctx.env, steps, Field::Env, false),
            Base::Local(slot) => {
                // Borrowed by hand: the walk needs the budget, the value stays in its slot.
                let value = std::mem::take(&mut self.stack[self.base + *slot as usize]);
                let result = self.walk(&value, steps);
                self.stack[self.base + *slot as usize] = value;
                result
            }
            Base::Node(node) => {
                let value = self.eval(node)?;
                self.walk(&value, steps)
            }
        }
    }

    /// Headers, extensions and the environment: a lookup by name without making the object.
    fn named(
        &mut self,
        pairs: &'e [(Arc<str>, Arc<str>)],
        steps: &'p [Step],
        field: Field,
        any_case: bool,
    ) -> Result<Value<'e>> {
        let Some((first, rest)) = steps.split_first() else { return self.field(field) };
        let StepKind::Key { key, .. } = &first.kind else {
            let object = self.field(field)?;
            return self.walk(&object, steps);
        };
        let same = |name: &str| if any_case { name.eq_ignore_ascii_case(key) } else { *name == **key };
        let mut found = pairs.iter().filter(|(name, _)| same(name)).map(|(_, value)| value);
        let value = match (found.next(), found.next()) {
            (None, _) => Value::Null,
            (Some(only), None) => Value::Str(Text::Borrowed(only)),
            (Some(first), Some(second)) => {
                let joined = [first, second].into_iter().chain(found).map(|value| &**value).collect::<Vec<_>>();
                self.string(joined.join(", "))?
            }
        };
        self.walk(&value, rest)
    }

    /// What a path into the document leads to; nothing where the document has nothing, or the path begins elsewhere.
    #[inline]
    pub(super) fn data_node(&mut self, path: &Path) -> Result<Option<NodeRef<'e>>> {
        let (Base::Data, Data::Json(doc)) = (&path.base, self.input.event.data) else { return Ok(None) };
        self.budget.step(1)?;
        let mut at = doc.root();
        for step in &path.steps {
            let StepKind::Key { key, tag } = &step.kind else { return Ok(None) };
            if at.len() > FREE {
                self.budget.step(search_cost(at.len())).map_err(|fault| fault.at(step.span))?;
            }
            match at.get_tagged(key, *tag) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn walk_node(&mut self, node: NodeRef<'e>, steps: &'p [Step]) -> Result<Value<'e>> {
        let mut at = node;
        for step in steps {
            let size = at.len();
            if size > FREE {
                self.budget.step(search_cost(size)).map_err(|fault| fault.at(step.span))?;
            }
            let next = match &step.kind {
                StepKind::Key { key, tag } => at.get_tagged(key, *tag),
                StepKind::Index(index) => position(*index, size).and_then(|index| at.index(index)),
            };
            match next {
                Some(next) => at = next,
                None => return missing(&Value::from_node(at), step),
            }
        }
        Ok(Value::from_node(at))
    }

    pub(super) fn walk(&mut self, value: &Value<'e>, steps: &'p [Step]) -> Result<Value<'e>> {
        let mut at = value;
        for (done, step) in steps.iter().enumerate() {
            let next = match (at, &step.kind) {
                (Value::Node(node), _) => return self.walk_node(*node, &steps[done..]),
                (Value::Object(object), StepKind::Key { key, .. }) => {
                    self.budget.step(key_cost(at, key)).map_err(|fault| fault.at(step.span))?;
                    object.get(key)
                }
                (Value::Array(array), StepKind::Index(index)) => {
                    position(*index, array.items.len()).and_then(|index| array.items.get(index))
                }
                _ => None,
            };
            match next {
                Some(next) => at = next,
                None => return missing(at, step),
            }
        }
        Ok(at.clone())
    }

    /// The member of an object; nothing if it is missing or this is not an object.
    pub(crate) fn member<'v>(&mut self, of: &Value<'v>, key: &str) -> Result<Option<Value<'v>>> {
        self.budget.step(key_cost(of, key))?;
        Ok(of.get(key))
    }

    /// `base[index]` with an index that is computed.
    pub(super) fn index(&mut self, base: &Value<'e>, index: &Value<'e>, safe: bool) -> Result<Value<'e>> {
        match (base, index) {
            (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
            (Value::Node(_) | Value::Object(_), Value::Str(key)) if base.array_len().is_none() => {
                Ok(self.member(base, key)?.unwrap_or_default())
            }
            (Value::Node(node), Value::Int(at)) if node.kind() == Kind::Array => {
                self.budget.step(search_cost(node.len()))?;
                let found = position(*at, node.len()).and_then(|at| node.index(at));
                Ok(found.map_or(Value::Null, Value::from_node))
            }
            (Value::Array(array), Value::Int(at)) => {
                Ok(position(*at, array.items.len()).and_then(|at| array.items.get(at)).cloned().unwrap_or_default())
            }
            _ if safe => Ok(Value::Null),
            _ => Err(Fault::new(
                codes::WRONG_TYPE,
                format!(
                    "{} {} has no element {}: arrays have positions, objects have keys",
                    base.type_name(),
                    base.preview(),
                    index.preview()
                ),
            )),
        }
    }
}

/// Counted from the end if negative.
pub(crate) fn position(index: i64, len: usize) -> Option<usize> {
    if index < 0 { len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?) } else { usize::try_from(index).ok() }
}

/// What a step gives where there is nothing: null, or an error if there cannot be anything.
fn missing<'e>(base: &Value<'_>, step: &Step) -> Result<Value<'e>> {
    let fits = match (&step.kind, base) {
        (_, Value::Null) => true,
        (StepKind::Key { .. }, _) => base.type_name() == "object",
        (StepKind::Index(_), _) => base.type_name() == "array",
    };
    if fits || step.safe { Ok(Value::Null) } else { Err(no_member(base, step)) }
}

#[cold]
fn no_member(base: &Value<'_>, step: &Step) -> Fault {
    let (what, careful) = match &step.kind {
        StepKind::Key { key, .. } => (format!("no field `{key}`"), format!("?.{key}")),
        StepKind::Index(index) => (format!("no element {index}"), format!("?[{index}]")),
    };
    Fault::new(
        codes::WRONG_TYPE,
        format!("{} {} has {what} (write `{careful}` where that may happen)", base.type_name(), base.preview()),
    )
    .at(step.span)
}

/// The fields of `event`.
pub(crate) const EVENT_FIELDS: &[(&str, Field)] = &[
    ("id", Field::Id),
    ("source", Field::Source),
    ("type", Field::Type),
    ("subject", Field::Subject),
    ("time", Field::Time),
    ("topic", Field::Topic),
    ("seq", Field::Seq),
    ("key", Field::Key),
    ("content_type", Field::ContentType),
    ("trace_id", Field::TraceId),
    ("headers", Field::Headers),
    ("extensions", Field::Extensions),
    ("data", Field::Data),
];

/// The fields of `ctx`.
pub(crate) const CTX_FIELDS: &[(&str, Field)] = &[
    ("trigger", Field::Trigger),
    ("function", Field::Function),
    ("attempt", Field::Attempt),
    ("now", Field::Now),
    ("env", Field::Env),
];
