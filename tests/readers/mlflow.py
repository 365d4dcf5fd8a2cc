# needs: mlflow==3.17.2 cryptography==50.0.2
"""A real MLflow server shows what trainings and logs tell it, is killed in between, and has everything once.

On loopback, with a data base of SQLite. Everything is read back by MLflow's own client, and the rows of its tables are counted.
"""

import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

sys.path[0] += "/parts"  # this file is called as the package is
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", GIT_PYTHON_REFRESH="quiet")
from authority import Authority  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

SCRATCH, RUNS = Path(os.environ["SCRATCH"]), Path(os.environ["RUNS"])
ERGOMETER, MONITORED = os.environ["ERGOMETER"], os.environ["MONITORED"]
EXPERIMENT = "ergometer's own"


class Server:
    def __init__(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.process = None

    def start(self, authority=None):
        self.url = f"http{'s' if authority else ''}://127.0.0.1:{self.port}"
        log = open(SCRATCH / "server.log", "a")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{SCRATCH}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(SCRATCH / "artifacts")]
        handlers = [urllib.request.ProxyHandler({})]
        if authority:
            file = authority.server("mlflow")
            command += ["--uvicorn-opts", f"--ssl-certfile {file} --ssl-keyfile {file}"]
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority.file)))
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=SCRATCH, start_new_session=True)
        open_url = urllib.request.build_opener(*handlers).open
        for _ in range(1_200):
            assert self.process.poll() is None, (SCRATCH / "server.log").read_text()[-2_000:]
            try:
                open_url(f"{self.url}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server does not start")

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


server = Server()


def train(name, seconds, **environment):
    """Begins a training that tells the server."""
    out = SCRATCH / name
    environment = {
        **os.environ,
        "SCRAPE": "127.0.0.1:0",
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
        **environment,
    }
    log = open(SCRATCH / f"{name}.log", "w")
    process = subprocess.Popen([MONITORED, str(out), str(seconds)], stdout=log, stderr=log, env=environment)
    return process, out / "runs"


def export(*paths, status=0):
    command = [ERGOMETER, "export", *map(str, paths), "--format", "mlflow", "--url", server.url]
    done = subprocess.run([*command, "--experiment", EXPERIMENT], capture_output=True, text=True)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def windows(run, kind):
    """The lines of a run's log of this kind."""
    for log in sorted(run.glob("rank-*.jsonl")):
        for line in log.read_text().splitlines():
            line = json.loads(line)
            if line["kind"] == kind:
                yield line


def the_run(runs):
    (run,) = [manifest.parent for manifest in runs.glob("*/run.json")]
    return run


def stored(run_id, count=1):
    """The server's run of this id of ours."""
    client = MlflowClient(server.url)
    experiments = [it.experiment_id for it in client.search_experiments()]
    # The client reads all of them: what a search for hostile words finds is our own business.
    found = [it for it in client.search_runs(experiments, max_results=1_000) if it.data.tags.get("ergometer.run_id") == run_id]
    assert len(found) == count, (run_id, len(found))
    return found[0] if found else None


