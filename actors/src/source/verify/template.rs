//! The text that a signature covers, described by a template: `"{timestamp}.{body}"`.

use super::{Error, header_name};
use crate::source::RequestParts;

/// A part of the signed text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Body,
    Timestamp,
    Id,
    Method,
    Query,
    Header(Box<str>),
}

/// A checked template.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
}

/// What fills a template.
pub(super) struct Filling<'a> {
    pub(super) timestamp: &'a str,
    pub(super) id: &'a str,
    pub(super) body: &'a [u8],
}

fn wrong(why: impl Into<String>) -> Error {
    Error::Option { option: "template", why: why.into() }
}

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > 1_024 {
            return Err(wrong("is longer than 1024 bytes"));
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let end = from.find('}').filter(|end| *end > 0);
            let name = end.and_then(|end| from.get(1..end)).ok_or_else(|| {
                wrong(format!("has a lone brace at byte {}: write {{{{ or }}}} for a brace", text.len() - from.len()))
            })?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(placeholder(name)?);
            rest = from.get(name.len() + 2..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        match parts.iter().filter(|part| **part == Part::Body).count() {
            1 => Ok(Self { parts }),
            0 => Err(wrong("lacks {body}: a signature that does not cover the body protects nothing")),
            _ => Err(wrong("names {body} more than once")),
        }
    }

    pub(super) fn has_timestamp(&self) -> bool {
        self.parts.contains(&Part::Timestamp)
    }

    pub(super) fn has_id(&self) -> bool {
        self.parts.contains(&Part::Id)
    }

    /// The pieces of the signed text. `None` when a header that it covers is missing.
    pub(super) fn fill<'a>(&'a self, request: &RequestParts<'a>, filling: &Filling<'a>) -> Option<Vec<&'a [u8]>> {
        self.parts
            .iter()
            .map(|part| {
                Some(match part {
                    Part::Text(text) => text.as_bytes(),
                    Part::Body => filling.body,
                    Part::Timestamp => filling.timestamp.as_bytes(),
                    Part::Id => filling.id.as_bytes(),
                    Part::Method => request.method.as_bytes(),
                    Part::Query => request.query.as_bytes(),
                    Part::Header(name) => request.header(name)?.as_bytes(),
                })
            })
            .collect()
    }
}

fn placeholder(name: &str) -> Result<Part, Error> {
    match name {
        "body" => Ok(Part::Body),
        "timestamp" => Ok(Part::Timestamp),
        "id" => Ok(Part::Id),
        "method" => Ok(Part::Method),
        "query" => Ok(Part::Query),
        _ => match name.strip_prefix("header:") {
            Some(header) => Ok(Part::Header(header_name("template", header)?)),
            None => {
                let name: String = name.chars().take(40).collect();
                Err(wrong(format!(
                    "does not know {{{name}}}; there are {{body}}, {{timestamp}}, {{id}}, {{method}}, {{query}}, {{header:name}}"
                )))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(template: &str) -> Option<String> {
        let headers = vec![("X-Date", "today")];
        let request = RequestParts { method: "POST", query: "a=1", headers: &headers };
        let template = Template::parse(template).unwrap();
        let parts = template.fill(&request, &Filling { timestamp: "7", id: "i", body: b"BODY" })?;
        Some(String::from_utf8(parts.concat()).unwrap())
    }

    #[test]
    fn templates_are_filled() {
        assert_eq!(filled("{body}").unwrap(), "BODY");
        assert_eq!(filled("v0:{timestamp}:{body}").unwrap(), "v0:7:BODY");
        assert_eq!(filled("{method}\n{query}\n{header:x-date}\n{id}{body}").unwrap(), "POST\na=1\ntoday\niBODY");
        assert_eq!(filled("{{{body}}}").unwrap(), "{BODY}");
        assert_eq!(filled("{header:x-none}{body}"), None);
    }

    #[test]
    fn wrong_templates_say_what_is_wrong() {
        for (template, says) in [
            ("", "lacks {body}"),
            ("{timestamp}", "lacks {body}"),
            ("{body}{body}", "more than once"),
            ("{body", "lone brace at byte 0"),
            ("{body} }", "lone brace at byte 7"),
            ("{boddy}", "there are {body}"),
            ("{header:a b}{body}", "not a header name"),
        ] {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(says), "{template}: {error}");
        }
    }
}
