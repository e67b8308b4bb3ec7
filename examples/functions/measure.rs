//! Counting calls and their times.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a way runs before it is measured, as a part of its time.
const WARM: u32 = 5;

/// In how many turns ways are measured that are compared.
const TURNS: u32 = 8;

/// Calls and their times.
#[derive(Default)]
pub struct Figures {
    times: Vec<Duration>,
    took: Duration,
}

/// A way of making calls for a time, and its name.
pub type Way<'a> = (&'static str, Box<dyn FnMut(Duration) -> Result<Figures> + 'a>);

/// Measures ways in short turns, so that a machine that is slower for a while is so for all of them, and prints what came
/// of each.
pub fn in_turns(engine: &str, time: Duration, ways: &mut [Way<'_>]) -> Result<()> {
    let mut all: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
    for _ in 0..TURNS {
        for ((_, run), figures) in ways.iter_mut().zip(&mut all) {
            let more = run(time / TURNS)?;
            figures.times.extend(more.times);
            figures.took += more.took;
        }
    }
    for ((way, _), figures) in ways.iter().zip(all) {
        figures.tell(engine, way);
    }
    Ok(())
}

impl Figures {
    /// Prints them as a line of JSON: calls a second, microseconds.
    fn tell(mut self, engine: &str, way: &str) {
        self.times.sort_unstable();
        let at = |part: usize| self.times.get(self.times.len() * part / 100).map_or(0.0, |t| t.as_secs_f64() * 1e6);
        let rate = self.times.len() as f64 / self.took.as_secs_f64();
        println!(
            "{}",
            serde_json::json!({"engine": engine, "way": way, "rate": rate, "p50_us": at(50), "p99_us": at(99)})
        );
    }
}

/// One call after the other on this thread.
pub fn one_by_one(time: Duration, mut call: impl FnMut() -> Result<()>) -> Result<Figures> {
    let warm = Instant::now();
    while warm.elapsed() < time / WARM {
        call()?;
    }
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let started = Instant::now();
        call()?;
        times.push(started.elapsed());
    }
    Ok(Figures { times, took: began.elapsed() })
}

/// The same on several threads at once, each with its own callee.
pub fn in_threads<C: FnMut() -> Result<()>>(
    threads: usize,
    time: Duration,
    make: impl Fn() -> Result<C> + Sync,
) -> Result<Figures> {
    // Not every engine's errors can leave their thread.
    let run = || make().and_then(|call| one_by_one(time, call)).map_err(|e| e.to_string());
    let parts: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        started.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let mut all = Figures { times: Vec::new(), took: time };
    for part in parts {
        let part = part?;
        all.times.extend(part.times);
        all.took = all.took.max(part.took);
    }
    Ok(all)
}

/// What takes calls ahead, and answers them in their order.
pub trait Callee {
    /// Whether it takes another one now.
    fn has_room(&self) -> bool;
    /// Gives it one.
    fn give(&mut self) -> Result<()>;
    /// Waits for the result of the oldest.
    fn answer(&mut self) -> Result<()>;
}

/// So many calls at once before so many callees: what is done makes room for the next, for whichever callee is free to
/// take it. A call's time is that from when it began to wait.
pub fn in_flight<C: Callee>(
    flight: usize,
    callees: usize,
    time: Duration,
    make: impl Fn() -> Result<C> + Sync,
) -> Result<Figures> {
    let (ask, asked) = mpsc::channel::<Instant>();
    let (tell, told) = mpsc::channel::<std::result::Result<Instant, String>>();
    let (asked, ready) = (Mutex::new(asked), AtomicUsize::new(0));
    // All that it has room for; waits when it has nothing to do. `None` when there is none.
    let take = |given: &mut VecDeque<Instant>, callee: &mut C| -> Option<Result<()>> {
        // Whoever waits for a call holds the lock; whoever has some does not wait.
        let asked = if given.is_empty() { asked.lock().ok()? } else { asked.try_lock().ok()? };
        while callee.has_room() {
            let next = if given.is_empty() { asked.recv().ok()? } else { asked.try_recv().ok()? };
            if let Err(error) = callee.give() {
                return Some(Err(error));
            }
            given.push_back(next);
        }
        Some(Ok(()))
    };
    std::thread::scope(|scope| {
        for _ in 0..callees {
            let (tell, take, ready, make) = (tell.clone(), &take, &ready, &make);
            scope.spawn(move || {
                let mut callee = match make() {
                    Ok(callee) => callee,
                    Err(error) => return drop(tell.send(Err(error.to_string()))),
                };
                ready.fetch_add(1, Ordering::Relaxed);
                let mut given = VecDeque::new();
                loop {
                    if let Some(Err(error)) = take(&mut given, &mut callee) {
                        return drop(tell.send(Err(error.to_string())));
                    }
                    let Some(waiting) = given.pop_front() else { return };
                    // Whoever is told of it may be gone: then the channel of calls closes, too.
                    drop(tell.send(callee.answer().map(|()| waiting).map_err(|e| e.to_string())));
                }
            });
        }
        drop(tell);
        for _ in 0..flight {
            ask.send(Instant::now())?;
        }
        let mut times = Vec::new();
        let mut began = Instant::now();
        let mut warm = true;
        while warm || began.elapsed() < time {
            let waited = told.recv()??.elapsed();
            if warm {
                // The first callee may be long at work before the last is there.
                if ready.load(Ordering::Relaxed) < callees || began.elapsed() < time / WARM {
                    ask.send(Instant::now())?;
                    continue;
                }
                (warm, began) = (false, Instant::now());
            }
            times.push(waited);
            ask.send(Instant::now())?;
        }
        let took = began.elapsed();
        drop(ask);
        Ok(Figures { times, took })
    })
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
