"""The job of scripts/bench that is about a good function beside hostile ones."""

import json
import pathlib
import statistics
import subprocess

import bench
import bench_delivery

# Endless loops, memory bombs, and what only a kill ends, in each language.
HOSTILE = [
    ("js", "loop.js"),
    ("js", "memory_array.js"),
    ("js", "killed_reverse.js"),
    ("lua", "loop.lua"),
    ("lua", "memory_tables.lua"),
    ("lua", "killed_move.lua"),
    ("wasm", "loop-br.wat"),
    ("wasm", "memory-bomb-touch.wat"),
]
PROGRAMS = pathlib.Path("runtimes/tests/hostile")
EVENTS = 500  # a second, for the good function
HOSTILE_EVENTS = 10  # a second: each keeps a processor busy for 100 ms, so that all together they take one

GOOD = {
    "js": "export default ({ data }) => ({ t: data.t, repo: data.repository.full_name, commits: data.commits.length })",
    "lua": "return function(event) local d = event.data return { t = d.t, repo = d.repository.full_name, commits = #d.commits } end",
}


def function(name, runtime, code, more=""):
    return f"[[function]]\nname = \"{name}\"\nruntime = \"{runtime}\"\ncode = '''\n{code}\n'''\n{more}\n"


def hostile():
    """A topic whose every event runs one of the hostile programs, in turns, until it is stopped. What fails falls back to a
    drop, so that no trigger is quarantined for it."""
    text = '[[source]]\nname = "hostile"\nkind = "webhook"\ntopic = "hostile"\nverify = { scheme = "none" }\n'
    text += '[[topic]]\nname = "hostile"\ndurability = "memory"\n'
    text += function("nothing", "dsl", "drop")
    for turn, (runtime, file) in enumerate(HOSTILE):
        name = f'{runtime}-{file.partition(".")[0].replace("_", "-")}'
        code = (PROGRAMS / runtime / file).read_text()
        limits = 'timeout = "100ms"\nfallback = ["nothing"]\npool.workers = 1\nlimits.memory = "16MiB"'
        text += function(name, runtime, code, limits + ("\nlimits.fuel = 10_000_000_000" if runtime == "wasm" else ""))
        text += f'[[trigger]]\nname = "{name}"\non = "hostile"\nwhen = "event.seq % {len(HOSTILE)} == {turn}"\nrun = "{name}"\nto = []\n'
    return text


def runs(server):
    """How often hostile functions were stopped so far."""
    listed = json.loads(bench.get(server.address, "/admin/functions")[1])
    good = [f"good-{language}" for language in GOOD]
    return sum(f["failed"] + f["timed_out"] for f in listed if f["name"] not in good)


def one(language, how, options):
    """A run of the good function in this language; its latency is that at the sink, from when each event was due."""
    with bench.Folder() as folder, bench.start_sink(folder) as sink:
        name = f"good-{language}"
        text = function(name, language, GOOD[language]) + hostile() + bench_delivery.web("sink", f"http://{sink.address}/sink")
        text += f'[[trigger]]\nname = "{name}"\non = "bench"\nrun = "{name}"\nto = ["sink"]\n'
        with bench_delivery.serve(folder, text) as server:
            server.ready("/health/ready")
            rate = ["--rate", EVENTS, "--connections", 16, "--stamp"]
            bench.warm_up(server, "hexafn", "neighbours", sink, EVENTS)
            seconds = max(5, options.seconds)
            flood = None
            if how == "beside":
                command = [*bench.OUTSIDE, bench.RIG / "load", "--address", server.address, "--path", "/hooks/hostile", "--body", bench.BODY,
                           "--rate", HOSTILE_EVENTS, "--connections", 2, "--seconds", seconds + 1]
                flood = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
            noise = bench.Noise(server, sink)
            try:
                result = bench.load(server, "hexafn", "neighbours", *rate, "--seconds", seconds)
            finally:
                if flood:
                    flood.kill()
                    flood.wait()
            got, _ = bench.settle(sink, result["accepted"])
            server.alive()
            found = {"p50_us": got["p50_us"], "p99_us": got["p99_us"], "stopped": runs(server), "noise": noise.percent(), "rss": server.rss()}
            if not result["accepted"] <= got["ids"] <= result["accepted"] + result["open"]:
                found["wrong"] = f"{result['accepted']} accepted, {got}"
            return found


def neighbours(options, remarks):
    """A good function's latency alone, and beside hostile ones in all languages. The client and the sink, which are a third of what would
    wait for a processor, have a real-time priority where they may: what is measured is the service."""
    with bench.outside() as prior:
        for language in GOOD:
            results = {"alone": [], "beside": []}
            for _ in range(options.runs):
                for how, found in results.items():
                    bench.await_quiet(options.wait)
                    found.append(one(language, how, options))
                    bench.keep("neighbours", f"{language} {how}", found[-1])
            alone, beside = (statistics.median(f["p99_us"] for f in results[how]) / 1000 for how in ("alone", "beside"))
            stopped = statistics.median(f["stopped"] for f in results["beside"])
            where = "client and sink at a real-time priority" if prior else "client and sink on the same processors"
            remarks.append(f"neighbours, {language} at {EVENTS}/s: p99 at the sink {alone:.2f} ms alone, {beside:.2f} ms beside {len(HOSTILE)} hostile functions"
                           f" that took a processor and were stopped {stopped:,.0f} times ({beside / alone:.2f}, {bench.judge(beside <= alone * 2)}: goal 2.00), {where}")
            remarks.extend(f"neighbours {language}: WRONG: {f['wrong']}" for how in results for f in results[how] if "wrong" in f)


JOBS = {"neighbours": neighbours}
