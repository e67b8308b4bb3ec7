//! JSON between the host and the two scripting languages, whose numbers are doubles: what a double would round arrives
//! as a value of its own ([`Build::exact`]), and goes out with the same digits. Reading builds the language's values
//! directly; writing holds the output against its limit while it grows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Code, Error};

/// How deep values may nest, in and out: as deep as events may at the door.
pub(crate) const DEPTH: usize = 64;

/// The most members of all objects of one value: as many as an event may have at the door.
const MEMBERS: usize = 10_000;

/// Whether what a function gives is JSON that an event may have: else whoever gets it would find a text instead.
///
/// # Errors
/// It is not, and why: the syntax, no UTF-8, half of a surrogate pair, a number beyond all doubles, a member that is there
/// twice, too deep, too many members.
pub(crate) fn check(json: &[u8]) -> Result<(), String> {
    let mut members = 0;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let checked = Strict { levels: DEPTH, members: &mut members }.deserialize(&mut deserializer);
    checked.and_then(|()| deserializer.end()).map_err(|e| e.to_string())
}

/// Reads a value and keeps nothing.
struct Strict<'a> {
    /// How deep it may still nest.
    levels: usize,
    /// How many members there were.
    members: &'a mut usize,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Strict<'_>, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Strict { levels, members: self.members }),
            None => Err(E::custom(format!("it nests deeper than {DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while access.next_element_seed(Strict { levels: inner.levels, members: &mut *inner.members })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        use serde::de::Error;
        let inner = self.inner()?;
        let mut names = Names::default();
        while let Some(name) = access.next_key_seed(Name)? {
            *inner.members += 1;
            if *inner.members > MEMBERS {
                return Err(A::Error::custom(format!("its objects have more than {MEMBERS} members together")));
            }
            if let Err(name) = names.add(name) {
                return Err(A::Error::custom(format!("the member `{name}` is there twice")));
            }
            access.next_value_seed(Strict { levels: inner.levels, members: &mut *inner.members })?;
        }
        Ok(())
    }
}

/// The name of a member, as it lies in the text where it does.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// So many names are found faster one after the other than by their hashes.
const FEW: usize = 16;

/// The names of one object.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    /// All of them, once they are more.
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Takes a name; gives it back when it is there.
    fn add(&mut self, name: Cow<'a, str>) -> Result<(), Cow<'a, str>> {
        if self.many.is_empty() {
            if self.few.contains(&name) {
                return Err(name);
            }
            if self.few.len() < FEW {
                self.few.push(name);
                return Ok(());
            }
            self.many.extend(self.few.drain(..));
        }
        if self.many.contains(&name) {
            return Err(name);
        }
        self.many.insert(name);
        Ok(())
    }
}

/// So many values of a list are kept for the engine at once: what a list is made of counts as memory of the function only when the
/// engine has it. Objects have a bound of their own, at the door.
const AT_ONCE: usize = 1_024;

/// Makes values of a language from a text that lives for `'t`. Objects, and lists that are not long, are made of all that is
/// in them at once: for an engine behind handles that is less than one step for each member.
pub(crate) trait Build<'t> {
    type Value;
    type List;
    type Error: fmt::Display;

    fn null(&self) -> Self::Value;
    fn bool(&self, value: bool) -> Self::Value;
    fn number(&self, value: f64) -> Self::Value;
    /// A number that no double has, by its text in JSON.
    fn exact(&self, text: &str) -> Result<Self::Value, Self::Error>;
    fn text(&self, text: Cow<'t, str>) -> Result<Self::Value, Self::Error>;
    /// A list that begins with these.
    fn list(&self, values: Vec<Self::Value>) -> Result<Self::List, Self::Error>;
    fn push(&self, list: &mut Self::List, value: Self::Value) -> Result<(), Self::Error>;
    fn end_list(&self, list: Self::List) -> Self::Value;
    /// Of members of the same name the last one counts.
    fn map(&self, members: Vec<(Cow<'t, str>, Self::Value)>) -> Result<Self::Value, Self::Error>;
}

/// The numbers of a JSON text that no double has: their index among all numbers, in order, and their text.
pub(crate) fn exact_numbers(json: &[u8]) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut at, mut index) = (0, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_text(json, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = json.get(at..).unwrap_or_default();
                let more = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let len = rest.iter().take_while(|b| more(b)).count();
                let text = rest.get(..len).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or_default();
                if !is_double(text) {
                    found.push((index, text));
                }
                index += 1;
                at += len.max(1);
            }
            _ => at += 1,
        }
    }
    found
}

/// What follows the quote that ends a text which began before `at`.
fn end_of_text(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

/// Whether a number is what a double prints again: a safe integer, or a decimal that its double stands for.
fn is_double(text: &str) -> bool {
    // Fifteen digits always survive; no number that short is near the ends of the range without an exponent.
    if text.len() <= 15 && !text.bytes().any(|b| matches!(b, b'e' | b'E')) {
        return true;
    }
    if !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return text.parse::<i64>().is_ok_and(|n| n.unsigned_abs() < 1 << 53);
    }
    let Ok(double) = text.parse::<f64>() else { return true };
    double.is_finite() && normal(text) == normal(&printed(double))
}

