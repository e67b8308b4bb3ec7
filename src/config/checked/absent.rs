//! What stands for a target or source whose secret is absent, where a configuration is checked without secrets: it
//! delivers and fetches nothing.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hexafn_actors::broker::Trouble;
use hexafn_actors::source::pull::{Session, Upstream};
use hexafn_actors::target::{Delivery, Failure, FailureClass, Mode, Outcome, Preview, Target};

/// Refuses every delivery.
#[derive(Debug)]
pub(super) struct Absent;

impl Target for Absent {
    fn kind(&self) -> &'static str {
        "absent"
    }

    fn destination(&self) -> String {
        "nowhere: its secret is absent".to_owned()
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: 1 }
    }

    fn preview(&self, _: Delivery<'_>) -> Result<Preview, Failure> {
        Err(Failure::new(FailureClass::Refused, "the secret of this target is absent"))
    }

    fn deliver<'a>(&'a self, _: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        let failure = Failure::new(FailureClass::Refused, "the secret of this target is absent");
        std::future::ready(Outcome::Failed(failure)).boxed()
    }
}

/// Fetches nothing.
#[derive(Debug)]
pub(super) struct AbsentUpstream;

impl Upstream for AbsentUpstream {
    fn kind(&self) -> &'static str {
        "absent"
    }

    fn origin(&self) -> String {
        "nowhere: its secret is absent".to_owned()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Session>, Trouble>> {
        std::future::ready(Err(Trouble::Rejected("the secret of this source is absent".to_owned()))).boxed()
    }
}
