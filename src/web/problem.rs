//! Errors as RFC 9457 problem details: `application/problem+json` with a stable `code`.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpResponse, ResponseError};
use hexafn_actors::log;
use hexafn_actors::source::door::DoorError;
use hexafn_actors::supervision::{ControlError, suggestion};
use hexafn_actors::{system, topic};
use hexafn_dsl::SchemaFault;
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;

use super::printable;

/// A problem: what a client is told. Boxed, since errors are rare and results are passed on at every step.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Problem(Box<Fields>);

#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(inline)]
struct Fields {
    status: u16,
    /// Stable, for programs.
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    /// This occurrence: where, what was expected, what to do.
    detail: Cow<'static, str>,
    #[serde(skip)]
    retry_after: Option<u64>,
    /// A resource, and what to say of the names that there are of it.
    #[serde(skip)]
    names: Option<(String, String)>,
    /// For a refused reload or event: what is wrong where.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<serde_json::Value>,
}

impl Problem {
    /// A problem with the title of its status.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Problem");
        let (code, title, detail) = (code.into(), title.into(), detail.into());
        Self(Box::new(Fields { status, code, title, detail, retry_after: None, names: None, errors: None }))
    }

    /// With `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// 404 for a name that nothing of its kind has. What there is (`near`) is told only to those who may list the resource, by
    /// [`gate`](super::gate::gate).
    pub fn unknown(kind: &str, name: &str, near: impl Into<String>) -> Self {
        let detail = format!("there is no {kind} `{}`", printable(name));
        let mut problem = Self::new(404, format!("{kind}-unknown"), detail);
        problem.0.names = Some((format!("{kind}s"), near.into()));
        problem
    }

    /// The same with the names that there are, where it has some and the resource may be listed.
    pub fn with_names(&self, may_list: impl FnOnce(&str) -> bool) -> Option<Self> {
        let (_, near) = self.0.names.as_ref().filter(|(resource, _)| may_list(resource))?;
        let mut told = self.clone();
        told.0.detail = format!("{}; {near}", self.0.detail).into();
        Some(told)
    }

    /// With a list of what is wrong where.
    #[must_use]
    pub fn errors(mut self, errors: serde_json::Value) -> Self {
        self.0.errors = Some(errors);
        self
    }

    /// The answer.
    pub fn response(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.0.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.body(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.response()
    }
}

impl From<DoorError> for Problem {
    fn from(e: DoorError) -> Self {
        let retry_after = e.retry_after_seconds();
        let mut problem = Self::new(e.status, e.code, e.detail);
        problem.0.title = e.title.into();
        problem.0.retry_after = retry_after;
        if !e.faults.is_empty() {
            let fault = |f: &SchemaFault| json!({ "path": f.path, "keyword": f.keyword, "message": f.message });
            problem.0.errors = Some(e.faults.iter().map(fault).collect());
        }
        problem
    }
}

impl From<log::Error> for Problem {
    fn from(e: log::Error) -> Self {
        match e {
            log::Error::Full => Self::new(507, "disk-full", e.to_string()).retry_after(5),
            log::Error::Stopped => Self::new(503, "journal-restarting", e.to_string()).retry_after(1),
            log::Error::NoTopic(_) => Self::new(404, "topic-unknown", e.to_string()),
            log::Error::Failed(_) => Self::new(503, "journal-failed", e.to_string()).retry_after(5),
            // Paths of the machine stay in the log of the service.
            other => {
                tracing::error!(error = %other, "request failed");
                Self::new(500, "log-unreadable", "the log cannot be read; see the log of the service")
            }
        }
    }
}

impl From<topic::cast::Error> for Problem {
    fn from(e: topic::cast::Error) -> Self {
        use topic::cast::Error as E;
        match e {
            E::Log(e) => e.into(),
            E::Name(_) => Self::new(400, "topic-name", e.to_string()),
            E::TooMany(_) => Self::new(507, "too-many-topics", e.to_string()),
            E::Unknown { name, near } => Self::unknown("topic", &name, near),
            E::Needed { .. } => Self::new(409, "topic-needed", e.to_string()),
            E::Start(_) => Self::new(503, "topic-restarting", e.to_string()).retry_after(1),
        }
    }
}

impl From<system::Error> for Problem {
    fn from(e: system::Error) -> Self {
        use system::Error as E;
        match e {
            E::Log(e) => e.into(),
            E::Cast(e) => e.into(),
            E::Control(e) => e.into(),
            E::Unknown { kind, name, near } => Self::unknown(kind, &name, near),
            E::NoLetter { .. } => Self::new(404, "letter-unknown", e.to_string()),
            E::Invalid(_) => Self::new(400, "subscription-invalid", e.to_string()),
            E::InUse { .. } => Self::new(409, "topic-in-use", e.to_string()),
            E::NoAttempts(_) => Self::new(409, "target-is-topic", e.to_string()),
            E::Busy => Self::new(503, "overloaded", e.to_string()).retry_after(1),
            E::OverSize => Self::new(507, "storage-full", e.to_string()).retry_after(5),
            E::Gone(_) => Self::new(503, "restarting", e.to_string()).retry_after(1),
            E::Thread(_) => Self::new(500, "thread", e.to_string()),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(e: ControlError) -> Self {
        match e {
            ControlError::Unknown { path, near } => Self::unknown("actor", &path, suggestion(&near)),
            _ => Self::new(409, "control-refused", e.to_string()),
        }
    }
}
