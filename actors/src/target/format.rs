//! What a target sends: one event, or a batch of them, as bytes with a media type.
//!
//! Every kind uses the same [`Formatter`], so a format means the same everywhere. Parts: [`cloudevents`], [`line`],
//! [`table`] (CSV and forms).

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Wall;
use crate::event::{Event, Str};
use crate::log::Record;
use crate::target::{Delivery, Error, Failure, FailureClass, Template, Verdict};

pub mod cloudevents;
pub mod line;
pub mod table;

use table::Columns;

/// `format`: what is sent of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The event's data as it is, with its own content type.
    #[default]
    Data,
    /// The event's data as JSON: as it is when it is JSON, else as a JSON string (base64 when it is not text). A batch
    /// is an array.
    Json,
    /// The same on one line; a batch is a line for each event.
    Jsonl,
    /// The whole event, CloudEvents structured mode; a batch is CloudEvents' batch mode.
    Cloudevents,
    /// The data, with the attributes as headers.
    CloudeventsBinary,
    /// The members of the data as `application/x-www-form-urlencoded`.
    Form,
    /// A row of the `columns`; a batch begins with a row of their names.
    Csv,
    /// The text of the setting `body`; in a batch a line for each.
    Template,
}

/// A column of `format = "csv"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name, for the first row.
    pub name: String,
    /// Its value, a template: `${event.data.total}`.
    pub value: String,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// Their media type; `None` when the event names none.
    pub content_type: Option<Cow<'static, str>>,
}

impl Body {
    fn new(bytes: impl Into<Bytes>, content_type: &'static str) -> Self {
        Self { bytes: bytes.into(), content_type: Some(Cow::Borrowed(content_type)) }
    }
}

/// Makes bodies of events.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    template: Option<Template>,
    columns: Option<Columns>,
}