def histories(run):
    """Every value that the server has of a run: key to a list of (step, time, value)."""
    client = MlflowClient(server.url)
    return {
        key: [(it.step, it.timestamp, it.value) for it in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }


def rows(stored):
    """How many values of a run there are in the data base, and how many moments of metrics these are of."""
    with sqlite3.connect(f"file:{SCRATCH}/mlflow.db?mode=ro", uri=True) as base:
        of = "from metrics where run_uuid = ?"
        (all,) = base.execute(f"select count(*) {of}", [stored.info.run_id]).fetchone()
        (places,) = base.execute(
            f"select count(*) from (select distinct key, step, timestamp {of})", [stored.info.run_id]
        ).fetchone()
    return all, places


def same(told, logged):
    """A number that went through decimals twice is itself but for the last digit; `null` is none."""
    return math.isnan(told) if logged is None else math.isclose(told, logged, rel_tol=1e-15)


def agree(run, stored):
    """The server has what the log has, each value once."""
    all = histories(stored)
    for key, points in all.items():
        places = [point[:2] for point in points]
        assert len(set(places)) == len(places), (key, places)
    count = sum(map(len, all.values()))
    assert rows(stored) == (count, count), (rows(stored), count)
    names = {key.rsplit("/", 1)[0] for key in all}
    assert not names & all.keys(), "a store of files has no room for keys below a key"
    for kind, name in [("epoch", "epoch"), ("end", "total")]:
        logged = [(it["epoch"] if kind == "epoch" else it["steps"] or it["epochs"], it) for it in windows(run, kind)]
        if kind == "end" and not logged:
            continue  # it was killed
        domains = {domain for _, it in logged for domain in it["domains"]}
        wanted = {f"time/{name}_seconds": [(step, it["duration_s"]) for step, it in logged]}
        for what, field in [("energy", "energy_j"), ("uncertainty", "u_j")]:
            wanted[f"{what}/{name}_joules"] = [(step, it.get(field)) for step, it in logged]
            for domain in domains:
                key = f"{what}/{domain.replace(':', '-')}/{name}_joules"
                wanted[key] = [(step, it["domains"].get(domain, {}).get(field)) for step, it in logged]
        for key, ours in wanted.items():
            # Whatever their quality, which a key ends with.
            keys = [it for it in all if it == key or it.startswith(f"{key}_") and "_per_" not in it]
            told = sorted((step, value) for key in keys for step, _, value in all[key])
            ours = sorted(point for point in ours if point[1] is not None)
            assert len(told) == len(ours) > 0, (key, told[:3], ours[:3], len(told), len(ours))
            for (step, value), (at, logged_value) in zip(told, ours):
                assert step == at and same(value, logged_value), (key, step, value, at, logged_value)
    noted = {it["step"]: it["metrics"] for it in windows(run, "step") if it["lane"] == 0 and it.get("metrics")}
    for key in {f"step/{metric}" for metrics in noted.values() for metric in metrics}:
        for step, _, value in all[key]:
            assert same(value, noted[step][key.removeprefix("step/")]), (key, step, value)
    for window in windows(run, "epoch"):
        for metric, value in window.get("metrics", {}).items():
            there = [it for it in all[f"epoch/{metric}"] if it[0] == window["epoch"]]
            assert len(there) == 1, (metric, window["epoch"], there)
            assert same(there[0][2], value), (metric, there, value)
    return all


def steps(run):
    """The steps of a run: when each was over, by the wall clock, and how long it took."""
    (start,) = windows(run, "run")
    offset = start["unix_ns"] - start["t_start_ns"]
    return [((it["t_end_ns"] + offset) / 1e9, it["duration_s"]) for it in windows(run, "step")]


def cost():
    """A training's steps take no longer for a server, nor for one that is gone, than those of one that tells nobody.

    The two run in turns of half a second, so that whatever else the machine does is in both medians.
    """
    told, runs = train("told", 24)
    alone, others = train("alone", 24, MLFLOW_TRACKING_URI="")
    pair, gone, start = [told, alone], None, time.time()
    while time.time() < start + 22:
        if gone is None and time.time() > start + 12:
            server.kill()
            gone = time.time()
        pair[0].send_signal(signal.SIGSTOP)
        pair[1].send_signal(signal.SIGCONT)
        time.sleep(0.5)
        pair.reverse()
    for process in pair:
        process.send_signal(signal.SIGCONT)
    assert alone.wait(timeout=60) == 0, (SCRATCH / "alone.log").read_text()
    assert told.wait(timeout=60) != 0, "the program says that something was lost"
    ratios = {}
    for part in ["is there", "is gone"]:
        medians = []
        for log in [the_run(runs), the_run(others)]:
            times = [took for at, took in steps(log) if (at < gone) == (part == "is there")]
            assert len(times) > 50, (part, len(times))
            medians.append(statistics.median(times) * 1e3)
        ratios[part] = medians[0] / medians[1]
        print(f"server {part}: the median step takes {medians[0]:.3f} ms, {ratios[part]:.3f} of the {medians[1]:.3f} ms with none to tell")
    assert max(ratios.values()) <= 1.5, ratios
    server.start()
    export(runs)
    agree(the_run(runs), stored(the_run(runs).name))


def gone_and_back():
    """A server that is killed in the middle and comes back is told everything by the training itself."""
    process, runs = train("back", 30)
    time.sleep(8)
    server.kill()
    time.sleep(4)
    server.start()
    assert process.wait(timeout=120) == 0, (SCRATCH / "back.log").read_text()
    run = the_run(runs)
    there = stored(run.name)
    assert there.info.status == "FINISHED"
    all = agree(run, there)
    epochs = sum(1 for _ in windows(run, "epoch"))
    assert epochs > 5 and "step/loss" in all, (epochs, sorted(all))
    powers = [key for key in all if key.startswith("system/") and "_power_usage_watts" in key]
    assert powers, sorted(all)
    assert there.data.params["parameters"] == "256"
    assert "epoch" in there.data.tags["mlflow.note.content"]
    said = [it for it in windows(run, "event") if it["event"] == "mlflow"]
    # A server that has just come back may not have answered yet when the run is over.
    left = [it for it in said if "the run is over" in it["detail"]]
    assert len(said) - len(left) == 1 and len(left) <= 1, said
    export(runs)
    assert histories(stored(run.name)) == all, "the log tells what the training told"
    print(f"killed and back: {epochs} epochs, {sum(map(len, all.values()))} values, powers {powers}")


def gone_for_good():
    """What a training could not tell, an export tells once."""
    process, runs = train("gap", 14)
    time.sleep(7)
    server.kill()
    assert process.wait(timeout=120) != 0, "the program says that something was lost"
    assert "lost" in (SCRATCH / "gap.log").read_text() or "arrived" in (SCRATCH / "gap.log").read_text()
    refused = export(runs, status=1)
    assert "cannot be reached" in refused, refused
    server.start()
    run = the_run(runs)
    before = stored(run.name)
    assert before.info.status == "RUNNING"
    before = histories(before)
    export(runs)
    after = stored(run.name)
    assert after.info.status == "FINISHED"
    all = agree(run, after)
    count = sum(map(len, all.values())), sum(map(len, before.values()))
    assert count[0] > count[1] > 0, count
    for key, points in before.items():
        assert set(points) <= set(all[key]), key
    export(runs)
    assert histories(stored(run.name)) == all, "a second export changes nothing"
    assert rows(stored(run.name)) == (count[0], count[0])
    print(f"killed for good: {count[1]} values before the export, {count[0]} after it, none twice, as many rows")
    return run


def cut():
    """A training that is killed is on the server as far as its log goes, once."""
    process, runs = train("cut", 30)
    time.sleep(7)
    process.kill()
    process.wait()
    run = the_run(runs)
    before = histories(stored(run.name))
    assert sum(map(len, before.values())) > 20, before
    export(runs)
    there = stored(run.name)
    assert there.info.status == "RUNNING" and "no end" in there.data.tags["mlflow.note.content"], there
    all = agree(run, there)
    for key, points in before.items():
        assert set(points) <= set(all[key]), key
    assert len([key for key in all if key.startswith("time/total_seconds")]) == 1 == len(all["time/total_seconds"])
    export(runs)
    assert histories(stored(run.name)) == all, "a second export changes nothing"


def joined():
    """A run that Python has begun gets our values, and stays Python's."""
    client = MlflowClient(server.url)
    theirs = client.create_run("0", run_name="python")
    client.log_param(theirs.info.run_id, "parameters", "their own")
    client.set_tag(theirs.info.run_id, "mlflow.note.content", "their note")
    process, runs = train("joined", 3, MLFLOW_RUN_ID=theirs.info.run_id)
    assert process.wait(timeout=60) == 0, (SCRATCH / "joined.log").read_text()
    run = the_run(runs)
    there = stored(run.name)
    assert there.info.run_id == theirs.info.run_id and there.info.status == "RUNNING"
    assert there.data.params["parameters"] == "their own"
    assert there.data.tags["mlflow.note.content"] == "their note"
    agree(run, there)
    client.set_terminated(theirs.info.run_id)


def everything():
    """Every run that there is, exported at once and again."""
    export(RUNS)
    ours = [manifest.parent for manifest in RUNS.glob("*/run.json")]
    for run in ours:
        agree(run, stored(json.loads((run / "run.json").read_text())["run_id"]))
    count = len(MlflowClient(server.url).search_runs(["0", "1"], max_results=1_000))
    export(RUNS)
    assert len(MlflowClient(server.url).search_runs(["0", "1"], max_results=1_000)) == count
    print(f"exported: {len(ours)} runs")


def hostile(run):
    """A run with names that nobody should give, and a loss that is no number."""
    copy = SCRATCH / "hostile"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "run.json").read_text())
    ours, name = manifest["run_id"], "x' OR 1=1 --\"`%"
    manifest["run_id"] = manifest["name"] = name
    manifest["notes"] = {"../../etc": "é" * 9_000, "a[0]": "\n\"'", "naïve": ""}
    (copy / "run.json").write_text(json.dumps(manifest))
    for log in copy.glob("rank-*.jsonl"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            line["run_id"] = name
            if line["kind"] == "epoch":
                line["metrics"] = {"top-5[a]": 0.5, "top-5(a)": 0.25, "/": 1.0, "nan": None}
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    export(copy)
    export(copy)
    there = stored("x%27%20OR%201%3D1%20--%22%60%25")
    assert there.info.run_name == name
    assert len(there.data.params) == 4, there.data.params
    all = histories(there)
    epochs = sum(1 for _ in windows(copy, "epoch"))
    keys = [key for key in all if key.startswith("epoch/")]
    assert len(keys) == 4 and all_of(len(all[key]) == epochs for key in keys), (keys, epochs)
    assert all_of(math.isnan(value) for _, _, value in all["epoch/nan"])
    assert stored(ours)


def long(run):
    """More values of a metric than a page of the server's holds, some of them no numbers."""
    copy, name = SCRATCH / "long", "long"
    copy.mkdir()
    manifest = json.loads((run / "run.json").read_text())
    manifest["run_id"] = manifest["name"] = name
    (copy / "run.json").write_text(json.dumps(manifest))
    start = {**next(windows(run, "run")), "run_id": name}
    step = {**next(windows(run, "step")), "run_id": name}
    with open(copy / "rank-00000.jsonl", "w") as log:
        log.write(json.dumps(start) + "\n")
        for number in range(1, 12_501):
            at = start["t_start_ns"] + number * 1_000_000_000
            loss = None if number % 100 == 0 else 1 / number
            moved = {"t_start_ns": at - 1_000_000, "t_end_ns": at, "step": number, "id": number, "metrics": {"loss": loss}}
            log.write(json.dumps({**step, **moved}) + "\n")
    export(copy)
    there = stored(name)
    all = rows(there)
    assert all[0] == all[1] > 12_500, all
    took = time.time()
    export(copy)
    took = time.time() - took
    assert rows(there) == all, "a second export adds nothing"
    values = MlflowClient(server.url).get_metric_history(there.info.run_id, "step/loss")
    assert [it.step for it in values] == list(range(1, 12_501))
    for it in values:
        assert same(it.value, None if it.step % 100 == 0 else 1 / it.step), it
    # What is lost on a page behind the first comes back alone.
    with sqlite3.connect(f"{SCRATCH}/mlflow.db") as base:
        lost = base.execute(
            "delete from metrics where run_uuid = ? and key = 'step/loss' and step in (7, 100, 12400, 12401)", [there.info.run_id]
        )
        assert lost.rowcount == 4
    export(copy)
    assert rows(there) == all
    print(f"a metric of {len(values)} values: read back in pages; an export of nothing new takes {took:.1f} s")


def encrypted():
    """A server of https with a certificate of one's own authority is told live and by an export."""
    server.kill()
    authority = Authority(SCRATCH, "authority")
    server.start(authority)
    os.environ["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(authority.file)
    process, runs = train("encrypted", 4)
    assert process.wait(timeout=60) == 0, (SCRATCH / "encrypted.log").read_text()
    run = the_run(runs)
    there = agree(run, stored(run.name))
    export(runs)
    assert histories(stored(run.name)) == there
    print(f"https: {sum(map(len, there.values()))} values told live, none by the export behind it")


all_of = all


def main():
    server.start()
    cost()
    gone_and_back()
    run = gone_for_good()
    cut()
    joined()
    everything()
    hostile(run)
    long(run)
    encrypted()


try:
    main()
finally:
    server.kill()
