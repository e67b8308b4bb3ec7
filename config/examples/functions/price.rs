//! Prices an order in cents, and tells the warehouse about large ones.

mod hexafn;

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::{Read, Write};

#[derive(Deserialize)]
struct Input {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    data: Order,
}

#[derive(Deserialize)]
struct Order {
    id: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    price: u64,
    count: u64,
}

#[derive(Serialize)]
struct Large<'a> {
    id: &'a str,
    total: u64,
}

#[derive(Serialize)]
struct Priced<'a> {
    id: &'a str,
    items: u64,
    total: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let Input { event: Event { data: Order { id, lines } } } = serde_json::from_str(&input)?;
    let items = lines.iter().map(|line| line.count).sum();
    let total = lines.iter().map(|line| line.price * line.count).sum();
    if total > 10_000 {
        hexafn::emit("orders.large", Some(&id), &serde_json::to_string(&Large { id: &id, total })?);
    }
    let output = serde_json::to_string(&Priced { id: &id, items, total })?;
    std::io::stdout().write_all(output.as_bytes())?;
    Ok(())
}
