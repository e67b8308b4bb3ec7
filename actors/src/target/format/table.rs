//! Rows of CSV (RFC 4180) and forms (`application/x-www-form-urlencoded`, WHATWG URL).

use hexafn_dsl::json::{Kind, NodeRef};
use url::form_urlencoded;

use crate::event::{Event, Str};
use crate::target::format::Column;
use crate::target::{Delivery, Error, Template};

/// The most columns that a row may have.
const MAX_COLUMNS: usize = 1000;

/// The columns of `format = "csv"`.
#[derive(Debug)]
pub struct Columns(Vec<(String, Template)>);

impl Columns {
    /// Compiles the values.
    ///
    /// # Errors
    /// A value cannot be compiled, a name is empty or there are too many.
    pub fn new(target: &Str, columns: &[Column]) -> Result<Self, Error> {
        if columns.len() > MAX_COLUMNS {
            let message = format!("expected at most {MAX_COLUMNS}, found {}", columns.len());
            return Err(Error::setting(target, "columns", message));
        }
        let compiled = columns.iter().enumerate().map(|(at, column)| {
            if column.name.is_empty() {
                return Err(Error::setting(target, format!("columns.{at}.name"), "a column needs a name"));
            }
            let field = format!("columns.{at}.value");
            Ok((column.name.clone(), Template::compile(target, &field, &column.value)?))
        });
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    /// Appends the row of names.
    pub fn put_names(&self, out: &mut Vec<u8>) {
        put(out, self.0.iter().map(|(name, _)| name.as_str()));
    }

    /// Appends the row of an event.
    ///
    /// # Errors
    /// A template failed: which, and why.
    pub fn put_row(&self, out: &mut Vec<u8>, delivery: Delivery<'_>) -> Result<(), String> {
        let mut values = Vec::with_capacity(self.0.len());
        for (name, template) in &self.0 {
            values.push(template.render(delivery).map_err(|e| format!("column `{name}`: {e}"))?);
        }
        put(out, values.iter().map(|value| &**value));
        Ok(())
    }
}

/// Appends a row; what needs quotation marks gets them.
fn put<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a str>) {
    let begin = out.len();
    let mut writer = csv::WriterBuilder::new().buffer_capacity(256).from_writer(&mut *out);
    let written = writer.write_record(values).and_then(|()| Ok(writer.flush()?));
    drop(writer);
    if written.is_err() {
        // Cannot happen: a Vec takes every write, and a single row has as many fields as it has.
        out.truncate(begin);
    }
}

/// The members of the data: texts, numbers and booleans as they are, null as an empty text, each element of an array
/// under the same name, objects as JSON.
///
/// # Errors
/// The data is no JSON object.
pub fn form(event: &Event) -> Result<Vec<u8>, String> {
    let root = event.doc().map(|doc| doc.root()).filter(|root| root.kind() == Kind::Object);
    let Some(root) = root else {
        return Err("a form is made of the members of an object, and the data is none".into());
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in root.entries() {
        if value.kind() == Kind::Array {
            for element in value.iter() {
                form.append_pair(&name, &text(element));
            }
        } else {
            form.append_pair(&name, &text(value));
        }
    }
    Ok(form.finish().into_bytes())
}

fn text(node: NodeRef<'_>) -> std::borrow::Cow<'_, str> {
    match node.as_str() {
        Some(text) => text,
        None if node.kind() == Kind::Null => "".into(),
        None => node.raw_text().into(),
    }
}
