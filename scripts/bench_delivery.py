"""The jobs of scripts/bench that are about delivery: from a backlog, beside bad neighbours, among many targets."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

import bench

HEAD = """
[server]
listen = "127.0.0.1:0"
[log]
level = "error"
[targets]
allow_networks = ["127.0.0.0/8"]
[[source]]
name = "bench"
kind = "webhook"
topic = "bench"
verify = { scheme = "none" }
[[topic]]
name = "bench"
"""
BACKLOG = 100_000
LINES = 1_000_000


def trigger(name, to, when=None):
    condition = f"when = '{when}'\n" if when else ""
    return f'[[trigger]]\nname = "{name}"\non = "bench"\n{condition}to = {json.dumps(to)}\n'


def web(name, url, more=""):
    return f'[[target]]\nname = "{name}"\nkind = "http"\nurl = "{url}"\nconcurrency = 64\n{more}\n'


def serve(folder, text):
    config = folder / "cfg"
    config.mkdir(exist_ok=True)
    (config / "hexafn.toml").write_text(HEAD + text)
    command = [os.environ["HEXAFN_BIN"], "serve", "--config", str(config), "--set", f"storage.path={folder}/data"]
    return bench.Process(folder, command, {})


def target(server, name, act=None):
    path = f"/admin/targets/{name}" + (f"/{act}" if act else "")
    status, body = bench.get(server.address, path, "POST" if act else "GET")
    if status != 200:
        bench.fail(f"{path}: {status} {body[:200]}")
    return json.loads(body)


def flood(server, wanted):
    """Accepts at least so many events."""
    accepted = 0
    while accepted < wanted:
        seconds = 1 if wanted - accepted < 40_000 else 4
        accepted += bench.load(server, "hexafn", "backlog", "--seconds", seconds, "--connections", 64)["accepted"]
    return accepted


def settled(server, trigger_name):
    """Waits until a trigger has seen everything. Gives how many events there are: also those whose sender left before the
    answer came."""
    end, before = time.monotonic() + 300, None
    while time.monotonic() < end:
        stored = json.loads(bench.get(server.address, "/admin/topics/bench")[1])["records"]
        rows = json.loads(bench.get(server.address, "/admin/triggers")[1])
        # Twice the same: the last requests were still on their way when the load ended.
        if stored == before and next(row for row in rows if row["name"] == trigger_name)["fired"] >= stored:
            return stored
        before = stored
        time.sleep(0.2)
    bench.fail("the trigger did not come to an end")


def engines():
    """The engines of other products that are here, by name: what such a product could at best deliver."""
    home = pathlib.Path(os.environ.get("PEERS_HOME", pathlib.Path.home() / ".cache/hexafn-peers"))
    found = {"Node.js": shutil.which("node"), "Bun": shutil.which("bun", path=home / "inst/bun/node_modules/.bin") or shutil.which("bun")}
    return {name: path for name, path in found.items() if path}


def deliver(options, remarks):
    """HTTP delivery from a backlog, beside a loop written by hand with as many requests in flight, and the same loop in the
    engines of other products."""
    ours, theirs, others = [], [], {name: [] for name in engines()}
    for _ in range(options.runs):
        bench.await_quiet(options.wait)
        with bench.Folder() as folder, bench.start_sink(folder) as sink:
            url = f"http://{sink.address}/sink"
            with serve(folder, trigger("web", ["sink"]) + web("sink", url)) as server:
                server.ready("/health/ready")
                target(server, "sink", "disable")
                flood(server, BACKLOG)
                wanted = settled(server, "web")
                bench.get(sink.address, "/reset", "POST")
                noise, own, began = bench.Noise(server, sink), server.cpu(), time.monotonic()
                target(server, "sink", "enable")
                while bench.count(sink)["requests"] < wanted:
                    time.sleep(0.01)
                    if time.monotonic() > began + 120:
                        bench.fail(f"deliver: {bench.count(sink)} of {wanted}")
                took = time.monotonic() - began
                got = bench.count(sink)
                ours.append(wanted / took)
                result = {"rate": wanted / took, "noise": noise.percent(), "cpu": (server.cpu() - own) * 1e6 / wanted}
                if got["ids"] != wanted or got["requests"] != wanted:
                    remarks.append(f"deliver hexafn: WRONG: {wanted} accepted, {got}")
                bench.keep("deliver", "hexafn", result)
            bench.await_quiet(options.wait)
            done = subprocess.run([str(bench.RIG / "raw-forward"), url, str(BACKLOG), "64", str(bench.BODY)], capture_output=True, text=True, check=True)
            raw = json.loads(done.stdout)
            theirs.append(raw["rate"])
            bench.keep("deliver", "raw-forward", raw)
            for name, path in engines().items():
                bench.await_quiet(options.wait)
                bench.get(sink.address, "/reset", "POST")
                command = [path, "scripts/bench.d/deliver/loop.mjs", url, str(BACKLOG), "64", str(bench.BODY)]
                loop = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                if bench.count(sink)["ids"] != BACKLOG:
                    remarks.append(f"deliver {name}: WRONG: {bench.count(sink)}")
                others[name].append(loop["rate"])
                bench.keep("deliver", name, loop)
    ratio = statistics.median(ours) / statistics.median(theirs)
    bench.keep("deliver", "ratio", {"ratio": ratio, "goal": 0.7})
    remarks.append(f"deliver: hexafn {statistics.median(ours):,.0f} deliveries/s from a backlog of {BACKLOG:,} (read from disk, acknowledged on"
                   f" disk, {result['cpu']:.1f} µs of CPU each), a reqwest loop written by hand {statistics.median(theirs):,.0f}/s:"
                   f" {ratio:.2f} ({bench.judge(ratio >= 0.7)}: goal 0.70)")
    for name, rates in others.items():
        ahead = statistics.median(ours) / statistics.median(rates)
        remarks.append(f"deliver: the same loop in {name} {statistics.median(rates):,.0f}/s; hexafn {ahead:.2f} times ({bench.judge(ahead > 1)}: goal ahead)")


def kafka(options, remarks):
    """A Kafka target from a backlog, beside a producer written by hand, on the same broker."""
    ours, theirs = [], []
    for number in range(options.runs):
        with bench.Folder() as folder:
            port = bench.free_port()
            url = f"tcp://127.0.0.1:{port}"
            # Its output is not read, and must not stop it.
            command = ["sh", "-c", f"exec tansu broker --listener-url {url} --advertised-listener-url {url} --storage-engine memory://tansu/ > broker.log 2>&1"]
            with bench.Process(folder, command, {}, f"127.0.0.1:{port}") as broker:
                raw = [str(bench.RIG / "raw-kafka"), broker.address]
                end = time.monotonic() + 20
                while subprocess.run([*raw, "bench", "0", str(bench.BODY)], capture_output=True).returncode != 0:
                    if time.monotonic() > end:
                        bench.fail("the broker did not start")
                text = f'[[target]]\nname = "log"\nkind = "kafka"\nbrokers = ["{broker.address}"]\ntopic = "bench"\nkey = "${{event.id}}"\n'
                with serve(folder, trigger("log", ["log"]) + text) as server:
                    server.ready("/health/ready")
                    target(server, "log", "disable")
                    flood(server, BACKLOG)
                    wanted = settled(server, "log")
                    bench.await_quiet(options.wait)
                    noise, own, began = bench.Noise(server, broker), server.cpu(), time.monotonic()
                    target(server, "log", "enable")
                    while target(server, "log")["delivered"] < wanted:
                        time.sleep(0.01)
                        if time.monotonic() > began + 120:
                            bench.fail(f"kafka: {target(server, 'log')}")
                    took = time.monotonic() - began
                    ours.append(wanted / took)
                    cpu = (server.cpu() - own) * 1e6 / wanted
                    bench.keep("kafka", "hexafn", {"rate": wanted / took, "noise": noise.percent(), "cpu": cpu})
                bench.await_quiet(options.wait)
                done = subprocess.run([*raw, f"raw-{number}", str(BACKLOG), str(bench.BODY)], capture_output=True, text=True, check=True)
                result = json.loads(done.stdout)
                theirs.append(result["rate"])
                bench.keep("kafka", "raw-kafka", result)
    ratio = statistics.median(ours) / statistics.median(theirs)
    bench.keep("kafka", "ratio", {"ratio": ratio, "goal": 0.8})
    remarks.append(f"kafka: hexafn {statistics.median(ours):,.0f} confirmed/s from a backlog of {BACKLOG:,} ({cpu:.1f} µs of CPU each), a producer"
                   f" written by hand {statistics.median(theirs):,.0f}/s: {ratio:.2f} ({bench.judge(ratio >= 0.8)}: goal 0.80)")


def file(options, remarks):
    """The file target from a backlog, every batch synced."""
    rates = []
    with bench.Folder() as folder:
        text = trigger("lines", ["lines"]) + '[[target]]\nname = "lines"\nkind = "file"\npath = "lines.jsonl"\n'
        small = folder / "small.json"
        small.write_text('{"id":1234567,"name":"a line","tags":["x","y"],"total":12.5}')
        with serve(folder, text) as server:
            server.ready("/health/ready")
            target(server, "lines", "disable")
            wanted = 0
            body, bench.BODY = bench.BODY, small
            try:
                while wanted < LINES:
                    wanted += bench.load(server, "hexafn", "backlog", "--seconds", 5, "--connections", 64)["accepted"]
            finally:
                bench.BODY = body
            wanted = settled(server, "lines")
            bench.await_quiet(options.wait)
            noise, own, began = bench.Noise(server), server.cpu(), time.monotonic()
            target(server, "lines", "enable")
            while target(server, "lines")["delivered"] < wanted:
                time.sleep(0.02)
                if time.monotonic() > began + 300:
                    bench.fail(f"file: {target(server, 'lines')}")
            took, used = time.monotonic() - began, server.cpu() - own
            with open(folder / "lines.jsonl", "rb") as lines:
                written = sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))
            if written != wanted:
                remarks.append(f"file: WRONG: {wanted} accepted, {written} lines")
            rates.append(wanted / took)
            bench.keep("file", "hexafn", {"rate": wanted / took, "noise": noise.percent(), "cpu": used * 1e6 / wanted})
            remarks.append(f"file: {wanted / took:,.0f} events/s from a backlog of {wanted:,} to one file, a sync for each batch, {used * 1e6 / wanted:.2f} µs"
                           f" of CPU each ({bench.judge(wanted / took >= 300_000)}: goal 300,000)")


def isolation(options, remarks):
    """The healthy target's latency at 2,000 events a second: alone, beside three others that are healthy, and beside three bad
    ones. What four targets cost more than one is not the bad ones' doing. The client and the sinks, which would wait for the same processors,
    have a real-time priority where they may: what is measured is the service."""
    neighbours = {"alone": [], "beside good ones": ["sink", "sink", "sink"], "beside bad ones": ["hang", "busy", "slow"]}
    runs = {how: [] for how in neighbours}
    with bench.outside() as prior:
        for _ in range(options.runs):
            for how, paths in neighbours.items():
                bench.await_quiet(options.wait)
                runs[how].append(beside(how, paths, options))
    alone, good, bad = (statistics.median(run["p99_us"] / 1000 for run in runs[how]) for how in neighbours)
    written = ", ".join(f"{statistics.median(run['written'] for run in runs[how]) / 1000:.1f}" for how in neighbours)
    early, late = (runs["beside bad ones"][-1][when] for when in ("early", "rss"))
    where = "client and sinks at a real-time priority" if prior else "client and sinks on the same processors"
    remarks.append(f"isolation: p99 at the healthy target, fed {bench.RATE:,} events/s: {alone:.2f} ms alone, {good:.2f} ms beside three healthy ones"
                   f" fed the same, {bad:.2f} ms beside one that hangs, one that answers 503 and one that takes 200 ms"
                   f" ({bad / good:.2f} of the healthy ones, {bad / alone:.2f} of alone, {bench.judge(bad <= alone * 1.1)}: goal 1.10), {where};"
                   f" {written} KB written to the disk for an event; memory {early:.0f} MB at the beginning, {late:.0f} MB at the end")


def beside(how, paths, options):
    """A run: the healthy target's latency, and what the service takes for it: MB of memory before and after, bytes written for an event."""
    with bench.Folder() as folder, bench.start_sink(folder) as sink, bench.start_sink(folder) as other:
        text = web("good", f"http://{sink.address}/sink")
        names = ["good"]
        for number, path in enumerate(paths):
            names.append(f"{path}-{number}")
            text += web(names[-1], f"http://{other.address}/{path}", 'timeout = "2s"')
        with serve(folder, trigger("spread", names) + text) as server:
            server.ready("/health/ready")
            rate = ["--rate", bench.RATE, "--connections", 32, "--stamp"]
            bench.warm_up(server, "hexafn", "backlog", sink)
            noise, early, written = bench.Noise(server, sink, other), server.rss(), server.written()
            result = bench.load(server, "hexafn", "backlog", *rate, "--seconds", max(10, options.seconds))
            got, _ = bench.settle(sink, result["accepted"])
            run = {"p50_us": got["p50_us"], "p99_us": got["p99_us"], "door_p99_us": result["p99_us"], "noise": noise.percent(), "early": early,
                   "rss": server.rss(), "written": (server.written() - written) / max(1, result["accepted"])}
            bench.keep("isolation", how, run)
            return run


