#![allow(clippy::unwrap_used)]
use super::waiting::NEWEST;
use super::*;
use crate::supervision::failure::FailureKind;
use crate::supervision::strategy::{Backoff, OnExhausted};
use proptest::prelude::*;

fn retry(max_attempts: u32) -> RestartStrategy {
    RestartStrategy {
        backoff: Backoff::Schedule { delays: vec![Duration::from_secs(1)], jitter_low: 1.0, jitter_high: 1.0 },
        max_attempts: Some(max_attempts),
        on_exhausted: OnExhausted::DeadLetter,
        ..RestartStrategy::delivery()
    }
}

fn subscription(ordering: Ordering) -> Subscription {
    let settings = Settings { ordering, retry: retry(3), max_in_flight: 4, ..Settings::default() };
    Subscription::new(settings, Cursor::at(0), Vec::new())
}

fn failure() -> Failure {
    Failure::new(FailureKind::Reported, "no", Wall(0))
}

fn settle(s: &mut Subscription, seq: Seq, attempt: u32, verdict: Verdict, now: Tick) -> Effect {
    s.settle(seq, attempt, verdict, now, Wall(i64::try_from(now.0).unwrap()), 0.5)
}

#[test]
fn an_ack_moves_the_floor_and_a_second_one_is_stale() {
    let mut s = subscription(Ordering::None);
    let now = Tick(0);
    for seq in 1..=3 {
        assert_eq!(s.offer(seq, None, now), Offer::Deliver(1));
    }
    assert_eq!(settle(&mut s, 2, 1, Verdict::Ack, now), Effect::Done { waited: false });
    assert_eq!((s.cursor().floor(), s.cursor().above()), (0, 1));
    assert_eq!(settle(&mut s, 1, 1, Verdict::Ack, now), Effect::Done { waited: false });
    assert_eq!(s.cursor().floor(), 2);
    assert_eq!(settle(&mut s, 1, 1, Verdict::Ack, now), Effect::Stale);
    assert_eq!(settle(&mut s, 3, 2, Verdict::Ack, now), Effect::Stale, "an attempt that was not made");
}

#[test]
fn what_has_been_tried_is_known_wherever_it_is() {
    let mut s = subscription(Ordering::None);
    for seq in 1..=4 {
        s.offer(seq, None, Tick(0));
        assert_eq!(s.tried().count(), 0, "a first attempt has no entry");
    }
    for seq in 1..=3 {
        settle(&mut s, seq, 1, Verdict::Nak(failure()), Tick(0));
    }
    let later = Tick(1_000_000);
    for seq in 1..=2 {
        assert_eq!(s.take_again(later), Some(seq));
        s.offer(seq, None, later);
    }
    settle(&mut s, 2, 2, Verdict::Release, later);
    let mut tried: Vec<Seq> = s.tried().collect();
    tried.sort_unstable();
    assert_eq!(tried, [1, 2, 3], "with the subscriber, given back, waiting");
    settle(&mut s, 1, 2, Verdict::Ack, later);
    assert_eq!(s.tried().count(), 2);
}

#[test]
fn a_failed_delivery_waits_and_is_given_up_after_its_attempts() {
    let mut s = subscription(Ordering::None);
    s.offer(1, None, Tick(0));
    let Effect::Wait(first) = settle(&mut s, 1, 1, Verdict::Nak(failure()), Tick(0)) else { panic!("waits") };
    assert_eq!((first.attempts, first.due), (1, Tick(1_000_000)));
    assert_eq!(s.cursor().floor(), 1, "what waits is handled in the cursor");
    assert_eq!(s.take_again(Tick(999_999)), None);
    assert_eq!(s.next_wake(), Some(Tick(1_000_000)));
    assert_eq!(s.take_again(Tick(1_000_000)), Some(1));
    assert_eq!(s.offer(1, None, Tick(1_000_000)), Offer::Deliver(2));
    assert!(matches!(settle(&mut s, 1, 2, Verdict::Nak(failure()), Tick(1_000_000)), Effect::Wait(_)));
    s.offer(1, None, Tick(3_000_000));
    let Effect::Dead { attempts: 3, waited: true, .. } = settle(&mut s, 1, 3, Verdict::Nak(failure()), Tick(3_000_000))
    else {
        panic!("given up")
    };
    assert_eq!((s.failed(), s.in_flight()), (0, 0));
}

