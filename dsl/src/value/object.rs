//! Objects in the order of their making. An object literal shares its keys, ready for output, with every object that
//! it ever makes.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Measure, Text, Value};
use crate::json::write_string;

/// Members up to which an object that is made is searched from the first to the last.
pub(crate) const SEARCHED: usize = 64;

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
    /// The positions in the order of their keys, from the first search of a large object on: programs make an index of
    /// all that they have and then look for each of it.
    sorted: OnceLock<Box<[usize]>>,
}

impl<'e> Object<'e> {
    pub(crate) fn shaped(shape: Arc<Shape>, values: Vec<Value<'e>>) -> Self {
        Self::new(Keys::Shape(shape), values)
    }

    fn new(keys: Keys<'e>, values: Vec<Value<'e>>) -> Self {
        let measure = Measure::around(&values);
        Self { keys, values, measure, sorted: OnceLock::new() }
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
        if self.len() > SEARCHED {
            let sorted = self.sorted.get_or_init(|| {
                let mut sorted: Box<[usize]> = (0..self.len()).collect();
                sorted.sort_unstable_by_key(|at| self.key(*at));
                sorted
            });
            let found = sorted.binary_search_by_key(&key, |at| self.key(*at)).ok()?;
            return sorted.get(found).copied();
        }
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

/// Takes out what is at places in order.
pub(crate) fn remove<T>(items: &mut Vec<T>, places: &[usize]) {
    let (mut at, mut places) = (0, places.iter().peekable());
    items.retain(|_| {
        at += 1;
        places.next_if(|place| **place + 1 == at).is_none()
    });
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

    /// Takes out the members at places in order.
    pub(crate) fn remove(&mut self, places: &[usize]) {
        self.index = None;
        remove(&mut self.keys, places);
        remove(&mut self.values, places);
    }

    pub(crate) fn finish(self) -> Value<'e> {
        Value::Object(Arc::new(Object::new(Keys::Own(self.keys), self.values)))
    }
}
