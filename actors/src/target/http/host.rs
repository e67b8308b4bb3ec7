//! Which hosts a `url` with templates can lead to. The secrets of a target go wherever its requests go, so what the setting
//! writes of the host must be there in every URL, and an event adds nothing to it but what a name consists of.

use regex::Regex;

use crate::target::Template;

/// What stands for a `${…}` in [`Template::shape`].
const GIVEN: char = '\0';
/// What an event may give within a host that the setting writes a part of. A port, a user or an end of the host would make
/// another host of it.
const PART: &str = r"[\w.-]*";

/// What a `url` says of its host.
#[derive(Debug)]
pub(super) struct Host {
    /// How its URLs begin; none where that is certain, or where an event gives the whole URL.
    form: Option<Regex>,
    /// Whether nothing of it is of an event.
    pub(super) constant: bool,
    /// Whether the setting chooses whose it is: that is what the end of a name says.
    pub(super) chosen: bool,
}

impl Host {
    /// Reads the setting.
    pub(super) fn of(template: &Template) -> Result<Self, regex::Error> {
        let shape = template.shape();
        let is_scheme = |scheme: &str| ["http", "https"].contains(&scheme) || scheme.chars().all(|c| c == GIVEN);
        let Some((scheme, rest)) = shape.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Self { form: None, constant: false, chosen: false });
        };
        let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if ![scheme, host].iter().any(|part| part.contains(GIVEN)) {
            return Ok(Self { form: None, constant: true, chosen: true });
        }
        let name = host.trim_end_matches(GIVEN);
        let open = name.len() < host.len();
        let behind_name = open && name.ends_with(|c: char| c.is_alphanumeric() || c == ']');
        // What the setting writes behind the host must stay there, too: else an event could end the host before it.
        let path = rest.split(GIVEN).next().unwrap_or_default();
        let (host, end) = match path.chars().next() {
            // Behind a whole name an event gives the path: `https://example.com${event.data.path}`. Only where the path of the
            // setting follows may it as well be the rest of the name.
            Some('/') if behind_name => (host, "[/?#]".to_owned()),
            _ if behind_name => (name, r"(?:[/?#]|\z)".to_owned()),
            Some(_) => (host, regex::escape(path)),
            None if open => (host, r"(?:[/?#]|\z)".to_owned()),
            None => (host, r"\z".to_owned()),
        };
        let written = if name.is_empty() { "[^/?#]+".to_owned() } else { in_form(host) };
        let chosen = host.rsplit_once(GIVEN).is_none_or(|(_, end)| {
            let domain = end.split(':').next().unwrap_or_default();
            domain.len() > 1 && domain.starts_with('.')
        });
        let form = Regex::new(&format!(r"\A{}://{written}{end}", in_form(scheme)))?;
        Ok(Self { form: Some(form), constant: !host.contains(GIVEN), chosen })
    }

    /// Whether a URL that was made of the template has the host that the setting writes.
    pub(super) fn check(&self, url: &str) -> Result<(), String> {
        if self.form.as_ref().is_none_or(|form| form.is_match(url)) {
            return Ok(());
        }
        Err("its host would not be the one that is written: within it an event may give letters, digits, `-`, `_` and `.` only, \
             and directly behind it what begins with `/`, `?` or `#`"
            .to_owned())
    }
}

/// A part of the setting as its URLs have it.
fn in_form(text: &str) -> String {
    text.split(GIVEN).map(regex::escape).collect::<Vec<_>>().join(PART)
}
