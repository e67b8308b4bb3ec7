//! URLs and forms.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Url, form_urlencoded};

use super::args::text;
use super::base::{coded, utf8};
use super::objects::{is_object, members};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

/// What RFC 3986 calls unreserved stays.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "url_encode",
        signature: "(text: string) -> string",
        doc: "The text percent-encoded for one part of a URL.",
        examples: &[("url_encode('a b/ü')", "\"a%20b%2F%C3%BC\"")],
        run: Run::Pure(|m, a| coded(m, a, |text| utf8_percent_encode(text, COMPONENT).to_string())),
    },
    Row {
        name: "url_decode",
        signature: "(text: string) -> string!",
        doc: "The text with percent-encoding undone; it must be UTF-8.",
        examples: &[("url_decode('a%20b')", "\"a b\"")],
        run: Run::Pure(|m, a| utf8(m, percent_decode_str(text(a, 0)).collect())),
    },
    Row {
        name: "form_encode",
        signature: "(object: object) -> string",
        doc: "The members as `application/x-www-form-urlencoded`, as query strings are written; an array gives its key \
              several times, and null members are left out.",
        examples: &[("form_encode({ q: 'a b', tag: ['x', 'y'] })", "\"q=a+b&tag=x&tag=y\"")],
        run: Run::Pure(|m, a| form(m, &a[0]).map(Value::string)),
    },
    Row {
        name: "form_decode",
        signature: "(text: string) -> object",
        doc: "The members of a form or a query string, with or without the `?`; a key that comes several times gives \
              an array.",
        examples: &[("form_decode('?q=a+b&tag=x&tag=y')", "{\"q\":\"a b\",\"tag\":[\"x\",\"y\"]}")],
        run: Run::Pure(|m, a| form_object(m, text(a, 0).strip_prefix('?').unwrap_or(text(a, 0)))),
    },
    Row {
        name: "parse_url",
        signature: "(text: string) -> object!",
        doc: "The parts of an absolute URL; those that it has not are null, and the query is an object as \
              `form_decode` gives it.",
        examples: &[(
            "parse_url('https://jo@example.org:8443/a%20b?q=1#top')",
            "{\"scheme\":\"https\",\"username\":\"jo\",\"password\":null,\"host\":\"example.org\",\"port\":8443,\"path\":\"/a%20b\",\"query\":{\"q\":\"1\"},\"fragment\":\"top\"}",
        )],
        run: Run::Pure(|m, a| {
            let url = absolute(m, text(a, 0))?;
            m.budget.make(4 * url.as_str().len())?;
            let query = form_object(m, url.query().unwrap_or_default())?;
            let some = |part: &str| if part.is_empty() { Value::Null } else { Value::text(part) };
            let mut object = ObjectBuilder::with_capacity(8);
            object.push_new(Text::Borrowed("scheme"), Value::text(url.scheme()));
            object.push_new(Text::Borrowed("username"), some(url.username()));
            object.push_new(Text::Borrowed("password"), some(url.password().unwrap_or_default()));
            object.push_new(Text::Borrowed("host"), some(url.host_str().unwrap_or_default()));
            object.push_new(
                Text::Borrowed("port"),
                url.port_or_known_default().map_or(Value::Null, |port| Value::Int(i64::from(port))),
            );
            object.push_new(Text::Borrowed("path"), Value::text(url.path()));
            object.push_new(Text::Borrowed("query"), query);
            object.push_new(Text::Borrowed("fragment"), some(url.fragment().unwrap_or_default()));
            m.object(object)
        }),
    },
    Row {
        name: "build_url",
        signature: "(parts: object) -> string",
        doc: "The URL of parts as `parse_url` gives them: `scheme` and `host` are needed, `path` and `query` (an \
              object or a text), `port`, `username`, `password` and `fragment` may be left out.",
        examples: &[(
            "build_url({ scheme: 'https', host: 'example.org', path: '/a b', query: { q: 'x&y' } })",
            "\"https://example.org/a%20b?q=x%26y\"",
        )],
        run: Run::Pure(|m, a| built(m, &a[0])),
    },
    Row {
        name: "join_url",
        signature: "(base: string, reference: string) -> string!",
        doc: "The URL of a reference that is relative to a base, as browsers resolve it.",
        examples: &[("join_url('https://example.org/a/b', '../c?x=1')", "\"https://example.org/c?x=1\"")],
        run: Run::Pure(|m, a| {
            let base = absolute(m, text(a, 0))?;
            m.budget.step(text(a, 1).len() as u64 / 4)?;
            let joined = base.join(text(a, 1)).map_err(|why| not_url(text(a, 1), &why))?;
            m.string(joined.into())
        }),
    },
    Row {
        name: "is_url",
        signature: "(text: string) -> bool",
        doc: "Whether the text is an absolute URL with a host.",
        examples: &[("is_url('https://example.org')", "true"), ("is_url('/a/b')", "false")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 4)?;
            Ok(Value::Bool(absolute(m, text(a, 0)).is_ok_and(|url| url.has_host())))
        }),
    },
];

