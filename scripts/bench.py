"""The work of scripts/bench, which documents it."""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import secrets
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path("scripts/bench.d").resolve()
BODY = HERE / "body.json"
RIG = pathlib.Path(os.environ["RIG_BIN"])
RESULTS = pathlib.Path(os.environ["BENCH_RESULTS"])
SECRET = "bench-secret-of-thirty-two-bytes"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
WARM = 1.0
DRAIN = 30.0
QUIET = 15  # % of one processor that others may take
RATE = 2000
MILLION = 1_000_000

# What each job is compared with, and the part of its rate that hexaFn must reach.
THROUGHPUT = {"A": ("raw-actix", 0.60), "C": ("raw-actix", 0.80), "D": ("raw-rocks", 0.80), "DB": ("raw-rocks", 0.70)}
JOBS = [*THROUGHPUT, "latency", "idle", "start", "stalled"]
DELIVERY = ["deliver", "kafka", "file", "isolation", "targets", "fanout"]
FUNCTIONS = ["functions", "neighbours"]


def fail(message):
    sys.exit(f"bench: {message}")


def get(address, path, method="GET"):
    host, _, port = address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A started program: its address, its processor time and memory. Killed at the end of the `with`."""

    def __init__(self, folder, command, environment, address=None):
        self.folder, self.log = folder, folder / f"{pathlib.Path(command[0]).name}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEXAFN_")}
        self.began = time.monotonic()
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                          env=clean | environment)
        self.pid, self.address = self.child.pid, address
        if address is None:
            readable, _, _ = select.select([self.child.stdout], [], [], 60)
            line = self.child.stdout.readline().decode() if readable else ""
            found = re.search(r"http://(127\.0\.0\.1:\d+)", line)
            if not found:
                self.__exit__()
                fail(f"{command[0]} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            self.address = found[1]

    def ready(self, path):
        """Waits until it answers 200; gives the milliseconds since it was started."""
        while time.monotonic() < self.began + 60 and self.child.poll() is None:
            try:
                if get(self.address, path)[0] == 200:
                    return (time.monotonic() - self.began) * 1000
            except OSError:
                pass
            time.sleep(0.001)
        self.__exit__()
        fail(f"{self.log.stem} is not ready:\n{self.log.read_text(errors='replace')[-2000:]}")

    def alive(self):
        if self.child.poll() is not None:
            fail(f"{self.log.stem} ended with {self.child.returncode}:\n{self.log.read_text(errors='replace')[-2000:]}")

    def cpu(self):
        """Seconds of processor time."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss(self):
        """MB in memory now."""
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE / 1e6

    def written(self):
        """Bytes that it has given to a disk so far; none on tmpfs."""
        return int(re.search(r"\nwrite_bytes: (\d+)", pathlib.Path(f"/proc/{self.pid}/io").read_text())[1])

    def peak(self):
        """MB in memory at most so far."""
        return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text())[1]) * 1024 / 1e6

    def end(self):
        """Stops it in order."""
        self.child.terminate()
        self.child.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()


def start(name, job, folder, sink=None):
    """A server on its data in `folder`."""
    url = f"http://{sink.address}/sink" if sink else "http://127.0.0.1:9/sink"
    if name == "hexafn":
        command = [os.environ["HEXAFN_BIN"], "serve", "--config", str(HERE / job), "--set", f"storage.path={folder}/data"]
        return Process(folder, command, {"BENCH_SECRET": SECRET, "BENCH_SINK": url})
    port = free_port()
    return Process(folder, [str(RIG / name)], {"PORT": str(port), "DATA": f"{folder}/data", "SINK": url}, f"127.0.0.1:{port}")


# What client and sink are started with, in front of their own words.
OUTSIDE = []


