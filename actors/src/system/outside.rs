//! Subscriptions of clients outside: registered by name over the API, kept in the log, served to one connection at a
//! time. Triggers and targets have theirs from the configuration; these are the same thing with another receiver.

use actix::Recipient;
use hexafn_dsl::{ProgramKind, SourceText};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

use super::{Error, System, read, unknown, write};
use crate::definitions::Ordering;
use crate::event::Str;
use crate::log::{Op, Table};
use crate::supervision::duration::Span;
use crate::supervision::front::{Front, Lent};
use crate::supervision::strategy::{RawStrategy, RestartStrategy};
use crate::topic::cast::{self, Cast};
use crate::topic::pattern::Pattern;
use crate::topic::{DeliverFrom, Deliveries, Limit, Subscriber, subscription};

/// The most registered subscriptions.
pub const MAX_REGISTERED: usize = 1_000;
/// The most deliveries that one may have unsettled.
const MAX_IN_FLIGHT: usize = 10_000;
/// What a registration begins with in the state table.
const PREFIX: &str = "subscription/";

/// A subscription as a client asks for it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The topics: `orders.eu`, `orders.*`, `orders.>`.
    pattern: String,
    /// A condition; other events count as handled.
    #[serde(default)]
    filter: Option<String>,
    /// Where it begins when it is new: `new`, `all`, a sequence, or an RFC 3339 time.
    #[serde(default)]
    from: Option<Value>,
    #[serde(default)]
    ordering: Ordering,
    /// Unsettled deliveries at a time.
    #[serde(default)]
    max_in_flight: Option<usize>,
    /// A delivery not settled within this has failed.
    #[serde(default)]
    ack_wait: Option<Span>,
    /// The schedule of failed deliveries.
    #[serde(default)]
    retry: RawStrategy,
    /// Whether its place survives a restart of the service; if not, the subscription does not either.
    #[serde(default = "yes")]
    durable: bool,
}

fn yes() -> bool {
    true
}

/// A registered subscription.
#[derive(Clone)]
pub(super) struct Registered {
    /// As it was asked for.
    asked: Arc<Value>,
    front: Front<Deliveries>,
    /// Held while one connection takes over from another.
    taking: Arc<tokio::sync::Mutex<()>>,
}

/// A connection that serves a subscription; dropping it hands back what was not settled.
pub struct Serving {
    lent: Option<Lent<Deliveries>>,
    name: Str,
    cast: Cast,
}

impl Serving {
    /// Whether no newer connection has taken over.
    pub fn is_current(&self) -> bool {
        self.lent.as_ref().is_some_and(Lent::is_current)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        let current = lent.is_current();
        drop(lent);
        // With a successor, what is in flight is the successor's already.
        if current {
            self.cast.restarted(&self.name, None, None);
        }
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("{PREFIX}{name}").into_bytes()
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid(what.into())
}

/// Reads where a subscription is to begin, as JSON has it.
///
/// # Errors
/// What can be written instead.
pub fn place(from: Option<&Value>) -> Result<Option<DeliverFrom>, Error> {
    match from {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|e| invalid(format!("`from`: {e}"))),
        // A negative number or a fraction is told as the text that it is.
        Some(other) => other.to_string().parse().map(Some).map_err(|e| invalid(format!("`from`: {e}"))),
    }
}

impl System {
    /// Registers a subscription, or changes one; its place is kept. `true` says that it is new.
    ///
    /// # Errors
    /// What is wrong with the name or the fields, and what to write instead.
    pub async fn register(&self, name: &str, asked: Value) -> Result<bool, Error> {
        // In a task of its own: whoever asks may hang up in the middle.
        let (system, name) = (self.clone(), name.to_owned());
        let registered = tokio::spawn(async move { system.register_whole(&name, asked).await });
        registered.await.unwrap_or(Err(Error::Gone("the registration ended")))
    }