#[test]
fn what_has_failed_counts_as_failed_until_it_is_tried_again_or_over() {
    for ordering in [Ordering::None, Ordering::Key, Ordering::Strict] {
        let mut s = subscription(ordering);
        let (key, later) = (|| Some(Str::from("k")), Tick(1_000_000));
        s.offer(1, key(), Tick(0));
        assert_eq!(s.failed(), 0);
        settle(&mut s, 1, 1, Verdict::Nak(failure()), Tick(0));
        assert_eq!(s.failed(), 1, "it waits for its time");
        s.offer(1, key(), later);
        assert_eq!((s.failed(), s.in_flight()), (0, 1));
        settle(&mut s, 1, 2, Verdict::Release, later);
        assert_eq!((s.failed(), s.in_flight()), (1, 0), "{ordering:?}: it was not tried, as when the breaker opens");
        s.limit(0);
        assert_eq!((s.take_again(later), s.failed()), (None, 1));
        s.limit(usize::MAX);
        assert_eq!(s.take_again(later), Some(1));
        s.offer(1, key(), later);
        settle(&mut s, 1, 2, Verdict::Ack, later);
        assert_eq!((s.failed(), s.in_flight()), (0, 0));
    }
}

#[test]
fn a_release_consumes_no_attempt() {
    let mut s = subscription(Ordering::None);
    s.offer(1, None, Tick(0));
    assert_eq!(settle(&mut s, 1, 1, Verdict::Release, Tick(0)), Effect::Again);
    assert_eq!(s.take_again(Tick(0)), Some(1));
    assert_eq!(s.offer(1, None, Tick(0)), Offer::Deliver(1));
}

#[test]
fn the_credit_bounds_what_is_in_flight() {
    let mut s = subscription(Ordering::None);
    for seq in 1..=4 {
        assert!(s.wants_new());
        s.offer(seq, None, Tick(0));
    }
    assert!(!s.wants_new());
    s.limit(0);
    settle(&mut s, 1, 1, Verdict::Ack, Tick(0));
    assert!(!s.wants_new(), "an open breaker takes nothing");
    s.limit(usize::MAX);
    assert!(s.wants_new());
    s.pause(true);
    assert!(!s.wants_new());
}

#[test]
fn a_key_keeps_its_order_across_retries() {
    let mut s = subscription(Ordering::Key);
    let key = || Some(Str::from("k"));
    assert_eq!(s.offer(1, key(), Tick(0)), Offer::Deliver(1));
    assert_eq!(s.offer(2, key(), Tick(0)), Offer::Held);
    assert_eq!(s.offer(3, Some("other".into()), Tick(0)), Offer::Deliver(1));
    settle(&mut s, 1, 1, Verdict::Nak(failure()), Tick(0));
    assert_eq!(s.take_again(Tick(0)), None, "2 waits behind 1");
    s.offer(1, key(), Tick(1_000_000));
    settle(&mut s, 1, 2, Verdict::Ack, Tick(1_000_000));
    assert_eq!(s.take_again(Tick(1_000_000)), Some(2));
    assert_eq!(s.offer(2, key(), Tick(1_000_000)), Offer::Deliver(1));
}

