//! The mail of an event: who from, who to, and the text.
//!
//! What comes from an event can fill a header and never end it: each address is read as one address, and the subject is
//! one line, before the library encodes them.

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

use super::Settings;
use crate::event::Str;
use crate::target::format::{Format, Formatter};
use crate::target::{Delivery, Error, Failure, Template, unusable};

/// The most recipients of a mail; servers take at least so many (RFC 5321, 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;
/// The longest subject, in characters: readers show less.
const MAX_SUBJECT: usize = 250;
/// The longest address with its name, in bytes.
const MAX_ADDRESS: usize = 1000;

/// Makes mails.
#[derive(Debug)]
pub(super) struct Writer {
    name: Str,
    from: Template,
    to: Vec<Template>,
    cc: Vec<Template>,
    bcc: Vec<Template>,
    reply_to: Option<Template>,
    subject: Option<Template>,
    text: Formatter,
    html: Option<Template>,
}

/// A mail to send.
#[derive(Debug)]
pub(super) struct Mail {
    pub from: Address,
    pub to: Vec<Recipient>,
    pub bytes: Vec<u8>,
}

/// One who gets it.
#[derive(Debug)]
pub(super) struct Recipient {
    pub address: Address,
    /// The event named the address; else the configuration did.
    pub by_event: bool,
}

impl Writer {
    pub(super) fn new(name: &Str, settings: &Settings) -> Result<Self, Error> {
        if settings.to.is_empty() {
            return Err(Error::setting(name, "to", "a mail needs somebody to go to: `to = [\"jo@example.org\"]`"));
        }
        let compile = |field: &str, text: &str| Template::compile(name, field, text);
        let address = |field: &str, text: &str| {
            let template = compile(field, text)?;
            if let Some(constant) = template.constant() {
                mailbox(constant).map_err(|e| Error::setting(name, field, e))?;
            }
            Ok(template)
        };
        let addresses = |field: &str, texts: &[String]| {
            if texts.len() > MAX_RECIPIENTS {
                let message = format!("expected at most {MAX_RECIPIENTS}, found {}", texts.len());
                return Err(Error::setting(name, field, message));
            }
            texts.iter().enumerate().map(|(at, text)| address(&format!("{field}.{at}"), text)).collect()
        };
        let optional = |field: &str, text: &Option<String>| text.as_deref().map(|t| compile(field, t)).transpose();
        Ok(Self {
            name: name.clone(),
            from: address("from", &settings.from)?,
            to: addresses("to", &settings.to)?,
            cc: addresses("cc", &settings.cc)?,
            bcc: addresses("bcc", &settings.bcc)?,
            reply_to: settings.reply_to.as_deref().map(|text| address("reply_to", text)).transpose()?,
            subject: optional("subject", &settings.subject)?,
            text: Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Json)?,
            html: optional("html", &settings.html)?,
        })
    }

    /// Who mails go to, for tables.
    pub(super) fn shown(&self) -> String {
        self.to.iter().map(Template::source).collect::<Vec<_>>().join(", ")
    }

    /// The mail of an event. What fails here fails with every attempt.
    pub(super) fn write(&self, delivery: Delivery<'_>) -> Result<Mail, Failure> {
        let event = &delivery.record.event;
        let from = self.address("from", &self.from, delivery)?;
        let from = from.ok_or_else(|| unusable("from", "it is empty"))?;
        let date = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(delivery.now.0).unwrap_or(0));
        let mut builder = Message::builder()
            .message_id(Some(self.message_id(&event.id, from.email.domain())))
            .date(date)
            .subject(self.subject_for(delivery)?)
            // Answering machines leave it alone (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        let mut to = Vec::new();
        for (field, templates) in [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)] {
            for template in templates {
                let Some(mailbox) = self.address(field, template, delivery)? else { continue };
                let by_event = template.constant().is_none();
                to.push(Recipient { address: mailbox.email.clone(), by_event });
                builder = match field {
                    "to" => builder.to(mailbox),
                    "cc" => builder.cc(mailbox),
                    _ => builder.bcc(mailbox),
                };
            }
        }
        if to.is_empty() {
            return Err(unusable("to", "the mail would go to nobody"));
        }
        if let Some(template) = &self.reply_to
            && let Some(mailbox) = self.address("reply_to", template, delivery)?
        {
            builder = builder.reply_to(mailbox);
        }
        let address = from.email.clone();
        builder = builder.from(from);
        let text = String::from_utf8_lossy(&self.text.one(delivery)?.bytes).into_owned();
        let message = match &self.html {
            Some(html) => {
                let html = html.render(delivery).map_err(|e| unusable("html", &e))?.into_owned();
                builder.multipart(MultiPart::alternative_plain_html(text, html))
            }
            None => builder.singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(text)),
        };
        let message = message.map_err(|e| unusable("to", &e.to_string()))?;
        Ok(Mail { from: address, to, bytes: message.formatted() })
    }

    /// One address; none when the template gives an empty text. More than one would let an event add receivers.
    fn address(&self, field: &str, template: &Template, delivery: Delivery<'_>) -> Result<Option<Mailbox>, Failure> {
        let text = template.render(delivery).map_err(|e| unusable(field, &e))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        mailbox(&text).map(Some).map_err(|e| unusable(field, &e))
    }

    fn subject_for(&self, delivery: Delivery<'_>) -> Result<String, Failure> {
        let text = match &self.subject {
            Some(template) => template.render(delivery).map_err(|e| unusable("subject", &e))?,
            None => (&*delivery.record.event.kind).into(),
        };
        let mut line: String = text.chars().take(MAX_SUBJECT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().nth(MAX_SUBJECT).is_some() {
            line.push('…');
        }
        Ok(line)
    }

    /// The same for every attempt, so that a mail that arrives twice is known as the same. A digest: an event's id may
    /// hold anything.
    fn message_id(&self, id: &str, domain: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(self.name.as_bytes());
        digest.update([0]);
        digest.update(id.as_bytes());
        format!("<{}@{domain}>", hex::encode(&digest.finalize()[..16]))
    }
}

/// Reads one address.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let shown = || text.chars().take(100).flat_map(char::escape_debug).collect::<String>();
    if text.len() > MAX_ADDRESS || text.chars().any(char::is_control) {
        return Err(format!("`{}` is no address: it is too long, or holds a control character", shown()));
    }
    text.trim().parse::<Mailbox>().map_err(|e| format!("`{}` is not one e-mail address: {e}", shown()))
}
