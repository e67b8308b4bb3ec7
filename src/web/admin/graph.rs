//! The picture of the flow, for the console and `hexafn graph`.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::system::graph::{Graph, Kind};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::App;
use super::super::problem::Problem;

const KINDS: [(Kind, &str); 5] = [
    (Kind::Source, "sources"),
    (Kind::Topic, "topics"),
    (Kind::Trigger, "triggers"),
    (Kind::Function, "functions"),
    (Kind::Target, "targets"),
];

/// What the token may read of it.
pub(in super::super) async fn graph(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.enter(&request)?;
    let mut graph = app.system.graph().await?;
    let may_read = app.reader(&request)?;
    let hidden: Vec<_> = KINDS.iter().filter(|(_, resource)| !may_read(resource, "*")).collect();
    if !hidden.is_empty() {
        graph.retain(|node| {
            let hidden = hidden.iter().find(|(kind, _)| *kind == node.kind);
            hidden.is_none_or(|(_, resource)| may_read(resource, &node.name))
        });
    }
    if graph.nodes.is_empty() && hidden.len() == KINDS.len() {
        let message = "this token may see nothing of the flow; it needs scopes such as sources:read:*, topics:read:*, \
                       triggers:read:*, functions:read:*, targets:read:*";
        return Err(Problem::new(403, "scope-missing", message));
    }
    Ok(HttpResponse::Ok()
        .insert_header((actix_web::http::header::CACHE_CONTROL, "no-store"))
        .json(Picture { graph, partly_hidden: hidden.into_iter().map(|(_, resource)| *resource).collect() }))
}

/// The flow from sources to targets.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Picture {
    #[serde(flatten)]
    graph: Graph,
    /// `sources`, `topics` … of which the token may not read all: those that it may not are left out, with their ways.
    partly_hidden: Vec<&'static str>,
}
