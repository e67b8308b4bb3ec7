//! Random numbers from the seed of the context: a run that is repeated gives the same.

use super::args::count;
use super::arithmetic::kept;
use super::collections::collected;
use super::{Row, Run};
use crate::codes;
use crate::eval::Machine;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "random",
        signature: "(low: int, high: int) -> int",
        doc: "A random integer from `low` to before `high`, from the seed of the context: a run that is repeated gives \
              the same.",
        examples: &[("random(5, 6)", "5")],
        run: Run::Context(|m, a| {
            let (Value::Int(low), Value::Int(high)) = (&a[0], &a[1]) else { return Err(kept(&a[0])) };
            let width = i128::from(*high) - i128::from(*low);
            if width <= 0 {
                return Err(Fault::new(
                    codes::BAD_ARGUMENT,
                    format!("there is no integer from {low} to before {high}"),
                ));
            }
            let drawn = (u128::from(draw(m)) * width as u128) >> 64;
            Ok(Value::Int((i128::from(*low) + drawn as i128) as i64))
        }),
    },
    Row {
        name: "sample",
        signature: "(items: array, count: int) -> array",
        doc: "Some elements chosen at random, in their order, from the seed of the context; all if there are not more.",
        examples: &[("len(sample([1, 2, 3, 4], 2))", "2")],
        run: Run::Context(|m, a| {
            let mut wanted = count(a, 1, "count")?;
            let items = collected(m, &a[0])?;
            let mut left = items.len();
            let mut out = Vec::new();
            // Each element with the probability that is left (selection sampling, Knuth's algorithm S).
            for item in items {
                if below(m, left) < wanted {
                    out.push(item);
                    wanted -= 1;
                }
                left -= 1;
            }
            m.array(out)
        }),
    },
    Row {
        name: "shuffle",
        signature: "(items: array) -> array",
        doc: "The elements in a random order, from the seed of the context.",
        examples: &[("sort(shuffle([3, 1, 2]))", "[1,2,3]")],
        run: Run::Context(|m, a| {
            let mut items = collected(m, &a[0])?;
            for at in (1..items.len()).rev() {
                let other = below(m, at + 1);
                items.swap(at, other);
            }
            m.array(items)
        }),
    },
];

/// A random number below a bound that is not 0.
fn below(m: &mut Machine<'_, '_>, bound: usize) -> usize {
    ((u128::from(draw(m)) * bound as u128) >> 64) as usize
}

/// The next number of the seeded sequence: two of SplitMix64 (Steele, Lea and Flood, 2014) together, so that what is made of two
/// numbers, such as a UUID, can have all bits of the seed.
pub(super) fn draw(m: &mut Machine<'_, '_>) -> u64 {
    let [one, other] = *m.seed.get_or_insert_with(|| m.input.ctx.seed.words());
    m.drawn = m.drawn.wrapping_add(1);
    let step = m.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed(one.wrapping_add(step)) ^ mixed(other.wrapping_sub(step))
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
