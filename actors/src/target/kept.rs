//! The connection of a target that keeps one to a broker: made at the first attempt, and anew when it is dead.

use std::future::Future;
use std::time::Instant;

use super::{Failure, FailureClass};
use crate::broker::Trouble;

/// See the module.
#[derive(Default)]
pub(super) enum Connection<C> {
    #[default]
    None,
    /// Why there is none, as it was seen then.
    Failed(Failure, Instant),
    Open(C),
}

impl<C: Clone> Connection<C> {
    /// The connection: the one that is there, or a new one, for an attempt that began then. Whoever waited while another
    /// failed to connect fails alike.
    pub(super) async fn get(
        &mut self,
        began: Instant,
        is_dead: impl FnOnce(&C) -> bool,
        connect: impl Future<Output = Result<C, Failure>>,
    ) -> Result<C, Failure> {
        match self {
            Self::Open(client) if !is_dead(client) => return Ok(client.clone()),
            Self::Failed(failure, at) if *at >= began => return Err(failure.clone()),
            _ => {}
        }
        *self = Self::None;
        let connected = connect.await;
        *self = match &connected {
            Ok(client) => Self::Open(client.clone()),
            Err(failure) => Self::Failed(failure.clone(), Instant::now()),
        };
        connected
    }
}

/// What trouble with a broker is for an attempt.
pub(super) fn troubled(trouble: &Trouble) -> Failure {
    let class = match trouble {
        Trouble::Refused(_) => FailureClass::Refused,
        Trouble::Down(_) => FailureClass::Connect,
        Trouble::Tls(_) => FailureClass::Tls,
        Trouble::Rejected(_) => FailureClass::Rejected,
    };
    Failure::new(class, trouble.to_string())
}
