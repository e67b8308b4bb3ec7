//! The breaker against its policy, and its invariants over arbitrary use.

use proptest::prelude::*;

use super::*;
use crate::clock::Wall;
use crate::supervision::failure::FailureKind;

fn failure() -> Failure {
    Failure::new(FailureKind::Reported, "503", Wall(0))
}

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

fn tripped() -> Breaker {
    let mut breaker = Breaker::new(RestartStrategy::breaker());
    for n in 0..5 {
        let taken = breaker.permit(at(0));
        assert_eq!(taken, Permit::Yes);
        let turn = breaker.on_result(taken, Err(&failure()), at(0));
        assert_eq!(turn.is_some(), n == 4);
    }
    breaker
}

#[test]
fn opens_probes_and_closes_by_the_policy() {
    let mut breaker = tripped();
    assert_eq!(breaker.permit(at(29)), Permit::No { until: at(30) });
    for n in 1..=3 {
        let taken = breaker.permit(at(30));
        assert_eq!(taken, Permit::Probe(n));
        assert_eq!(breaker.permit(at(30)), Permit::No { until: at(60) }, "one probe at a time");
        assert_eq!(breaker.on_result(taken, Ok(()), at(30)), (n == 3).then_some(Turn::Closed));
    }
    assert_eq!(breaker.permit(at(30)), Permit::Yes);
}

#[test]
fn a_failed_probe_doubles_the_wait_up_to_ten_minutes() {
    let mut breaker = tripped();
    let mut now = at(30);
    for wait in [60, 120, 240, 480, 600, 600] {
        let taken = breaker.permit(now);
        let until = now.plus(Duration::from_secs(wait));
        assert_eq!(breaker.on_result(taken, Err(&failure()), now), Some(Turn::Opened { until }));
        now = until;
    }
}

#[test]
fn retry_after_keeps_it_open_longer() {
    let mut breaker = tripped();
    let taken = breaker.permit(at(30));
    let asked = failure().retry_after(Duration::from_secs(3_600));
    assert_eq!(breaker.on_result(taken, Err(&asked), at(30)), Some(Turn::Opened { until: at(3_630) }));
}

#[test]
fn a_result_from_before_it_opened_changes_nothing() {
    let mut breaker = tripped();
    assert_eq!(breaker.on_result(Permit::Yes, Ok(()), at(1)), None);
    assert_eq!(breaker.on_result(Permit::Yes, Err(&failure()), at(1)), None);
    let probe = breaker.permit(at(30));
    assert_eq!(breaker.on_result(Permit::Yes, Ok(()), at(31)), None);
    assert_eq!(breaker.permit(at(31)), Permit::No { until: at(60) }, "the probe is still out");
    assert!(matches!(breaker.on_result(probe, Err(&failure()), at(32)), Some(Turn::Opened { .. })));
}

#[test]
fn a_probe_that_never_reports_is_replaced() {
    let mut breaker = tripped();
    let lost = breaker.permit(at(30));
    let next = breaker.permit(at(60));
    assert_eq!(next, Permit::Probe(2));
    assert_eq!(breaker.on_result(lost, Err(&failure()), at(61)), None);
    breaker.hand_back(next);
    assert_eq!(breaker.permit(at(61)), Permit::Probe(3));
}

#[test]
fn five_days_of_failure_disable_the_target() {
    let mut breaker = tripped();
    let mut now = at(30);
    let turn = loop {
        let taken = breaker.permit(now);
        match breaker.on_result(taken, Err(&failure()), now) {
            Some(Turn::Opened { until }) => now = until,
            other => break other,
        }
    };
    assert_eq!(turn, Some(Turn::Disabled));
    assert!(now >= at(5 * 86_400) && now < at(5 * 86_400 + 1_200));
    assert_eq!(breaker.permit(Tick(u64::MAX - 1)), Permit::No { until: Tick(u64::MAX) });
    breaker.reset();
    assert_eq!(breaker.permit(now), Permit::Yes);
}

proptest! {
    /// Never two probes at once, nothing while open, and it can always be used again.
    #[test]
    fn at_most_one_probe_is_out(steps in prop::collection::vec((0u64..40, 0u8..4, any::<bool>()), 0..300)) {
        let mut breaker = Breaker::new(RestartStrategy::breaker());
        let mut now = at(0);
        let mut out: Vec<(Permit, Tick)> = Vec::new();
        for (by, what, ok) in steps {
            now = now.plus(Duration::from_secs(by));
            if what < 2 {
                let phase = breaker.phase();
                let taken = breaker.permit(now);
                match (phase, taken) {
                    (Phase::Closed, taken) => prop_assert_eq!(taken, Permit::Yes),
                    (Phase::Open { until }, Permit::Probe(_)) => prop_assert!(now >= until),
                    (Phase::Open { .. } | Phase::HalfOpen { .. }, Permit::No { until }) => prop_assert!(until > now),
                    (Phase::HalfOpen { .. }, Permit::Probe(_)) => {}
                    (phase, Permit::Yes) => prop_assert!(false, "{:?} let an attempt through", phase),
                }
                if let Permit::Probe(_) = taken {
                    let fresh = |(p, since): &&(Permit, Tick)| matches!(p, Permit::Probe(_)) && now.since(*since) < Duration::from_secs(30);
                    prop_assert_eq!(out.iter().filter(fresh).count(), 0);
                }
                if !matches!(taken, Permit::No { .. }) { out.push((taken, now)); }
            } else if !out.is_empty() {
                let (taken, _) = out.remove(usize::from(what) % out.len());
                let failed = failure();
                breaker.on_result(taken, if ok { Ok(()) } else { Err(&failed) }, now);
            }
        }
    }
}
