"""The work of scripts/bench, which documents it."""

import argparse
import hashlib
import hmac
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
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path("scripts/bench.d").resolve()
BODY = HERE / "body.json"
SECRET = "bench-secret-of-thirty-two-bytes"
TICK = os.sysconf("SC_CLK_TCK")
SINK_PORT = 9099  # the hand-written sink listens here
RAW_PORT = 8190
RAW = {"A": ["raw-actix"], "D": ["raw-actix", "raw-rocks"], "DB": ["raw-actix", "raw-rocks"]}
WARM = 1
DRAIN = 30.0
QUIET = 15  # % of one processor that others may take


def cpu(pid):
    """Seconds of processor time of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def busy():
    """Seconds of processor time of the whole machine, without idle and iowait."""
    with open("/proc/stat") as stat:
        fields = [int(f) for f in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def peak(pid):
    found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def await_port(port, process):
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"bench: nothing listens on {port} (exit status {process.poll()})")


def stop(process):
    process.kill()
    process.wait()


def start_hexafn(job, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEXAFN_")}
    environment |= {"BENCH_SECRET": SECRET, "BENCH_SINK": f"http://127.0.0.1:{SINK_PORT}/sink"}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [os.environ["HEXAFN_BIN"], "serve", "--config", str(HERE / job), "--set", f"storage.path={folder}/data"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment,
        )
    readable, _, _ = select.select([process.stdout], [], [], 10)
    line = process.stdout.readline().decode() if readable else ""
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if not found:
        stop(process)
        sys.exit(f"bench: hexafn did not start:\n{(folder / 'server.log').read_text()}")
    return process, f"http://127.0.0.1:{found[1]}/hooks/bench"


def start_raw(name, job, folder):
    environment = os.environ | {"PORT": str(RAW_PORT), "DATA": f"{folder}/data"}
    environment |= {"SINK": f"http://127.0.0.1:{SINK_PORT}/sink"}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen([f"{os.environ['RAW_BIN']}/{name}"], cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, env=environment)
    await_port(RAW_PORT, process)
    return process, f"http://127.0.0.1:{RAW_PORT}/hook/{job.lower()}"


def delivered():
    connection = http.client.HTTPConnection("127.0.0.1", SINK_PORT, timeout=5)
    connection.request("GET", "/count")
    count = json.loads(connection.getresponse().read())
    connection.close()
    return count["events"]


def wrk(url, job, seconds, connections):
    environment = os.environ | {"BENCH_BODY": str(BODY)}
    if job != "A":
        signature = hmac.new(SECRET.encode(), BODY.read_bytes(), hashlib.sha256).hexdigest()
        environment |= {"BENCH_DELIVERY": f"{secrets.token_hex(10)}-", "BENCH_SIGNATURE": f"sha256={signature}"}
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "post.lua"), url],
                         env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(out[out.index("JSON ") + 5 :])


def one_run(name, job, options, perf=None):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hexafn-bench-"))
    sink = None
    try:
        if job == "DB":
            sink = subprocess.Popen([f"{os.environ['RAW_BIN']}/sink"], stdin=subprocess.DEVNULL)
            await_port(SINK_PORT, sink)
        process, url = start_hexafn(job, folder) if name == "hexafn" else start_raw(name, job, folder)
        try:
            wanted = wrk(url, job, WARM, options.connections)["requests"]
            if sink:
                settle(wanted)
            own, all_, children, since = cpu(process.pid), busy(), kids(), time.monotonic()
            other = cpu(sink.pid) if sink else 0.0
            record = None
            if perf:
                record = subprocess.Popen(["perf", "record", "-q", "-F", "799", "-p", str(process.pid), "-o", perf, "--",
                                           "sleep", str(max(1, options.seconds - 1))], stderr=subprocess.DEVNULL)
            result = wrk(url, job, options.seconds, options.connections)
            ended = time.monotonic()
            if record:
                record.wait()
            result["delivered"] = result["lag"] = None
            if sink:
                before = delivered()
                # What wrk cut off at its end was accepted too, so the sink may get a few more than were answered.
                result["lag"] = max(0, wanted + result["requests"] - before)
                result["delivered"] = settle(wanted + result["requests"]) - wanted
                result["drain"] = time.monotonic() - ended
            if process.poll() is not None:
                sys.exit(f"bench: {name} ended in a run of {job} with status {process.returncode}:\n"
                         + (folder / "server.log").read_text(errors="replace")[-2000:])
            used = cpu(process.pid) - own
            elapsed = time.monotonic() - since
            load = kids() - children
            if sink:
                load += cpu(sink.pid) - other
            result["rate"] = result["requests"] / (result["us"] / 1e6)
            result["cpu"] = used * 1e6 / max(1, result["requests"])
            result["peak"] = peak(process.pid)
            result["noise"] = max(0.0, busy() - all_ - used - load) / elapsed * 100
            result["wrong"] = {k: result[k] for k in ("bad", "connect", "read", "write", "timeout") if result[k]}
            if result["wrong"]:
                print(f"bench: {job} {name}: errors that wrk counted: {result['wrong']}", file=sys.stderr)
            return result
        finally:
            stop(process)
    finally:
        if sink:
            stop(sink)
        shutil.rmtree(folder, ignore_errors=True)


def kids():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settle(wanted):
    """Waits until the sink has so many events, or no more come."""
    end, last, still = time.monotonic() + DRAIN, -1, 0
    while time.monotonic() < end and still < 20:
        now = delivered()
        if now >= wanted:
            return now
        still = still + 1 if now == last else 0
        last = now
        time.sleep(0.05)
    return delivered()


def show_perf(job, options):
    path = f"{tempfile.gettempdir()}/hexafn-bench-{job}.perf"
    one_run("hexafn", job, options, perf=path)
    for sort in ("comm", "dso", "symbol"):
        report = subprocess.run(["perf", "report", "-i", path, "--stdio", "--no-children", "--sort", sort, "--percent-limit",
                                 "0.7"], capture_output=True, text=True, check=False)
        rows = [line for line in report.stdout.splitlines() if line.strip() and not line.startswith("#")]
        print(f"\n{job}, hexafn by {sort}:")
        print("\n".join(row[:140] for row in rows[:30]))
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
    parser.add_argument("--perf", action="store_true")
    options = parser.parse_args()
    jobs = options.jobs or list(RAW)
    for job in jobs:
        if job not in RAW:
            parser.error(f"there is no job {job}; there are {', '.join(RAW)}")
    raw_bin = pathlib.Path(os.environ["RAW_BIN"])
    lines = ["| job | server | requests/s (min–max) | p50 / p99 ms | CPU µs/request | peak MB | noise % | rate to hexaFn's | CPU to hexaFn's |",
             "|---|---|---|---|---|---|---|---|---|"]
    remarks = []
    for job in jobs:
        if job == "DB" and not (raw_bin / "sink").exists():
            remarks.append(f"DB is left out: there is no {raw_bin}/sink")
            continue
        names = ["hexafn"]
        for name in RAW[job]:
            if (raw_bin / name).exists():
                names.append(name)
            else:
                remarks.append(f"{job}: no ratio to {name}: there is no {raw_bin}/{name}")
        results = {name: [] for name in names}
        for _ in range(options.runs):
            for name in names:
                for _ in range(options.tries):
                    result = one_run(name, job, options)
                    if result["noise"] <= QUIET:
                        break
                    print(f"{job} {name}: {result['noise']:.0f} % of a processor went to others", file=sys.stderr)
                results[name].append(result)
                print(f"{job} {name}: {result['rate']:.0f}/s, {result['cpu']:.1f} µs CPU, noise {result['noise']:.0f} %",
                      file=sys.stderr)
        median = {n: {k: statistics.median(r[k] for r in rs) for k in ("rate", "p50", "p99", "cpu", "peak", "noise")}
                  for n, rs in results.items()}
        ours = median["hexafn"]
        for name in names:
            m, rates = median[name], [r["rate"] for r in results[name]]
            ratios = f"{m['rate'] / ours['rate']:.2f} | {m['cpu'] / ours['cpu']:.2f}" if name != "hexafn" else "1 | 1"
            lines.append(f"| {job} | {name} | {m['rate']:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {m['p50'] / 1000:.2f} /"
                         f" {m['p99'] / 1000:.2f} | {m['cpu']:.1f} | {m['peak']:.0f} | {m['noise']:.0f} | {ratios} |")
            wrong = [str(r["wrong"]) for r in results[name] if r["wrong"]]
            if wrong:
                remarks.append(f"{job} {name}: errors that wrk counted: {', '.join(wrong)}")
            if job == "DB":
                behind = [f"{r['delivered']:,} of {r['requests']:,} ({r['lag']:,} behind at the end, {r['drain']:.1f} s to drain)"
                          for r in results[name]]
                remarks.append(f"DB {name}: the sink got {'; '.join(behind)}")
    print("\n".join(lines))
    for remark in remarks:
        print(f"- {remark}")
    print(f"({options.runs} runs of {options.seconds} s, wrk -t1 -c{options.connections}, {os.cpu_count()} processors)", flush=True)
    if options.perf:
        if shutil.which("perf"):
            for job in jobs:
                show_perf(job, options)
        else:
            print("perf is not there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
