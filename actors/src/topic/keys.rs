//! The keys of subscriptions in the tables of the log. Stored bytes are forever: a golden test holds them.

use crate::log::{Seq, TopicId};

/// `subscription 0x00 topic(u32 BE)`. Names hold no NUL: they are checked when a subscription is made.
fn place(subscription: &str, topic: TopicId) -> Vec<u8> {
    let mut key = Vec::with_capacity(subscription.len() + 13);
    key.extend_from_slice(subscription.as_bytes());
    key.push(0);
    key.extend_from_slice(&topic.0.to_be_bytes());
    key
}

/// The key of a cursor in [`Table::Cursor`](crate::log::Table::Cursor).
pub fn cursor(subscription: &str, topic: TopicId) -> Vec<u8> {
    place(subscription, topic)
}

/// The prefix of the cursors of a subscription on all topics.
pub fn cursors_of(subscription: &str) -> Vec<u8> {
    let mut key = subscription.as_bytes().to_vec();
    key.push(0);
    key
}

/// The prefix of the waiting deliveries of a subscription on a topic in [`Table::Waiting`](crate::log::Table::Waiting).
pub fn waiting_prefix(subscription: &str, topic: TopicId) -> Vec<u8> {
    place(subscription, topic)
}

/// The key of one waiting delivery: the prefix, then the sequence (u64 BE).
pub fn waiting(subscription: &str, topic: TopicId, seq: Seq) -> Vec<u8> {
    let mut key = place(subscription, topic);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The subscription in the key of a cursor.
pub fn subscription_of(key: &[u8]) -> Option<&str> {
    let name = key.len().checked_sub(5).and_then(|end| key.get(..end))?;
    std::str::from_utf8(name).ok()
}

/// The topic in the key of a cursor.
pub fn topic_of(key: &[u8]) -> Option<TopicId> {
    key.last_chunk::<4>().map(|number| TopicId(u32::from_be_bytes(*number)))
}

/// The key in [`Table::State`](crate::log::Table::State) of the cursor that says which letters of a topic of dead letters are
/// settled.
pub fn settled(topic: TopicId) -> Vec<u8> {
    let mut key = b"dead/".to_vec();
    key.extend_from_slice(&topic.0.to_be_bytes());
    key
}

/// The key in [`Table::State`](crate::log::Table::State) that says that a subscription is paused by hand.
pub fn paused(subscription: &str) -> Vec<u8> {
    format!("pause/{subscription}").into_bytes()
}

/// The key in [`Table::State`](crate::log::Table::State) of the versions that a trigger had, as JSON.
pub fn versions(trigger: &str) -> Vec<u8> {
    format!("versions/trigger/{trigger}").into_bytes()
}

/// The sequence in the key of a waiting delivery.
pub fn waiting_seq(key: &[u8]) -> Option<Seq> {
    key.last_chunk::<8>().map(|b| Seq::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_are_forever() {
        assert_eq!(hex::encode(cursor("a", TopicId(7))), "610000000007");
        assert_eq!(hex::encode(waiting("a", TopicId(7), 258)), "6100000000070000000000000102");
        assert_eq!(waiting_seq(&waiting("a", TopicId(7), 258)), Some(258));
        assert!(cursor("a", TopicId(7)).starts_with(&cursors_of("a")));
        assert_eq!(subscription_of(&cursor("a.b", TopicId(7))), Some("a.b"));
        assert_eq!(subscription_of(b"x"), None);
        assert_eq!(topic_of(&cursor("a.b", TopicId(7))), Some(TopicId(7)));
        assert_eq!(paused("a"), b"pause/a");
        assert_eq!(versions("a"), b"versions/trigger/a");
        assert_eq!(settled(TopicId(7)), b"dead/\0\0\0\x07");
    }
}
