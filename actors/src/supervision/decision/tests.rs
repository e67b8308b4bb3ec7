//! Properties of the decision over arbitrary sequences of failures and successes, on a clock that the test moves.

use proptest::prelude::*;

use super::*;
use crate::clock::Wall;
use crate::supervision::failure::RETRY_AFTER_CAP;
use crate::supervision::strategy::{Backoff, Intensity, Opening};

#[derive(Debug, Clone)]
enum Step {
    Fail { kind: FailureKind, wait: Option<Duration>, counts: bool, random: f64 },
    Succeed,
    Start,
    Probe,
}

fn any_kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        6 => Just(FailureKind::Reported),
        4 => Just(FailureKind::Panicked),
        2 => Just(FailureKind::Hung),
        2 => Just(FailureKind::Deadline),
        1 => Just(FailureKind::Permanent),
    ]
}

fn any_wait() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        4 => Just(None),
        2 => (0u64..100_000).prop_map(|s| Some(Duration::from_secs(s))),
        1 => Just(Some(Duration::MAX)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any_kind(), any_wait(), any::<bool>(), -0.5f64..1.5).prop_map(|(kind, wait, counts, random)| Step::Fail { kind, wait, counts, random }),
        2 => Just(Step::Succeed),
        2 => Just(Step::Start),
        1 => Just(Step::Probe),
    ]
}

/// Microseconds that pass before a step: often none, sometimes days, sometimes to the end of the clock, and at times
/// backwards, which no monotonic clock does and which must be harmless.
fn any_move() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0i64), 6 => 0i64..200_000_000, 1 => 0i64..700_000_000_000, 1 => -5_000_000i64..0, 1 => Just(i64::MAX)]
}

fn any_strategy() -> impl Strategy<Value = RestartStrategy> {
    prop_oneof![
        Just(RestartStrategy::actor()),
        Just(RestartStrategy::parent()),
        Just(RestartStrategy::root()),
        Just(RestartStrategy::delivery()),
        Just(RestartStrategy::breaker()),
        (1u32..4).prop_map(|n| RestartStrategy {
            max_attempts: Some(n),
            on_exhausted: OnExhausted::DeadLetter,
            ..RestartStrategy::breaker()
        }),
        (1u32..2_000, 1u64..1_000).prop_map(|(failures, s)| RestartStrategy {
            intensity: Some(Intensity { failures, within: Duration::from_secs(s) }),
            ..RestartStrategy::actor()
        }),
        Just(RestartStrategy {
            on_exhausted: OnExhausted::Open(Opening {
                first: Duration::MAX,
                max: Duration::MAX,
                probes_to_close: u32::MAX
            }),
            backoff: Backoff::Exponential { base: Duration::MAX, factor: f64::MAX, max: Duration::MAX, jitter: 1.0 },
            ..RestartStrategy::actor()
        }),
    ]
}

fn moved(now: Tick, by: i64) -> Tick {
    Tick(now.0.saturating_add_signed(by))
}

fn shortest(strategy: &RestartStrategy) -> Duration {
    (1..=20).map(|n| strategy.backoff.delay(n, 0.0)).min().unwrap_or_default()
}

fn fail(history: &mut History, strategy: &RestartStrategy, now: Tick) -> Decision {
    decide(strategy, history, now, &Failure::new(FailureKind::Reported, "x", Wall(0)), 0.5)
}

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

