//! What holds for every scheme: what its signer makes its verifier accepts, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::source::secret::Fixed;

const NOW: Wall = Wall(1_700_000_000_000_000);
const SECRET: &str = "a secret of at least 24 bytes";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WHPK: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const WHSK: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

fn config(json: &str) -> VerifyConfig {
    serde_json::from_str(json).expect("a verify setting")
}

/// The secrets are the variables A, B, C …
fn named(secrets: &[&str]) -> Fixed {
    let names = ["A", "B", "C"];
    names.iter().zip(secrets).fold(Fixed::default(), |fixed, (name, value)| fixed.with(name, value))
}

pub(super) fn verifier(json: &str, secrets: &[&str]) -> Verifier {
    config(json).build(&named(secrets)).expect("a verifier")
}

pub(super) fn wrong(json: &str, secrets: &[&str]) -> String {
    config(json).build(&named(secrets)).expect_err("an error").to_string()
}

/// Every scheme: its configuration, the receiver's secret, the sender's, and whether it signs the body and a time.
struct Case {
    json: &'static str,
    receiver: &'static str,
    sender: &'static str,
    signs_time: bool,
}

const fn case(json: &'static str, secret: &'static str, signs_time: bool) -> Case {
    Case { json, receiver: secret, sender: secret, signs_time }
}

