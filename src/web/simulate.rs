//! `POST /admin/simulate`: the dry run over the live definitions.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use hexafn_actors::clock::Wall;
use hexafn_actors::event::Event;
use hexafn_actors::log::{Record, TopicId};
use hexafn_actors::source::cloudevents;
use hexafn_actors::trigger::dry::dry_run;
use hexafn_dsl::json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::App;
use super::body::Json;
use super::problem::Problem;

/// The event to try, as the CLI and the API take it.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The topic that it would be stored in.
    pub topic: String,
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its data, any JSON; numbers stay as they are written.
    #[schemars(with = "serde_json::Value")]
    pub data: Box<RawValue>,
}

impl Trial {
    /// The record that the triggers would see.
    ///
    /// # Errors
    /// The data is beyond what an event may hold: it would not be let in.
    pub fn record(self) -> Result<Record, json::Error> {
        let data = Bytes::from(self.data.get().to_owned());
        let doc = json::Doc::parse(data.clone(), &json::Limits::default())?;
        let mut event = Event::new("/simulate", self.kind.as_deref().unwrap_or("simulated"), data).with_doc(doc);
        event.subject = self.subject.map(Into::into);
        event.key = self.key.map(Into::into);
        Ok(Record::new(self.topic.into(), TopicId(0), 0, Wall::now(), event))
    }
}

/// The handler.
pub async fn simulate(
    app: web::Data<App>,
    request: HttpRequest,
    Json(trial): Json<Trial>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "triggers", "read", "*")?;
    cloudevents::may_say(trial.kind.as_deref(), trial.subject.as_deref(), trial.key.as_deref())?;
    let record = trial.record().map_err(|e| Problem::new(400, e.code(), e.to_string()))?;
    let system = app.system.clone();
    let runs = web::block(move || {
        let off = system.disabled_triggers();
        dry_run(&system.definitions(), &record, |t| off.contains(&t.name))
    });
    let runs = runs.await.map_err(|e| Problem::new(500, "thread", e.to_string()))?;
    Ok(HttpResponse::Ok().json(runs))
}
