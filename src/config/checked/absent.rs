//! A target whose secret is absent, where a configuration is checked without secrets: it delivers nothing.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
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
