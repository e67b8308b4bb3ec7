//! Texts with `${…}` in the settings of targets: URL, headers, body, path.
//!
//! The one place of the targets that knows how the language sees an event. A text without `${` is a constant and costs
//! nothing.

use hexafn_dsl::{Budget, CtxView, Data, EventView, Input, Program, ProgramKind, SourceText};
use std::borrow::Cow;

use crate::event::Str;
use crate::function::seed;
use crate::target::{Delivery, Error};

/// A compiled text.
#[derive(Debug)]
pub struct Template {
    text: Str,
    program: Option<Program>,
}

impl Template {
    /// Compiles the text of a setting; the error names the target and the setting.
    pub fn compile(target: &Str, field: &str, text: &str) -> Result<Self, Error> {
        let program = if text.contains("${") {
            let name = format!("target {target}, {field}");
            let compiled = hexafn_dsl::compile(&SourceText { name: &name, text }, ProgramKind::Template);
            Some(compiled.map_err(|e| Error::setting(target, field, e.to_string()))?)
        } else {
            None
        };
        Ok(Self { text: text.into(), program })
    }

    /// The text when it is the same for all events.
    pub fn constant(&self) -> Option<&str> {
        if self.program.is_none() { Some(&self.text) } else { None }
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// What comes before the first `${`.
    pub fn prefix(&self) -> &str {
        self.text.split("${").next().unwrap_or_default()
    }

    /// The text with a NUL in place of each `${…}`: a text with control characters is nowhere of use.
    pub fn shape(&self) -> Cow<'_, str> {
        match &self.program {
            Some(program) => program.pieces().into_iter().map(|piece| piece.unwrap_or("\0")).collect(),
            None => Cow::Borrowed(&self.text),
        }
    }

    /// The text for a delivery, or what failed.
    pub fn render(&self, delivery: Delivery<'_>) -> Result<Cow<'_, str>, String> {
        let Some(program) = &self.program else { return Ok(Cow::Borrowed(&self.text)) };
        let input = input(delivery, program.reads_data());
        program.render(&input, &mut Budget::default()).map(Cow::Owned).map_err(|e| e.to_string())
    }
}

/// The delivery as the language sees it; the data is parsed only for a program that reads it.
fn input(delivery: Delivery<'_>, reads_data: bool) -> Input<'_> {
    let record = delivery.record;
    let event = &record.event;
    let data = if !reads_data || event.data.is_empty() {
        Data::None
    } else if let Some(doc) = event.doc() {
        Data::Json(doc)
    } else {
        std::str::from_utf8(&event.data).map_or(Data::Bytes(&event.data), Data::Text)
    };
    Input {
        event: EventView {
            id: &event.id,
            source: &event.source,
            kind: &event.kind,
            subject: event.subject.as_deref(),
            time_us: event.time.0,
            topic: &record.topic,
            seq: record.seq,
            key: event.key.as_deref(),
            content_type: event.content_type.as_deref(),
            trace_id: &event.trace.trace_id,
            headers: &event.headers,
            extensions: &event.extensions,
            data,
        },
        // Of the record and not of the attempt, so that `uuid()` is the same on every one.
        ctx: CtxView {
            trigger: "",
            function: "",
            attempt: delivery.attempt,
            now_us: delivery.now.0,
            env: &[],
            seed: seed(record, "", ""),
        },
    }
}