impl Formatter {
    /// Checks `format`, `body` and `columns` of a target; `default` is the format when neither is given.
    ///
    /// # Errors
    /// They do not go together, or a template cannot be compiled.
    pub fn new(
        name: &Str,
        format: Option<Format>,
        body: Option<&str>,
        columns: &[Column],
        default: Format,
    ) -> Result<Self, Error> {
        let bad = |field: &str, message: &str| Err(Error::setting(name, field, message));
        let implied = match (body, columns) {
            (Some(_), _) => Format::Template,
            (None, [_, ..]) => Format::Csv,
            (None, []) => default,
        };
        let format = format.unwrap_or(implied);
        match (format, body, columns) {
            (Format::Template, None, _) => {
                return bad("format", "`template` needs the setting `body` with the text");
            }
            (Format::Csv, _, []) => {
                let example = "`csv` needs `columns`, e.g. [{ name = \"id\", value = \"${event.id}\" }]";
                return bad("format", example);
            }
            (Format::Template, Some(_), []) | (Format::Csv, None, _) | (_, None, []) => {}
            (_, Some(_), _) => {
                return bad("body", "a `body` goes with `format = \"template\"` only; leave one of them out");
            }
            (_, None, _) => return bad("columns", "`columns` go with `format = \"csv\"` only; leave one of them out"),
        }
        let template = body.map(|text| Template::compile(name, "body", text)).transpose()?;
        let columns = (!columns.is_empty()).then(|| Columns::new(name, columns)).transpose()?;
        Ok(Self { format, template, columns })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Refuses formats that cannot hold several events.
    ///
    /// # Errors
    /// A batch has no such form.
    pub fn for_batches(self, name: &Str) -> Result<Self, Error> {
        match self.format {
            Format::Data | Format::CloudeventsBinary | Format::Form => {
                let message = "this format holds one event; a `batch` needs json, jsonl, cloudevents, csv or template";
                Err(Error::setting(name, "format", message))
            }
            _ => Ok(self),
        }
    }

    /// The body for one event.
    ///
    /// # Errors
    /// The event cannot be written in this format, at any attempt.
    pub fn one(&self, delivery: Delivery<'_>) -> Result<Body, Failure> {
        let event = &delivery.record.event;
        Ok(match self.format {
            Format::Data | Format::CloudeventsBinary => Body {
                bytes: event.data.clone(),
                content_type: Some(match event.content_type.as_deref() {
                    Some("application/json") => Cow::Borrowed("application/json"),
                    Some(other) => Cow::Owned(other.to_owned()),
                    None => Cow::Borrowed("application/octet-stream"),
                }),
            },
            Format::Json => Body::new(line::data_json(event), "application/json"),
            Format::Jsonl => Body::new(self.lines(delivery)?, "application/x-ndjson"),
            Format::Cloudevents => Body::new(structured(event), "application/cloudevents+json; charset=utf-8"),
            Format::Form => Body::new(table::form(event).map_err(|e| unfit(&e))?, "application/x-www-form-urlencoded"),
            Format::Csv => Body::new(self.lines(delivery)?, "text/csv; charset=utf-8; header=absent"),
            Format::Template => Body::new(self.text(delivery)?.into_owned(), "text/plain; charset=utf-8"),
        })
    }

    /// The body for many events: one body for those that fit, and the failures of the others by their position.
    pub fn batch(&self, records: &[Arc<Record>], now: Wall) -> (Body, Vec<(usize, Failure)>) {
        let (open, close, content_type): (&[u8], &[u8], _) = match self.format {
            Format::Json => (b"[", b"]", "application/json"),
            Format::Cloudevents => (b"[", b"]", "application/cloudevents-batch+json; charset=utf-8"),
            Format::Csv => (b"", b"", "text/csv; charset=utf-8; header=present"),
            Format::Template => (b"", b"", "text/plain; charset=utf-8"),
            _ => (b"", b"", "application/x-ndjson"),
        };
        let mut out = Vec::with_capacity(records.iter().map(|r| r.event.data.len() + 64).sum());
        out.extend_from_slice(open);
        if let Some(columns) = &self.columns {
            columns.put_names(&mut out);
        }
        let (mut failed, mut first) = (Vec::new(), true);
        for (at, record) in records.iter().enumerate() {
            let begin = out.len();
            if !first && !open.is_empty() {
                out.push(b',');
            }
            let put = match self.format {
                Format::Json => {
                    out.extend_from_slice(&line::data_json(&record.event));
                    Ok(())
                }
                Format::Cloudevents => {
                    out.extend_from_slice(&structured(&record.event));
                    Ok(())
                }
                _ => self.put_line(&mut out, Delivery { record, attempt: 1, now }),
            };
            match put {
                Ok(()) => first = false,
                Err(failure) => {
                    out.truncate(begin);
                    failed.push((at, failure));
                }
            }
        }
        out.extend_from_slice(close);
        (Body::new(out, content_type), failed)
    }

    /// Appends an event as lines with their ends: what files and streams of text hold.
    ///
    /// # Errors
    /// The event cannot be written in this format.
    pub fn put_line(&self, out: &mut Vec<u8>, delivery: Delivery<'_>) -> Result<(), Failure> {
        let event = &delivery.record.event;
        match (self.format, &self.columns) {
            (Format::Cloudevents | Format::CloudeventsBinary, _) => line::put_event(out, event),
            (Format::Template, _) => {
                out.extend_from_slice(self.text(delivery)?.as_bytes());
                out.push(b'\n');
            }
            (Format::Form, _) => {
                out.extend_from_slice(&table::form(event).map_err(|e| unfit(&e))?);
                out.push(b'\n');
            }
            (Format::Csv, Some(columns)) => columns.put_row(out, delivery).map_err(|e| unfit(&e))?,
            _ => line::put_data(out, event),
        }
        Ok(())
    }

    /// The first line of a file, when the format has one.
    pub fn head(&self) -> Option<Vec<u8>> {
        let columns = self.columns.as_ref()?;
        let mut out = Vec::new();
        columns.put_names(&mut out);
        Some(out)
    }

    /// The attributes that travel beside the body (headers of HTTP, Kafka or NATS) in `cloudevents-binary`: names with
    /// the prefix, values as they are.
    pub fn attributes(&self, event: &Event, prefix: &str) -> Vec<(String, String)> {
        if self.format == Format::CloudeventsBinary { cloudevents::attributes(event, prefix) } else { Vec::new() }
    }

    fn lines(&self, delivery: Delivery<'_>) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::with_capacity(delivery.record.event.data.len() + 16);
        self.put_line(&mut out, delivery)?;
        Ok(out)
    }

    fn text(&self, delivery: Delivery<'_>) -> Result<Cow<'_, str>, Failure> {
        let Some(template) = &self.template else { return Ok(Cow::Borrowed("")) };
        template.render(delivery).map_err(|e| unfit(&format!("`body`: {e}")))
    }
}

fn structured(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.data.len() + 512);
    cloudevents::put(&mut out, event, event.is_json().then_some(&event.data[..]));
    out
}

/// An event that cannot be written in the target's format; no attempt would differ.
fn unfit(message: &str) -> Failure {
    let message = format!("this event cannot be written in the format of the target: {message}");
    Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter)
}

#[cfg(test)]
mod tests;