#[test]
fn attempts_of_all_that_wait_have_a_bound_and_the_first_and_newest_are_kept() {
    const WAITING: Seq = 500;
    const ATTEMPTS: u32 = 900;
    let failures = (1..=ATTEMPTS).map(|attempt| Attempt { attempt, at: Wall(0), cause: "no".into(), ran: None });
    let entry = Waiting {
        attempts: ATTEMPTS,
        since: Wall(0),
        due: Tick(0),
        due_wall: Wall(0),
        key: None,
        cause: "no".into(),
        failures: failures.collect(),
        asked: false,
    };
    // As after a restart: what is stored is more than there is room for.
    let stored = (1..=WAITING).map(|seq| (seq, entry.clone())).collect();
    let settings = Settings { retry: retry(1000), max_in_flight: usize::MAX, ..Settings::default() };
    let mut s = Subscription::new(settings, Cursor::at(WAITING), stored);
    let counted = |s: &Subscription| s.waiting.values().map(|entry| size(&entry.failures)).sum::<usize>();
    let short = 1 + NEWEST;
    let most = MAX_TOLD_TOGETHER + WAITING as usize * short * 64;
    assert!(s.told == counted(&s) && (MAX_TOLD_TOGETHER / 2..most).contains(&s.told), "{}", s.told);
    let kept = |entry: &Waiting| entry.failures.iter().map(|one| one.attempt).collect::<Vec<_>>();
    let few: Vec<_> = s.waiting.values().map(kept).filter(|kept| kept.len() == short).collect();
    assert!((100..400).contains(&few.len()), "{}", few.len());
    assert!(few.iter().all(|kept| *kept == [1, ATTEMPTS - 2, ATTEMPTS - 1, ATTEMPTS]), "{:?}", few[0]);
    // One more attempt each, then each is over.
    for seq in 1..=WAITING {
        assert_eq!(s.take_again(Tick(1)), Some(seq));
        s.offer(seq, None, Tick(1));
        settle(&mut s, seq, ATTEMPTS + 1, Verdict::Nak(failure()), Tick(1));
    }
    assert!(s.told == counted(&s) && (MAX_TOLD_TOGETHER / 2..most).contains(&s.told), "{}", s.told);
    let later = Tick(2_000_000);
    for seq in 1..=WAITING {
        s.offer(seq, None, later);
        let verdict = if seq % 2 == 0 { Verdict::Ack } else { Verdict::Term(failure()) };
        if let Effect::Dead { attempts, failures, .. } = settle(&mut s, seq, ATTEMPTS + 2, verdict, later) {
            assert!(attempts == ATTEMPTS + 2 && failures.len() > short, "{attempts}, {}", failures.len());
        }
    }
    assert_eq!(s.told, 0, "what is over takes none of it");
}

fn of_one_key(ordering: Ordering, together: usize, count: Seq) -> Subscription {
    let settings = Settings { ordering, together, retry: retry(3), ..Settings::default() };
    let mut s = Subscription::new(settings, Cursor::at(0), Vec::new());
    for seq in 1..=count {
        s.offer(seq, Some("k".into()), Tick(0));
    }
    s
}

#[test]
fn what_was_taken_behind_a_failure_counts_only_behind_its_repetition() {
    for ordering in [Ordering::Key, Ordering::Strict] {
        let mut s = of_one_key(ordering, 3, 3);
        assert_eq!(s.in_flight(), 3, "together");
        assert_eq!(settle(&mut s, 1, 1, Verdict::Ack, Tick(0)), Effect::Done { waited: false });
        assert!(matches!(settle(&mut s, 2, 1, Verdict::Nak(failure()), Tick(0)), Effect::Wait(_)));
        assert_eq!(settle(&mut s, 3, 1, Verdict::Ack, Tick(0)), Effect::Again, "the receiver has 3 and not 2");
        assert_eq!((s.take_again(Tick(0)), s.held()), (None, 1));
        let due = Tick(1_000_000);
        assert_eq!((s.take_again(due), s.offer(2, Some("k".into()), due)), (Some(2), Offer::Deliver(2)));
        assert_eq!(s.take_again(due), None, "3 goes when 2 is over: its topic cannot know that it is sent behind it");
        assert_eq!(settle(&mut s, 2, 2, Verdict::Ack, due), Effect::Done { waited: true });
        assert_eq!((s.take_again(due), s.offer(3, Some("k".into()), due)), (Some(3), Offer::Deliver(1)));
        assert_eq!(settle(&mut s, 3, 1, Verdict::Ack, due), Effect::Done { waited: false });
        assert_eq!(s.cursor().floor(), 3);
    }
}

#[test]
fn what_is_behind_one_that_is_given_up_counts() {
    let mut s = of_one_key(Ordering::Key, 3, 3);
    assert!(matches!(settle(&mut s, 1, 1, Verdict::Term(failure()), Tick(0)), Effect::Dead { .. }));
    assert_eq!(settle(&mut s, 2, 1, Verdict::Ack, Tick(0)), Effect::Done { waited: false });
}

#[test]
fn only_so_many_of_a_key_are_with_the_subscriber_and_others_have_room() {
    let mut s = of_one_key(Ordering::Key, 3, 5);
    assert_eq!((s.in_flight(), s.held()), (3, 2));
    assert_eq!(s.offer(6, Some("other".into()), Tick(0)), Offer::Deliver(1));
    settle(&mut s, 1, 1, Verdict::Ack, Tick(0));
    assert_eq!((s.take_again(Tick(0)), s.held()), (Some(4), 1));
}

