//! A Kafka producer written by hand: idempotent, all acks, every record confirmed. Makes the topic. Prints one JSON line.
//!
//! ```text
//! raw-kafka BROKERS TOPIC COUNT BODY-FILE     0 makes the topic only
//! ```

use hexafn_rig::Result;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::{Duration, Instant};

/// Records that wait for their confirmation at a time.
const IN_FLIGHT: usize = 8_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, count, body] = &words[..] else { return Err("expected BROKERS TOPIC COUNT BODY-FILE".into()) };
    let count: u64 = count.parse()?;
    let body = std::fs::read(body)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let made = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        admin.create_topics([&made], &AdminOptions::new()).await?;
        let config = config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "5");
        let producer: FutureProducer = config.create()?;
        let (mut waiting, mut failed) = (std::collections::VecDeque::new(), 0u64);
        let began = Instant::now();
        for n in 0..count {
            if waiting.len() >= IN_FLIGHT {
                let confirmed: rdkafka::producer::DeliveryFuture = waiting.pop_front().ok_or("nothing waits")?;
                failed += u64::from(!matches!(confirmed.await, Ok(Ok(_))));
            }
            let key = n.to_string();
            let mut record = FutureRecord::to(topic).key(&key).payload(&body);
            loop {
                match producer.send_result(record) {
                    Ok(confirmation) => break waiting.push_back(confirmation),
                    Err((_, again)) => {
                        record = again;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        }
        for confirmed in waiting {
            failed += u64::from(!matches!(confirmed.await, Ok(Ok(_))));
        }
        let seconds = began.elapsed().as_secs_f64();
        println!("{{\"rate\":{:.1},\"failed\":{failed},\"seconds\":{seconds:.6}}}", count as f64 / seconds);
        Ok(())
    })
}
