"""The job of scripts/bench that is about functions: each engine through hexaFn and bare, and JavaScript behind HTTP."""

import json
import os
import shutil
import statistics
import subprocess

import bench

HERE = bench.HERE / "functions"
FLIGHT = 16
# Of a bare engine's calls a second: in a thread, in processes with so many in flight.
THREAD, PROCESSES = 0.80, 0.50
# From the text or the cache to the first answer, ms.
START = {"wasmtime": 1.0, "js": 5.0, "lua": 5.0}

# What answers over HTTP: its name, and the settings of its function.
WAYS = {
    "dsl": 'file = "five.hexa"',
    "js in processes": 'runtime = "js"\nfile = "five.js"',
    "js in threads": 'runtime = "js"\nfile = "five.js"\ntrusted = true',
    "lua in processes": 'runtime = "lua"\nfile = "five.lua"',
    "lua in threads": 'runtime = "lua"\nfile = "five.lua"\ntrusted = true',
    "wasmtime": 'runtime = "wasm"\nfile = "five.wasm"',
    "wasmer": 'runtime = "wasm"\nengine = "wasmer"\nfile = "five.wasm"',
}


def compile_guest(folder):
    module = folder / "five.wasm"
    command = ["clang", "--target=wasm32", "-O2", "-nostdlib", "-Wl,--no-entry", "-o", str(module), str(HERE / "five.c")]
    if not shutil.which("clang") or subprocess.run(command, check=False).returncode != 0:
        bench.fail("the guest in C was not compiled; install clang and lld: scripts/deps test")
    return module