    async fn register_whole(&self, name: &str, asked: Value) -> Result<bool, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(invalid("the name of a subscription is 1 to 64 letters, digits, `_` and `-`"));
        }
        let _one_at_a_time = self.0.applying.lock().await;
        let known = read(&self.0.registered).get(name).cloned();
        if known.as_ref().is_some_and(|k| *k.asked == asked) {
            return Ok(false);
        }
        if known.is_none() && read(&self.0.registered).len() >= MAX_REGISTERED {
            return Err(invalid(format!("there are {MAX_REGISTERED} registered subscriptions; remove some")));
        }
        let front = known.as_ref().map_or_else(Front::new, |k| k.front.clone());
        let taking = known.as_ref().map_or_else(Arc::default, |k| k.taking.clone());
        let subscriber = self.subscriber(name, &asked, front.clone()).await?;
        let (table, key) = (Table::State, key(name));
        let op = if subscriber.durable {
            let value = serde_json::to_vec(&asked).map_err(|e| invalid(e.to_string()))?;
            Op::Put { table, key, value }
        } else {
            // One that was durable before would come back with the next start.
            Op::Delete { table, key }
        };
        self.commit([op].into_iter().collect()).await?;
        self.0.cast.subscribe(subscriber).await?;
        write(&self.0.registered).insert(name.into(), Registered { asked: Arc::new(asked), front, taking });
        Ok(known.is_none())
    }

    async fn subscriber(&self, name: &str, asked: &Value, to: Front<Deliveries>) -> Result<Subscriber, Error> {
        let asked = Asked::deserialize(asked).map_err(|e| invalid(e.to_string()))?;
        let filter = asked.filter.as_deref().map(|text| {
            hexafn_dsl::compile(&SourceText { name: "filter", text }, ProgramKind::Condition)
                .map_err(|e| invalid(e.render(false)))
        });
        let retry = asked.retry.over(RestartStrategy::delivery());
        let retry = retry.map_err(|e| invalid(format!("retry: {}: {}; {}", e.field, e.problem, e.advice)))?;
        let defaults = subscription::Settings::default();
        let max_in_flight = asked.max_in_flight.unwrap_or(defaults.max_in_flight);
        if !(1..=MAX_IN_FLIGHT).contains(&max_in_flight) {
            return Err(invalid(format!("max_in_flight is 1 to {MAX_IN_FLIGHT}")));
        }
        let ack_wait = asked.ack_wait.map_or(defaults.ack_wait, |span| span.0);
        if !(100..=86_400_000).contains(&ack_wait.as_millis()) {
            return Err(invalid("ack_wait is \"100ms\" to \"24h\""));
        }
        let pattern = Pattern::subscribable(&asked.pattern).map_err(cast::Error::from)?;
        if let Some(name) = pattern.literal()
            && self.0.cast.get(name).is_none()
        {
            // It is made with the subscription.
            crate::topic::pattern::check_name(name).map_err(cast::Error::from)?;
        }
        let (filter, from) = (filter.transpose()?, place(asked.from.as_ref())?.unwrap_or_default());
        let dead = self.0.cast.ensure(&super::dead::dead_topic_of(name)).await?;
        Ok(Subscriber {
            name: name.into(),
            pattern,
            settings: subscription::Settings { max_in_flight, ack_wait, ordering: asked.ordering, retry, ..defaults },
            filter,
            from,
            durable: asked.durable,
            priority: 0,
            dead_letter: Some(dead.id),
            fallback: None,
            version: 0,
            to,
            asks: None,
            limit: Limit::default(),
            feedback: None,
        })
    }

    /// Serves what was registered before the service was started. One that this version cannot read is said and left.
    pub async fn open_registered(&self) -> Result<(), Error> {
        for (key, value) in self.0.log.scan(Table::State, PREFIX.as_bytes(), MAX_REGISTERED)? {
            let name = String::from_utf8_lossy(&key[PREFIX.len().min(key.len())..]).into_owned();
            let front = Front::new();
            let subscriber = match serde_json::from_slice::<Value>(&value) {
                Ok(asked) => self.subscriber(&name, &asked, front.clone()).await.map(|s| (s, asked)),
                Err(error) => Err(invalid(error.to_string())),
            };
            match subscriber {
                Ok((subscriber, asked)) => {
                    self.0.cast.subscribe(subscriber).await?;
                    write(&self.0.registered)
                        .insert(name.into(), Registered { asked: Arc::new(asked), front, taking: Arc::default() });
                }
                Err(error) => tracing::error!(subscription = name, %error, "a registered subscription is not served"),
            }
        }
        Ok(())
    }

    /// A registered subscription as it was asked for.
    ///
    /// # Errors
    /// There is none of that name; what there is.
    pub fn registered(&self, name: &str) -> Result<Arc<Value>, Error> {
        let all = read(&self.0.registered);
        all.get(name).map(|r| r.asked.clone()).ok_or_else(|| unknown("subscription", name, all.keys()))
    }

    /// Removes a registered subscription with its place; its dead letters stay. `false` when there is none.
    pub async fn unregister(&self, name: &str) -> Result<bool, Error> {
        let _one_at_a_time = self.0.applying.lock().await;
        if !read(&self.0.registered).contains_key(name) {
            return Ok(false);
        }
        // On disk first: a refusal leaves it as it is, and it is not there again after the next start.
        self.commit([Op::Delete { table: Table::State, key: key(name) }].into_iter().collect()).await?;
        if let Some(registered) = write(&self.0.registered).remove(name) {
            registered.front.shut();
        }
        self.0.cast.unsubscribe(name, true).await;
        Ok(true)
    }

    /// Serves a registered subscription to this recipient until the guard is dropped, or until another takes over.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn serve(&self, name: &str, to: Recipient<Deliveries>) -> Result<Serving, Error> {
        let (front, taking) = {
            let all = read(&self.0.registered);
            let registered = all.get(name).ok_or_else(|| unknown("subscription", name, all.keys()))?;
            (registered.front.clone(), registered.taking.clone())
        };
        let _one_at_a_time = taking.lock().await;
        front.shut();
        let name: Str = name.into();
        let lent = self.0.cast.hand_over(&name, || front.lend(to)).await;
        Ok(Serving { lent: Some(lent), name, cast: self.0.cast.clone() })
    }
}
