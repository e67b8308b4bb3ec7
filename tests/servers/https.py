"""HTTPS servers with certificates of their own making, for tests: argument 1 is the folder for the certificates.

Writes `ca.pem`, `client.pem` and `client.key`, and `server.pem` and `server.key` for other servers on this machine; then a
line of JSON with the ports: `good` asks for a certificate of the client, `expired` has a certificate of yesterday, `other` one
of another host. Each request is a line of JSON.
"""

import datetime
import http.server
import json
import pathlib
import ssl
import sys
import threading

import trustme

folder = pathlib.Path(sys.argv[1])
authority = trustme.CA()
authority.cert_pem.write_to_path(folder / "ca.pem")
client = authority.issue_cert("client@example.org")
client.cert_chain_pems[0].write_to_path(folder / "client.pem")
(folder / "client.key").touch(mode=0o600)
client.private_key_pem.write_to_path(folder / "client.key")
server = authority.issue_cert("localhost")
server.cert_chain_pems[0].write_to_path(folder / "server.pem")
(folder / "server.key").touch(mode=0o600)
server.private_key_pem.write_to_path(folder / "server.key")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        names = [value for part in (self.connection.getpeercert() or {}).get("subjectAltName", ()) for value in part[1:]]
        print(json.dumps({"path": self.path, "body": body.decode(), "client": names}), flush=True)
        self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(name, *, host="localhost", expired=False, ask=False):
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = {"not_before": now - datetime.timedelta(days=9), "not_after": now - datetime.timedelta(days=1)} if expired else {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **dates).configure_cert(context)
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return name, server.server_address[1]


ports = dict([serve("good", ask=True), serve("expired", expired=True, ask=False), serve("other", host="elsewhere.example")])
print(json.dumps(ports), flush=True)
sys.stdin.read()
