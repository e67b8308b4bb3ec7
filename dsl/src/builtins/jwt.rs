//! JSON Web Tokens (RFC 7519): signatures and times are verified; the caller names the algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_decimal::Decimal;

use super::args::text;
use super::arithmetic::decimal;
use super::json::parse_json;
use super::objects::is_object;
use super::{Prepare, Prepared, Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "jwt_verify",
        signature: "(token: string, key: string | object, algorithm: string | array, options?: object) -> object!",
        doc: "The claims of a JSON Web Token whose signature and times are right; fails otherwise. The algorithm, or a \
              list of allowed ones, is given here and never taken from the token: HS256, HS384, HS512 with a secret, \
              RS256, RS384, RS512, ES256 with a public key in PEM; a key may also be a JWK or a JWK set, from which \
              the token's `kid` chooses. Options: `leeway` (a duration, 0s if not given, for `exp` and `nbf` against \
              `ctx.now`), `issuer` and `audience` (a text or a list), `require_exp` (true if not given).",
        examples: &[(
            "jwt_verify('eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c', 'your-256-bit-secret', 'HS256', { require_exp: false }).name",
            "\"John Doe\"",
        )],
        run: Run::PreparedContext(PREPARE, |m, a, prepared| verified(m, a, prepared)),
    },
    Row {
        name: "try_jwt_verify",
        signature: "(token: string, key: string | object, algorithm: string | array, options?: object) -> object | null",
        doc: "Like `jwt_verify`, and null if the token is not valid.",
        examples: &[("try_jwt_verify('a.b.c', 'your-256-bit-secret', 'HS256')", "null")],
        run: Run::PreparedContext(PREPARE, |m, a, prepared| {
            let settings = Settings::read(a)?;
            match checked(m, a, prepared, &settings) {
                Err(Fault::Error(failure)) if failure.code == codes::BAD_ARGUMENT => Ok(Value::Null),
                result => result,
            }
        }),
    },
    Row {
        name: "jwt_decode",
        signature: "(token: string) -> object!",
        doc: "What a JSON Web Token says, as `{ header, claims }`. Nothing is verified: whoever sent the token may \
              have written it.",
        examples: &[("jwt_decode('eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.').claims", "{\"sub\":\"a\"}")],
        run: Run::Pure(|m, a| {
            let (header, claims, _, _) = parts(m, text(a, 0))?;
            let (header, claims) = (object_of(m, &header)?, object_of(m, &claims)?);
            let mut object = ObjectBuilder::with_capacity(2);
            object.push_new(Text::Borrowed("header"), header);
            object.push_new(Text::Borrowed("claims"), claims);
            m.object(object)
        }),
    },
];

mod keys;

use keys::Algorithm;
pub(crate) use keys::Keys;

const PREPARE: Prepare = Prepare { make: keys::read, each: 100 };

/// What the caller asks of a token.
struct Settings {
    algorithms: Vec<Algorithm>,
    leeway_us: i64,
    require_exp: bool,
    issuer: Option<Vec<String>>,
    audience: Option<Vec<String>>,
}

impl Settings {
    fn read(args: &[Value<'_>]) -> Result<Self> {
        let bad = |why: String| Fault::new(codes::BAD_ARGUMENT, why);
        let names = texts(&args[2]).filter(|names| !names.is_empty());
        let names =
            names.ok_or_else(|| bad("an algorithm is a string such as 'RS256', or a list of such".to_owned()))?;
        let algorithms = names.iter().map(|name| Algorithm::named(name)).collect::<std::result::Result<Vec<_>, _>>();
        let mut settings = Self {
            algorithms: algorithms.map_err(bad)?,
            leeway_us: 0,
            require_exp: true,
            issuer: None,
            audience: None,
        };
        for (name, value) in args.get(3).and_then(Value::members).unwrap_or_default() {
            let wrong = |what: &str| bad(format!("the option `{}` is {what}, not {}", name.as_str(), value.preview()));
            match (name.as_str(), &value) {
                ("leeway", Value::Duration(us)) if *us >= 0 => settings.leeway_us = *us,
                ("leeway", _) => return Err(wrong("a duration from 0s on")),
                ("require_exp", Value::Bool(required)) => settings.require_exp = *required,
                ("require_exp", _) => return Err(wrong("true or false")),
                ("issuer", value) => {
                    settings.issuer = Some(texts(value).ok_or_else(|| wrong("a string or a list of strings"))?)
                }
                ("audience", value) => {
                    settings.audience = Some(texts(value).ok_or_else(|| wrong("a string or a list of strings"))?)
                }
                (other, _) => {
                    let known = "there are leeway, issuer, audience and require_exp";
                    return Err(bad(format!("there is no option `{other}`; {known}")));
                }
            }
        }
        Ok(settings)
    }
}

/// A string as a list, or a list of strings.
fn texts(value: &Value<'_>) -> Option<Vec<String>> {
    match value.as_str() {
        Some(text) => Some(vec![text.to_owned()]),
        None => value.items()?.map(|item| item.as_str().map(str::to_owned)).collect(),
    }
}

fn verified<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], prepared: &Prepared) -> Result<Value<'e>> {
    let settings = Settings::read(args)?;
    checked(m, args, prepared, &settings)
}

