// Delivery in JavaScript: so many requests to a sink, so many in flight, by what the engine itself offers for it: `fetch` of Bun,
// `http` of Node.js, whose `fetch` is slower. Nothing is read from a disk, retried or acknowledged. Prints one JSON line.
//
//     bun loop.mjs URL COUNT IN-FLIGHT BODY-FILE
//     node loop.mjs URL COUNT IN-FLIGHT BODY-FILE
import { readFileSync } from 'node:fs';
import http from 'node:http';

const [url, count, inFlight, file] = process.argv.slice(2);
const body = readFileSync(file);
const headers = (n) => ({ 'webhook-id': `loop-${n}`, 'content-type': 'application/json' });

async function fetched(n) {
  const answer = await fetch(url, { method: 'POST', headers: headers(n), body });
  if (!answer.ok) throw new Error(`${answer.status}`);
  await answer.arrayBuffer();
}

const agent = new http.Agent({ keepAlive: true, maxSockets: Number(inFlight) });
const { hostname, port, pathname } = new URL(url);

function requested(n) {
  return new Promise((resolve, reject) => {
    const options = { hostname, port, path: pathname, method: 'POST', agent, headers: { ...headers(n), 'content-length': body.length } };
    const request = http.request(options, (answer) => {
      if (answer.statusCode >= 300) reject(new Error(`${answer.statusCode}`));
      answer.on('end', resolve).on('error', reject).resume();
    });
    request.on('error', reject).end(body);
  });
}

const send = process.versions.bun ? fetched : requested;
let next = 0;
async function sender() {
  while (next < count) await send(next++);
}

const began = process.hrtime.bigint();
await Promise.all(Array.from({ length: Number(inFlight) }, sender));
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
console.log(JSON.stringify({ rate: count / seconds, seconds }));
process.exit(0);
