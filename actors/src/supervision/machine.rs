//! The states of a child and the transitions that exist. A transition that does not exist is reported, never made.

use std::fmt;

use crate::clock::Tick;

use super::decision::Decision;

/// The state of a child, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its start function has been asked for and has not returned.
    Starting,
    /// It serves.
    Running,
    /// It failed and is started again at the time.
    BackingOff {
        /// When it is started again.
        until: Tick,
    },
    /// It failed too often; nothing is tried before the time.
    Open {
        /// When a probe is started.
        until: Tick,
    },
    /// It runs as a probe: one more failure opens again, success closes.
    HalfOpen,
    /// It was asked to stop and is given until the time.
    Stopping {
        /// When it is given up.
        until: Tick,
    },
    /// It was stopped by hand, by its parent or by its own choice.
    Stopped,
    /// It failed too often or for good; a person resets it.
    Quarantined,
}

impl State {
    /// The name that is shown: `backing_off`, `half_open` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff { .. } => "backing_off",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
            Self::Stopping { .. } => "stopping",
            Self::Stopped => "stopped",
            Self::Quarantined => "quarantined",
        }
    }

    /// When something happens by itself, if anything does.
    pub fn until(self) -> Option<Tick> {
        match self {
            Self::BackingOff { until } | Self::Open { until } | Self::Stopping { until } => Some(until),
            Self::Starting | Self::Running | Self::HalfOpen | Self::Stopped | Self::Quarantined => None,
        }
    }

    /// Whether an actor of it exists, or is about to.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::HalfOpen | Self::Stopping { .. })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can happen to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Start it: at first, after the backoff, or by hand.
    Start,
    /// The open time is over: start it as the probe.
    Probe,
    /// Its start function returned.
    Ready,
    /// It failed, and this was decided.
    Decided(Decision),
    /// It proved healthy.
    Healed,
    /// It is asked to stop, and has until then.
    Stop(Tick),
    /// It has ended without a failure, or while it was asked to stop.
    Gone,
    /// A person gives it another chance.
    Reset,
}

/// A transition that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a child that is {from} cannot take {input:?}")]
pub struct Illegal {
    /// The state it is in, and stays in.
    pub from: State,
    /// What was asked.
    pub input: Input,
}

/// One child's state. The only way to change it is [`apply`](Self::apply).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    state: State,
}

impl Default for Machine {
    fn default() -> Self {
        Self { state: State::Stopped }
    }
}

impl Machine {
    /// The state.
    pub fn state(self) -> State {
        self.state
    }

    /// Makes a transition.
    ///
    /// # Errors
    /// There is no such transition; the state has not changed.
    pub fn apply(&mut self, input: Input) -> Result<State, Illegal> {
        let next = transition(self.state, input).ok_or(Illegal { from: self.state, input })?;
        self.state = next;
        Ok(next)
    }
}

/// The table. `None` is illegal.
fn transition(from: State, input: Input) -> Option<State> {
    use State::{BackingOff, HalfOpen, Open, Quarantined, Running, Starting, Stopped, Stopping};
    match (from, input) {
        (Stopped | BackingOff { .. }, Input::Start) => Some(Starting),
        (Open { .. } | BackingOff { .. } | Stopped, Input::Probe) => Some(HalfOpen),
        (Starting, Input::Ready) => Some(Running),
        (HalfOpen, Input::Ready) => Some(HalfOpen),
        (Starting | Running | HalfOpen, Input::Decided(decision)) => Some(match decision {
            Decision::RestartAt(until) => BackingOff { until },
            Decision::OpenUntil(until) => Open { until },
            Decision::Quarantine => Quarantined,
            Decision::Escalate | Decision::DeadLetter => Stopped,
        }),
        (HalfOpen | Running, Input::Healed) => Some(Running),
        (Starting | Running | HalfOpen, Input::Stop(until)) => Some(Stopping { until }),
        (Stopping { until: earlier }, Input::Stop(until)) => Some(Stopping { until: earlier.min(until) }),
        (BackingOff { .. } | Open { .. } | Stopped | Quarantined, Input::Stop(_)) => Some(Stopped),
        (Starting | Running | HalfOpen | Stopping { .. }, Input::Gone) => Some(Stopped),
        (BackingOff { .. } | Open { .. } | Stopped | Quarantined, Input::Reset) => Some(Starting),
        (Starting | Running | HalfOpen, Input::Reset) => Some(from),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_tick() -> impl Strategy<Value = Tick> {
        any::<u64>().prop_map(Tick)
    }

    fn any_input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Start),
            Just(Input::Probe),
            Just(Input::Ready),
            any_tick().prop_map(|t| Input::Decided(Decision::RestartAt(t))),
            any_tick().prop_map(|t| Input::Decided(Decision::OpenUntil(t))),
            Just(Input::Decided(Decision::Quarantine)),
            Just(Input::Decided(Decision::Escalate)),
            Just(Input::Decided(Decision::DeadLetter)),
            Just(Input::Healed),
            any_tick().prop_map(Input::Stop),
            Just(Input::Gone),
            Just(Input::Reset),
        ]
    }

    proptest! {
        #[test]
        fn what_is_illegal_changes_nothing(inputs in proptest::collection::vec(any_input(), 0..60)) {
            let mut machine = Machine::default();
            for input in inputs {
                let before = machine.state();
                match machine.apply(input) {
                    Ok(after) => prop_assert_eq!(machine.state(), after),
                    Err(illegal) => {
                        prop_assert_eq!(machine.state(), before);
                        prop_assert_eq!(illegal.from, before);
                    }
                }
            }
        }

        #[test]
        fn a_quarantined_child_comes_back_by_a_reset_only(input in any_input()) {
            let next = transition(State::Quarantined, input);
            let expected = match input {
                Input::Reset => Some(State::Starting),
                Input::Stop(_) => Some(State::Stopped),
                _ => None,
            };
            prop_assert_eq!(next, expected);
        }

        #[test]
        fn an_open_child_runs_as_a_probe_only(input in any_input(), until in any_tick()) {
            let next = transition(State::Open { until }, input);
            prop_assert!(next != Some(State::Running));
            prop_assert!(next != Some(State::Starting) || input == Input::Reset);
        }

        #[test]
        fn a_deadline_for_stopping_is_never_put_off(a in any_tick(), b in any_tick()) {
            prop_assert_eq!(transition(State::Stopping { until: a }, Input::Stop(b)), Some(State::Stopping { until: a.min(b) }));
        }
    }

    #[test]
    fn every_state_can_be_stopped() {
        let t = Tick(1);
        let all = [
            State::Starting,
            State::Running,
            State::BackingOff { until: t },
            State::Open { until: t },
            State::HalfOpen,
            State::Stopping { until: t },
            State::Stopped,
            State::Quarantined,
        ];
        for state in all {
            let stopped = transition(state, Input::Stop(t)).unwrap();
            assert!(stopped == State::Stopped || transition(stopped, Input::Gone) == Some(State::Stopped), "{state}");
        }
    }
}
