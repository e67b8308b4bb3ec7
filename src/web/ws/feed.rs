//! What a client only watches: texts that come by themselves, until it leaves, falls behind, or its token goes.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, ProtocolError, Session};
use futures_util::future::LocalBoxFuture;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::super::App;
use super::super::problem::Problem;
use super::{BEHIND, CHECK, Heard, Holder, Outbox, PING, SILENT, STOPPING, begin, close, frame, heard, ping};

/// Where the texts of a feed go.
pub(super) struct Viewer(Rc<RefCell<Outbox>>);

impl Viewer {
    /// Puts a text on its way. `false` when the client is too far behind, or gone: the feed ends.
    pub(super) fn push(&self, text: &str) -> bool {
        let mut outbox = self.0.borrow_mut();
        outbox.push(frame::text(text.as_bytes()), None);
        outbox.bytes <= BEHIND && !outbox.ended
    }
}

/// A feed under way.
struct Feed {
    app: web::Data<App>,
    holder: Holder,
    session: Option<Session>,
    outbox: Rc<RefCell<Outbox>>,
    heard: Instant,
    /// Taken at the start.
    watch: Option<LocalBoxFuture<'static, ()>>,
}

/// Answers a request with a feed. `watch` pushes texts until a push fails, or there are no more.
pub(super) fn open<F>(
    app: web::Data<App>,
    request: &HttpRequest,
    payload: web::Payload,
    holder: Holder,
    watch: impl FnOnce(Viewer) -> F,
) -> Result<HttpResponse, Problem>
where
    F: Future<Output = ()> + 'static,
{
    let (response, session, stream, outbox) = begin(&app, request, payload)?;
    let watch: LocalBoxFuture<'static, ()> = Box::pin(watch(Viewer(outbox.clone())));
    let feed = Feed { app, holder, session: Some(session), outbox, heard: Instant::now(), watch: Some(watch) };
    Feed::create(|ctx| {
        ctx.add_stream(stream);
        feed
    });
    Ok(response)
}

impl Feed {
    fn close(&mut self, code: CloseCode, why: &str, ctx: &mut Context<Self>) {
        close(&mut self.session, &self.outbox, code, why);
        ctx.stop();
    }

    /// Closes on a client that has fallen behind: what it was not sent is not kept for it. One that is gone was not slow.
    fn close_slow(&mut self, ctx: &mut Context<Self>) {
        if !self.outbox.borrow().ended {
            self.app.system.metrics().viewers_slow.inc();
        }
        self.outbox.borrow_mut().cut();
        self.close(CloseCode::Again, "too slow; connect again", ctx);
    }
}

impl Actor for Feed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(watch) = self.watch.take() else { return ctx.stop() };
        ctx.spawn(watch.into_actor(self).map(|(), this, ctx| this.close_slow(ctx)));
        let app = self.app.clone();
        let drain = async move { app.until_draining().await };
        ctx.spawn(drain.into_actor(self).map(|(), this, ctx| this.close(CloseCode::Restart, STOPPING, ctx)));
        ctx.run_interval(CHECK, |this, ctx| {
            if this.outbox.borrow().ended {
                return ctx.stop();
            }
            if this.holder.check(&this.app).is_err() {
                return this.close(CloseCode::Policy, "the token was revoked", ctx);
            }
            if this.heard.elapsed() > SILENT {
                this.close(CloseCode::Away, "no sign of life", ctx);
            }
        });
        ctx.run_interval(PING, |this, _| ping(this.session.as_ref()));
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Feed {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        match heard(message, &self.outbox) {
            Heard::Fine | Heard::Said(_) => {}
            Heard::End => self.close(CloseCode::Normal, "", ctx),
            Heard::Bad(code, why) => self.close(code, why, ctx),
        }
    }
}