#[cold]
fn not_url(text: &str, why: &url::ParseError) -> Fault {
    Fault::new(codes::BAD_ARGUMENT, format!("{} is not a URL: {why}", Value::text(text).preview()))
}

fn absolute(m: &mut Machine<'_, '_>, text: &str) -> Result<Url> {
    m.budget.step(1 + text.len() as u64 / 4)?;
    Url::parse(text).map_err(|why| not_url(text, &why))
}

fn form_object<'e>(m: &mut Machine<'_, 'e>, text: &str) -> Result<Value<'e>> {
    m.budget.step(text.len() as u64 / 4)?;
    m.budget.make(text.len())?;
    let mut keys = ObjectBuilder::default();
    let mut values: Vec<(Text<'e>, Vec<Value<'e>>)> = Vec::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        m.budget.step(1)?;
        m.budget.make(3 * size_of::<Value<'_>>())?;
        let value = Value::text(&value);
        match keys.position(&key) {
            Some(at) => values[at].1.push(value),
            None => {
                let key = Text::Shared(key.into());
                keys.push_new(key.clone(), Value::Null);
                values.push((key, vec![value]));
            }
        }
    }
    let mut object = ObjectBuilder::with_capacity(values.len());
    for (key, mut all) in values {
        let value = match all.len() {
            1 => all.pop().unwrap_or_default(),
            _ => m.array(all)?,
        };
        object.push_new(key, value);
    }
    m.object(object)
}

fn built<'e>(m: &mut Machine<'_, 'e>, parts: &Value<'e>) -> Result<Value<'e>> {
    const PARTS: [&str; 8] = ["scheme", "username", "password", "host", "port", "path", "query", "fragment"];
    let bad = |why: String| Fault::new(codes::BAD_ARGUMENT, format!("`build_url`: {why}"));
    for (key, _) in members(m, parts)? {
        if !PARTS.contains(&key.as_str()) {
            return Err(bad(format!("there is no part {:?}; there are {}", key.as_str(), PARTS.join(", "))));
        }
    }
    let part = |name: &str| match parts.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text)),
        Some(other) => Err(bad(format!("`{name}` is a string, not {} {}", other.type_name(), other.preview()))),
    };
    let (Some(scheme), Some(host)) = (part("scheme")?, part("host")?) else {
        return Err(bad("`scheme` and `host` are needed".to_owned()));
    };
    let mut url = absolute(m, &[scheme.as_str(), "://host.invalid"].concat())?;
    url.set_host(Some(&host)).map_err(|why| not_url(&host, &why))?;
    let mut refused = false;
    if let Some(name) = part("username")? {
        refused |= url.set_username(&name).is_err();
    }
    if let Some(password) = part("password")? {
        refused |= url.set_password(Some(&password)).is_err();
    }
    match parts.get("port") {
        None | Some(Value::Null) => {}
        Some(Value::Int(port)) if u16::try_from(port).is_ok() => {
            refused |= url.set_port(u16::try_from(port).ok()).is_err();
        }
        Some(other) => return Err(bad(format!("a port is 0 to 65535, not {}", other.preview()))),
    }
    if refused {
        return Err(bad(format!("URLs of {:?} have no user and no port", scheme.as_str())));
    }
    let mut made = 0;
    if let Some(path) = part("path")? {
        made += path.len();
        url.set_path(&path);
    }
    match parts.get("query") {
        None | Some(Value::Null) => {}
        Some(Value::Str(query)) => {
            made += query.len();
            url.set_query(Some(&query).filter(|query| !query.is_empty()).map(|query| query.as_str()));
        }
        Some(query) if is_object(&query) && query.members_len() == 0 => {}
        Some(query) if is_object(&query) => {
            let encoded = form(m, &query)?;
            url.set_query(Some(&encoded));
        }
        Some(other) => return Err(bad(format!("`query` is an object or a string, not {}", other.preview()))),
    }
    if let Some(fragment) = part("fragment")? {
        made += fragment.len();
        url.set_fragment(Some(&fragment));
    }
    m.budget.step(made as u64 / 4)?;
    m.budget.make(3 * made)?;
    m.string(url.into())
}

fn form(m: &mut Machine<'_, '_>, object: &Value<'_>) -> Result<String> {
    m.budget.step(object.members_len() as u64)?;
    let mut out = String::new();
    for (key, value) in object.members().unwrap_or_default() {
        let values = match value.items() {
            Some(items) => items.collect(),
            None => vec![value.clone()],
        };
        for value in values {
            if matches!(value, Value::Null) {
                continue;
            }
            let mut field = String::new();
            value
                .write_text(&mut field, m.budget.bytes_left())
                .map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
            m.budget.step(1 + field.len() as u64 / 4)?;
            m.budget.make(3 * (key.len() + field.len()) + 2)?;
            if !out.is_empty() {
                out.push('&');
            }
            out.extend(form_urlencoded::byte_serialize(key.as_bytes()));
            out.push('=');
            out.extend(form_urlencoded::byte_serialize(field.as_bytes()));
        }
    }
    Ok(out)
}
