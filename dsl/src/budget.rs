//! What an evaluation may use. Steps are counted, not timed, so that the same program on the same event always ends at
//! the same place.

use crate::codes;
use crate::fault::Fault;

/// The limits of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations, and elements that built-ins walk over.
    pub steps: u64,
    /// Bytes of the values that are made, in total.
    pub bytes: usize,
    /// Nesting of the arrays and objects that are made.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, bytes: 32 * 1024 * 1024, depth: 64 }
    }
}

/// What is left of the limits.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    steps: u64,
    bytes: usize,
}

impl Budget {
    /// A full budget.
    pub fn new(limits: Limits) -> Self {
        Self { limits, steps: limits.steps, bytes: limits.bytes }
    }

    /// Fills the budget up again, for the next evaluation.
    pub fn reset(&mut self) {
        self.steps = self.limits.steps;
        self.bytes = self.limits.bytes;
    }

    /// The limits it began with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Steps used so far.
    pub fn steps_used(&self) -> u64 {
        self.limits.steps - self.steps
    }

    /// Bytes used so far.
    pub fn bytes_used(&self) -> usize {
        self.limits.bytes - self.bytes
    }

    #[inline(always)]
    pub(crate) fn step(&mut self, count: u64) -> Result<(), Fault> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(self.out_of_steps()),
        }
    }

    /// Takes back steps that were counted.
    pub(crate) fn give_back(&mut self, count: u64) {
        self.steps += count;
    }

    #[cold]
    fn out_of_steps(&mut self) -> Fault {
        self.steps = 0;
        Fault::new(codes::STEPS, format!("the budget of {} steps is used up", self.limits.steps))
    }

    #[inline]
    pub(crate) fn make(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(self.out_of_bytes(bytes)),
        }
    }

    #[cold]
    fn out_of_bytes(&mut self, bytes: usize) -> Fault {
        Fault::new(
            codes::SIZE,
            format!("{bytes} bytes more would exceed the budget of {} bytes of values", self.limits.bytes),
        )
    }

    /// Bytes that may still be made.
    pub(crate) fn bytes_left(&self) -> usize {
        self.bytes
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}
