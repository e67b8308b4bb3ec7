//! Semantic versions (semver.org).

use super::args::text;
use super::{Prepare, Prepared, Row, Run};
use crate::codes;
use crate::eval::Result;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "is_semver",
        signature: "(text: string) -> bool",
        doc: "Whether the text is a semantic version; a leading `v` is let through.",
        examples: &[("is_semver('v1.2.3-rc.1')", "true"), ("is_semver('1.2')", "false")],
        run: Run::Pure(|_, a| Ok(Value::Bool(version(text(a, 0)).is_ok()))),
    },
    Row {
        name: "parse_semver",
        signature: "(text: string) -> object!",
        doc: "The parts of a semantic version.",
        examples: &[(
            "parse_semver('v1.2.3-rc.1+5')",
            "{\"major\":1,\"minor\":2,\"patch\":3,\"pre\":\"rc.1\",\"build\":\"5\"}",
        )],
        run: Run::Pure(|m, a| {
            let version = version(text(a, 0))?;
            let number = |n: u64| i64::try_from(n).map_or_else(|_| Value::text(&n.to_string()), Value::Int);
            let mut object = ObjectBuilder::with_capacity(5);
            object.push_new(Text::Borrowed("major"), number(version.major));
            object.push_new(Text::Borrowed("minor"), number(version.minor));
            object.push_new(Text::Borrowed("patch"), number(version.patch));
            for (name, part) in [("pre", version.pre.as_str()), ("build", version.build.as_str())] {
                let part = if part.is_empty() { Value::Null } else { m.string(part.to_owned())? };
                object.push_new(Text::Borrowed(name), part);
            }
            m.object(object)
        }),
    },
    Row {
        name: "compare_semver",
        signature: "(a: string, b: string) -> int!",
        doc: "-1, 0 or 1: which version comes first; a pre-release comes before its release, and build metadata does \
              not count.",
        examples: &[("compare_semver('1.10.0', '1.9.0')", "1"), ("compare_semver('1.0.0-rc.1', '1.0.0')", "-1")],
        run: Run::Pure(|_, a| {
            let order = version(text(a, 0))?.cmp_precedence(&version(text(a, 1))?);
            Ok(Value::Int(order as i64))
        }),
    },
    Row {
        name: "semver_matches",
        signature: "(version: string, requirement: string) -> bool!",
        doc: "Whether the version meets the requirement: `^1.2`, `~1.2.3`, `>=1.2, <2`, `1.*`. As in Cargo, a \
              pre-release is met only by a requirement that names one of the same version.",
        examples: &[("semver_matches('1.4.2', '^1.2')", "true"), ("semver_matches('2.0.0', '>=1.2, <2')", "false")],
        run: Run::Prepared(Prepare { make: requirement, each: 20 }, |_, a, prepared| {
            let Prepared::Versions(requirement) = prepared else { return Ok(Value::Null) };
            Ok(Value::Bool(requirement.matches(&version(text(a, 0))?)))
        }),
    },
    Row {
        name: "bump_semver",
        signature: "(version: string, part: string) -> string!",
        doc: "The next version by its `'major'`, `'minor'` or `'patch'` part; a pre-release becomes its release where \
              that is the next one.",
        examples: &[
            ("bump_semver('1.2.3', 'minor')", "\"1.3.0\""),
            ("bump_semver('1.2.3-rc.1', 'patch')", "\"1.2.3\""),
        ],
        run: Run::Pure(|m, a| {
            let mut version = version(text(a, 0))?;
            let pre = !version.pre.is_empty();
            version.pre = semver::Prerelease::EMPTY;
            version.build = semver::BuildMetadata::EMPTY;
            let next =
                |n: u64| n.checked_add(1).ok_or_else(|| Fault::new(codes::OVERFLOW, "the version has no next one"));
            match text(a, 1) {
                "major" => {
                    if !(pre && version.minor == 0 && version.patch == 0) {
                        version = semver::Version::new(next(version.major)?, 0, 0);
                    }
                }
                "minor" => {
                    if !(pre && version.patch == 0) {
                        version = semver::Version::new(version.major, next(version.minor)?, 0);
                    }
                }
                "patch" => {
                    if !pre {
                        version.patch = next(version.patch)?;
                    }
                }
                other => {
                    let why = format!("a part is 'major', 'minor' or 'patch', not {other:?}");
                    return Err(Fault::new(codes::BAD_ARGUMENT, why));
                }
            }
            m.string(version.to_string())
        }),
    },
];

fn version(text: &str) -> Result<semver::Version> {
    let plain = text.trim();
    semver::Version::parse(plain.strip_prefix(['v', 'V']).unwrap_or(plain)).map_err(|why| {
        let shown = Value::text(text).preview();
        Fault::new(codes::BAD_ARGUMENT, format!("{shown} is not a semantic version such as 1.2.3: {why}"))
    })
}

fn requirement(text: &Value<'_>) -> std::result::Result<Prepared, String> {
    let text = text.as_str().unwrap_or_default();
    semver::VersionReq::parse(text)
        .map(Prepared::Versions)
        .map_err(|why| format!("{text:?} is not a requirement such as ^1.2: {why}"))
}
