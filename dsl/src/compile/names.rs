//! Names: slots of a frame, `event`, `ctx`, functions; and what to say about the unknown ones.

use super::destructure::Known;
use super::{Compiler, Typed};
use crate::ast::{Name, Span};
use crate::builtins::{builtin, builtins, elsewhere};
use crate::check::{Shape, Types};
use crate::code::{Field, Node, Op};
use crate::codes;
use crate::diagnostic::{Diagnostic, listed};
use crate::value::Value;

/// The slots of one function, or of the main program.
#[derive(Default)]
pub(super) struct Frame<'a> {
    bindings: Vec<Binding<'a>>,
    next: u16,
    size: u16,
    /// More names than there are slots; the first one that has none.
    full: Option<Span>,
}

/// Slots of a frame.
const MOST_SLOTS: u16 = 60_000;

struct Binding<'a> {
    name: String,
    span: Span,
    slot: u16,
    types: Types,
    shape: Option<&'a Shape>,
    /// It is not missing, though its types do not say so.
    there: bool,
    /// The value, if it is a constant.
    constant: Option<Value<'static>>,
    used: bool,
    /// Reported when it is never read.
    watched: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    pub(super) fn mark(&self) -> usize {
        self.bindings.len()
    }

    fn bind(&mut self, name: &Name, types: Types, watched: bool) -> u16 {
        if self.next >= MOST_SLOTS {
            self.full.get_or_insert(name.span);
            self.next = MOST_SLOTS - 1;
        }
        let slot = self.next;
        self.next += 1;
        self.size = self.size.max(self.next);
        self.bindings.push(Binding {
            name: name.text.clone(),
            span: name.span,
            slot,
            types,
            shape: None,
            there: false,
            constant: None,
            used: false,
            watched,
        });
        slot
    }

    /// A parameter is reported when it is never read, unless its name begins with `_` or is none that can be written.
    pub(super) fn bind_param(&mut self, name: &Name) -> u16 {
        let watched = !name.text.starts_with('_') && !name.text.contains(' ');
        self.bind(name, Types::ANY, watched)
    }

    pub(super) fn set_shape(&mut self, slot: u16, shape: Option<&'a Shape>) {
        if let Some(binding) = self.bindings.iter_mut().rev().find(|binding| binding.slot == slot) {
            binding.shape = shape;
        }
    }

    pub(super) fn set_there(&mut self, slot: u16) {
        if let Some(binding) = self.bindings.iter_mut().rev().find(|binding| binding.slot == slot) {
            binding.there = true;
        }
    }

    pub(super) fn set_constant(&mut self, slot: u16, value: &Value<'static>) {
        if let Some(binding) = self.bindings.iter_mut().rev().find(|binding| binding.slot == slot) {
            binding.constant = Some(value.clone());
        }
    }

    /// The value of a slot, if it is a constant.
    pub(super) fn constant(&self, slot: u16) -> Option<&Value<'static>> {
        self.bindings.iter().rev().find(|binding| binding.slot == slot)?.constant.as_ref()
    }

    /// What is known about the value of a name, with null among its types if it may be missing.
    pub(super) fn known(&self, name: &str) -> Known<'a> {
        match self.bindings.iter().rev().find(|binding| binding.name == name) {
            Some(binding) if binding.there => (binding.types.without(Types::NULL), binding.shape),
            Some(binding) => (binding.types, binding.shape),
            None => (Types::ANY, None),
        }
    }

    /// What is known about the inside of the value of a name.
    pub(super) fn shape(&self, name: &str) -> Option<&'a Shape> {
        self.bindings.iter().rev().find(|binding| binding.name == name)?.shape
    }

    /// The slot of a name, without counting it as read.
    pub(super) fn slot(&self, name: &str) -> Option<u16> {
        self.bindings.iter().rev().find(|binding| binding.name == name).map(|binding| binding.slot)
    }

    /// Keeps of the types of a slot those that are in `to`, and tells what they were.
    pub(super) fn narrow(&mut self, slot: u16, to: Types) -> Types {
        let binding = self.bindings.iter_mut().rev().find(|binding| binding.slot == slot);
        binding.map_or(to, |binding| {
            let kept = binding.types.and(to);
            std::mem::replace(&mut binding.types, kept)
        })
    }

    /// Sets what is known about the types of a slot, and tells what was known before.
    pub(super) fn set_types(&mut self, slot: u16, types: Types) -> Types {
        let binding = self.bindings.iter_mut().rev().find(|binding| binding.slot == slot);
        binding.map_or(types, |binding| std::mem::replace(&mut binding.types, types))
    }

    fn find(&mut self, name: &str) -> Option<(u16, Types)> {
        let binding = self.bindings.iter_mut().rev().find(|binding| binding.name == name)?;
        binding.used = true;
        Some((binding.slot, binding.types))
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn bind(&mut self, name: &Name, types: Types) -> u16 {
        self.frame.bind(name, types, !name.text.starts_with('_'))
    }

    /// A slot that no program can name.
    pub(super) fn hidden_slot(&mut self, name: &Name, types: Types) -> u16 {
        self.frame.bind(name, types, false)
    }

    /// Ends the scope that began at `mark`.
    pub(super) fn release(&mut self, mark: usize) {
        if let Some(span) = self.frame.full {
            self.report(
                Diagnostic::new(codes::TOO_MANY_NAMES, span, format!("more than {MOST_SLOTS} names in sight"))
                    .label("one too many")
                    .help("keep the values in an array or an object"),
            );
        }
        for binding in self.frame.bindings.split_off(mark) {
            if binding.watched && !binding.used {
                self.findings.push(
                    Diagnostic::warning(
                        codes::UNUSED_BINDING,
                        binding.span,
                        format!("`{}` is never used", binding.name),
                    )
                    .label("bound here")
                    .help(format!("remove it, or name it `_{}`", binding.name)),
                );
            }
            self.frame.next = self.frame.next.min(binding.slot);
        }
    }

    pub(super) fn local(&mut self, name: &str) -> Option<(u16, Types)> {
        self.frame.find(name)
    }

    /// Whether the name is bound in this frame, without counting it as read.
    pub(super) fn is_local(&self, name: &str) -> bool {
        self.frame.bindings.iter().any(|binding| binding.name == name)
    }

    pub(super) fn name(&mut self, name: &str, span: Span) -> Typed {
        if let Some((slot, types)) = self.local(name) {
            return (Node { span, op: Op::Local(slot) }, types);
        }
        if let Some(known) = self.known(name, span) {
            return known;
        }
        if matches!(name, "event" | "ctx") {
            self.not_in_constant(span, &format!("`{name}`"));
        }
        match name {
            "event" => {
                self.reads_data = true;
                (Node { span, op: Op::Field(Field::Event) }, Types::OBJECT)
            }
            "ctx" => (Node { span, op: Op::Field(Field::Ctx) }, Types::OBJECT),
            _ if self.is_missing(name) => Self::wrong(span),
            _ => {
                let finding = self.unknown_name(name, span);
                self.report(finding);
                Self::wrong(span)
            }
        }
    }

    fn unknown_name(&self, name: &str, span: Span) -> Diagnostic {
        if self.current < self.functions.len() && self.outer.iter().any(|outer| outer == name) {
            return Diagnostic::new(codes::OUTER_BINDING, span, format!("a function does not see the outer `{name}`"))
                .label("bound outside of the function")
                .help("a function sees its parameters, `event`, `ctx` and other functions: hand the value over");
        }
        if self.has_function(name) || builtin(name).is_some() {
            return Diagnostic::new(codes::FUNCTION_AS_VALUE, span, format!("`{name}` is a function, not a value"))
                .label("call it")
                .help(format!("write `{name}(…)`; a function can be handed to another one such as `map` by its name"));
        }
        let finding = Diagnostic::new(codes::UNKNOWN_NAME, span, format!("unknown name `{name}`"));
        let names: Vec<&str> = self
            .frame
            .bindings
            .iter()
            .map(|binding| binding.name.as_str())
            .filter(|name| !name.contains(' '))
            .collect();
        let names: Vec<&str> = names.into_iter().chain(self.constant_names()).chain(["event", "ctx"]).collect();
        if let Some(near) = self.nearest(name, names.iter().copied()) {
            return finding.label("not known here").replace(span, near).help(format!("there is {}", listed(names)));
        }
        let finding = finding.label("not known here");
        let fields = super::path::field_names("event");
        if fields.contains(&name) {
            return finding.replace(span, format!("event.{name}"));
        }
        finding
            .help(format!("there is {}; text stands in quotes, fields of the event below `event.data`", listed(names)))
    }

    pub(super) fn unknown_function(&self, name: &Name) -> Diagnostic {
        let finding = Diagnostic::new(codes::UNKNOWN_FUNCTION, name.span, format!("unknown function `{}`", name.text));
        if self.is_local(&name.text) {
            return finding.label("a value, not a function");
        }
        let own = self.own_functions();
        let known = own.iter().copied().chain(builtins().iter().map(|builtin| builtin.name));
        let near = elsewhere(&name.text).or_else(|| self.nearest(&name.text, known));
        match near {
            Some(near) => finding.label("not known").replace(name.span, near),
            None => {
                let mut finding = finding.label("not known");
                let own = self.own_functions();
                let lead = if own.is_empty() { String::new() } else { format!("this program has {}; ", listed(own)) };
                finding = finding.help(format!("{lead}{}", suggested(&name.text)));
                finding
            }
        }
    }
}

/// The built-ins that share a word with a name; a few of each group if there are none.
fn suggested(name: &str) -> String {
    const FEW: usize = 6;
    let words: Vec<&str> = name.split('_').filter(|word| word.len() >= 4).collect();
    let alike = builtins().iter().map(|builtin| builtin.name).filter(|own| words.iter().any(|word| own.contains(word)));
    let alike: Vec<&str> = alike.collect();
    if !alike.is_empty() {
        return format!("there is {}", listed(alike));
    }
    let mut out = format!("there are {} built-ins; docs/dsl/reference.md has all of them:", builtins().len());
    let mut group = ("", 0);
    for builtin in builtins() {
        if builtin.group != group.0 {
            group = (builtin.group, 0);
            out.push_str(&format!("\n{}: {}", builtin.group, builtin.name));
        } else if group.1 < FEW {
            out.push_str(&format!(", {}", builtin.name));
        } else if group.1 == FEW {
            out.push_str(", …");
        }
        group.1 += 1;
    }
    out
}