#[test]
fn strict_order_is_one_at_a_time() {
    let mut s = subscription(Ordering::Strict);
    s.offer(1, None, Tick(0));
    assert!(!s.wants_new());
    settle(&mut s, 1, 1, Verdict::Nak(failure()), Tick(0));
    assert!(!s.wants_new(), "nothing passes one that waits");
    s.offer(1, None, Tick(1_000_000));
    settle(&mut s, 1, 2, Verdict::Ack, Tick(1_000_000));
    assert!(s.wants_new());
}

#[test]
fn a_waiting_entry_survives_storage_and_its_due_time_is_relative_to_the_wall_clock() {
    let entry = Waiting {
        attempts: 2,
        since: Wall(5),
        due: Tick(9),
        due_wall: Wall(30_000_000),
        key: Some("k".into()),
        cause: "x".into(),
        failures: vec![Attempt { attempt: 1, at: Wall(4), cause: "w".into(), ran: None }],
        asked: true,
    };
    let back = Waiting::decode(&entry.encode(), Tick(100), Wall(10_000_000)).unwrap();
    assert_eq!(back, Waiting { due: Tick(20_000_100), ..entry.clone() });
    let late = Waiting::decode(&entry.encode(), Tick(100), Wall(90_000_000)).unwrap();
    assert_eq!(late.due, Tick(100), "overdue is due now");
    assert!(Waiting::decode(b"nonsense", Tick(0), Wall(0)).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    Settle(usize, u8),
    Time(u64),
    Restart,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Take),
        3 => (0..8usize, 0..4u8).prop_map(|(n, v)| Step::Settle(n, v)),
        1 => (0..3_000_000u64).prop_map(Step::Time),
        1 => Just(Step::Restart),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    /// Whatever happens, in the end every record has been acked once or given up once, and none is lost; a reopened
    /// subscription knows from its cursor and waiting entries what it needs.
    #[test]
    fn nothing_is_lost_and_nothing_is_settled_twice(
        steps in proptest::collection::vec(step(), 1..200),
        ordering in prop_oneof![Just(Ordering::None), Just(Ordering::Key), Just(Ordering::Strict)],
        together in 1..4usize,
    ) {
        const RECORDS: Seq = 12;
        let key = |seq: Seq| Some(Str::from(if seq.is_multiple_of(3) { "a" } else { "b" }));
        // Those that keep their order among each other.
        let line = |seq: Seq| match ordering {
            Ordering::None => seq,
            Ordering::Key => u64::from(seq.is_multiple_of(3)),
            Ordering::Strict => 0,
        };
        let settings = Settings { ordering, together, retry: retry(3), max_in_flight: 4, ..Settings::default() };
        let mut s = Subscription::new(settings, Cursor::at(0), Vec::new());
        let mut now = Tick(0);
        let mut flying: Vec<(Seq, u32)> = Vec::new();
        let mut over: BTreeMap<Seq, u32> = BTreeMap::new();
        let mut stored: BTreeMap<Seq, Waiting> = BTreeMap::new();
        let apply = |s: &mut Subscription, seq, attempt, verdict, now, over: &mut BTreeMap<Seq, u32>, stored: &mut BTreeMap<Seq, Waiting>| {
            match settle(s, seq, attempt, verdict, now) {
                Effect::Done { .. } | Effect::Dead { .. } => {
                    stored.remove(&seq);
                    let early: Vec<_> = (1..seq).filter(|one| line(*one) == line(seq) && !over.contains_key(one)).collect();
                    assert!(early.is_empty(), "{seq} is over before {early:?} of its key");
                    *over.entry(seq).or_default() += 1;
                }
                Effect::Wait(entry) => drop(stored.insert(seq, entry)),
                Effect::Again | Effect::Stale => {}
            }
        };
        let take = |s: &mut Subscription, now, flying: &mut Vec<(Seq, u32)>| {
            loop {
                let again = s.take_again(now);
                let seq = match again {
                    Some(seq) => seq,
                    None if s.wants_new() && s.next() <= RECORDS => s.next(),
                    None => break,
                };
                if again.is_none() && s.is_handled(seq) {
                    s.skip(seq);
                    continue;
                }
                if let Offer::Deliver(attempt) = s.offer(seq, key(seq), now) {
                    flying.push((seq, attempt));
                }
            }
        };
        for step in steps {
            match step {
                Step::Take => take(&mut s, now, &mut flying),
                Step::Settle(n, what) => {
                    if flying.is_empty() { continue; }
                    // A subscriber that has several of a key answers for them in their order.
                    let chosen = line(flying[n % flying.len()].0);
                    let first = flying.iter().enumerate().filter(|(_, (seq, _))| line(*seq) == chosen);
                    let (at, _) = first.min_by_key(|(_, (seq, _))| *seq).unwrap();
                    let (seq, attempt) = flying.remove(at);
                    let verdict = match what { 0 => Verdict::Ack, 1 => Verdict::Nak(failure()), 2 => Verdict::Release, _ => Verdict::Term(failure()) };
                    apply(&mut s, seq, attempt, verdict, now, &mut over, &mut stored);
                }
                Step::Time(by) => now = Tick(now.0 + by),
                Step::Restart => {
                    flying.clear();
                    for (seq, attempt) in s.flying() {
                        apply(&mut s, seq, attempt, Verdict::Release, now, &mut over, &mut stored);
                    }
                }
                Step::Reopen => {
                    flying.clear();
                    let cursor = Cursor::decode(&s.cursor().encode()).unwrap();
                    let settings = s.settings.clone();
                    s = Subscription::new(settings, cursor, stored.iter().map(|(k, v)| (*k, v.clone())).collect());
                }
            }
            prop_assert!(s.in_flight() <= 4);
            if ordering == Ordering::Strict { prop_assert!(s.in_flight() <= together); }
            prop_assert!(over.values().all(|n| *n == 1), "settled twice: {:?}", over);
        }
        // Drain: everything is acked in the end.
        for _ in 0..200 {
            now = Tick(now.0 + 2_000_000);
            take(&mut s, now, &mut flying);
            flying.sort_unstable();
            for (seq, attempt) in std::mem::take(&mut flying) {
                apply(&mut s, seq, attempt, Verdict::Ack, now, &mut over, &mut stored);
            }
        }
        prop_assert_eq!(over.len() as u64, RECORDS, "lost: {:?}", over);
        prop_assert!(over.values().all(|n| *n == 1));
        prop_assert_eq!((s.cursor().floor(), s.cursor().above(), s.waiting.len()), (RECORDS, 0, 0));
    }
}

