//! What a receiver says, without what must not be shown: the target's own secrets, which receivers echo, and what its
//! `redact` takes out of events. It is applied where an answer is shown, and to the message of each failure.

use std::borrow::Cow;
use std::sync::Arc;
use zeroize::Zeroizing;

use super::Failure;
use super::redact::Redactor;
use crate::event::Str;

/// What stands for a secret.
const HIDDEN: &str = "***";
/// Shorter texts are words that an answer holds anyway; to mask them would say that they are the secret.
const SHORTEST: usize = 4;
/// Parts of a secret, such as the path of an address or a line of a file, are told from other texts from this length on.
const PART: usize = 8;

/// What is not shown of a receiver's words.
#[derive(Default)]
pub struct Veil {
    /// The longest first, so that none hides a part of another and leaves the rest.
    secrets: Vec<Zeroizing<String>>,
    redactor: Option<Arc<Redactor>>,
}

impl std::fmt::Debug for Veil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Veil").field("secrets", &self.secrets.len()).field("redactor", &self.redactor).finish()
    }
}

impl Veil {
    /// The secrets that a target was built with, in the forms in which it sends them, and what it redacts.
    pub fn new(secrets: Vec<Zeroizing<String>>, redactor: Option<Arc<Redactor>>) -> Self {
        let mut forms: Vec<Zeroizing<String>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { secrets: forms, redactor }
    }

    /// An answer, or a part of one, as it may be shown.
    pub fn text(&self, text: &Str) -> Str {
        let masked = masked(text, &self.secrets);
        match (&self.redactor, masked) {
            (Some(redactor), masked) => redactor.words(&masked).into(),
            (None, Cow::Owned(masked)) => masked.into(),
            (None, Cow::Borrowed(_)) => text.clone(),
        }
    }

    /// A failure whose message may be shown. Its answer is veiled where it is shown: most are never looked at.
    #[must_use]
    pub fn failure(&self, failure: Failure) -> Failure {
        let message = self.text(&failure.message);
        Failure { message, ..failure }
    }
}

/// A secret as it may come back: whole, its lines, the path of an address, and with slashes as some write them in JSON.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let whole = secret.trim();
    let mut forms = vec![whole];
    forms.extend(whole.strip_prefix("whsec_"));
    if whole.contains('\n') {
        forms.extend(whole.lines().map(str::trim).filter(|line| line.len() >= PART && !line.starts_with('-')));
    }
    if let Some((_, rest)) = whole.split_once("://") {
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        forms.extend(user.map(|(_, password)| password));
        forms.extend(Some(path).filter(|path| path.len() >= PART));
    }
    let mut owned: Vec<_> =
        forms.into_iter().filter(|form| form.len() >= SHORTEST).map(|form| Zeroizing::new(form.to_owned())).collect();
    let escaped: Vec<_> = owned.iter().filter(|form| form.contains('/')).map(|form| form.replace('/', "\\/")).collect();
    owned.extend(escaped.into_iter().map(Zeroizing::new));
    owned
}

/// A text without these secrets, nor the beginning of one at its end, where it was cut.
pub(super) fn masked<'t>(text: &'t str, secrets: &[Zeroizing<String>]) -> Cow<'t, str> {
    let mut out = Cow::Borrowed(text);
    for secret in secrets {
        if out.contains(secret.as_str()) {
            out = Cow::Owned(out.replace(secret.as_str(), HIDDEN));
        }
    }
    let cut = secrets.iter().filter_map(|secret| {
        let starts =
            ((secret.len() / 4).clamp(SHORTEST, PART)..secret.len()).filter(|size| secret.is_char_boundary(*size));
        starts.filter(|size| out.ends_with(&secret[..*size])).max()
    });
    if let Some(size) = cut.max() {
        let kept = out.len() - size;
        out = Cow::Owned(format!("{}{HIDDEN}", &out[..kept]));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::target::RedactSettings;

    fn veil(secrets: &[&str], redact: Option<&str>) -> Veil {
        let redactor = redact.map(|toml| {
            let settings: RedactSettings = toml::from_str(toml).unwrap();
            Arc::new(Redactor::new("t", &settings).unwrap())
        });
        Veil::new(secrets.iter().map(|s| Zeroizing::new((*s).to_owned())).collect(), redactor)
    }

    fn shown(veil: &Veil, text: &str) -> String {
        veil.text(&text.into()).to_string()
    }

    #[test]
    fn secrets_are_not_shown_in_any_form_that_a_receiver_may_echo() {
        let veil = veil(
            &[
                "tok-12345678\n",
                "whsec_MfKQ9r8GKYqr",
                "https://u:pass@example.com/T0/B0/xyz9",
                "abc",
                "a/b+c=d",
                "line one is long\nline two is long",
            ],
            None,
        );
        for (text, expected) in [
            ("bad token tok-12345678!", "bad token ***!"),
            ("MfKQ9r8GKYqr and whsec_MfKQ9r8GKYqr", "*** and ***"),
            ("no route /T0/B0/xyz9 for u:pass", "no route *** for u:***"),
            ("abc is a word", "abc is a word"),
            (r#"{"key":"a\/b+c=d"}"#, r#"{"key":"***"}"#),
            ("got: line two is long", "got: ***"),
            ("cut off within tok-123456", "cut off within ***"),
            ("ends with tok", "ends with tok"),
        ] {
            assert_eq!(shown(&veil, text), expected);
        }
        assert!(!format!("{veil:?}").contains("tok"));
        let text: Str = "nothing of it".into();
        assert!(Arc::ptr_eq(&veil.text(&text), &text), "what is not changed is not copied");
    }

    #[test]
    fn what_a_target_redacts_is_not_shown_when_its_receiver_says_it() {
        let all = veil(&[], Some("emails = true\npatterns = ['id-\\d+']\nkeys = '(?i)token|owner'"));
        for (text, expected) in [
            ("jo@example.org is unknown (id-77)", "[redacted] is unknown ([redacted])"),
            (r#"{"owner": {"name": "Jo", "of": [1]}, "ok": 1}"#, r#"{"owner": "[redacted]", "ok": 1}"#),
            (
                r#"{\n  "apiToken" : "x\"y",\n  "n": 5, "token": 7}"#,
                r#"{\n  "apiToken" : "[redacted]",\n  "n": 5, "token": "[redacted]"}"#,
            ),
            (r#"{"owner": {"name": "cut"#, r#"{"owner": "[redacted]""#),
            (r#"the word "token" alone"#, r#"the word "token" alone"#),
        ] {
            assert_eq!(shown(&all, text), expected);
        }
        assert_eq!(shown(&veil(&[], Some("paths = ['a']")), "jo@example.org"), "jo@example.org");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", secret in "\\PC{0,12}") {
            let veil = Veil::new(vec![Zeroizing::new(secret.clone())], None);
            let shown = veil.text(&format!("{text}{secret}").as_str().into());
            let secret = secret.trim();
            proptest::prop_assert!(secret.len() < SHORTEST || HIDDEN.contains(secret) || !shown.ends_with(secret));
        }
    }
}