@contextlib.contextmanager
def outside():
    """Client and sink run before all that is measured, as if on machines of their own, where this one lets us; gives whether it does."""
    before = ["chrt", "--fifo", "1"]
    if subprocess.run([*before, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        OUTSIDE[:] = before
    try:
        yield bool(OUTSIDE)
    finally:
        OUTSIDE.clear()


def start_sink(folder):
    port = free_port()
    sink = Process(folder, [*OUTSIDE, str(RIG / "sink")], {"PORT": str(port)}, f"127.0.0.1:{port}")
    sink.ready("/count")
    return sink


def load(server, name, job, *options):
    """Runs the load client; gives what it tells."""
    path = "/hooks/bench" if name == "hexafn" else f"/hook/{'db' if job == 'latency' else job.lower()}"
    command = [*OUTSIDE, RIG / "load", "--address", server.address, "--path", path, "--body", BODY, *options]
    if job in ("D", "DB", "latency"):
        command += ["--secret", SECRET, "--prefix", f"{secrets.token_hex(8)}-"]
    if job == "C":
        command += ["--watch", "/ws/topics/bench" if name == "hexafn" else "/sub"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        server.alive()
        fail(f"{job} {name}: the load client failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def warm_up(server, name, job, sink, rate=RATE):
    """Two seconds at the full rate, so that the log writes over files that it has, as a service does that has run for a while; then two
    seconds at the rate that is measured."""
    for pace in [], ["--rate", rate]:
        settle(sink, load(server, name, job, *pace, "--connections", 32, "--seconds", 2)["accepted"])
    get(sink.address, "/reset", "POST")


def count(sink):
    return json.loads(get(sink.address, "/count")[1])


def settle(sink, wanted):
    """Waits until the sink has so many requests, or no more come for 2 s. Gives what it has, and how long that took."""
    began = time.monotonic()
    end, last, still = began + DRAIN, -1, 0
    while time.monotonic() < end and still < 40:
        now = count(sink)["requests"]
        if now >= wanted:
            break
        still = still + 1 if now == last else 0
        last = now
        time.sleep(0.02)
    took = time.monotonic() - began
    time.sleep(0.1)  # what came twice comes now
    return count(sink), took


class Noise:
    """What processes that are not ours took of one processor, in %."""

    def __init__(self, *processes):
        self.processes = processes
        self.began, self.at = time.monotonic(), self.foreign()

    def foreign(self):
        with open("/proc/stat") as stat:
            fields = [int(f) for f in stat.readline().split()[1:9]]
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        ours = sum(p.cpu() for p in self.processes) + usage.ru_utime + usage.ru_stime + own.ru_utime + own.ru_stime
        return (sum(fields) - fields[3] - fields[4]) / TICK - ours

    def percent(self):
        return max(0.0, self.foreign() - self.at) / (time.monotonic() - self.began) * 100


def await_quiet(seconds):
    """Waits until others leave the machine alone for half a second, but not for ever."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        noise = Noise()
        time.sleep(0.5)
        if noise.percent() <= QUIET:
            return


class Folder:
    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="hexafn-bench-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Nothing:
    """Stands for the sink where there is none."""

    def __enter__(self):
        return None

    def __exit__(self, *_):
        pass


def one_run(name, job, options, perf=None):
    """One run of a throughput job on an empty folder."""
    with Folder() as folder, start_sink(folder) if job == "DB" else Nothing() as sink, start(name, job, folder, sink) as server:
        server.ready("/health/ready")
        fan = ["--viewers", 10, "--connections", 16, "--stamp"] if job == "C" else ["--connections", options.connections]
        wanted = 0
        if job != "C":  # there the client warms up by itself
            wanted = load(server, name, job, "--seconds", WARM, *fan)["accepted"]
        if sink:
            settle(sink, wanted)
            get(sink.address, "/reset", "POST")
        noise, own = Noise(*filter(None, [server, sink])), server.cpu()
        record = None
        if perf:
            record = subprocess.Popen(["perf", "record", "-q", "-F", "799", "-g", "-p", str(server.pid), "-o", perf, "--", "sleep",
                                       str(max(1, options.seconds - 1))], stderr=subprocess.DEVNULL)
        result = load(server, name, job, "--seconds", options.seconds, *fan)
        if record:
            record.wait()
        if sink:
            before = count(sink)["requests"]
            got, drain = settle(sink, result["accepted"])
            result |= {"behind": max(0, result["accepted"] - before), "drain": drain, "accepted_rate": result["accepted"] / result["seconds"],
                       "delivered": got["requests"], "distinct": got["ids"]}
            # What was cut off at the end may have been accepted and is delivered then.
            if not result["accepted"] <= got["ids"] <= result["accepted"] + result["open"] or got["ids"] != got["requests"]:
                result["wrong"] = f"accepted {result['accepted']} (and {result['open']} unanswered), delivered {got}"
        server.alive()
        done = result["accepted"] + (result["open"] if sink else 0)
        # Of DB what was delivered, counted until all is: accepting faster than that only makes a queue.
        took = result["seconds"] + result.get("drain", 0.0)
        result |= {"noise": noise.percent(), "rate": result["accepted"] / took, "peak": server.peak(),
                   "cpu": (server.cpu() - own) * 1e6 / max(1, done)}
        if job == "C":  # with what the client published to warm up
            del result["cpu"]
        if result["refused"] or result["broken"] or result.get("missing", 0) > result["open"]:
            result["wrong"] = {k: result[k] for k in ("refused", "broken", "missing") if result.get(k)}
        return result


def keep(job, name, result):
    """Appends a result to the JSON lines."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "job": job, "server": name, **result}
    with open(RESULTS, "a") as file:
        file.write(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}) + "\n")


def in_turns(job, names, options, run):
    """`run` for each server in turns; gives the results of each. A run in which others took much is repeated."""
    results = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            for _ in range(options.tries):
                await_quiet(options.wait)
                result = run(name, job, options)
                keep(job, name, result)
                shown = ", ".join(f"{k} {v:,.1f}" for k, v in result.items() if isinstance(v, float) and k != "seconds")
                print(f"{job} {name}: {shown}", file=sys.stderr)
                if "wrong" in result:
                    print(f"{job} {name}: WRONG: {result['wrong']}", file=sys.stderr)
                if result["noise"] <= QUIET:
                    break
            results[name].append(result)
    return results


def medians(results):
    keys = {k for r in results for k, v in r.items() if isinstance(v, (int, float))}
    return {k: statistics.median(r[k] for r in results if k in r) for k in keys}


def judge(ok):
    return "reached" if ok else "MISSED"


def throughput(job, options, rows, remarks):
    other, goal = THROUGHPUT[job]
    results = in_turns(job, ["hexafn", other], options, one_run)
    ours, theirs = medians(results["hexafn"]), medians(results[other])
    ratio = ours["rate"] / theirs["rate"]
    for name, m in (("hexafn", ours), (other, theirs)):
        rates = [r["rate"] for r in results[name]]
        cpu = f"{m['cpu']:.1f}" if "cpu" in m else ""
        verdict = f"{ratio:.2f} (goal {goal:.2f}, {judge(ratio >= goal)})" if name == "hexafn" else ""
        rows.append(f"| {job} | {name} | {m['rate']:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {m['p50_us'] / 1000:.2f} /"
                    f" {m['p99_us'] / 1000:.2f} | {cpu} | {m['peak']:.0f} | {m['noise']:.0f} | {verdict} |")
        if job == "C":
            remarks.append(f"C {name}: {m['delivered_rate']:,.0f} delivered a second, seen after p50 {m['seen_p50_us'] / 1000:.2f} ms,"
                           f" p99 {m['seen_p99_us'] / 1000:.2f} ms, {m['missing']:.0f} missing at the slowest viewer")
        if job == "DB":
            remarks.append(f"DB {name}: accepted {m['accepted_rate']:,.0f}/s; {m['behind']:,.0f} behind at the end of the load, drained in"
                           f" {m['drain']:.2f} s; every event at the sink once unless WRONG is said")
        remarks.extend(f"{job} {name}: WRONG: {r['wrong']}" for r in results[name] if "wrong" in r)
    keep(job, "ratio", {"ratio": ratio, "goal": goal, "noise": max(ours["noise"], theirs["noise"])})


def one_latency(name, job, options):
    with Folder() as folder, start_sink(folder) as sink, start(name, job, folder, sink) as server:
        server.ready("/health/ready")
        rate = ["--rate", RATE, "--connections", 32, "--stamp"]
        warm_up(server, name, job, sink)
        noise, own = Noise(server, sink), server.cpu()
        result = load(server, name, job, *rate, "--seconds", options.seconds)
        used = server.cpu() - own
        got, _ = settle(sink, result["accepted"])
        return result | {"target_p50_us": got["p50_us"], "target_p99_us": got["p99_us"], "delivered": got["requests"],
                         "noise": noise.percent(), "cpu": used * 1e6 / max(1, result["accepted"])}


def latency(options, remarks):
    names = ["hexafn", "raw-rocks"]
    results = in_turns("latency", names, options, one_latency)
    for name in names:
        m = medians(results[name])
        verdict = f" ({judge(m['p99_us'] <= 2000)}: goal 2 ms, {judge(m['target_p99_us'] <= 10000)}: goal 10 ms)"
        remarks.append(f"latency at {RATE}/s {name}: accepted p50 {m['p50_us'] / 1000:.2f}, p99 {m['p99_us'] / 1000:.2f} ms; at the target"
                       f" p50 {m['target_p50_us'] / 1000:.2f}, p99 {m['target_p99_us'] / 1000:.2f} ms; noise {m['noise']:.0f} %"
                       + (verdict if name == "hexafn" else ""))


def one_idle(name, job, options):
    """Start on an empty folder, and the memory two seconds later."""
    with Folder() as folder:
        noise = Noise()
        with start(name, "D", folder) as server:
            ready = server.ready("/health/ready")
            used = server.cpu()
            time.sleep(2)
            return {"ready_ms": ready, "idle_mb": server.rss(), "noise": max(0.0, noise.percent() - used * 50),
                    "start_cpu_ms": used * 1000, "idle_cpu_ms_a_second": (server.cpu() - used) * 500}


def idle(options, remarks):
    names = ["hexafn", "raw-rocks"]
    results = in_turns("idle", names, options, one_idle)
    for name in names:
        m = medians(results[name])
        verdict = f" ({judge(m['idle_mb'] <= 40)}: goal 40 MB, {judge(m['ready_ms'] <= 150)}: goal 150 ms)" if name == "hexafn" else ""
        remarks.append(f"idle {name}: {m['idle_mb']:.1f} MB, ready on an empty folder after {m['ready_ms']:.0f} ms"
                       f" ({m['start_cpu_ms']:.0f} ms of CPU){verdict}")


def start_of_a_million(options, remarks):
    """Start with a million stored events: after an orderly end and after a crash."""
    with Folder() as folder:
        stored = 0
        with start("hexafn", "D", folder) as server:
            server.ready("/health/ready")
            while stored < MILLION:
                stored += load(server, "hexafn", "D", "--seconds", 5, "--connections", 64)["accepted"]
            server.end()
        # All are still there, not only accepted.
        with start("hexafn", "D", folder) as server:
            server.ready("/health/ready")
            topic = json.loads(get(server.address, "/admin/topics/bench")[1])
            server.end()
        print(f"start: {topic}", file=sys.stderr)
        size = sum(f.stat().st_size for f in (folder / "data").rglob("*") if f.is_file()) / 1e6
        for how in ("in order", "by SIGKILL"):
            times = []
            for _ in range(options.runs):
                with start("hexafn", "D", folder) as server:
                    times.append(server.ready("/health/ready"))
                    rss = server.rss()
                    if how == "in order":
                        server.end()
                    else:
                        load(server, "hexafn", "D", "--seconds", 0.5, "--connections", 64)
            median = statistics.median(times)
            keep("start", "hexafn", {"events": stored, "after": how, "ready_ms": median, "rss": rss})
            remarks.append(f"start with {stored:,} events ({size:,.0f} MB) after an end {how}: ready after {median:.0f} ms"
                           f" ({min(times):.0f}–{max(times):.0f}), {rss:.0f} MB ({judge(median <= 2000)}: goal 2,000 ms)")


def stalled(options, remarks):
    """Memory at full load with a viewer that reads nothing."""
    for job in ("D", "C"):
        await_quiet(options.wait)
        with Folder() as folder, start("hexafn", job, folder) as server:
            server.ready("/health/ready")
            host, _, port = server.address.partition(":")
            viewer = socket.create_connection((host, int(port)))
            viewer.sendall(f"GET /ws/topics/bench HTTP/1.1\r\nHost: {server.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
            if b" 101 " not in viewer.recv(64):
                fail("the viewer was not accepted")
            # As job A's: the source of C needs no signature, and nobody else watches.
            path = ["--secret", SECRET, "--prefix", "stalled-"] if job == "D" else []
            seconds = max(20, options.seconds)
            client = subprocess.Popen([str(w) for w in [RIG / "load", "--address", server.address, "--path", "/hooks/bench", "--body", BODY,
                                       "--seconds", seconds, "--connections", 64, *path]], stdout=subprocess.PIPE, text=True)
            samples = []
            while client.poll() is None:
                samples.append(server.rss())
                time.sleep(0.25)
            result = json.loads(client.stdout.read())
            viewer.close()
            server.alive()
            quarter = len(samples) // 4
            early, late = statistics.median(samples[quarter : 2 * quarter]), statistics.median(samples[-quarter:])
            keep("stalled", "hexafn", {"of": job, "peak": server.peak(), "second_quarter": early, "last_quarter": late,
                                       "rate": result["accepted"] / result["seconds"]})
            verdict = judge(server.peak() <= 300 and late <= early * 1.1)
            remarks.append(f"stalled viewer, load of {job} for {seconds} s ({result['accepted'] / result['seconds']:,.0f}/s): peak"
                           f" {server.peak():.0f} MB, second quarter {early:.0f} MB, last quarter {late:.0f} MB ({verdict}: goal 300 MB, flat)")


def show_perf(job, options):
    path = f"{tempfile.gettempdir()}/hexafn-bench-{job}.perf"
    await_quiet(options.wait)
    one_run("hexafn", job, options, perf=path)
    for sort in ("comm", "dso", "symbol"):
        report = subprocess.run(["perf", "report", "-i", path, "--stdio", "--no-children", "-g", "none", "--sort", sort,
                                 "--percent-limit", "0.7"], capture_output=True, text=True, check=False)
        rows = [line for line in report.stdout.splitlines() if line.strip() and not line.startswith("#")]
        print(f"\n{job}, hexafn by {sort}:")
        print("\n".join(row[:140] for row in rows[:40]))
    print(f"(the samples: {path})")


def main():
    # So that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=False, allow_abbrev=False)
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--wait", type=int, default=60)
    parser.add_argument("--perf", action="store_true")
    options = parser.parse_args()
    for job in options.jobs:
        if job not in JOBS + DELIVERY + FUNCTIONS:
            parser.error(f"there is no job {job}; there are {', '.join(JOBS + DELIVERY + FUNCTIONS)}, and peers")
    rows = ["| job | server | events/s (min–max) | p50 / p99 ms | CPU µs/event | peak MB | noise % | hexaFn / hand-written |",
            "|---|---|---|---|---|---|---|---|"]
    head, remarks = len(rows), []
    for job in options.jobs or JOBS + DELIVERY + FUNCTIONS:
        if job in THROUGHPUT:
            throughput(job, options, rows, remarks)
        elif job in DELIVERY:
            import bench_delivery

            bench_delivery.JOBS[job](options, remarks)
        elif job in FUNCTIONS:
            import bench_functions
            import bench_neighbours

            (bench_functions.JOBS | bench_neighbours.JOBS)[job](options, remarks)
        elif job == "latency":
            latency(options, remarks)
        elif job == "idle":
            idle(options, remarks)
        elif job == "start":
            start_of_a_million(options, remarks)
        else:
            stalled(options, remarks)
    if len(rows) > head:
        print("\n".join(rows))
    for remark in remarks:
        print(f"- {remark}")
    print(f"(medians of {options.runs} runs of {options.seconds} s in turns, {options.connections} connections, {os.cpu_count()} processors;"
          f" each run is a line of {RESULTS})", flush=True)
    if options.perf:
        if shutil.which("perf"):
            for job in options.jobs or JOBS:
                if job in THROUGHPUT:
                    show_perf(job, options)
        else:
            print("perf is not there")
    return 0


if __name__ == "__main__":
    # What the other files import is this one, and not a second copy of it.
    sys.modules["bench"] = sys.modules["__main__"]
    sys.exit(main())
