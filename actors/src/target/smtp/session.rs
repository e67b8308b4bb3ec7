//! The conversation with the mail server, step by step, so that a refusal is told with what was refused.
//!
//! All or nothing: when one recipient is refused the mail goes to nobody, since an event has one outcome, and a second
//! attempt would reach those again who have it.

use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use lettre::transport::smtp::{self};
use std::error::Error as _;
use std::time::Duration;
use tokio::time::Instant;

use super::capped::Capped;
use super::mail::{Mail, Recipient};
use super::{Kept, Security, SmtpTarget};
use crate::target::http::failure::{chain, is_tls};
use crate::target::http::guard::special_range;
use crate::target::http::reply::{beginning, excerpt};
use crate::target::{Detail, Failure, FailureClass, Verdict};

/// A connection that has been silent for so long is asked whether it still stands.
const DOUBTFUL: Duration = Duration::from_secs(1);
/// One that has been silent for so long is not used any more: servers end them.
const STALE: Duration = Duration::from_secs(30);
/// How long a server may take to say goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// Mails over one connection; servers bound them.
const MAILS: u32 = 50;

/// Where in the conversation something went wrong.
enum Step<'a> {
    Connect,
    SignIn,
    From,
    To(&'a Recipient),
    Content,
}

impl Step<'_> {
    /// What was being done, for people.
    fn doing(&self) -> String {
        match self {
            Step::Connect => "connecting".to_owned(),
            Step::SignIn => "signing in as `username`".to_owned(),
            Step::From => "the sender".to_owned(),
            Step::To(recipient) => format!("the recipient <{}>", recipient.address),
            Step::Content => "the mail".to_owned(),
        }
    }
}

impl SmtpTarget {
    /// Sends a mail; the attempt ends at `deadline`.
    pub(super) async fn send(&self, mail: &Mail, deadline: Instant, detail: &mut Detail) -> Result<(), Failure> {
        let (mut connection, mails) = self.connected(deadline).await?;
        match self.converse(&mut connection, mail, detail).await {
            Ok(response) => {
                detail.sent = mail.bytes.len() as u64;
                detail.reply = beginning(response.message().collect::<Vec<_>>().join(" ").as_bytes());
                if mails + 1 < MAILS {
                    self.keep(Kept { connection, since: Instant::now(), mails: mails + 1 });
                }
                Ok(())
            }
            Err(failure) => {
                // What was begun ends with the connection.
                self.give_up(connection, deadline).await;
                Err(failure)
            }
        }
    }

    async fn converse(
        &self,
        connection: &mut AsyncSmtpConnection,
        mail: &Mail,
        detail: &mut Detail,
    ) -> Result<Response, Failure> {
        let (done, go_on) = (Severity::PositiveCompletion, Severity::PositiveIntermediate);
        let mut parameters = Vec::new();
        if self.needs_utf8(mail) && connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = MailFrom::new(Some(mail.from.clone()), parameters);
        self.answered(&Step::From, done, connection.command(from).await, detail)?;
        for recipient in &mail.to {
            let to = Rcpt::new(recipient.address.clone(), Vec::new());
            self.answered(&Step::To(recipient), done, connection.command(to).await, detail)?;
        }
        self.answered(&Step::Content, go_on, connection.command(Data).await, detail)?;
        self.answered(&Step::Content, done, connection.message(&mail.bytes).await, detail)
    }

    /// What was answered to a step, which must be of this kind: the library is content with 2xx and 3xx anywhere, and after one
    /// answer too many each is that of the step before.
    fn answered(
        &self,
        step: &Step<'_>,
        expected: Severity,
        answer: Result<Response, smtp::Error>,
        detail: &mut Detail,
    ) -> Result<Response, Failure> {
        let response = answer.map_err(|error| {
            detail.status = error.status().map(Into::into);
            self.failed(step, &error)
        })?;
        let code = response.code();
        detail.status = Some(code.into());
        if code.severity == expected {
            return Ok(response);
        }
        let doing = step.doing();
        let message = format!(
            "`{}` answers out of turn, so nobody knows what it has taken ({doing}): {code}, where {expected}xx is expected",
            self.endpoint
        );
        Err(Failure::new(FailureClass::Protocol, message))
    }

    /// Whether an address is not ASCII (RFC 6531).
    fn needs_utf8(&self, mail: &Mail) -> bool {
        let mut all = mail.to.iter().map(|r| &r.address).chain([&mail.from]);
        all.any(|address| !AsRef::<str>::as_ref(address).is_ascii())
    }

