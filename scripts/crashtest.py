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
REACH = 20.0  # seconds beyond its moment until a failpoint must be reached
BRIEF = 40  # records that a topic with retention keeps
TRIGGER = "copied"
# Where the process is killed: it stops there, and is killed there. And where a panic is contained.
STOPS = ["journal-before-write", "journal-before-sync", "journal-after-sync", "forwarder-before-ack"]
PANICS = ["journal-panic", "topic-panic", "trigger-panic", "forwarder-panic", "traces-panic", "timer-panic"]

CONFIG = """\
[server]
listen = "127.0.0.1:0"

# As little as may be, so that the log is flushed and compacted while it is killed.
[storage]
memory = "4MiB"

[[source]]
name = "crash"
kind = "webhook"
topic = "crash"
verify = { scheme = "none" }

[[source]]
name = "clock"
kind = "timer"
topic = "clock"
every = "1s"

[[function]]
name = "copy"
code = '{ id: event.id, token: event.data.token, odd: event.data.odd, padding: event.data.padding }'

[[trigger]]
name = "copied"
on = "crash"
run = "copy"
to = ["crash-out", "crash-brief", "crash-file"]
retry = { backoff = { delays = ["100ms"] }, max_attempts = 100 }

[[target]]
name = "crash-out"
kind = "topic"

# Old records are removed all the time.
[[topic]]
name = "crash-brief"
retention = { count = 40 }

[[target]]
name = "crash-brief"
kind = "topic"

[[target]]
name = "crash-file"
kind = "file"
path = "out/crash.jsonl"

# What fills write-ahead files, so that they are written again while it is killed. Nobody looks for its events.
[[source]]
name = "ballast"
kind = "webhook"
topic = "ballast"
verify = { scheme = "none" }

[[topic]]
name = "ballast"
retention = { size = "1MiB" }

# Some events are delivered here, and some name a place that is refused: those are dead letters.
[[trigger]]
name = "odd"
on = "crash"
when = 'event.data.odd != null'
run = "copy"
to = ["crash-odd"]

[[target]]
name = "crash-odd"
kind = "file"
path = "out/${event.data.odd}.jsonl"
"""
# What reloads add and take away.
EXTRA = """\
[[trigger]]
name = "extra"
on = "crash"
to = ["crash-extra"]

[[target]]
name = "crash-extra"
kind = "topic"
"""
ODD = {0: "odd", 20: "../../refused"}  # of each forty


def odd(token):
    return ODD.get(int(token[1:]) % 40)


def padding(token):
    """Of the outputs for several targets, two of three are long enough for the log to write their data once."""
    return "x" * (int(token[1:]) * 37 % 1500)


class Failure(Exception):
    """The round has failed."""


class NotReached(Failure):
    """Its failpoint was not reached: nothing was tried."""


class Server:
    """One life of the service. Its standard error goes to a file of the folder."""

    def __init__(self, folder, extra=None, settings=()):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEXAFN_")} | (extra or {})
        self.loses = "LOSTWRITES_DIR" in environment
        command = [os.environ["HEXAFN_BIN"], "serve", "--config", "config", "--set", "storage.path=data"]
        for setting in settings:
            command += ["--set", setting]
        with open(folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env=environment)

    def address(self, within=STARTUP):
        """Waits for the first line, which names the address."""
        readable, _, _ = select.select([self.process.stdout], [], [], within)
        line = self.process.stdout.readline().decode() if readable else ""
        found = re.search(r"http://(127\.0\.0\.1):(\d+)", line)
        if not found:
            self.kill()
            raise Failure(f"it did not start within {within:.0f} s (exit status {self.process.poll()}); see server.log")
        self.told = found[1], int(found[2])
        return self.told

    def kill(self):
        """SIGKILL; or the loss of power, which the library that was loaded makes of SIGUSR2."""
        if self.loses and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR2)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                raise Failure("the process outlived the loss of power") from None
        self.process.kill()
        self.process.wait()
        if not self.process.stdout.closed:
            self.process.stdout.close()