def engines(module, options):
    """All ways in one process: what it says of each, by engine and way, the medians of all runs."""
    found = {}
    for _ in range(options.runs):
        bench.await_quiet(options.wait)
        command = [os.environ["FUNCTIONS_BIN"], HERE, module, bench.BODY, options.seconds]
        noise = bench.Noise()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            bench.fail(f"functions: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            told = json.loads(line)
            key = (told.pop("engine"), told.pop("way"))
            bench.keep("functions", " ".join(key), told | {"noise": noise.percent()})
            found.setdefault(key, []).append(told)
    return {key: {k: statistics.median(r[k] for r in runs) for k in runs[0]} for key, runs in found.items()}


def calls(figures):
    return f"{figures['rate']:,.0f} | {figures['p50_us']:.1f} / {figures['p99_us']:.1f}"


def in_one_process(module, options):
    found = engines(module, options)
    rows = ["| engine | way | calls/s | p50 / p99 µs | of the bare engine |", "|---|---|---|---|---|"]
    for (engine, way), figures in found.items():
        if "rate" not in figures:
            continue
        verdict = ""
        if way in ("thread", "processes"):
            goal, beside = (THREAD, "bare") if way == "thread" else (PROCESSES, "bare threads")
            ratio = figures["rate"] / found[engine, beside]["rate"]
            # Of the language of hexaFn there is no bare engine: beside it stands Rust by hand.
            verdict = f"{ratio:.2f}" if engine == "dsl" else f"{ratio:.2f} (goal {goal:.2f}, {bench.judge(ratio >= goal)})"
            if way == "thread" and (engine, "bare, state kept") in found:
                verdict += f"; {figures['rate'] / found[engine, 'bare, state kept']['rate']:.2f} of one whose state is kept"
        shown = f"{way}, {FLIGHT} in flight" if way == "processes" else way
        rows.append(f"| {engine} | {shown} | {calls(figures)} | {verdict} |")
    remarks = []
    for (engine, way), figures in found.items():
        if "ms" in figures:
            judged = f" ({bench.judge(figures['ms'] < START[engine])}: goal {START[engine]:.0f} ms)" if engine in START and "process" not in way else ""
            remarks.append(f"{engine}, {way} to the first answer: {figures['ms']:.2f} ms{judged}")
    return rows, remarks


def start(way, folder, module):
    """A server that answers with the five fields; `None` when it is not there."""
    if way == "node":
        if not shutil.which("node"):
            return None
        port = bench.free_port()
        return bench.Process(folder, ["node", str(HERE / "node.mjs")], {"PORT": str(port)}, f"127.0.0.1:{port}")
    if way == "workerd":
        if not os.environ.get("WORKERD_BIN"):
            return None
        address = f"127.0.0.1:{bench.free_port()}"
        command = [os.environ["WORKERD_BIN"], "serve", str(HERE / "workerd.capnp"), f"--socket-addr=http={address}"]
        return bench.Process(folder, command, {}, address)
    binary = os.environ["HEXAFN_BIN"]
    if way == "wasmer" and "wasmer" not in subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout:
        return None
    config = folder / "cfg"
    config.mkdir()
    for file in [*HERE.glob("five.*"), module]:
        shutil.copy(file, config)
    text = (HERE / "bench.toml").read_text()
    text += f'[[function]]\nname = "five"\n{WAYS[way]}\n[[trigger]]\nname = "five"\non = "bench"\nrun = "five"\nto = []\n'
    text += '[[source]]\nname = "bench"\nkind = "webhook"\ntopic = "bench"\nverify = { scheme = "none" }\n'
    text += 'reply = { trigger = "five", timeout = "1s" }\n'
    (config / "bench.toml").write_text(text)
    return bench.Process(folder, [binary, "serve", "--config", str(config), "--set", f"storage.path={folder}/data"], {})


def ready(server, way):
    """Waits for it, and looks at what it answers."""
    path = "/hooks/bench"
    if way not in ("node", "workerd"):
        server.ready("/health/ready")
    command = ["curl", "-fsS", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", "-H", "content-type: application/json",
               "--data-binary", f"@{bench.BODY}", f"http://{server.address}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or json.loads(done.stdout).get("branch") != "main":
        server.alive()
        bench.fail(f"functions {way}: {done.stdout[:300]} {done.stderr.strip()}")


def one_run(way, module, options):
    with bench.Folder() as folder:
        server = start(way, folder, module)
        if server is None:
            return None
        with server:
            ready(server, way)
            bench.load(server, "hexafn", "functions", "--seconds", bench.WARM, "--connections", FLIGHT)
            noise, own = bench.Noise(server), server.cpu()
            result = bench.load(server, "hexafn", "functions", "--seconds", options.seconds, "--connections", FLIGHT)
            server.alive()
            if result["refused"] or result["broken"]:
                bench.fail(f"functions {way}: {result['refused']} refused, {result['broken']} broken")
            return result | {"noise": noise.percent(), "rate": result["accepted"] / result["seconds"], "peak": server.peak(),
                             "cpu": (server.cpu() - own) * 1e6 / max(1, result["accepted"])}


def over_http(module, options):
    results, absent = {}, []
    for _ in range(options.runs):
        for way in [*WAYS, "node", "workerd"]:
            bench.await_quiet(options.wait)
            result = one_run(way, module, options)
            if result is None:
                absent.append(way)
                continue
            bench.keep("functions", f"http {way}", result)
            results.setdefault(way, []).append(result)
    found = {way: bench.medians(runs) for way, runs in results.items()}
    peers = [peer for peer in ("node", "workerd") if peer in found]
    rows = [f"| over HTTP, {FLIGHT} connections | events/s | p50 / p99 ms | CPU µs/event (of the service) | noise % |"
            + "".join(f" of {peer} |" for peer in peers), "|---|---|---|---|---|" + "---|" * len(peers)]
    for way, m in found.items():
        ratios = "".join(f" {m['rate'] / found[peer]['rate']:.2f} |" for peer in peers)
        rows.append(f"| {way if way in peers else f'hexafn, {way}'} | {m['rate']:,.0f} | {m['p50_us'] / 1000:.2f} / {m['p99_us'] / 1000:.2f} |"
                    f" {m['cpu']:.1f} | {m['noise']:.0f} |{ratios}")
    remarks = [f"{way} is not there: not measured" for way in dict.fromkeys(absent)]
    return rows, remarks


def functions(options, remarks):
    with bench.Folder() as folder:
        module = compile_guest(folder)
        for rows, more in (in_one_process(module, options), over_http(module, options)):
            print("\n".join(rows) + "\n", flush=True)
            remarks.extend(f"functions: {remark}" for remark in more)


JOBS = {"functions": functions}