    /// A connection that stands, and how many mails went over it.
    async fn connected(&self, deadline: Instant) -> Result<(AsyncSmtpConnection, u32), Failure> {
        loop {
            let Some(mut kept) = self.idle().pop() else { break };
            let silent = kept.since.elapsed();
            if silent < DOUBTFUL || (silent < STALE && kept.connection.test_connected().await) {
                return Ok((kept.connection, kept.mails));
            }
        }
        Ok((self.open(deadline).await?, 0))
    }

    /// Ends a connection in the middle. A server that does not answer the goodbye must not turn what it said before into a
    /// time-out of the attempt.
    async fn give_up(&self, mut connection: AsyncSmtpConnection, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(GOODBYE.min(left / 2), connection.abort()).await.is_err() {
            tracing::debug!(to = %self.endpoint, "the mail server did not say goodbye");
        }
    }

    async fn open(&self, deadline: Instant) -> Result<AsyncSmtpConnection, Failure> {
        let addresses = self.endpoint.addresses().await?;
        if matches!(self.security, Security::None)
            && let Some(public) = addresses.iter().find(|address| special_range(address.ip()).is_none())
        {
            let message = format!(
                "`{}` is at {}, a public address: mail is not sent there without TLS; set `tls` to `required` or `starttls`",
                self.endpoint,
                public.ip()
            );
            return Err(Failure::new(FailureClass::Refused, message));
        }
        let tcp = self.endpoint.connect_to(addresses).await?;
        let remote = tcp.peer_addr();
        let remote = remote.map_err(|e| Failure::new(FailureClass::Connect, format!("`{}`: {e}", self.endpoint)))?;
        let stream: Box<dyn AsyncTokioStream> = match &self.security {
            Security::AtOnce(config, name) => {
                Box::new(Capped::new(self.endpoint.secure(tcp, config, name).await?, remote, false))
            }
            Security::None => Box::new(Capped::new(tcp, remote, false)),
            Security::Starttls(_) => Box::new(Capped::new(tcp, remote, true)),
        };
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        let mut connection = connected.map_err(|e| self.failed(&Step::Connect, &e))?;
        if let Security::Starttls(tls) = &self.security {
            if !connection.can_starttls() {
                self.give_up(connection, deadline).await;
                let message = format!(
                    "`{}` does not offer STARTTLS, and mail is not sent without; `tls = \"required\"` and port 465 may do",
                    self.endpoint
                );
                return Err(Failure::new(FailureClass::Tls, message));
            }
            let encrypted = connection.starttls(tls.clone(), &self.hello).await;
            encrypted.map_err(|e| self.failed(&Step::Connect, &e))?;
        }
        if let Some(credentials) = &self.credentials {
            let signed_in = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            if let Err(error) = signed_in {
                self.give_up(connection, deadline).await;
                return Err(self.failed(&Step::SignIn, &error));
            }
        }
        Ok(connection)
    }

    fn failed(&self, step: &Step<'_>, error: &smtp::Error) -> Failure {
        let doing = step.doing();
        let Some(status) = error.status() else {
            return self.broken(&doing, error);
        };
        let code = u16::from(status);
        let said = error.source().map(ToString::to_string).unwrap_or_default();
        let said = excerpt(said.as_bytes()).unwrap_or_default();
        let about_the_mail = matches!(step, Step::From | Step::To(_) | Step::Content);
        let lasting = error.is_permanent();
        let verdict = if lasting && about_the_mail { Verdict::DeadLetter } else { Verdict::Retry };
        let class = match step {
            // Not to be held against the server, or one event's address would stop the mails of the others.
            Step::To(recipient) if lasting && recipient.by_event => FailureClass::Refused,
            _ => FailureClass::Status(code),
        };
        let what = if lasting { "refused" } else { "refused for now" };
        let hint = match step {
            Step::SignIn => "; correct `username` and the secret of `password`",
            Step::To(_) => "; the mail went to nobody",
            _ => "",
        };
        Failure::new(class, format!("`{}` {what} {doing}: {code} {said}{hint}", self.endpoint)).verdict(verdict)
    }

    /// It failed without an answer.
    fn broken(&self, doing: &str, error: &smtp::Error) -> Failure {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut tls = error.is_tls();
        while let Some(at) = cause {
            tls |= is_tls(at);
            cause = at.source();
        }
        let (class, what) = match tls {
            true => (FailureClass::Tls, "cannot be trusted or does not speak TLS"),
            false => (FailureClass::Protocol, "broke off, or does not speak SMTP"),
        };
        Failure::new(class, format!("`{}` {what} ({doing}): {}", self.endpoint, chain(error)))
    }
}