#[cold]
fn refused(why: impl std::fmt::Display) -> Fault {
    Fault::new(codes::BAD_ARGUMENT, format!("the token is refused: {why}"))
}

/// The header, the claims and the signature, decoded, and the text that is signed.
type Parts<'t> = (Vec<u8>, Vec<u8>, Vec<u8>, &'t str);

fn parts<'t>(m: &mut Machine<'_, '_>, token: &'t str) -> Result<Parts<'t>> {
    const LONGEST: usize = 64 * 1024;
    m.budget.step(token.len() as u64 / 4)?;
    m.budget.make(token.len())?;
    if token.len() > LONGEST {
        return Err(refused(format!("it has more than {LONGEST} bytes")));
    }
    let bad = || refused("it is not three parts in base64url between dots");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(bad)?;
    let (header, claims) = signed.split_once('.').ok_or_else(bad)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad());
    Ok((decode(header)?, decode(claims)?, decode(signature)?, signed))
}

fn object_of<'e>(m: &mut Machine<'_, 'e>, bytes: &[u8]) -> Result<Value<'e>> {
    let text = std::str::from_utf8(bytes).map_err(|_| refused("a part of it is not JSON"))?;
    let value = parse_json(m, text).map_err(|fault| match fault {
        Fault::Error(failure) if failure.code == codes::BAD_ARGUMENT => refused("a part of it is not JSON"),
        fault => fault,
    })?;
    if is_object(&value) { Ok(value) } else { Err(refused("a part of it is not a JSON object")) }
}

fn checked<'e>(
    m: &mut Machine<'_, 'e>,
    args: &[Value<'e>],
    prepared: &Prepared,
    settings: &Settings,
) -> Result<Value<'e>> {
    let Prepared::Keys(keys) = prepared else { return Ok(Value::Null) };
    let (header, claims, signature, signed) = parts(m, text(args, 0))?;
    let header = object_of(m, &header)?;
    let named = header.get("alg").unwrap_or_default();
    let algorithm = settings.algorithms.iter().find(|allowed| named.as_str() == Some(allowed.name()));
    let Some(algorithm) = algorithm else {
        return Err(refused(format!("its algorithm is {}, which is not allowed here", named.preview())));
    };
    if header.get("crit").is_some() {
        return Err(refused("it demands extensions (`crit`) that are not known"));
    }
    let kid = header.get("kid").unwrap_or_default();
    m.budget.step(algorithm.steps())?;
    keys.verify(*algorithm, kid.as_str(), signed.as_bytes(), &signature).map_err(refused)?;
    let claims = object_of(m, &claims)?;
    times(m, &claims, settings)?;
    if let Some(issuers) = &settings.issuer {
        let issuer = claims.get("iss").unwrap_or_default();
        if !issuers.iter().any(|known| issuer.as_str() == Some(known)) {
            return Err(refused(format!("its issuer is {}", issuer.preview())));
        }
    }
    if let Some(audiences) = &settings.audience {
        let audience = claims.get("aud").unwrap_or_default();
        let meant = texts(&audience).unwrap_or_default();
        if !meant.iter().any(|name| audiences.contains(name)) {
            return Err(refused(format!("it is meant for {}", audience.preview())));
        }
    }
    Ok(claims)
}

/// `exp` and `nbf`, which are seconds, whole or not.
fn times(m: &Machine<'_, '_>, claims: &Value<'_>, settings: &Settings) -> Result<()> {
    let now = Decimal::from(m.input.ctx.now_us) / Decimal::from(1_000_000);
    let leeway = Decimal::from(settings.leeway_us) / Decimal::from(1_000_000);
    let seconds = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ (Value::Int(_) | Value::Dec(_))) => decimal(&value).map(Some),
        Some(other) => Err(refused(format!("`{name}` is not a number of seconds but {}", other.preview()))),
    };
    match seconds("exp")? {
        Some(end) if end.checked_add(leeway).is_some_and(|end| now >= end) => {
            return Err(refused(format!("it expired: `exp` is {end}, and now is {}", now.trunc())));
        }
        None if settings.require_exp => {
            return Err(refused("it has no `exp`; the option `require_exp: false` lets it through"));
        }
        _ => {}
    }
    match seconds("nbf")? {
        Some(begin) if begin.checked_sub(leeway).is_some_and(|begin| now < begin) => {
            Err(refused(format!("it is not valid yet: `nbf` is {begin}, and now is {}", now.trunc())))
        }
        _ => Ok(()),
    }
}