/// A double as it goes out.
fn printed(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if value.fract() == 0.0 && size < 1e21 {
        // All its digits, not the shortest that lead back to it: 2^60 is 1152921504606846976.
        format!("{value:.0}")
    } else if (1e-6..1e21).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Digits without zeros at either end, and the power of ten of the first.
fn normal(text: &str) -> (String, i64) {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // An exponent of more digits than this is not that of any double, so it only has to differ.
    let exponent = exponent.trim_start_matches('+').parse::<i32>().map_or(i64::from(i32::MAX), i64::from);
    let digits = format!("{whole}{fraction}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0').to_owned();
    if significant.is_empty() {
        return (significant, 0);
    }
    (significant, exponent + whole.len() as i64 - leading as i64)
}

/// Builds the values of a JSON text.
///
/// # Errors
/// It is no JSON, or a value could not be made (no memory): the text of the reason.
pub(crate) fn read<'t, B: Build<'t>>(build: &B, json: &'t [u8]) -> Result<B::Value, String> {
    let exact = exact_numbers(json);
    let mut reader = Reader { build, exact: &exact, index: 0 };
    // Looked at once, and not for each text in it.
    let json = std::str::from_utf8(json).map_err(|e| e.to_string())?;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = reader.seed().deserialize(&mut deserializer).map_err(|e| e.to_string())?;
    deserializer.end().map_err(|e| e.to_string())?;
    Ok(value)
}

struct Reader<'a, B> {
    build: &'a B,
    exact: &'a [(usize, &'a str)],
    /// How many numbers were read.
    index: usize,
}

impl<'a, B> Reader<'a, B> {
    fn seed(&mut self) -> Seed<'_, 'a, B> {
        Seed(self)
    }
}

struct Seed<'r, 'a, B>(&'r mut Reader<'a, B>);

impl<B> Seed<'_, '_, B> {
    fn number<'t, E: serde::de::Error>(self, value: f64) -> Result<B::Value, E>
    where
        B: Build<'t>,
    {
        let reader = self.0;
        let index = reader.index;
        reader.index += 1;
        match reader.exact.first() {
            Some(&(at, text)) if at == index => {
                reader.exact = reader.exact.get(1..).unwrap_or_default();
                reader.build.exact(text).map_err(E::custom)
            }
            _ => Ok(reader.build.number(value)),
        }
    }
}

