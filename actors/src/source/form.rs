//! `application/x-www-form-urlencoded` bodies as JSON: an object of strings, a repeated key as an array.
//!
//! Slack and GitHub can send their JSON as a form with one field, `payload`: that is unwrapped.

use bytes::Bytes;
use hexafn_dsl::json::{Doc, Limits};
use percent_encoding::percent_decode;
use std::borrow::Cow;

use super::door::DoorError;

/// The media type.
pub(super) const TYPE: &str = "application/x-www-form-urlencoded";

/// The JSON that a form stands for.
pub(super) fn to_json(body: &[u8], limits: &Limits) -> Result<Bytes, DoorError> {
    let most = limits.keys as usize;
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (count, pair) in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= most {
            let detail = format!("the form has more than {most} fields (limits.keys)");
            return Err(DoorError::new(400, "form-keys", "The form is refused", detail));
        }
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(at);
        let key = decode(key, count)?;
        let value = decode(value.get(1..).unwrap_or_default(), count)?;
        let place = *places.entry(key.clone()).or_insert(fields.len());
        match fields.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => fields.push((key, vec![value])),
        }
    }
    if let [(key, values)] = fields.as_slice()
        && key == "payload"
        && let [value] = values.as_slice()
        && value.trim_start().starts_with(['{', '['])
    {
        let json = Bytes::copy_from_slice(value.as_bytes());
        Doc::validate(&json, limits).map_err(|e| DoorError::json(&e).at("form field `payload`"))?;
        return Ok(json);
    }
    let mut out = Vec::with_capacity(body.len() + 2);
    out.push(b'{');
    for (n, (key, values)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(&mut out, key);
        out.push(b':');
        match values.as_slice() {
            [one] => write_string(&mut out, one),
            many => {
                out.push(b'[');
                for (n, value) in many.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    write_string(&mut out, value);
                }
                out.push(b']');
            }
        }
    }
    out.push(b'}');
    Ok(out.into())
}

/// A string as JSON.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{0}'..='\u{1f}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// `+` is a space, `%XX` a byte, and the whole must be UTF-8: nothing is replaced silently.
fn decode(raw: &[u8], field: usize) -> Result<String, DoorError> {
    let spaced: Cow<'_, [u8]> = if raw.contains(&b'+') {
        raw.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect::<Vec<u8>>().into()
    } else {
        raw.into()
    };
    let text = percent_decode(&spaced).decode_utf8().map(Cow::into_owned);
    text.map_err(|_| {
        let detail = format!("field {} of the form is not UTF-8 after percent-decoding", field + 1);
        DoorError::new(400, "form-utf8", "The form is refused", detail)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn json(body: &str) -> String {
        String::from_utf8(to_json(body.as_bytes(), &Limits::default()).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn forms_become_objects() {
        assert_eq!(json(""), "{}");
        assert_eq!(json("a=1&b=x+y%21&c"), r#"{"a":"1","b":"x y!","c":""}"#);
        assert_eq!(json("a=1&b=2&a=3&&"), r#"{"a":["1","3"],"b":"2"}"#);
        assert_eq!(json("q=%22%5C%0A%C3%A9"), r#"{"q":"\"\\\u000aé"}"#);
    }

    #[test]
    fn a_lone_payload_is_unwrapped() {
        assert_eq!(json("payload=%7B%22a%22%3A+1%7D"), r#"{"a": 1}"#);
        assert_eq!(json("payload=text"), r#"{"payload":"text"}"#);
        assert_eq!(json("payload=%7B%7D&x=1"), r#"{"payload":"{}","x":"1"}"#);
        let error = to_json(b"payload=%7B%22a%22", &Limits::default()).unwrap_err();
        assert!(error.detail.contains("payload"), "{error}");
    }

    #[test]
    fn refusals() {
        assert_eq!(to_json(b"a=%ff", &Limits::default()).unwrap_err().code, "form-utf8");
        let limits = Limits { keys: 2, ..Limits::default() };
        assert!(to_json(b"a&b", &limits).is_ok());
        assert_eq!(to_json(b"a&b&c", &limits).unwrap_err().code, "form-keys");
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_json(body in prop::collection::vec(any::<u8>(), 0..100), text in "[a-c=&%+0-9é\"\\\\]{0,40}") {
            for body in [body.as_slice(), text.as_bytes()] {
                if let Ok(json) = to_json(body, &Limits::default()) {
                    Doc::validate(&json, &Limits::default()).unwrap();
                }
            }
        }
    }
}
