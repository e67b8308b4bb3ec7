// five.js behind the HTTP server of Node.js, one process.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const text = readFileSync(new URL('five.js', import.meta.url), 'utf8');
const { default: five } = await import(`data:text/javascript,${encodeURIComponent(text)}`);

createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const result = five({ data: JSON.parse(Buffer.concat(chunks)) });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(result));
  });
}).listen(Number(process.env.PORT), '127.0.0.1');
