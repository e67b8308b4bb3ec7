//! `/ws/actors`: the supervision tree, then each change of it.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, ProtocolError, Session};
use serde::Deserialize;
use std::cell::RefCell;
use std::rc::Rc;

use super::super::App;
use super::super::problem::Problem;
use super::{BEHIND, CHECK, Heard, Holder, Outbox, begin, close, frame, heard};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    ticket: Option<String>,
}

pub(super) async fn open(
    app: web::Data<App>,
    request: HttpRequest,
    query: web::Query<Ticket>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), ("actors", "read", "*"))?;
    let (response, session, stream, outbox) = begin(&app, &request, payload)?;
    let session = ActorsSession { app, holder, session: Some(session), outbox };
    ActorsSession::create(|ctx| {
        ctx.add_stream(stream);
        session
    });
    Ok(response)
}

/// A live view of the supervision tree: first the whole tree, then each change.
struct ActorsSession {
    app: web::Data<App>,
    holder: Holder,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
}

impl ActorsSession {
    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        close(&mut self.session, code, why);
        ctx.stop();
    }
}

impl Actor for ActorsSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        use hexafn_actors::supervision::Watch;
        let (supervisor, outbox) = (self.app.system.supervisor().clone(), self.outbox.clone());
        let watch = async move {
            let push = |value: serde_json::Value| {
                let mut outbox = outbox.borrow_mut();
                outbox.push(frame::text(value.to_string().as_bytes()), None);
                outbox.bytes <= BEHIND && !outbox.ended
            };
            while let Ok(mut watching) = supervisor.send(Watch).await {
                if !push(serde_json::json!({ "nodes": watching.nodes })) {
                    return;
                }
                // Lagged: a new snapshot makes up for what was missed.
                while let Ok(change) = watching.changes.recv().await {
                    if !push(serde_json::json!(change)) {
                        return;
                    }
                }
            }
        };
        ctx.spawn(
            watch.into_actor(self).map(|(), this, ctx| this.close(CloseCode::Again, "too slow; connect again", ctx)),
        );
        ctx.run_interval(CHECK, |this, ctx| {
            if this.outbox.borrow().ended {
                return ctx.stop();
            }
            if this.holder.check(&this.app).is_err() {
                this.close(CloseCode::Policy, "the token was revoked", ctx);
            }
        });
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for ActorsSession {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        match heard(message, self.session.as_ref()) {
            Heard::Fine | Heard::Said(_) => {}
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }
}
