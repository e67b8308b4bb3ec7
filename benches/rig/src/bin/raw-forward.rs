//! Delivery written by hand: so many requests to a sink, so many in flight, by the HTTP client that hexaFn uses. Prints
//! one JSON line.
//!
//! ```text
//! raw-forward URL COUNT CONCURRENCY BODY-FILE
//! ```

use futures_util::StreamExt;
use hexafn_rig::Result;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, count, concurrency, body] = &words[..] else { return Err("expected URL COUNT CONCURRENCY BODY-FILE".into()) };
    let (count, concurrency): (u64, usize) = (count.parse()?, concurrency.parse()?);
    let body = bytes::Bytes::from(std::fs::read(body)?);
    // One thread: hexaFn's forwarders of one target share one, too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let client = reqwest::Client::builder().pool_max_idle_per_host(concurrency).tcp_nodelay(true).build()?;
        let began = Instant::now();
        let sent = futures_util::stream::iter(0..count)
            .map(|n| {
                let request = client.post(url).header("webhook-id", format!("raw-{n}"));
                let request = request.header("content-type", "application/json").body(body.clone()).send();
                async move { Ok::<_, reqwest::Error>(request.await?.error_for_status()?.bytes().await?.len()) }
            })
            .buffer_unordered(concurrency);
        let failed = sent.filter(|sent| std::future::ready(sent.is_err())).count().await;
        let seconds = began.elapsed().as_secs_f64();
        println!("{{\"rate\":{:.1},\"failed\":{failed},\"seconds\":{seconds:.6}}}", count as f64 / seconds);
        Ok(())
    })
}
