// HTTP/2 servers and a proxy, for tests: argument 1 is a folder with `server.pem` and `server.key`.
//
// Writes a line of JSON with the ports: `tls` speaks HTTP/2 only and is agreed on by ALPN, `plain` speaks it without being
// asked, `proxy` wants jo:secret. What each of them sees is a line of JSON. It ends with its standard input.

const fs = require("node:fs");
const http = require("node:http");
const http2 = require("node:http2");
const net = require("node:net");
const path = require("node:path");

const say = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
const read = (name) => fs.readFileSync(path.join(process.argv[2], name));
const expected = "Basic " + Buffer.from("jo:secret").toString("base64");

const handler = (server) => (request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    say({ server, version: request.httpVersion, path: request.url, body });
    response.writeHead(204).end();
  });
};

const proxy = http.createServer((request, response) => {
  const known = request.headers["proxy-authorization"] === expected;
  say({ server: "proxy", read: request.url, known });
  response.writeHead(known ? 204 : 407).end();
});
proxy.on("connect", (request, client) => {
  const known = request.headers["proxy-authorization"] === expected;
  say({ server: "proxy", tunnel: request.url, known });
  if (!known) return client.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  const port = Number(request.url.split(":")[1]);
  const server = net.connect(port, "127.0.0.1", () => {
    client.write("HTTP/1.1 200 Connection established\r\n\r\n");
    client.pipe(server).pipe(client);
  });
  // Either side may go first.
  for (const socket of [client, server]) socket.on("error", () => socket.destroy());
});

const servers = {
  tls: http2.createSecureServer({ cert: read("server.pem"), key: read("server.key") }, handler("tls")),
  plain: http2.createServer(handler("plain")),
  proxy,
};
const listening = Object.entries(servers).map(
  ([name, server]) => new Promise((ready) => server.listen(0, "127.0.0.1", () => ready([name, server.address().port]))),
);
Promise.all(listening).then((ports) => say(Object.fromEntries(ports)));
process.stdin.on("end", () => process.exit()).resume();
