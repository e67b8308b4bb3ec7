//! The types of values.

use super::{Row, Run};
use crate::check::Types;
use crate::value::{Text, Value};

macro_rules! is_type {
    ($name:literal, $doc:literal, $types:expr, $example:literal) => {
        Row {
            name: $name,
            signature: "(value: any) -> bool",
            doc: $doc,
            examples: &[($example, "true")],
            run: Run::Pure(|_, a| Ok(Value::Bool($types.overlaps(Types::of(&a[0]))))),
        }
    };
}

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "type_of",
        signature: "(value: any) -> string",
        doc: "The name of the type: null, bool, int, decimal, number (one kept as text), string, array, object, \
              timestamp, duration.",
        examples: &[("type_of([])", "\"array\""), ("type_of(1.5)", "\"decimal\"")],
        run: Run::Pure(|_, a| Ok(Value::Str(Text::Borrowed(a[0].type_name())))),
    },
    is_type!("is_null", "Whether the value is null.", Types::NULL, "is_null(event.data.x)"),
    is_type!("is_bool", "Whether the value is true or false.", Types::BOOL, "is_bool(false)"),
    is_type!("is_int", "Whether the value is a 64-bit integer.", Types::INT, "is_int(5)"),
    is_type!("is_number", "Whether the value is a number.", Types::NUMBER, "is_number(1.5)"),
    is_type!("is_string", "Whether the value is a string.", Types::STRING, "is_string('')"),
    is_type!("is_array", "Whether the value is an array.", Types::ARRAY, "is_array([])"),
    is_type!("is_object", "Whether the value is an object.", Types::OBJECT, "is_object({})"),
    is_type!("is_timestamp", "Whether the value is a point in time.", Types::TIME, "is_timestamp(event.time)"),
    is_type!("is_duration", "Whether the value is a length of time.", Types::DURATION, "is_duration(5m)"),
];