proptest! {
    #[test]
    fn nothing_is_tried_before_the_floor(strategy in any_strategy(), steps in prop::collection::vec((any_move(), any_step()), 0..120)) {
        let (mut history, mut now) = (History::default(), at(1_000));
        for (by, step) in steps {
            now = moved(now, by);
            match step {
                Step::Succeed => { history.succeeded(&strategy, now); }
                Step::Start => history.started(now),
                Step::Probe => { history.probe(now); }
                Step::Fail { kind, wait, counts, random } => {
                    let mut failure = Failure::new(kind, "x", Wall(0));
                    failure.retry_after = wait;
                    failure.counts = counts;
                    let floor = now.plus(wait.unwrap_or_default().min(RETRY_AFTER_CAP));
                    let (consecutive, total) = (history.consecutive(), history.total());
                    let decision = decide(&strategy, &mut history, now, &failure, random);
                    match decision {
                        Decision::RestartAt(t) => {
                            prop_assert!(t >= floor);
                            prop_assert!(t >= now.plus(shortest(&strategy)), "a restart without a wait");
                        }
                        Decision::OpenUntil(t) => prop_assert!(t >= floor && t > now || now.0 == u64::MAX),
                        Decision::Quarantine | Decision::Escalate | Decision::DeadLetter => prop_assert!(counts),
                    }
                    if !counts {
                        prop_assert!(history.total() == total && (history.consecutive() == consecutive || history.consecutive() == 0));
                    }
                }
            }
            prop_assert!(history.window.len() <= 1_000);
        }
    }

    /// However the failures fall, fewer than the intensity within any window were followed by a restart.
    #[test]
    fn the_intensity_is_respected(gaps in prop::collection::vec(0u64..30_000_000, 1..200)) {
        let strategy = RestartStrategy { reset_after: None, ..RestartStrategy::actor() };
        let (mut history, mut now, mut restarted) = (History::default(), Tick(0), Vec::<Tick>::new());
        for gap in gaps {
            now = Tick(now.0 + gap);
            match fail(&mut history, &strategy, now) {
                Decision::RestartAt(_) => restarted.push(now),
                Decision::Quarantine => {
                    let recent = restarted.iter().filter(|t| now.since(**t) < Duration::from_secs(60)).count();
                    prop_assert!(recent >= 4, "quarantined after {} failures", recent + 1);
                    history.reset();
                    restarted.clear();
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let recent = restarted.iter().filter(|t| now.since(**t) < Duration::from_secs(60)).count();
            prop_assert!(recent < 5);
        }
    }

    #[test]
    fn the_backoff_grows_and_is_bounded(random in 0.0f64..1.0, n in 1u32..4) {
        let strategy = RestartStrategy { intensity: None, ..RestartStrategy::actor() };
        let mut history = History::default();
        let mut last = Duration::ZERO;
        for step in 0..(n * 10) {
            let decision = decide(&strategy, &mut history, at(5), &Failure::new(FailureKind::Panicked, "x", Wall(0)), random);
            let Decision::RestartAt(t) = decision else { return Err(TestCaseError::fail("not restarted")) };
            let wait = t.since(at(5));
            prop_assert!(wait >= last && wait <= Duration::from_secs(36), "{step}: {wait:?}");
            last = wait;
        }
    }

    #[test]
    fn a_healthy_period_starts_the_counters_anew(failures in 1u32..5, healthy in 60u64..1_000_000) {
        let strategy = RestartStrategy::actor();
        let mut history = History::default();
        for _ in 0..failures {
            if !matches!(fail(&mut history, &strategy, at(10)), Decision::RestartAt(_)) { return Ok(()); }
        }
        history.started(at(11));
        let decision = fail(&mut history, &strategy, at(11 + healthy));
        prop_assert_eq!(decision, Decision::RestartAt(at(11 + healthy).plus(Duration::from_millis(100))));
        prop_assert_eq!((history.attempts(), history.consecutive()), (1, 1));
    }

    #[test]
    fn a_delivery_is_tried_thirteen_times_however_long_each_takes(durations in prop::collection::vec(0u64..400_000, 13), random in 0.0f64..1.0) {
        let strategy = RestartStrategy::delivery();
        let (mut history, mut now) = (History::default(), at(1));
        for (n, duration) in durations.iter().enumerate() {
            history.started(now);
            now = now.plus(Duration::from_secs(*duration));
            let decision = decide(&strategy, &mut history, now, &Failure::new(FailureKind::Deadline, "x", Wall(0)), random);
            match decision {
                Decision::RestartAt(next) => { prop_assert!(n < 12); now = next; }
                other => prop_assert!(n == 12 && other == Decision::DeadLetter, "{n}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_fifth_failure_within_a_minute_quarantines() {
    let (strategy, mut history) = (RestartStrategy::actor(), History::default());
    for second in 0..4 {
        assert!(matches!(fail(&mut history, &strategy, at(second)), Decision::RestartAt(_)));
    }
    assert_eq!(fail(&mut history, &strategy, at(59)), Decision::Quarantine);
}

#[test]
fn failures_that_come_slowly_never_exhaust_an_actor() {
    let (strategy, mut history) =
        (RestartStrategy { reset_after: None, ..RestartStrategy::actor() }, History::default());
    for n in 0..100 {
        assert!(matches!(fail(&mut history, &strategy, at(n * 15)), Decision::RestartAt(_)), "{n}");
    }
}

#[test]
fn a_permanent_failure_exhausts_at_once() {
    let failure = Failure::new(FailureKind::Permanent, "410", Wall(0));
    let decided = |strategy: RestartStrategy| decide(&strategy, &mut History::default(), at(1), &failure, 0.5);
    assert_eq!(decided(RestartStrategy::actor()), Decision::Quarantine);
    assert_eq!(decided(RestartStrategy::breaker()), Decision::Quarantine);
    assert_eq!(decided(RestartStrategy::delivery()), Decision::DeadLetter);
    assert_eq!(decided(RestartStrategy::parent()), Decision::Escalate);
}

#[test]
fn half_of_twenty_opens_and_half_of_nineteen_does_not() {
    let strategy = RestartStrategy::breaker();
    for (results, opens) in [(19, false), (20, true)] {
        let mut history = History::default();
        let mut last = Decision::Escalate;
        for n in 0..results {
            // The failure comes last in both, so that the last result decides.
            if (results - n) % 2 == 0 {
                history.succeeded(&strategy, at(n));
            } else {
                last = fail(&mut history, &strategy, at(n));
            }
        }
        assert_eq!(matches!(last, Decision::OpenUntil(_)), opens, "{results}");
    }
}

#[test]
fn old_results_leave_the_rate() {
    let strategy = RestartStrategy { consecutive: None, ..RestartStrategy::breaker() };
    let mut history = History::default();
    for n in 0..19 {
        assert!(matches!(fail(&mut history, &strategy, at(n / 4)), Decision::RestartAt(_)));
    }
    assert!(matches!(fail(&mut history, &strategy, at(120)), Decision::RestartAt(_)));
}

#[test]
fn a_late_failure_while_open_changes_nothing() {
    let (strategy, mut history) = (RestartStrategy::breaker(), History::default());
    for _ in 0..5 {
        fail(&mut history, &strategy, at(0));
    }
    assert_eq!(history.phase(), Phase::Open { until: at(30) });
    assert_eq!(fail(&mut history, &strategy, at(29)), Decision::OpenUntil(at(30)));
    assert_eq!(history.total(), 5);
}