#[test]
fn the_whole_schedule_of_a_delivery_runs_in_moved_time() {
    let settings = Settings { retry: RestartStrategy::delivery(), ..Settings::default() };
    let mut s = Subscription::new(settings, Cursor::at(0), Vec::new());
    let (mut now, mut attempts) = (Tick(0), 0u32);
    s.offer(1, None, now);
    let dead = loop {
        attempts += 1;
        match settle(&mut s, 1, attempts, Verdict::Nak(failure()), now) {
            Effect::Wait(entry) => {
                assert_eq!(s.take_again(Tick(entry.due.0 - 1)), None, "not a moment too early");
                now = s.next_wake().unwrap();
                assert_eq!((now, s.take_again(now)), (entry.due, Some(1)));
                assert_eq!(s.offer(1, None, now), Offer::Deliver(attempts + 1));
            }
            other => break other,
        }
    };
    let Effect::Dead { attempts: 13, failures, waited: true, .. } = dead else { panic!("{dead:?}") };
    assert_eq!(failures.len(), 13, "every attempt is told");
    // The jitter is in the middle, so the pauses are those of the schedule: 75.7 hours.
    assert_eq!(now.since(Tick(0)).as_secs(), 272_556);
}

#[test]
fn a_retry_budget_lets_few_repetitions_through_and_never_none() {
    let settings = Settings {
        retry: RestartStrategy { max_attempts: Some(1000), ..retry(1000) },
        max_in_flight: 1000,
        retry_budget: Some(0.2),
        ..Settings::default()
    };
    let mut s = Subscription::new(settings, Cursor::at(0), Vec::new());
    for seq in 1..=100 {
        s.offer(seq, None, Tick(1));
        settle(&mut s, seq, 1, Verdict::Nak(failure()), Tick(1));
    }
    let mut through = 0;
    let now = Tick(2_000_001);
    while let Some(seq) = s.take_again(now) {
        assert!(matches!(s.offer(seq, None, now), Offer::Deliver(2)));
        through += 1;
    }
    // A hundred first attempts earn 25, and ten are there from the beginning.
    assert_eq!(through, 35);
    let next = s.next_wake().unwrap();
    assert!(next > now && next <= now.plus(Duration::from_secs(7)), "ten a minute in any case: {next:?}");
    assert!(s.take_again(next).is_some());
}