const SIGNED: &[Case] = &[
    case(r#"{ "scheme": "github", "secrets": ["env:A"] }"#, SECRET, false),
    case(r#"{ "scheme": "stripe", "secrets": ["env:A"] }"#, SECRET, true),
    case(r#"{ "scheme": "slack", "secrets": ["env:A"] }"#, SECRET, true),
    case(r#"{ "scheme": "standard", "secrets": ["env:A"] }"#, WHSEC, true),
    Case { json: r#"{ "scheme": "standard", "secrets": ["env:A"] }"#, receiver: WHPK, sender: WHSK, signs_time: true },
    case(r#"{ "scheme": "shopify", "secrets": ["env:A"] }"#, SECRET, false),
    case(r#"{ "scheme": "hmac", "secrets": ["env:A"], "header": "X-Sig", "algorithm": "sha1" }"#, SECRET, false),
    case(
        r#"{ "scheme": "hmac", "secrets": ["env:A"], "header": "X-Sig", "algorithm": "sha512", "encoding": "base64",
             "template": "{method}|{query}|{id}|{timestamp}|{header:x-extra}|{body}", "id_header": "X-Id",
             "timestamp_header": "X-Time", "timestamp_format": "rfc3339", "prefix": "v1=" }"#,
        SECRET,
        true,
    ),
];

const UNSIGNED: &[Case] = &[
    case(r#"{ "scheme": "token", "secrets": ["env:A"], "id_header": "X-Id" }"#, "0123456789abcdef0123456789", false),
    case(r#"{ "scheme": "none", "id_header": "X-Id" }"#, SECRET, false),
];

fn sign(case: &Case, body: &[u8]) -> Vec<(String, String)> {
    let extra = vec![("X-Extra".to_owned(), "extra".to_owned())];
    let signer = config(case.json).build_signer(&named(&[case.sender])).unwrap();
    let request = RequestParts { method: "POST", query: "q=1", headers: &extra };
    let mut headers = signer.sign(&Delivery { id: "id-1", kind: Some("kind"), now: NOW, request, body });
    headers.extend(extra.clone());
    headers
}

fn check(case: &Case, headers: &Vec<(String, String)>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
    let request = RequestParts { method: "POST", query: "q=1", headers };
    verifier(case.json, &[case.receiver]).check(&request, body, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_accepted_and_every_flipped_bit_is_refused(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        for case in SIGNED.iter().chain(UNSIGNED) {
            let headers = sign(case, &body);
            prop_assert!(check(case, &headers, &body, NOW).is_ok(), "{}", case.json);
        }
        let mut flipped = body.clone();
        flipped[at.index(body.len())] ^= 1 << bit;
        for case in SIGNED {
            let headers = sign(case, &body);
            prop_assert_eq!(check(case, &headers, &flipped, NOW), Err(Refusal::BadSignature), "{}", case.json);
            let late = check(case, &headers, &body, NOW.plus(Duration::from_secs(302)));
            prop_assert_eq!(late.is_err(), case.signs_time, "{}", case.json);
        }
    }

    #[test]
    fn a_changed_header_is_refused(line in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        for case in SIGNED {
            let body = b"{\"a\":1}";
            let signed = sign(case, body);
            let line = line.index(signed.len());
            let mut changed = signed.clone();
            let value = &mut changed[line].1;
            let at = at.index(value.len());
            let old = value.as_bytes()[at];
            let new = if old == b'1' { "2" } else { "1" };
            value.replace_range(at..=at, new);
            let name = changed[line].0.to_ascii_lowercase();
            // The ids and types of these providers are not signed; their documentation says so.
            let unsigned = ["x-github-delivery", "x-github-event", "x-shopify-topic", "x-shopify-webhook-id", "x-type"];
            let covered = !unsigned.contains(&name.as_str()) && (name != "x-extra" || case.json.contains("x-extra"));
            if covered {
                prop_assert!(check(case, &changed, body, NOW).is_err(), "{} {name}", case.json);
            }
        }
    }

    #[test]
    fn no_header_or_body_panics(
        value in "\\PC{0,80}",
        time in "[0-9TZ:.+-]{0,30}",
        body in proptest::collection::vec(any::<u8>(), 0..100),
        now in any::<i64>(),
    ) {
        for case in SIGNED.iter().chain(UNSIGNED) {
            let names = ["X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "webhook-signature",
                "X-Shopify-Hmac-Sha256", "X-Sig", "Authorization", "webhook-id", "X-Id"];
            let mut headers: Vec<(String, String)> = names.iter().map(|n| ((*n).to_owned(), value.clone())).collect();
            for name in ["X-Slack-Request-Timestamp", "webhook-timestamp", "X-Time"] {
                headers.push((name.to_owned(), time.clone()));
            }
            let accepted = check(case, &headers, &body, Wall(now)).is_ok();
            prop_assert!(!accepted || case.json.contains("none"));
        }
        super::slack::challenge(&body);
    }
}

#[test]
fn without_a_header_every_scheme_refuses() {
    for case in SIGNED.iter().chain(&UNSIGNED[..1]) {
        assert_eq!(check(case, &Vec::new(), b"{}", NOW), Err(Refusal::MissingSignature), "{}", case.json);
    }
}

#[test]
fn two_secrets_rotate_and_three_are_refused() {
    let two = r#"{ "scheme": "github", "secrets": ["env:A", "env:B"] }"#;
    let (old, new) = ("the old secret, 24 bytes and more", "the new secret, 24 bytes and more");
    for sender in [old, new] {
        let one = case(r#"{ "scheme": "github", "secrets": ["env:A"] }"#, sender, false);
        let headers = sign(&Case { sender, ..one }, b"{}");
        let request = RequestParts::post(&headers);
        assert!(verifier(two, &[new, old]).check(&request, b"{}", NOW).is_ok());
    }
    let three = r#"{ "scheme": "github", "secrets": ["env:A", "env:B", "env:C"] }"#;
    assert!(wrong(three, &[old, new, old]).contains("at most 2"));
    assert!(wrong(r#"{ "scheme": "github", "secrets": [] }"#, &[]).contains("name one"));
}

#[test]
fn secrets_are_long_enough_and_never_shown() {
    let json = r#"{ "scheme": "github", "secrets": ["env:A"] }"#;
    let error = wrong(json, &["hunter2"]);
    assert!(error.contains("env:A has 7 bytes; 24 to 64") && !error.contains("hunter2"), "{error}");
    assert!(wrong(json, &[&"x".repeat(65)]).contains("has 65 bytes"));
    assert!(wrong(json, &[]).contains("not set"));
    for case in SIGNED.iter().chain(UNSIGNED) {
        let shown = format!("{:?}", verifier(case.json, &[case.receiver]));
        assert!(!shown.contains(case.receiver) && !shown.contains("secret of"), "{shown}");
    }
}

#[test]
fn settings_with_unknown_names_list_what_exists() {
    let error = |json: &str| serde_json::from_str::<VerifyConfig>(json).unwrap_err().to_string();
    assert!(error(r#"{ "scheme": "gihub", "secrets": [] }"#).contains("`github`"));
    let unknown = error(r#"{ "scheme": "github", "secrets": [], "tolerance": "5m" }"#);
    assert!(unknown.contains("tolerance") && unknown.contains("`secrets`"), "{unknown}");
    assert!(error(r#"{ "scheme": "none", "secrets": [] }"#).contains("unknown field"));
    assert!(error(r#"{ "scheme": "stripe", "secrets": ["env:A"], "tolerance": 300 }"#).contains("30s"));
    assert!(error(r#"{ "secrets": [] }"#).contains("scheme"));
    let pasted = error(r#"{ "scheme": "github", "secrets": ["hunter2-hunter2-hunter2"] }"#);
    assert!(pasted.contains("by reference") && !pasted.contains("hunter2"), "{pasted}");
}

#[test]
fn an_unknown_source_refuses_whatever_it_is_sent() {
    let headers = sign(&SIGNED[0], b"{}");
    let refused = Verifier::decoy().unwrap().check(&RequestParts::post(&headers), b"{}", NOW);
    assert_eq!(refused, Err(Refusal::MissingSignature));
}

#[test]
fn extremes_of_the_clock_are_stale_and_do_not_overflow() {
    for now in [Wall(i64::MIN), Wall(i64::MAX)] {
        let case = &SIGNED[1];
        let headers = sign(case, b"{}");
        assert_eq!(check(case, &headers, b"{}", now), Err(Refusal::Stale));
    }
}