def request(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def get(address, path, timeout=10):
    connection = http.client.HTTPConnection(*address, timeout=timeout)
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
    body = json.dumps({"token": token, "odd": odd(token), "padding": padding(token)}).encode()
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


def reloads(address, folder, stop):
    """Changes the configuration and has it reloaded, over and over, so that a reload is under way when it is killed."""
    there = False
    while not stop.is_set():
        there = not there
        configure(folder, "extra.toml", EXTRA if there else "")
        connection = http.client.HTTPConnection(*address, timeout=10)
        try:
            request(connection, "POST", "/admin/reload")
        except (OSError, http.client.HTTPException):
            stop.wait(0.01)
        finally:
            connection.close()


def ballast(address, folder, plan, stop):
    """Sends what fills one write-ahead file after the other, and watches whether one is written again."""
    connection, body, names = http.client.HTTPConnection(*address, timeout=10), json.dumps("x" * 200_000), {}
    while not stop.is_set():
        try:
            request(connection, "POST", "/hooks/ballast", body, {"Content-Type": "application/json"})
            for file in (folder / "data" / "log").glob("*.log"):
                plan.recycled |= names.setdefault(file.stat().st_ino, file.name) != file.name
        except (OSError, http.client.HTTPException):
            connection.close()
            stop.wait(0.01)
    connection.close()


def configure(folder, name, text):
    """Writes a file of the configuration in one step."""
    written = folder / "written"
    written.write_text(text)
    written.rename(folder / "config" / name)


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
        # A trigger that a reload took out keeps its place, and what waits there waits for its return.
        rows = [r for r in get(address, "/admin/subscriptions") if r["configured"]]
        busy = [r for r in rows if r["lag"] or r["in_flight"] or r["waiting"]]
        names = {r["name"] for r in rows}
        whole = {f"trigger.{TRIGGER}", "trigger.odd", "target.crash-file", "target.crash-odd"} <= names
        empty = empty + 1 if whole and not busy else 0
        if empty < 2 and time.monotonic() > end:
            left = ", ".join(f"{r['name']} lag {r['lag']} in_flight {r['in_flight']}" for r in busy)
            raise Failure(f"not drained within {DRAIN:.0f} s: {left or sorted(names)}")
        time.sleep(0.02)
    # Counted since the start; which they are is checked below.
    wrong = [r["name"] for r in rows if r["dead_lettered"] and r["name"] != "target.crash-odd"]
    if wrong:
        raise Failure(f"dead letters of {', '.join(wrong)}")


def read_topic(address, topic, missing=False):
    events, start = [], 1
    if missing and topic not in {t["name"] for t in get(address, "/admin/topics")}:
        return events
    while True:
        page = get(address, f"/admin/topics/{topic}/events?from={start}&limit=1000")
        if not page["events"]:
            return events
        events.extend(page["events"])
        start = page["next"]


def read_brief(address, written):
    """The records of the topic with retention, once all but the newest are removed: read before, pages would have gaps."""
    end = time.monotonic() + DRAIN
    while True:
        row = next((t for t in get(address, "/admin/topics") if t["name"] == "crash-brief"), None)
        if row and row["records"] <= BRIEF and row["last"] >= written or not written:
            return read_topic(address, "crash-brief", missing=True)
        if time.monotonic() > end:
            raise Failure(f"the topic with retention was not trimmed within {DRAIN:.0f} s: {row}")
        time.sleep(0.05)


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
    wanted = {f"{i}-{TRIGGER}": {"id": i, "token": t, "odd": odd(t), "padding": padding(t)} for i, t in ids.items()}
    expect("outputs missing", wanted.keys() - counts.keys())
    expect("outputs twice", [i for i, n in counts.items() if n > 1])
    expect("outputs invented", counts.keys() - wanted.keys())
    expect("outputs with other data", [e["id"] for e in output if e["id"] in wanted and e["data"] != wanted[e["id"]]])

    # The newest of them, without a gap.
    brief = read_brief(address, len(output))
    places = [e["seq"] for e in brief]
    if places != list(range(max(1, len(output) - BRIEF + 1), len(output) + 1)):
        wrong.append(f"the topic with retention holds {len(brief)} records, {places[:1]} to {places[-1:]} of {len(output)}")
    expect("outputs in the topic with retention twice", [i for i, n in collections.Counter(e["id"] for e in brief).items() if n > 1])
    expect("outputs in the topic with retention invented", {e["id"] for e in brief} - wanted.keys())
    # Of a trigger that comes and goes with reloads.
    extra = collections.Counter(e["id"] for e in read_topic(address, "crash-extra", missing=True))
    expect("outputs of what was reloaded twice", [i for i, n in extra.items() if n > 1])
    expect("outputs of what was reloaded invented", extra.keys() - {f"{i}-extra" for i in ids})

    lines = read_lines(folder / "out" / "crash.jsonl", ids, wrong)
    expect("lines missing in the file", ids.keys() - lines.keys())

    # What is accepted is delivered or a dead letter, and nothing is both; nothing waits any more.
    delivered = read_lines(folder / "out" / "odd.jsonl", ids, wrong)
    expect("odd events not delivered", [t for i, t in ids.items() if odd(t) == "odd" and i not in delivered])
    expect("events delivered that are not odd", [i for i in delivered if odd(ids.get(i, "t1")) != "odd"])
    dead = collections.Counter(e["data"]["token"] for e in read_topic(address, "hexafn.dead.target.crash-odd"))
    refused = {t for t in ids.values() if odd(t) not in (None, "odd")}
    expect("refused events that are no dead letters", refused - dead.keys())
    expect("dead letters invented", dead.keys() - refused)
    expect("dead letters twice", [t for t, n in dead.items() if n > 1])
    if wrong:
        raise Failure("; ".join(wrong[:8]))
    return lines.total() - len(lines)


def read_lines(path, ids, wrong):
    """How often each event id has a line in the file."""
    lines = collections.Counter()
    raw = path.read_bytes() if path.exists() else b""
    if raw and not raw.endswith(b"\n"):
        wrong.append(f"{path.name} does not end with a line end")
    for number, line in enumerate(raw.split(b"\n")[:-1], 1):
        try:
            entry = json.loads(line)
            lines[entry["id"]] += 1
            if ids.get(entry["id"]) != entry["token"]:
                wrong.append(f"line {number} of {path.name} was invented: {line[:120]!r}")
        except (ValueError, KeyError, TypeError):
            wrong.append(f"line {number} of {path.name} is broken: {line[:120]!r}")
    return lines


class Plan:
    """What a round does to the service: the environment and settings of its lives, and when it dies."""

    def __init__(self, rng, number, options, shim):
        # Topics are looked after once a second: some rounds live longer than that.
        self.extra, self.settings, self.fault, self.until = {}, [], None, rng.uniform(0.02, rng.choice([0.9, 2.2]))
        self.dies_itself, self.stops = False, False
        self.least, self.reach = 0, REACH
        self.reloads, self.ballast, self.recycled = rng.random() < 0.4, rng.random() < 0.5, False
        if options.failpoints:
            names = STOPS + PANICS
            self.inject(names[number % len(names)], rng, stops=number % len(names) < len(STOPS))
        if shim:
            # What is loaded into the process: see scripts/lostwrites/shim.c.
            self.extra |= {"LD_PRELOAD": str(shim[0]), "LOSTWRITES_DIR": str(shim[1])}
            if rng.random() < 0.5:
                self.extra["LOSTWRITES_AT_SYNC"] = str(int(2 ** rng.uniform(1, 9)))
                self.dies_itself = True

    def inject(self, fault, rng, stops):
        """Has it stand still at a failpoint, or panic there."""
        self.fault, self.stops = fault, stops
        # From just after the start to well under load; a tick comes once a second.
        skip = 0 if fault == "timer-panic" else int(2 ** rng.uniform(0, 8))
        self.extra["FAILPOINTS"] = f"{fault}={skip}*off->" + ("pause" if stops else "1*panic")
        self.until = rng.uniform(1.2, 2.0)

    def lives(self):
        """Whether the service must come up before its moment."""
        return not self.dies_itself and not self.stops

    def name(self):
        loses = "power lost at a sync" if self.dies_itself else "power lost" if self.extra else "killed"
        return (f"at {self.fault}" if self.fault else loses) + (" while it reloads" if self.reloads else "") + (
            " on a recycled file" if self.recycled else "")


def one_round(folder, journal, rng, plan):
    before, log = len(journal.acked), folder / "server.log"
    said = log.stat().st_size if log.exists() else 0
    server = Server(folder, plan.extra, plan.settings)
    try:
        began, stop, threads = time.monotonic(), threading.Event(), []
        try:
            address = server.address(STARTUP if plan.lives() else 2.0)
        except Failure:
            if plan.lives() or server.process.returncode not in (-signal.SIGKILL, 137):
                raise
            stopped = True  # its moment came before it listened
        else:
            threads = [threading.Thread(target=client, args=(address, journal, stop)) for _ in range(CLIENTS)]
            if plan.reloads:
                threads.append(threading.Thread(target=reloads, args=(address, folder, stop)))
            if plan.ballast:
                threads.append(threading.Thread(target=ballast, args=(address, folder, plan, stop)))
            for thread in threads:
                thread.start()
            began = time.monotonic()
            stopped = wait_for_the_moment(server, journal, plan, lambda: panicked(log, said, plan))
        moment = time.monotonic() - began
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        acked = len(journal.acked) - before
        kills = 1
        while rng.random() < 0.3:
            server = Server(folder, plan.extra, plan.settings)
            time.sleep(rng.uniform(0.0, 0.5))
            server.kill()
            kills += 1
        # What the fault would do to it is not what is checked now; the shim stays, so that the next round can lose.
        calm = {k: v for k, v in plan.extra.items() if k not in ("FAILPOINTS", "LOSTWRITES_AT_SYNC")}
        server = Server(folder, calm, plan.settings)
        started = time.monotonic()
        address = server.address()
        recovered = time.monotonic() - started
        again = send_again(address, journal)
        drain(address)
        repeated = check(address, journal, folder)
        if plan.fault and not stopped and not panicked(log, said, plan):
            raise NotReached(f"the failpoint {plan.fault} was not reached, so nothing was tried")
        return (f"{plan.name()} after {moment * 1000:.0f} ms ({kills} time{'s' if kills > 1 else ''}), {acked} acknowledged,"
                f" {again} sent again, up in {recovered * 1000:.0f} ms, {repeated} lines repeated in the file so far")
    finally:
        # The next round starts from a crash as well.
        if server.process.returncode is None:
            server.kill()


def panicked(log, said, plan):
    """Whether the log tells, since the round began, of a panic at its failpoint."""
    with open(log, "rb") as file:
        file.seek(said)
        return plan.fault is not None and not plan.stops and f"failpoint {plan.fault} panic".encode() in file.read()


def wait_for_the_moment(server, journal, plan, panicked):
    """Waits until the service is to die: at its failpoint, where it has one. True when it stands still there."""
    end = time.monotonic() + plan.until
    if plan.dies_itself:
        end += 1.0
    last, since, first = -1, time.monotonic(), len(journal.acked)
    # A control waits until there is something to lose, however slow the machine is: an event that has just been
    # acknowledged, after others.
    latest = end + plan.reach

    def wants_more(moment):
        if plan.fault and not plan.stops:
            return not panicked()
        return plan.stops or (plan.least and (last < first + plan.least or since < moment - 0.04))

    while (moment := time.monotonic()) < end or (moment < latest and wants_more(moment)):
        time.sleep(min(0.02, max(0.001, end - time.monotonic())))
        if server.process.poll() is not None:
            if plan.dies_itself and server.process.returncode == 137:
                return False
            if plan.fault and server.process.returncode == 70:
                return False  # beyond restarting: it ended in order, and says so
            raise Failure(f"it ended by itself with {server.process.returncode}; see server.log")
        now = len(journal.acked)
        if now != last:
            last, since = now, time.monotonic()
        if plan.stops and plan.fault != "forwarder-before-ack" and time.monotonic() > since + 1.5:
            return True
        # A forwarder stands still without the door noticing, and what shares its thread with it: the subscriptions.
        if plan.fault == "forwarder-before-ack" and moment > end and not answers_soon(server):
            return True
    return False


def answers_soon(server):
    try:
        get(server.told, "/admin/subscriptions", timeout=0.5)
    except (OSError, http.client.HTTPException):
        return False
    return True


def control(name, extra, settings, rng, shim):
    """The negative control: a disk or a setting that loses what was acknowledged must be caught."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hexafn-crashtest-"))
    try:
        prepare(folder)
        journal = Journal()
        for _ in range(3):  # one moment may be lucky
            plan = Plan(random.Random(rng.random()), 0, argparse.Namespace(failpoints=False), None)
            plan.extra = {"LD_PRELOAD": str(shim), "LOSTWRITES_DIR": str(folder)} | extra
            plan.settings, plan.until, plan.least = settings, rng.uniform(0.4, 0.9), 50
            try:
                one_round(folder, journal, rng, plan)
            except Failure as failure:
                if "lost" in str(failure) or "did not start" in str(failure):
                    return f"ok, caught: {str(failure)[:160]}"
                return f"FAILED: caught something else: {failure}"
        return "FAILED: the loss was not caught, so this test proves nothing"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def misnamed(rng, stops):
    """The negative control of failpoints: one that nowhere is must be told."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hexafn-crashtest-"))
    try:
        prepare(folder)
        plan = Plan(rng, 0, argparse.Namespace(failpoints=False), None)
        plan.inject("nowhere-at-all", rng, stops)
        plan.reach = 1.0
        told = one_round(folder, Journal(), rng, plan)
    except NotReached as failure:
        return f"ok, caught: {failure}"
    except Failure as failure:
        return f"FAILED: caught something else: {failure}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return f"FAILED: it was not noticed: {told}"