def targets(options, remarks):
    """What an event costs while 1, 10 and 100 targets are configured of which one wants it."""
    costs = []
    for count in (1, 10, 100):
        bench.await_quiet(options.wait)
        with bench.Folder() as folder, bench.start_sink(folder) as sink:
            url = f"http://{sink.address}/sink"
            text = web("t0", url)
            for n in range(1, count):
                text += web(f"t{n}", url, f"when = 'event.data.ref == \"refs/heads/other-{n}\"'")
            with serve(folder, trigger("spread", [f"t{n}" for n in range(count)]) + text) as server:
                server.ready("/health/ready")
                bench.settle(sink, bench.load(server, "hexafn", "backlog", "--seconds", 1, "--connections", 64)["accepted"])
                bench.get(sink.address, "/reset", "POST")
                noise, own = bench.Noise(server, sink), server.cpu()
                result = bench.load(server, "hexafn", "backlog", "--seconds", options.seconds, "--connections", 64)
                bench.settle(sink, result["accepted"])
                cost = (server.cpu() - own) * 1e6 / max(1, result["accepted"])
                costs.append((count, cost, server.rss()))
                bench.keep("targets", "hexafn", {"targets": count, "cpu": cost, "rss": server.rss(), "noise": noise.percent()})
    remarks.append("targets: CPU for each event, from the door to the sink, " + ", ".join(f"{cost:.1f} µs ({rss:.0f} MB) with {count}" for count, cost, rss in costs)
                   + " configured, one of which wants it")


