//! Counting calls and their times.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a way runs before it is measured, as a part of its time.
const WARM: u32 = 5;

/// Calls and their times.
pub struct Figures {
    times: Vec<Duration>,
    took: Duration,
}

impl Figures {
    /// Prints them as a line of JSON: calls a second, microseconds.
    pub fn tell(mut self, engine: &str, way: &str) {
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

/// So many calls at once before so many callees, each of which takes one at a time: what is done makes room for the next.
/// A call's time is that from when it began to wait.
pub fn in_flight<C: FnMut() -> Result<()>>(
    flight: usize,
    callees: usize,
    time: Duration,
    make: impl Fn() -> Result<C> + Sync,
) -> Result<Figures> {
    let (ask, asked) = mpsc::channel::<Instant>();
    let (tell, told) = mpsc::channel::<std::result::Result<Instant, String>>();
    let (asked, ready) = (Mutex::new(asked), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..callees {
            let (tell, asked, ready, make) = (tell.clone(), &asked, &ready, &make);
            scope.spawn(move || {
                let mut call = match make() {
                    Ok(call) => call,
                    Err(error) => return drop(tell.send(Err(error.to_string()))),
                };
                ready.fetch_add(1, Ordering::Relaxed);
                // Whoever is told of it may be gone: then the channel of calls closes, too.
                while let Ok(Ok(waiting)) = asked.lock().map(|asked| asked.recv()) {
                    drop(tell.send(call().map(|()| waiting).map_err(|e| e.to_string())));
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
