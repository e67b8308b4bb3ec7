//! The registry of error codes. A code keeps its meaning for ever; one that is no longer given stays reserved. Each has
//! a page in `docs/errors`, printed from here by `examples/reference.rs`.

mod table;

use std::fmt;

pub use table::ALL;

/// A stable code such as `HX0201`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub(crate) u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HX{:04}", self.0)
    }
}

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// A title of a few words.
    pub title: &'static str,
    /// What happened, and why it is refused.
    pub text: &'static str,
    /// A program that is refused with this code, if one can be shown.
    pub wrong: &'static str,
    /// What to write instead.
    pub right: &'static str,
}

impl Explanation {
    /// The page of the code, as Markdown.
    pub fn page(&self) -> String {
        let mut page = format!("# {}: {}\n\n{}\n", self.code, self.title, self.text);
        for (lead, program) in [("Refused", self.wrong), ("Instead", self.right)] {
            if !program.is_empty() {
                page.push_str(&format!("\n{lead}:\n\n```hexa\n{program}\n```\n"));
            }
        }
        page
    }
}

/// The explanation of a code, written as `HX0201` in either case.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    let code = code.trim();
    let digits = code.get(..2).filter(|lead| lead.eq_ignore_ascii_case("hx")).and(code.get(2..))?;
    let number: u16 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    ALL.iter().find(|explanation| explanation.code.0 == number)
}

macro_rules! codes {
    ($($name:ident = $number:literal;)*) => {
        $(#[doc = concat!("The code ", stringify!($number), ".")] pub const $name: Code = Code($number);)*
    };
}

// Sources and syntax.
codes! {
    UNEXPECTED = 101;
    UNKNOWN_CHARACTER = 102;
    UNTERMINATED = 103;
    BAD_ESCAPE = 104;
    BAD_NUMBER = 105;
    TOO_DEEP = 106;
    UNUSED_VALUE = 107;
    TOO_LONG = 108;
    BIDI = 109;
    FOREIGN_OPERATOR = 110;
    UNCLOSED = 111;
    NO_RESULT = 112;
    WRONG_PATTERN = 113;
}
// Names.
codes! {
    UNKNOWN_NAME = 201;
    UNKNOWN_FIELD = 202;
    UNKNOWN_FUNCTION = 203;
    ARITY = 204;
    DEFINED_TWICE = 205;
    RECURSION = 206;
    MISPLACED_LAMBDA = 207;
    EXPECTED_LAMBDA = 208;
    UNUSED_BINDING = 209;
    OUTER_BINDING = 210;
    FUNCTION_AS_VALUE = 211;
    DUPLICATE_KEY = 212;
    MISPLACED_FUNCTION = 213;
    NOT_CONSTANT = 214;
    TOO_MANY_NAMES = 215;
    NO_MODULE = 216;
    IMPORT_CYCLE = 217;
    NOT_EXPORTED = 218;
    NOT_IN_MODULE = 219;
}
// Types.
codes! {
    NOT_A_CONDITION = 301;
    IMPOSSIBLE_COMPARISON = 302;
    OPERAND_TYPE = 303;
    ARGUMENT_TYPE = 304;
    NO_FIELDS = 305;
    CONSTANT_FAILS = 306;
    BAD_PATTERN = 307;
    NOT_HERE = 308;
    CONSTANT_CONDITION = 309;
    NOT_EXHAUSTIVE = 310;
    UNREACHABLE = 311;
    NOT_IN_SCHEMA = 312;
    UNHANDLED_FAILURE = 313;
    NOT_A_CHOICE = 314;
    NEEDLESS_MARK = 315;
}
// Run time.
codes! {
    WRONG_TYPE = 501;
    OVERFLOW = 502;
    DIVISION_BY_ZERO = 503;
    NOT_EXACT = 504;
    KEPT_NUMBER = 505;
    STEPS = 506;
    SIZE = 507;
    VALUE_DEPTH = 508;
    FAILED = 509;
    BAD_ARGUMENT = 510;
    NOT_BOOLEAN = 511;
    DROPPED = 512;
    NO_MATCH = 513;
    TOO_MANY_EMITTED = 514;
}
