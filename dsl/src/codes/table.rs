//! Titles and texts of the codes.

use super::*;

const fn entry(
    code: Code,
    title: &'static str,
    text: &'static str,
    wrong: &'static str,
    right: &'static str,
) -> Explanation {
    Explanation { code, title, text, wrong, right }
}

/// Every code that is or ever was given, in order.
pub static ALL: &[Explanation] = &[
    entry(
        UNEXPECTED,
        "unexpected token",
        "The text is not a program at this place. The message says what was found and what could stand there. After an \
         error the parser goes on at the next place that makes sense, so that one run reports several errors.",
        "len(event.data.commits) > > 3",
        "len(event.data.commits) > 3",
    ),
    entry(
        UNKNOWN_CHARACTER,
        "unknown character",
        "The character has no meaning in the language. Text belongs into quotes.",
        "event.type == “push”",
        "event.type == \"push\"",
    ),
    entry(
        UNTERMINATED,
        "unterminated string",
        "A string begins and the source ends before the string does.",
        "event.type == \"push",
        "event.type == \"push\"",
    ),
    entry(
        BAD_ESCAPE,
        "unknown escape",
        "A string in double quotes knows the escapes `\\n \\t \\r \\0 \\\" \\\\ \\$ \\u{…}`. A string in single quotes has \
         none: it is the place for regular expressions and Windows paths.",
        "matches(event.subject, \"\\d+\")",
        "matches(event.subject, '\\d+')",
    ),
    entry(
        BAD_NUMBER,
        "not a number",
        "Numbers are integers of 64 bits (`1_000_000`), decimals of up to 28 digits (`0.15`, `1e-3`) and durations \
         (`5m`, `1h30m`, `200ms`; units us, ms, s, m, h, d, w). A number of more digits is kept as text.",
        "ctx.now - event.time < 5min",
        "ctx.now - event.time < 5m",
    ),
    entry(
        TOO_DEEP,
        "nested too deep",
        "Brackets nest up to 64 levels, and an expression together with the functions that it calls up to 256. The cap \
         is what lets every program be checked, compiled and run within a fixed stack.",
        "",
        "",
    ),
    entry(
        UNUSED_VALUE,
        "unused value",
        "A block is a sequence of lines and one last expression, its value. An expression before the last has a use only \
         if it may emit, drop or fail. Often a line that was meant to continue the one before must begin with its \
         operator.",
        "upper(event.type)\nlower(event.type)",
        "let kind = lower(event.type)\nkind",
    ),
    entry(TOO_LONG, "source too long", "A program has at most 256 KiB.", "", ""),
    entry(
        BIDI,
        "bidirectional control character",
        "Characters that change the direction of text make a program read differently from what it does (CVE-2021-42574). \
         They are refused everywhere, in comments too; in a string, write the escape.",
        "",
        "event.subject == \"\\u{202e}abc\"",
    ),
    entry(
        FOREIGN_OPERATOR,
        "operator of another language",
        "The operators for truth are words: `and`, `or`, `not`. Equality is `==` and `!=`.",
        "event.type == \"push\" && !event.data.forced",
        "event.type == \"push\" and not event.data.forced",
    ),
    entry(
        UNCLOSED,
        "bracket without partner",
        "A bracket, or the `${` of a string, has no partner.",
        "len(event.data.commits > 3",
        "len(event.data.commits) > 3",
    ),
    entry(
        NO_RESULT,
        "no result",
        "A program, a block and the body of a function end with an expression, which is its value.",
        "let kind = event.type",
        "let kind = event.type\nkind",
    ),
    entry(
        WRONG_PATTERN,
        "wrong pattern",
        "A pattern of `match` is a value that is written out, a name, a type and a name (`string s`), an array, an object, \
         or several of them with `|` between. It has one `...` at most, no `${…}`, and alternatives bind the same names. \
         What is computed is compared in a guard.",
        "match event.type { text s => s, _ => null }",
        "match event.type { string s => s, _ => null }",
    ),
    entry(
        UNKNOWN_NAME,
        "unknown name",
        "The name is neither a `let`, nor a parameter, nor `event` or `ctx`.",
        "evnt.type == \"push\"",
        "event.type == \"push\"",
    ),
    entry(
        UNKNOWN_FIELD,
        "unknown field of event or ctx",
        "The fields of `event` and `ctx` are fixed. What the sender sent is below `event.data`.",
        "event.commits",
        "event.data.commits",
    ),
    entry(
        UNKNOWN_FUNCTION,
        "unknown function",
        "Neither a built-in nor a function of this program has the name.",
        "length(event.data.commits)",
        "len(event.data.commits)",
    ),
    entry(
        ARITY,
        "wrong number of arguments",
        "The function takes another number of arguments. In `x |> f(a)` the value `x` is the first argument.",
        "split(event.subject)",
        "split(event.subject, \"/\")",
    ),
    entry(
        DEFINED_TWICE,
        "defined twice",
        "Two functions, or two parameters of a function, have the same name. A `let` may hide an earlier `let`, and a \
         function a built-in.",
        "fn f(a, a) = a\nf(1, 2)",
        "fn f(a, b) = a\nf(1, 2)",
    ),
    entry(
        RECURSION,
        "recursion",
        "A function that calls itself, directly or through others, might never end; every program of hexaFn ends. \
         Collections are worked through with `map`, `filter` and `fold`, numbers with `range`.",
        "fn f(n) = if n < 1 { 0 } else { n + f(n - 1) }\nf(3)",
        "sum(range(1, 4))",
    ),
    entry(
        MISPLACED_LAMBDA,
        "lambda in the wrong place",
        "A lambda such as `x => x + 1` is not a value. It is written directly as the argument of a function that calls \
         it, such as `map`.",
        "let f = x => x + 1\nmap([1], f)",
        "fn f(x) = x + 1\nmap([1], f)",
    ),
    entry(
        EXPECTED_LAMBDA,
        "lambda expected",
        "The function calls this argument: it needs a lambda, or the name of a function.",
        "map(event.data.commits, \"id\")",
        "map(event.data.commits, c => c.id)",
    ),
    entry(
        UNUSED_BINDING,
        "unused binding",
        "The `let` is never read. The program runs; it probably means something else. A name that begins with `_` is \
         not reported.",
        "",
        "",
    ),
    entry(
        OUTER_BINDING,
        "binding outside of the function",
        "The body of a function sees its parameters, `event`, `ctx` and other functions. A `let` outside is handed to it \
         as an argument.",
        "let limit = 3\nfn big(xs) = len(xs) > limit\nbig([1])",
        "fn big(xs, limit) = len(xs) > limit\nbig([1], 3)",
    ),
    entry(
        FUNCTION_AS_VALUE,
        "function used as a value",
        "Functions are called, or handed by name to a function that calls its argument; they are no values.",
        "len",
        "len(event.data)",
    ),
    entry(
        DUPLICATE_KEY,
        "duplicate key",
        "An object literal or a pattern names the same key twice, or each round of a comprehension gives the same key.",
        "{ a: 1, a: 2 }",
        "{ a: 2 }",
    ),
    entry(
        MISPLACED_FUNCTION,
        "declaration in a block",
        "Functions and constants are declared at the top of a program, not inside of blocks.",
        "if true { fn f() = 1; f() } else { 2 }",
        "fn f() = 1\nif event.seq > 1 { f() } else { 2 }",
    ),
    entry(
        NOT_CONSTANT,
        "constant depends on something",
        "A `const` is computed once, when the program is checked. Its value depends on other constants and on built-in \
         functions only: not on `event` and `ctx`, not on functions of the program, and it does not emit.",
        "const KIND = event.type\nKIND",
        "let kind = event.type\nkind",
    ),
    entry(
        TOO_MANY_NAMES,
        "too many names",
        "A function, or the main program, has at most 60,000 names in sight at a time.",
        "",
        "",
    ),
    entry(
        NO_MODULE,
        "no such module",
        "The module of an `import` cannot be read. Its path is relative to the folder of the configuration and stays inside \
         of it; a program has at most 64 modules. A program that does not come from a configuration may have none.",
        "import { total } from \"../money.hexa\"\ntotal(1)",
        "",
    ),
    entry(
        IMPORT_CYCLE,
        "modules import one another",
        "A module imports itself, directly or through others. What both need belongs into a module of its own.",
        "",
        "",
    ),
    entry(
        NOT_EXPORTED,
        "not in the module",
        "The module declares no function and no constant of the name. What a module imports it does not hand on.",
        "",
        "",
    ),
    entry(
        NOT_IN_MODULE,
        "module with values",
        "A module consists of `fn`, `const` and `import`. It has no result and no `let`.",
        "",
        "",
    ),
    entry(
        NOT_A_CONDITION,
        "not a condition",
        "A condition is true or false (null counts as false). This expression can never be either.",
        "len(event.data.commits)",
        "len(event.data.commits) > 0",
    ),
    entry(
        IMPOSSIBLE_COMPARISON,
        "impossible comparison",
        "Values of these types are never equal, or have no order, so the comparison always gives the same answer.",
        "event.type == 5",
        "event.type == \"5\"",
    ),
    entry(
        OPERAND_TYPE,
        "wrong operand",
        "The operator does not work on values of these types. `+` adds numbers, joins two strings or two arrays, and adds \
         durations to times; text is made of other values by interpolation: `\"${x}\"`.",
        "\"commits: \" + len(event.data.commits)",
        "\"commits: ${len(event.data.commits)}\"",
    ),
    entry(
        ARGUMENT_TYPE,
        "wrong argument",
        "The function does not take a value of this type there. Of a function of the program the body says so: it does \
         something with the parameter, in any case, that never works with such a value.",
        "upper(5)",
        "upper(\"five\")",
    ),
    entry(
        NO_FIELDS,
        "no fields",
        "The value is never an object, so it has no fields.",
        "event.type.name",
        "event.data.name",
    ),
    entry(
        CONSTANT_FAILS,
        "constant expression fails",
        "The expression does not depend on the event and always fails. It was computed when the program was checked.",
        "1 / 0",
        "1 / 2",
    ),
    entry(
        BAD_PATTERN,
        "bad regular expression",
        "The pattern is not one of the `regex` crate (linear time, no look-around, no back-references), or it is too \
         large when compiled.",
        "matches(event.subject, '(a')",
        "matches(event.subject, '(a)')",
    ),
    entry(
        NOT_HERE,
        "not in this kind of program",
        "`drop` is the result of a function that drops its event, and `emit` an effect of a function; conditions and \
         templates decide and render only.",
        "",
        "",
    ),
    entry(
        CONSTANT_CONDITION,
        "constant condition",
        "The condition does not depend on the event. The program runs; a branch of it never does.",
        "",
        "",
    ),
    entry(
        NOT_EXHAUSTIVE,
        "match without a last resort",
        "No arm of the `match` takes every value that is left. The program runs; a value that no arm takes is an error \
         (HX0513). `_ => …` takes everything.",
        "",
        "match event.subject { \"a\" => 1, _ => 0 }",
    ),
    entry(
        UNREACHABLE,
        "never reached",
        "Arms before this one take all that it could take, or its values are of a type that the subject never has, or \
         `drop` or `fail` stands before it. The program runs; this part of it never does.",
        "",
        "match event.subject { \"a\" => 1, _ => 0 }",
    ),
    entry(
        NOT_IN_SCHEMA,
        "field not in the schema",
        "The schema of the event's data has no such field at this place. If it allows no others \
         (`additionalProperties: false`), the field is never there, which is an error; otherwise a name that is nearly one of \
         the schema is a warning.",
        "",
        "",
    ),
    entry(
        UNHANDLED_FAILURE,
        "failure that nothing handles",
        "The call can fail on arguments of the right types: it reads what others wrote (numbers, times, JSON, addresses, \
         tokens; the `!` at the end of its signature says so), or it is a function of the program that says `fail` or \
         calls something with `!`. Say what happens then: `parse_json(x) ?? y` goes on with `y`, `try parse_json(x) else \
         y` does so for a longer expression and has the error, and `parse_json!(x)` lets the failure end the run with \
         its reason. A function whose body does the latter can fail itself, and its callers say what happens.",
        "parse_json(event.data.payload).id",
        "parse_json(event.data.payload).id ?? 0",
    ),
    entry(
        NOT_A_CHOICE,
        "none of the values of the schema",
        "The schema of the event's data lists the values of this field with `enum` or `const`, and the value that it is \
         compared with is none of them, so that the comparison never holds. It is nearly always a slip of the pen.",
        "",
        "event.data.currency == \"EUR\"",
    ),
    entry(
        NEEDLESS_MARK,
        "`!` where nothing can fail",
        "The `!` behind the name of a function says that its failure ends the run, and this function has none: its \
         signature does not end with `!`, or, if it is one of the program, nothing in its body fails by `fail` or `!`. The \
         program runs.",
        "",
        "upper(event.type)",
    ),
    entry(
        WRONG_TYPE,
        "wrong type at run time",
        "A value of the event has a type that the operation does not take. Convert it (`to_int`, `to_string`), test it \
         (`is_string`), give a default (`??`), or reach into it carefully (`?.`).",
        "",
        "",
    ),
    entry(
        OVERFLOW,
        "number too large",
        "The exact result does not fit: integers have 64 bits, decimals 28 digits. Nothing wraps around.",
        "",
        "",
    ),
    entry(DIVISION_BY_ZERO, "division by zero", "The divisor was zero.", "", ""),
    entry(
        NOT_EXACT,
        "no exact result",
        "The exact result has more than 28 digits, such as 10 / 3. Nothing is rounded silently: say how, with \
         `div(a, b)` (whole part) or `ratio(a, b, digits)`.",
        "",
        "",
    ),
    entry(
        KEPT_NUMBER,
        "number is kept as text",
        "The event holds a number that neither 64-bit integers nor 28-digit decimals hold exactly. It passes through \
         unchanged and may be tested for equality; arithmetic and order would have to round it.",
        "",
        "",
    ),
    entry(
        STEPS,
        "step budget used up",
        "An evaluation may take a limited number of steps (1,000,000 unless configured). Steps are counted per operation \
         and per element, so the same input always ends at the same place.",
        "",
        "",
    ),
    entry(
        SIZE,
        "size budget used up",
        "The values that an evaluation makes may take a limited number of bytes in total (32 MiB unless configured).",
        "",
        "",
    ),
    entry(
        VALUE_DEPTH,
        "value nested too deep",
        "Arrays and objects that a program makes nest up to 64 levels unless configured.",
        "",
        "",
    ),
    entry(FAILED, "failed by the program", "The program reached `fail`; the message is its reason.", "", ""),
    entry(
        BAD_ARGUMENT,
        "argument has no result",
        "The type is right and the value is not: a text that is no number, an unknown time zone, a count beyond the \
         limit. `f(x) ?? y` and `try f(x) else y` go on with another value.",
        "",
        "",
    ),
    entry(
        NOT_BOOLEAN,
        "condition is not true or false",
        "What is tested must be true, false or null, which counts as false. A number or a text is not a condition.",
        "",
        "",
    ),
    entry(
        DROPPED,
        "drop where a value is needed",
        "`drop` ended the evaluation where only a value could be used.",
        "",
        "",
    ),
    entry(
        NO_MATCH,
        "no arm matches",
        "The value fits none of the arms of a `match`. `_ => …` takes what the other arms do not.",
        "",
        "",
    ),
    entry(
        TOO_MANY_EMITTED,
        "too many events emitted",
        "An evaluation emits at most 100 events. A function that has more to say emits one event that holds an array.",
        "",
        "",
    ),
];
