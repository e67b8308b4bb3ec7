//! The engine against a model made of `BTreeMap`s, with reopening in between.

use super::*;
use crate::log::Ops;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Vec<Change>>, bool),
    Reopen,
    Flush,
}

#[derive(Debug, Clone)]
enum Change {
    Append {
        topic: usize,
        data: String,
        id: Option<u8>,
    },
    /// One event to both topics, with data that may be long enough to be shared.
    Both(String),
    Put(u8, String),
    Delete(u8),
    Trim {
        topic: usize,
        below: Seq,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..2usize, "[a-z]{0,600}", prop::option::of(0..6u8)).prop_map(|(topic, data, id)| Change::Append { topic, data, id }),
        4 => "[a-z]{300,900}".prop_map(Change::Both),
        2 => (0..6u8, "[a-z]{0,8}").prop_map(|(k, v)| Change::Put(k, v)),
        1 => (0..6u8).prop_map(Change::Delete),
        1 => (0..2usize, 0..20u64).prop_map(|(topic, below)| Change::Trim { topic, below }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(prop::collection::vec(change(), 1..4), 1..4), any::<bool>())
            .prop_map(|(group, synced)| Step::Commit(group, synced)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Flush),
    ]
}

#[derive(Default)]
struct Model {
    records: [BTreeMap<Seq, String>; 2],
    next: [Seq; 2],
    table: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: BTreeMap<u8, (usize, Seq)>,
    /// The places of what both topics got and share.
    shared: Vec<[Seq; 2]>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(steps in prop::collection::vec(step(), 1..16)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir).unwrap();
        let topics = [log.topic("a").unwrap(), log.topic("b.c").unwrap()];
        let mut model = Model { next: [1, 1], ..Model::default() };
        for step in steps {
            match step {
                Step::Commit(group, synced) => {
                    let mut expected = Vec::new();
                    let group = group
                        .into_iter()
                        .map(|batch| Batch { ops: batch.into_iter().flat_map(|c| apply(&mut model, c, &topics, &mut expected)).collect() })
                        .collect();
                    let receipts = log.commit(group, synced).unwrap();
                    let got: Vec<_> = receipts
                        .iter()
                        .flat_map(|r| &r.appended)
                        .map(|a| match a {
                            Appended::Stored(r) => (true, r.topic.to_string(), r.seq),
                            Appended::Duplicate { topic, seq, .. } => (false, topic.to_string(), *seq),
                        })
                        .collect();
                    prop_assert_eq!(got, expected);
                }
                Step::Reopen => {
                    drop(log);
                    log = open(&dir).unwrap();
                }
                Step::Flush => log.flush().unwrap(),
            }
            compare(&log, &model, &topics)?;
        }
        drop(log);
        compare(&open(&dir).unwrap(), &model, &topics)?;
    }
}

fn apply(model: &mut Model, change: Change, topics: &[TopicId; 2], expected: &mut Vec<(bool, String, Seq)>) -> Ops {
    let name = |topic: usize| ["a", "b.c"][topic].to_string();
    match change {
        Change::Append { topic, data, id } => {
            let known = id.and_then(|id| model.seen.get(&id).copied());
            if let Some((first, seq)) = known {
                expected.push((false, name(first), seq));
            } else {
                let seq = model.next[topic];
                model.next[topic] += 1;
                model.records[topic].insert(seq, data.clone());
                model.seen.extend(id.map(|id| (id, (topic, seq))));
                expected.push((true, name(topic), seq));
            }
            let dedupe = id.map(|id| DedupeKey {
                scope: "s".into(),
                id: id.to_string().into(),
                window: Duration::from_secs(3600),
            });
            smallvec![Op::Append { topic: topics[topic], event: Box::new(event(&data)), dedupe }]
        }
        Change::Both(data) => {
            let event = event(&data);
            let both = topics.map(|topic| Op::Append { topic, event: Box::new(event.clone()), dedupe: None });
            for topic in 0..2 {
                let seq = model.next[topic];
                model.next[topic] += 1;
                model.records[topic].insert(seq, data.clone());
                expected.push((true, name(topic), seq));
            }
            if data.len() >= 512 {
                model.shared.push([model.next[0] - 1, model.next[1] - 1]);
            }
            both.into_iter().collect()
        }
        Change::Put(key, value) => {
            model.table.insert(vec![key], value.clone().into_bytes());
            smallvec![Op::Put { table: Table::Kv, key: vec![key], value: value.into_bytes() }]
        }
        Change::Delete(key) => {
            model.table.remove(&vec![key]);
            smallvec![Op::Delete { table: Table::Kv, key: vec![key] }]
        }
        Change::Trim { topic, below } => {
            model.records[topic].retain(|seq, _| *seq >= below);
            smallvec![Op::Trim { topic: topics[topic], below }]
        }
    }
}

fn compare(log: &RocksLog, model: &Model, topics: &[TopicId; 2]) -> Result<(), TestCaseError> {
    for (at, topic) in topics.iter().enumerate() {
        let got: BTreeMap<Seq, String> = log
            .read(*topic, 1, usize::MAX, usize::MAX)
            .unwrap()
            .iter()
            .map(|r| (r.seq, String::from_utf8(r.event.data.to_vec()).unwrap()))
            .collect();
        prop_assert_eq!(&got, &model.records[at]);
        let bounds = log.bounds(*topic).unwrap();
        prop_assert_eq!(bounds.next, model.next[at]);
        prop_assert_eq!(bounds.first, model.records[at].keys().next().copied().unwrap_or(model.next[at]));
        prop_assert_eq!(bounds.bytes == 0, model.records[at].is_empty());
        prop_assert_eq!(log.seq_keeping(*topic, bounds.bytes).unwrap(), bounds.first);
    }
    let held = |places: &&[Seq; 2]| (0..2).any(|topic| model.records[topic].contains_key(&places[topic]));
    let shared = model.shared.iter().filter(held).count();
    prop_assert_eq!(&shared::stored(log)[1..], &[shared; 2]);
    let table: BTreeMap<_, _> = log.scan(Table::Kv, &[], usize::MAX).unwrap().into_iter().collect();
    prop_assert_eq!(&table, &model.table);
    for key in 0..6u8 {
        prop_assert_eq!(log.get(Table::Kv, &[key]).unwrap(), model.table.get(&vec![key]).cloned());
        prop_assert_eq!(
            log.scan(Table::Kv, &[key], 9).unwrap().len(),
            usize::from(model.table.contains_key(&vec![key]))
        );
    }
    Ok(())
}