def fanout(options, remarks):
    """What an event costs that goes to 1, 4 and 16 topics."""
    costs = []
    for count in (1, 4, 16):
        bench.await_quiet(options.wait)
        with bench.Folder() as folder:
            names = [f"t{n}" for n in range(count)]
            text = "".join(f'[[target]]\nname = "{name}"\nkind = "topic"\n' for name in names)
            with serve(folder, trigger("spread", names) + text) as server:
                server.ready("/health/ready")
                load = lambda seconds: bench.load(server, "hexafn", "backlog", "--seconds", seconds, "--connections", 64, "--stamp")["accepted"]
                sent = load(2)
                everywhere(server, names, sent)
                noise, own, written = bench.Noise(server), server.cpu(), server.written()
                accepted = load(options.seconds)
                took = everywhere(server, names, sent + accepted) + options.seconds
                cpu, kb = (server.cpu() - own) * 1e6 / accepted, (server.written() - written) / accepted / 1000
                costs.append(f"{accepted / took:,.0f}/s at {cpu:.1f} µs of CPU and {kb:.1f} KB written to the disk each with {count}")
                bench.keep("fanout", "hexafn", {"targets": count, "rate": accepted / took, "cpu": cpu, "kb": kb, "noise": noise.percent()})
    remarks.append("fanout: events of 1 KiB to topics, from the door until all of them have it: " + ", ".join(costs))


def everywhere(server, names, wanted):
    """Waits until all of these topics have so many events; tells how long."""
    began = time.monotonic()
    for name in names:
        while json.loads(bench.get(server.address, f"/admin/topics/{name}")[1])["last"] < wanted:
            if time.monotonic() - began > bench.DRAIN:
                bench.fail(f"topic {name} does not get {wanted} events")
            time.sleep(0.02)
    return time.monotonic() - began


JOBS = {"deliver": deliver, "kafka": kafka, "file": file, "isolation": isolation, "targets": targets, "fanout": fanout}
