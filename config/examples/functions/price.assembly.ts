// Prices an order in cents, and tells the warehouse about large ones.
import { alloc, emit, input, output } from "./hexafn";
import { Json, quote } from "./json";

function price(order: Json): string {
  const id = order.get("id").string();
  const lines = order.get("lines").items();
  let items: i64 = 0;
  let total: i64 = 0;
  for (let i = 0; i < lines.length; i++) {
    const count = lines[i].get("count").integer();
    items += count;
    total += lines[i].get("price").integer() * count;
  }
  const shown = quote(id);
  if (total > 10000) {
    emit("orders.large", id, `{"id":${shown},"total":${total}}`);
  }
  return `{"id":${shown},"items":${items},"total":${total}}`;
}

export function hexafn_alloc(length: i32): usize {
  return alloc(length);
}

export function hexafn_call(pointer: usize, length: i32): i64 {
  const given = Json.of(input(pointer, length));
  return output(price(given.get("event").get("data")));
}