def prepare(folder):
    (folder / "config").mkdir()
    (folder / "config" / "hexafn.toml").write_text(CONFIG)


def main():
    # So that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="scripts/crashtest", add_help=False, allow_abbrev=False)
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--failpoints", action="store_true")
    parser.add_argument("--lost-writes", type=pathlib.Path)
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
    prepare(folder)
    shim = (options.lost_writes, folder) if options.lost_writes else None
    print(f"seed {seed}, {options.rounds} rounds, {os.environ['HEXAFN_BIN']}", flush=True)

    journal, failed, started, rounds, recycled = Journal(), 0, time.monotonic(), options.rounds, 0
    for number in range(1, rounds + 1):
        plan = Plan(rng, number - 1, options, shim)
        try:
            print(f"round {number}: ok, {one_round(folder, journal, rng, plan)}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"round {number}: FAILED, {plan.name()} {plan.extra}: {failure}", flush=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed += 1
            print(f"round {number}: FAILED, {plan.name()} {plan.extra}: {type(error).__name__}: {error}", flush=True)
        recycled += plan.recycled
    if rounds >= 20 and not recycled:
        failed += 1
        print("FAILED: in no round a write-ahead file was written again, so that was not tried", flush=True)
    if shim:
        for name, extra, settings in (("a disk that lies about its syncs", {"LOSTWRITES_LIE": "1"}, []),
                                      ("storage.sync = lazy", {}, ["storage.sync=lazy"])):
            rounds += 1
            told = control(name, extra, settings, rng, shim[0])
            failed += told.startswith("FAILED")
            print(f"control, {name}: {told}", flush=True)
    if options.failpoints:
        for kind, stops in (("stands still", True), ("panics", False)):
            rounds += 1
            told = misnamed(rng, stops)
            failed += told.startswith("FAILED")
            print(f"control, a misspelt place where it {kind}: {told}", flush=True)
    print(f"{len(journal.acked)} events in {time.monotonic() - started:.0f} s, {recycled} rounds on recycled files")
    if failed:
        print(f"kept: {folder} (server.log, data, out); again: --seed {seed}")
    elif not options.keep:
        shutil.rmtree(folder)
    print(f"{rounds - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
