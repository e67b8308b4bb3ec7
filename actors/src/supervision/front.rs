//! The front of an actor: what others hold instead of its address.
//!
//! A restarted actor has a new address. A [`Front`] is a slot that its supervisor fills at each start and empties at
//! each end, so holders never notice. One actor may fill several fronts, one for each message type.
//!
//! Cost of [`Front::try_send`] above actix's own: one lock-free load and one relaxed increment.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::Message;
use actix::prelude::Recipient;
use arc_swap::ArcSwapOption;

use super::lifeline::Tally;

/// A message that was not taken; it comes back.
#[derive(PartialEq, Eq)]
pub enum SendError<M> {
    /// The mailbox is full: answer 503, or pause.
    Full(M),
    /// Nobody serves this front at the moment; its supervisor is at work.
    Closed(M),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the mailbox is full; try again later",
            Self::Closed(_) => {
                "nobody serves this front at the moment; its supervisor is restarting it, or it is stopped"
            }
        })
    }
}

impl<M> std::error::Error for SendError<M> {}

/// Why [`Front::send`] has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody served the front.
    #[error("nobody serves this front at the moment; its supervisor is restarting it, or it is stopped")]
    Closed,
    /// The actor ended before it answered; whether the message took effect is unknown.
    #[error("the actor ended before it answered; whether the message took effect is unknown")]
    Lost,
}

/// See the module. Cloning is cheap; all clones share the slot.
pub struct Front<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    slot: Arc<ArcSwapOption<Door<M>>>,
}

/// One incarnation behind a front.
struct Door<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient: Recipient<M>,
    tally: Arc<Tally>,
}

impl<M> Clone for Front<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<M> Default for Front<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn default() -> Self {
        Self { slot: Arc::new(ArcSwapOption::empty()) }
    }
}

impl<M> fmt::Debug for Front<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("message", &std::any::type_name::<M>()).field("open", &self.is_open()).finish()
    }
}

impl<M> Front<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A front that nobody serves yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a message into the mailbox, if there is room.
    ///
    /// # Errors
    /// The message, when the mailbox is full or nobody serves the front.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        let guard = self.slot.load();
        let Some(door) = guard.as_deref() else { return Err(SendError::Closed(message)) };
        // Counted before, so that the receiver cannot be ahead of the sender.
        door.tally.sent();
        door.recipient.try_send(message).map_err(|error| {
            door.tally.unsent();
            match error {
                actix::prelude::SendError::Full(message) => SendError::Full(message),
                actix::prelude::SendError::Closed(message) => SendError::Closed(message),
            }
        })
    }

    /// Waits for room, then for the answer. Dropping the future withdraws the message if it has not been taken.
    ///
    /// # Errors
    /// Nobody serves the front, or the actor ended first.
    pub fn send(&self, message: M) -> impl Future<Output = Result<M::Result, Unanswered>> + Send + use<M> {
        let door = self.slot.load_full();
        async move {
            let Some(door) = door else { return Err(Unanswered::Closed) };
            if !door.recipient.connected() {
                return Err(Unanswered::Closed);
            }
            door.tally.sent();
            let withdrawn = Withdraw { tally: Arc::clone(&door.tally), armed: true };
            // The door is let go before the wait: a front must not keep an ended actor's mailbox alive.
            let request = door.recipient.send(message);
            drop(door);
            // The mailbox of an actor that hangs is never dropped, so its revocation ends the wait.
            let answer = tokio::select! {
                biased;
                answer = request => answer.map_err(|_| Unanswered::Lost),
                () = withdrawn.tally.revocation() => return Err(Unanswered::Lost),
            };
            withdrawn.disarm();
            answer
        }
    }

    /// Whether somebody serves this front.
    pub fn is_open(&self) -> bool {
        self.slot.load().as_deref().is_some_and(|door| door.recipient.connected())
    }

    /// Whether both are the same slot.
    pub fn leads_where(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }

    /// Empties the slot: whoever served it is told by [`Lent::is_current`], and nobody serves it from now on.
    pub fn shut(&self) {
        self.slot.store(None);
    }

    /// A front that always leads to this recipient: for tests, and for actors that nobody supervises.
    pub fn fixed(recipient: Recipient<M>) -> Self {
        let front = Self::new();
        front.open(recipient, Arc::new(Tally::default()));
        front
    }

    /// Leads to this recipient until the guard is dropped, or until another takes the front over: for what comes and goes
    /// with a connection, and is not restarted by anybody.
    pub fn lend(&self, recipient: Recipient<M>) -> Lent<M> {
        let tally = Arc::new(Tally::default());
        self.open(recipient, Arc::clone(&tally));
        Lent { front: self.clone(), tally }
    }

    pub(super) fn open(&self, recipient: Recipient<M>, tally: Arc<Tally>) {
        self.slot.store(Some(Arc::new(Door { recipient, tally })));
    }

    /// Empties the slot, unless another incarnation has filled it since.
    pub(super) fn close(&self, tally: &Arc<Tally>) {
        let current = self.slot.load();
        if current.as_deref().is_some_and(|door| Arc::ptr_eq(&door.tally, tally)) {
            self.slot.compare_and_swap(&*current, None);
        }
    }
}

/// See [`Front::lend`].
pub struct Lent<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    front: Front<M>,
    tally: Arc<Tally>,
}

impl<M> Lent<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Whether the front still leads here.
    pub fn is_current(&self) -> bool {
        self.front.slot.load().as_deref().is_some_and(|door| Arc::ptr_eq(&door.tally, &self.tally))
    }
}

impl<M> Drop for Lent<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn drop(&mut self) {
        self.front.close(&self.tally);
    }
}

/// Takes a message out of the count when its sender stops waiting.
struct Withdraw {
    tally: Arc<Tally>,
    armed: bool,
}

impl Withdraw {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        if self.armed {
            self.tally.unsent();
        }
    }
}