#[test]
fn after_its_longest_time_a_delivery_is_given_up_whatever_its_attempts() {
    let retry = RestartStrategy { max_elapsed: Some(Duration::from_secs(3)), ..retry(1000) };
    let mut s = Subscription::new(Settings { retry, ..Settings::default() }, Cursor::at(0), Vec::new());
    let mut now = Tick(0);
    for attempt in 1.. {
        s.offer(1, None, now);
        match settle(&mut s, 1, attempt, Verdict::Nak(failure()), now) {
            Effect::Wait(entry) => now = entry.due,
            Effect::Dead { attempts: 4, .. } => break,
            other => panic!("{other:?} after {now:?}"),
        }
    }
    assert_eq!(now, Tick(3_000_000));
}

#[test]
fn bytes_with_the_subscriber_are_bounded_too_but_one_delivery_always_goes() {
    let mut s = Subscription::new(
        Settings { max_in_flight: 100, max_bytes_in_flight: 10, ..Settings::default() },
        Cursor::at(0),
        Vec::new(),
    );
    s.offer(1, None, Tick(0));
    s.weigh(1, 50);
    assert!(!s.wants_new(), "larger than allowed, and alone");
    settle(&mut s, 1, 1, Verdict::Ack, Tick(0));
    for seq in 2..=3 {
        assert!(s.wants_new());
        s.offer(seq, None, Tick(0));
        s.weigh(seq, 6);
    }
    assert!(!s.wants_new());
    s.hand_back(3);
    assert_eq!(s.take_again(Tick(0)), Some(3));
}

#[test]
fn a_record_that_cannot_be_read_any_more_frees_its_key() {
    let (mut s, key, now) = (subscription(Ordering::Key), Some(Str::from("k")), Tick(0));
    s.offer(1, key.clone(), now);
    assert_eq!(s.offer(2, key.clone(), now), Offer::Held);
    assert_eq!(s.offer(3, key.clone(), now), Offer::Held);
    settle(&mut s, 1, 1, Verdict::Nak(failure()), now);
    // The first waits for its next attempt, the second for its turn: nobody can say their key any more.
    let due = Tick(1_000_000);
    assert_eq!((s.take_again(due), s.offer(1, None, due)), (Some(1), Offer::Deliver(2)));
    settle(&mut s, 1, 2, Verdict::Ack, due);
    assert_eq!((s.take_again(due), s.offer(2, None, due)), (Some(2), Offer::Deliver(1)));
    s.hand_back(2);
    assert_eq!(s.offer(2, None, due), Offer::Deliver(1));
    settle(&mut s, 2, 1, Verdict::Ack, due);
    assert_eq!((s.take_again(due), s.offer(3, key, due)), (Some(3), Offer::Deliver(1)), "what is behind it goes on");
}

#[test]
fn events_behind_a_key_go_when_the_order_is_given_up() {
    let mut s = subscription(Ordering::Key);
    s.offer(1, Some("k".into()), Tick(0));
    assert_eq!(s.offer(2, Some("k".into()), Tick(0)), Offer::Held);
    s.configure(Settings { ordering: Ordering::None, retry: retry(3), max_in_flight: 4, ..Settings::default() });
    assert_eq!(s.take_again(Tick(0)), Some(2));
}

#[test]
fn what_is_due_does_not_wake_a_subscription_without_credit() {
    let settings = Settings { retry: retry(3), max_in_flight: 1, ..Settings::default() };
    let mut s = Subscription::new(settings, Cursor::at(0), Vec::new());
    s.offer(1, None, Tick(0));
    settle(&mut s, 1, 1, Verdict::Nak(failure()), Tick(0));
    s.offer(2, None, Tick(0));
    assert_eq!(s.next_wake(), Some(Tick(0).plus(Duration::from_secs(30))), "the end of its patience with the second");
    settle(&mut s, 2, 1, Verdict::Ack, Tick(0));
    assert_eq!(s.next_wake(), Some(Tick(1_000_000)));
}
