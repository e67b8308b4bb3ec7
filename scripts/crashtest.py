"""The work of scripts/crashtest, which documents it."""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 6
STARTUP = 20.0  # seconds until the first line must be there
DRAIN = 20.0  # seconds until all queues must be empty
TRIGGER = "copied"
FAULTS = "journal-after-sync=1%panic"

CONFIG = """\
[server]
listen = "127.0.0.1:0"

[[source]]
name = "crash"
kind = "webhook"
topic = "crash"
verify = { scheme = "none" }

[[function]]
name = "copy"
code = '{ id: event.id, token: event.data.token }'

[[trigger]]
name = "copied"
on = "crash"
run = "copy"
to = ["crash-out", "crash-file"]
retry = { backoff = { delays = ["100ms"] }, max_attempts = 100 }

[[target]]
name = "crash-out"
kind = "topic"

[[target]]
name = "crash-file"
kind = "file"
path = "out/crash.jsonl"
"""


class Failure(Exception):
    """The round has failed."""


class Server:
    """One life of the service. Its standard error goes to a file of the folder."""

    def __init__(self, folder, faults):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEXAFN_")}
        if faults:
            environment["FAILPOINTS"] = faults
        with open(folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [os.environ["HEXAFN_BIN"], "serve", "--config", "config", "--set", "storage.path=data"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment,
            )

    def address(self):
        """Waits for the first line, which names the address."""
        readable, _, _ = select.select([self.process.stdout], [], [], STARTUP)
        line = self.process.stdout.readline().decode() if readable else ""
        found = re.search(r"http://(127\.0\.0\.1):(\d+)", line)
        if not found:
            raise Failure(f"it did not start within {STARTUP:.0f} s (exit status {self.process.poll()}); see server.log")
        return found[1], int(found[2])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def request(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def get(address, path):
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        status, body = request(connection, "GET", path)
    finally:
        connection.close()
    if status != 200:
        raise Failure(f"GET {path}: {status} {body[:200]!r}")
    return json.loads(body)


class Journal:
    """What the clients know: which tokens were sent, and what the acknowledged ones were told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.next = 0
        self.pending = set()
        self.acked = {}  # token: (id, sequence)
        self.broken = []

    def token(self):
        with self.lock:
            self.next += 1
            token = f"t{self.next}"
            self.pending.add(token)
            return token

    def answered(self, token, body):
        answer = json.loads(body)
        with self.lock:
            self.acked[token] = (answer["id"], answer["seq"])
            self.pending.discard(token)


def post(connection, journal, token):
    """Sends one event; false when it was not acknowledged."""
    body = json.dumps({"token": token, "padding": "x" * (int(token[1:]) * 37 % 500)}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": token}
    status, answer = request(connection, "POST", "/hooks/crash", body, headers)
    if 200 <= status < 300:
        journal.answered(token, answer)
        return True
    if status not in (429, 503, 507):
        with journal.lock:
            journal.broken.append(f"{token}: {status} {answer[:120]!r}")
    return False


def client(address, journal, stop):
    connection = http.client.HTTPConnection(*address, timeout=10)
    while not stop.is_set():
        token = journal.token()
        try:
            post(connection, journal, token)
        except (OSError, http.client.HTTPException):
            connection.close()
            # The server was killed, or an injected fault took its thread; the next attempt tells.
            stop.wait(0.01)
    connection.close()


def send_again(address, journal):
    """What was not answered is sent again, as a sender would, until it is acknowledged."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    end = time.monotonic() + DRAIN
    again = sorted(journal.pending)
    for token in again:
        while True:
            try:
                if post(connection, journal, token):
                    break
            except (OSError, http.client.HTTPException):
                connection.close()
            if time.monotonic() > end:
                raise Failure(f"{token} was not accepted within {DRAIN:.0f} s")
            time.sleep(0.02)
    connection.close()
    return len(again)


def drain(address):
    """Waits until two looks in a row find every queue empty: one look reads the queues one after the other."""
    end = time.monotonic() + DRAIN
    empty = 0
    while empty < 2:
        rows = get(address, "/admin/subscriptions")
        busy = [r for r in rows if r["lag"] or r["in_flight"] or r["waiting"]]
        names = {r["name"] for r in rows}
        whole = {f"trigger.{TRIGGER}", "target.crash-file"} <= names
        empty = empty + 1 if whole and not busy else 0
        if empty < 2 and time.monotonic() > end:
            left = ", ".join(f"{r['name']} lag {r['lag']} in_flight {r['in_flight']}" for r in busy)
            raise Failure(f"not drained within {DRAIN:.0f} s: {left or sorted(names)}")
        time.sleep(0.02)
    dead = sum(r["dead_lettered"] for r in rows)
    if dead:
        raise Failure(f"{dead} dead letters")


def read_topic(address, topic):
    events, start = [], 1
    while True:
        page = get(address, f"/admin/topics/{topic}/events?from={start}&limit=1000")
        if not page["events"]:
            return events
        events.extend(page["events"])
        start = page["next"]


def some(what, items):
    items = sorted(items)
    shown = ", ".join(str(i) for i in items[:5])
    return f"{len(items)} {what}: {shown}{', …' if len(items) > 5 else ''}"


def check(address, journal, folder):
    """Compares what the clients know with what is stored. Gives the number of repeated lines of the file."""
    wrong = [f"refused: {b}" for b in journal.broken[:3]]

    def expect(what, items):
        if items:
            wrong.append(some(what, items))

    source = read_topic(address, "crash")
    by_token = collections.defaultdict(list)
    for event in source:
        by_token[event["data"]["token"]].append((event["id"], event["seq"]))
    sequences = [e["seq"] for e in source]
    expect("sequences out of order in the topic", [b for a, b in zip(sequences, sequences[1:]) if b <= a])
    expect("acknowledged events lost", [t for t in journal.acked if t not in by_token])
    expect("events stored twice", [t for t, found in by_token.items() if len(found) > 1])
    expect("events stored otherwise than acknowledged",
           [t for t, told in journal.acked.items() if t in by_token and told not in by_token[t]])
    expect("events invented", [t for t in by_token if t not in journal.acked and t not in journal.pending])

    ids = {e["id"]: e["data"]["token"] for e in source}
    if len(ids) != len(source):
        wrong.append(f"{len(source)} events have {len(ids)} ids")
    output = read_topic(address, "crash-out")
    counts = collections.Counter(e["id"] for e in output)
    wanted = {f"{i}-{TRIGGER}": {"id": i, "token": t} for i, t in ids.items()}
    expect("outputs missing", wanted.keys() - counts.keys())
    expect("outputs twice", [i for i, n in counts.items() if n > 1])
    expect("outputs invented", counts.keys() - wanted.keys())
    expect("outputs with other data", [e["id"] for e in output if e["id"] in wanted and e["data"] != wanted[e["id"]]])

    lines = collections.Counter()
    path = folder / "out" / "crash.jsonl"
    raw = path.read_bytes() if path.exists() else b""
    if raw and not raw.endswith(b"\n"):
        wrong.append("the file does not end with a line end")
    for number, line in enumerate(raw.split(b"\n")[:-1], 1):
        try:
            entry = json.loads(line)
            lines[entry["id"]] += 1
            if ids.get(entry["id"]) != entry["token"]:
                wrong.append(f"line {number} of the file was invented: {line[:120]!r}")
        except (ValueError, KeyError, TypeError):
            wrong.append(f"line {number} of the file is broken: {line[:120]!r}")
    expect("lines missing in the file", ids.keys() - lines.keys())
    if wrong:
        raise Failure("; ".join(wrong[:8]))
    return lines.total() - len(lines)


def one_round(folder, journal, rng, faults):
    before = len(journal.acked)
    server = Server(folder, faults)
    try:
        address = server.address()
        stop = threading.Event()
        threads = [threading.Thread(target=client, args=(address, journal, stop)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        moment = rng.uniform(0.02, 0.9)
        time.sleep(moment)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        acked = len(journal.acked) - before
        kills = 1
        while rng.random() < 0.3:
            server = Server(folder, faults)
            time.sleep(rng.uniform(0.0, 0.5))
            server.kill()
            kills += 1
        server = Server(folder, faults)
        started = time.monotonic()
        address = server.address()
        recovered = time.monotonic() - started
        again = send_again(address, journal)
        drain(address)
        repeated = check(address, journal, folder)
        return (f"killed after {moment * 1000:.0f} ms ({kills} kill{'s' if kills > 1 else ''}), {acked} acknowledged,"
                f" {again} sent again, up in {recovered * 1000:.0f} ms, {repeated} lines repeated in the file so far")
    finally:
        # The next round starts from a crash as well.
        if server.process.returncode is None:
            server.kill()


def main():
    # So that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="scripts/crashtest", add_help=False, allow_abbrev=False)
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--failpoints", nargs="?", const=FAULTS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("N must be at least 1")
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    rng = random.Random(seed)
    if options.keep:
        folder = options.keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            parser.error(f"{folder} is not empty")
    else:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="hexafn-crashtest-"))
    (folder / "config").mkdir()
    (folder / "config" / "hexafn.toml").write_text(CONFIG)
    print(f"seed {seed}, {options.rounds} rounds, {os.environ['HEXAFN_BIN']}", flush=True)

    journal, failed, started = Journal(), 0, time.monotonic()
    for number in range(1, options.rounds + 1):
        try:
            print(f"round {number}: ok, {one_round(folder, journal, rng, options.failpoints)}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"round {number}: FAILED: {failure}", flush=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed += 1
            print(f"round {number}: FAILED: {type(error).__name__}: {error}", flush=True)
    print(f"{len(journal.acked)} events in {time.monotonic() - started:.0f} s")
    if failed:
        print(f"kept: {folder} (server.log, data, out); again: scripts/crashtest {options.rounds} --seed {seed}")
    elif not options.keep:
        shutil.rmtree(folder)
    print(f"{options.rounds - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