impl<'de, B: Build<'de>> DeserializeSeed<'de> for Seed<'_, '_, B> {
    type Value = B::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<B::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, B: Build<'de>> Visitor<'de> for Seed<'_, '_, B> {
    type Value = B::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<B::Value, E> {
        Ok(self.0.build.null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<B::Value, E> {
        Ok(self.0.build.bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<B::Value, E> {
        self.number(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<B::Value, E> {
        self.number(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<B::Value, E> {
        self.number(value)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<B::Value, E> {
        self.0.build.text(Cow::Borrowed(text)).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<B::Value, E> {
        self.0.build.text(Cow::Owned(text.to_owned())).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<B::Value, A::Error> {
        use serde::de::Error;
        let mut values = Vec::new();
        while values.len() < AT_ONCE
            && let Some(value) = access.next_element_seed(self.0.seed())?
        {
            values.push(value);
        }
        let full = values.len() == AT_ONCE;
        let mut list = self.0.build.list(values).map_err(A::Error::custom)?;
        while full && let Some(value) = access.next_element_seed(self.0.seed())? {
            self.0.build.push(&mut list, value).map_err(A::Error::custom)?;
        }
        Ok(self.0.build.end_list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<B::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = access.next_key_seed(Name)? {
            members.push((key, access.next_value_seed(self.0.seed())?));
        }
        self.0.build.map(members).map_err(serde::de::Error::custom)
    }
}

/// JSON text that grows within a limit, and knows where in the value it is.
pub(crate) struct Writer {
    out: Vec<u8>,
    limit: usize,
    path: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Writer {
    pub fn new(limit: usize) -> Self {
        Self { out: Vec::with_capacity(256), limit, path: Vec::new() }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// An error at the place where the writer is.
    pub fn bad(&self, what: &str) -> Error {
        Error::new(Code::BadOutput, format!("the output at `{}` {what}", self.place()))
    }

    fn place(&self) -> String {
        let mut place = "$".to_owned();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    place.push('.');
                    place.extend(key.chars().take(60));
                }
                Step::Index(index) => place.push_str(&format!("[{index}]")),
            }
        }
        place
    }

    /// Goes into a member of an object, whose key is written already.
    pub fn enter_key(&mut self, key: &str) -> Result<(), Error> {
        self.enter(Step::Key(key.to_owned()))
    }

    pub fn enter_index(&mut self, index: usize) -> Result<(), Error> {
        self.enter(Step::Index(index))
    }

    fn enter(&mut self, step: Step) -> Result<(), Error> {
        if self.path.len() >= DEPTH {
            return Err(self.bad(&format!("nests deeper than {DEPTH} levels, or contains itself; return a flat value")));
        }
        self.path.push(step);
        Ok(())
    }

    pub fn leave(&mut self) {
        self.path.pop();
    }

    /// Writes what is JSON already.
    pub fn raw(&mut self, json: &str) -> Result<(), Error> {
        if self.out.len() + json.len() > self.limit {
            return Err(Error::new(
                Code::OutputTooLarge,
                format!("the output has more than {} bytes (`limits.output`)", self.limit),
            ));
        }
        self.out.extend_from_slice(json.as_bytes());
        Ok(())
    }

    /// Writes a text with its quotes.
    pub fn text(&mut self, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > self.limit {
            return self.raw(text);
        }
        let quoted = serde_json::to_string(text).map_err(|_| self.bad("is no text"))?;
        self.raw(&quoted)
    }

    pub fn number(&mut self, value: f64) -> Result<(), Error> {
        if !value.is_finite() {
            return Err(self.bad(&format!("is {value}, which JSON does not have; return a number or null")));
        }
        self.raw(&printed(value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_that_a_double_would_round_is_found() {
        for text in [
            "0",
            "-1",
            "9007199254740991",
            "-9007199254740991",
            "0.1",
            "1e300",
            "1E+2",
            "123456.789",
            "0.30000000000000004",
            "5e-324",
            "1.50",
            "100000000000000.00",
            "0.000",
            "0e5",
            "1.7976931348623157e308",
        ] {
            assert!(is_double(text), "{text}");
        }
        for text in [
            "9007199254740992",
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551616",
            "0.1000000000000000055",
            "123456789012345678901234567890",
            "1e-400",
            "3.14159265358979323846",
            "1e999",
            "12345678901234567.5",
            // The nearest double is ...928, and goes out with these digits.
            "2.0932359797800893e17",
        ] {
            assert!(!is_double(text), "{text}");
        }
    }

    #[test]
    fn what_a_function_gives_is_what_an_event_may_have() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let members = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("[{{{}}}]", all.join(","))
        };
        let (deepest, most) = (nested(64), members(10_000));
        for right in
            ["null", " [1, 1.5e300, \"\\ud83d\\ude00\"] ", r#"{"a":{"a":1},"b":18446744073709551616}"#, &deepest, &most]
        {
            assert_eq!(check(right.as_bytes()), Ok(()), "{right}");
        }
        let (deeper, more) = (nested(65), members(10_001));
        for (wrong, said) in [
            ("", "EOF"),
            ("[1", "EOF"),
            ("1 2", "trailing"),
            ("NaN", "expected"),
            ("1e400", "out of range"),
            (r#"{"a":1,"b":2,"\u0061":3}"#, "`a` is there twice"),
            (r#""\ud83d""#, "hex escape"),
            (&deeper, "64 levels"),
            (&more, "10000 members"),
        ] {
            let error = check(wrong.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{wrong:.40}: {error}");
        }
        assert!(check(b"\"\xff\"").is_err());
        // One that is there twice, among few and among many, and as the last of many.
        for (count, twice) in [(2, 1), (16, 15), (17, 0), (17, 16), (40, 3), (40, 39)] {
            let all: String = (0..count).map(|n| format!("\"m{n}\":{{}},")).collect();
            assert_eq!(check(format!("{{{all}\"last\":0}}").as_bytes()), Ok(()));
            let error = check(format!("{{{all}\"m{twice}\":0}}").as_bytes()).unwrap_err();
            assert!(error.contains(&format!("`m{twice}` is there twice")), "{count}: {error}");
        }
    }

    #[test]
    fn digits_in_texts_are_no_numbers() {
        let json = br#"{"a\"1":"12345678901234567890\\","b":[1,12345678901234567890],"c":-9007199254740993}"#;
        assert_eq!(exact_numbers(json), [(1, "12345678901234567890"), (2, "-9007199254740993")]);
    }

    #[test]
    fn numbers_are_written_as_json_has_them() {
        for (value, text) in
            [(1.0, "1"), (-0.0, "0"), (0.5, "0.5"), (3e9, "3000000000"), (1e21, "1e21"), (1e-7, "1e-7"), (-2.5, "-2.5")]
        {
            let mut writer = Writer::new(100);
            writer.number(value).unwrap();
            assert_eq!(writer.into_bytes(), text.as_bytes());
        }
        assert_eq!(Writer::new(100).number(f64::NAN).unwrap_err().code, Code::BadOutput);
    }
}
