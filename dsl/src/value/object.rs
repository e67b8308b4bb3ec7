//! Objects in the order of their making. An object literal shares its keys, ready for output, with every object that
//! it ever makes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Measure, Text, Value};
use crate::json::write_string;

/// The keys of an object literal, and each as `"key":` in JSON.
#[derive(Debug)]
pub struct Shape {
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) json: Vec<Box<[u8]>>,
}

impl Shape {
    pub(crate) fn new(keys: Vec<Arc<str>>) -> Self {
        let json = keys
            .iter()
            .map(|key| {
                let mut out = Vec::with_capacity(key.len() + 3);
                write_string(&mut out, key);
                out.push(b':');
                out.into_boxed_slice()
            })
            .collect();
        Self { keys, json }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Keys<'e> {
    Shape(Arc<Shape>),
    Own(Vec<Text<'e>>),
}

/// An object that a program made.
#[derive(Clone, Debug)]
pub struct Object<'e> {
    pub(crate) keys: Keys<'e>,
    pub(crate) values: Vec<Value<'e>>,
    pub(crate) measure: Measure,
}

impl<'e> Object<'e> {
    pub(crate) fn shaped(shape: Arc<Shape>, values: Vec<Value<'e>>) -> Self {
        let measure = Measure::around(&values);
        Self { keys: Keys::Shape(shape), values, measure }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.keys {
            Keys::Shape(shape) => shape.keys.iter().position(|own| **own == *key),
            Keys::Own(keys) => keys.iter().position(|own| own.as_str() == key),
        }
    }

    /// The value of a member.
    pub fn get(&self, key: &str) -> Option<&Value<'e>> {
        self.position(key).and_then(|at| self.values.get(at))
    }

    /// The key at a position.
    pub(crate) fn key(&self, at: usize) -> &str {
        match &self.keys {
            Keys::Shape(shape) => shape.keys.get(at).map_or("", |key| key),
            Keys::Own(keys) => keys.get(at).map_or("", Text::as_str),
        }
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'e>)> {
        self.values.iter().enumerate().map(|(at, value)| (self.key(at), value))
    }

    pub(crate) fn iter_texts(&self) -> impl Iterator<Item = (Text<'e>, &Value<'e>)> {
        self.values.iter().enumerate().map(|(at, value)| {
            let key = match &self.keys {
                Keys::Shape(shape) => Text::Shared(shape.keys[at].clone()),
                Keys::Own(keys) => keys[at].clone(),
            };
            (key, value)
        })
    }
}

/// Makes an object member by member; a key that comes again replaces the value and keeps its place.
#[derive(Debug, Default)]
pub(crate) struct ObjectBuilder<'e> {
    keys: Vec<Text<'e>>,
    values: Vec<Value<'e>>,
    /// Positions by key, from the size on at which a linear search is the slower one.
    index: Option<HashMap<Box<str>, usize>>,
}

const LINEAR: usize = 16;

impl<'e> ObjectBuilder<'e> {
    pub(crate) fn with_capacity(members: usize) -> Self {
        Self { keys: Vec::with_capacity(members), values: Vec::with_capacity(members), index: None }
    }

    /// Adds a member whose key is known to be new.
    pub(crate) fn push_new(&mut self, key: Text<'e>, value: Value<'e>) {
        if let Some(index) = &mut self.index {
            index.insert(key.as_str().into(), self.keys.len());
        }
        self.keys.push(key);
        self.values.push(value);
    }

    pub(crate) fn position(&mut self, key: &str) -> Option<usize> {
        if self.keys.len() <= LINEAR {
            return self.keys.iter().position(|own| own.as_str() == key);
        }
        let keys = &self.keys;
        let index = self
            .index
            .get_or_insert_with(|| keys.iter().enumerate().map(|(at, key)| (key.as_str().into(), at)).collect());
        index.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: Text<'e>, value: Value<'e>) {
        match self.position(&key) {
            Some(at) => self.values[at] = value,
            None => self.push_new(key, value),
        }
    }

    pub(crate) fn value_mut(&mut self, at: usize) -> Option<&mut Value<'e>> {
        self.values.get_mut(at)
    }

    pub(crate) fn finish(self) -> Value<'e> {
        let measure = Measure::around(&self.values);
        Value::Object(Arc::new(Object { keys: Keys::Own(self.keys), values: self.values, measure }))
    }
}
