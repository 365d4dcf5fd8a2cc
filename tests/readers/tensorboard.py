# needs: tensorboard==2.21.0
"""TensorBoard's own reader finds every scalar that the logs hold, and its server the table of runs.

What is to be found is worked out here from the lines of the logs, on its own, in exact arithmetic.
"""

import html
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
import urllib.request
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path

SCRATCH = Path(os.environ["SCRATCH"])

# This file is called as the package is, and would be taken for it.
sys.path.pop(0)

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def exact(text):
    """JSON with its decimals as they are written."""
    return json.loads(text, parse_float=Decimal, parse_int=lambda digits: Decimal(digits))


def nano(number):
    return int(number * 10**9)


def mark(quality, model):
    if quality == "measured":
        return ""
    if quality == "estimated" or not model:
        return f" ({quality})"
    return f" (estimated, {quality})"


def one_line(text, instead="_"):
    return "".join(instead if unicodedata.category(letter) == "Cc" else letter for letter in text)


@cache
def expected(run):
    """The scalars of a log: tag → [(step, value as 32 bits, wall time)]."""
    manifest = exact((run / "run.json").read_text())
    modelled = {s["domain"]["id"] for s in manifest["sensors"] if s["provenance"] == "model"}
    model = any(s["in_total"] and s["domain"]["id"] in modelled for s in manifest["sensors"])
    scalars = defaultdict(list)
    steps, phases, within, clock = defaultdict(int), {}, defaultdict(dict), None

    def energies(place, name, part, marked, it, duration, energy="energy_j", u="u_j"):
        if it.get(energy) is None:
            return
        joules = nano(it[energy])
        place(f"energy/{name}_joules{part}{marked}", Decimal(joules) / 10**9)
        if it.get(u) is not None:
            place(f"uncertainty/{name}_joules{part}{marked}", it[u])
        if duration > 0:
            microwatts = abs(joules) * 10**6 // duration * (1 if joules >= 0 else -1)
            place(f"power/{name}_watts{part}{marked}", Decimal(microwatts) / 10**6)

    for line in (run / "rank-00000.jsonl").read_text().splitlines():
        it = exact(line)
        kind = it["kind"]
        if kind == "run":
            clock = int(it["unix_ns"]) - int(it["t_start_ns"])
            phases.clear(), within.clear()
        if kind == "event" and "epoch" in it:
            for metric, value in it["metrics"].items():
                late = numpy.float32("nan" if value is None else float(value))
                at = (clock + int(it["t_ns"])) / 1e9
                scalars[one_line(f"epoch/{metric}")].append((int(it["epoch"]), late, at))
        if kind not in ("step", "epoch", "phase", "end"):
            continue
        lane = int(it["lane"])
        name = {"phase": f"phase_{it.get('phase')}", "end": "total"}.get(kind, kind)
        name = f"lane{lane}_{name}" if lane else name
        metrics = dict(it.get("metrics", {}))
        step = int(it.get({"step": "step", "epoch": "epoch"}.get(kind, "-"), 0))
        if kind == "step":
            steps[lane] = step
        elif kind == "phase":
            # Behind the steps so far, and behind the last phase of its name.
            step = max(steps[lane], phases.get((lane, it["phase"]), -1) + 1)
            phases[lane, it["phase"]] = step
            within[lane, it.get("parent")].update(metrics)
        elif kind == "epoch":
            metrics = within[lane, it["id"]] | metrics
            within.clear()
        elif kind == "end":
            step = int(it.get("steps") or it.get("epochs") or 0)
        at = (clock + int(it["t_end_ns"])) / 1e9

        def place(tag, value):
            value = numpy.float32("nan" if value is None else float(value))
            scalars[one_line(tag)].append((step, value, at))

        if kind == "end" and int(it["session"]) > 0 and it["quality"] in ("partial", "unresolved"):
            # What an earlier session told as the whole run's total is withdrawn.
            for tag in ("energy/total_joules", "uncertainty/total_joules", "power/total_watts"):
                place(tag + (" (estimated)" if model else ""), None)
        duration = nano(it["duration_s"])
        marked = mark(it["quality"], model)
        energies(place, name, "", marked, it, duration)
        place(f"time/{name}_seconds", it["duration_s"])
        for count, unit in (("samples", "sample"), ("tokens", "token")):
            if it.get(count) and it["energy_j"] is not None:
                each = nano(it["energy_j"]) // int(it[count])
                place(f"energy/{name}_joules_per_{unit}{marked}", Decimal(each) / 10**9)
        energies(place, f"{name}_net", "", marked, it, duration, "net_j", "u_net_j")
        for domain, share in it["domains"].items():
            energies(
                place, name, f"/{domain}", mark(share["quality"], domain in modelled), share, duration
            )
        for metric, value in metrics.items():
            place(f"{name}/{metric}", value)
    return manifest, scalars


def check_scalars(run, events):
    manifest, scalars = expected(run)
    read = EventAccumulator(str(events), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    tags = set(read.Tags()["scalars"])
    assert tags == set(scalars), f"{run.name}: {sorted(tags ^ set(scalars))}"
    count = 0
    for tag, values in scalars.items():
        found = read.Scalars(tag)
        assert len(found) == len(values), f"{run.name}: {tag}: {len(found)} for {len(values)}"
        for there, (step, value, at) in zip(found, values):
            same = numpy.float32(there.value) == value or (there.value != there.value and value != value)
            assert same, f"{run.name}: {tag} at {step}: {there.value!r}, not {value!r}"
            assert there.step == step, f"{run.name}: {tag}: step {there.step}, not {step}"
            assert abs(there.wall_time - at) < 1e-3, f"{run.name}: {tag}: {there.wall_time}, not {at}"
            count += 1
    text = read.Tensors("summary")[-1].tensor_proto.string_val[0].decode()
    name = one_line(manifest["name"], " ").replace("\\", "")
    assert name in html.unescape(text).replace("\\", ""), text
    return count


def check_damaged(run, events):
    """What is lost or changed is noticed, or the comparison would mean nothing."""
    damaged = SCRATCH / "damaged"
    shutil.copytree(events, damaged)
    (file,) = damaged.iterdir()
    intact = file.read_bytes()
    half = len(intact) // 2
    for changed in (intact[:half], intact[:half] + bytes([intact[half] ^ 1]) + intact[half + 1 :], intact + b"\0"):
        file.write_bytes(changed)
        passed = True
        try:
            check_scalars(run, damaged)
        except AssertionError:
            passed = False
        # Less than a frame at the end is one that is being written.
        assert passed == (changed[: len(intact)] == intact), "a damaged event file passed"


NAMES = ["../x", "a/b", "..", ".hidden", "-rf *", "a\\b", "%2e%2e", "é 模型 🚀", "n" * 200, "new\nline", "<b>|*x*|</b>"]


def hostile(run, place, name):
    """A run by another name, with an epoch that takes no time and has metrics that are no number."""
    made = place / str(NAMES.index(name))
    shutil.copytree(run, made)
    manifest = json.loads((made / "run.json").read_text())
    manifest["run_id"] = manifest["name"] = manifest["machine"]["host"] = name
    manifest["notes"] = {"rate": "NaN", "depth": "-inf", "": "empty", name: name}
    (made / "run.json").write_text(json.dumps(manifest))
    lines = []
    for line in (made / "rank-00000.jsonl").read_text().splitlines():
        line = json.loads(line)
        line["run_id"] = name
        if line["kind"] == "epoch" and line["epoch"] == 2:
            line["t_end_ns"], line["duration_s"] = line["t_start_ns"], 0
            line["metrics"] = {"no\u0007number": None, "a/../b": -1.5, "größe 🚀": 1e-60, "": 1e30}
        lines.append(json.dumps(line) + "\n")
    (made / "rank-00000.jsonl").write_text("".join(lines))
    return made


def check_hostile(run):
    place, boards = SCRATCH / "hostile", SCRATCH / "boards"
    made = {name: hostile(run, place, name) for name in NAMES}
    told = exported(place, boards)
    assert set(told) == set(NAMES), told
    assert len(set(told.values())) == len(NAMES), told
    for name, path in told.items():
        (file,) = path.iterdir()
        assert path.resolve().parent == boards.resolve() and file.is_file(), path
        check_scalars(made[name], path)


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    # No proxy is asked for a server on this machine.
    opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    with opened(request, timeout=60) as answer:
        return json.load(answer)


def check_server(events, runs, *options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}/data"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(events), "--port", str(port)]
    log = SCRATCH / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", *options], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                known = set(ask(f"{base}/runs"))
                if known >= {run.name for run in runs}:
                    break
            except OSError:
                known = set()
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"the server knows {sorted(known)}"
            time.sleep(0.2)
        statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        request = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 1_000}
        # The server goes on reading after it has listed a run.
        while True:
            groups = ask(f"{base}/plugin/hparams/session_groups", request)["sessionGroups"]
            rows = {group["name"]: group for group in groups}
            if all(complete(rows.get(run.name), run) for run in runs):
                break
            assert time.monotonic() < deadline, f"{[r.name for r in runs if not complete(rows.get(r.name), r)]}"
            time.sleep(0.2)
        table = ask(f"{base}/plugin/hparams/experiment", {})
        columns = {info["name"]["tag"] for info in table["metricInfos"]}
        assert {"epoch/accuracy", "time/total_seconds"} <= columns, columns
        assert any(tag.startswith("energy/total_joules") for tag in columns), columns
        assert {"parameters", "name"} <= {info["name"] for info in table["hparamInfos"]}
        texts = ask(f"{base}/plugin/text/tags")
        assert all("summary" in texts.get(run.name, ()) for run in runs), texts
        return len(rows), len(columns)
    finally:
        server.terminate()
        server.wait(20)


def complete(group, run):
    """Whether the table's row has the run's parameters, energy and accuracy as its log has them."""
    if group is None:
        return False
    manifest, scalars = expected(run)
    row = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    parameters = manifest.get("parameters")
    assert parameters is None or group["hparams"]["parameters"] == int(parameters), group["hparams"]
    last = {tag: float(values[-1][1]) for tag, values in scalars.items()}
    wanted = [tag for tag in last if tag.startswith("energy/total_joules") or tag.endswith("/accuracy")]
    assert any(tag.startswith("energy/total_joules") for tag in wanted), f"{run.name}: no energy"
    assert "epoch/accuracy" in wanted, f"{run.name}: no accuracy"
    if not all(tag in row for tag in wanted):
        return False
    for tag in wanted:
        assert row[tag] == last[tag], f"{run.name}: {tag}: {row[tag]}, not {last[tag]}"
    return group["sessions"][0].get("status") == "STATUS_SUCCESS"


def runs_in(directory):
    return sorted(manifest.parent for manifest in directory.glob("*/run.json"))


def exported(runs, boards):
    """The directory of each run that was exported."""
    command = [os.environ["ERGOMETER"], "export", "--format", "tensorboard", "-o", boards, "--json", runs]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return {run["run_id"]: Path(run["path"]) for run in json.loads(answer.stdout)}


def main():
    runs, live = runs_in(Path(os.environ["RUNS"])), Path(os.environ["LIVE"])
    boards = SCRATCH / "exported"
    told = exported(os.environ["RUNS"], boards)
    assert set(told) == {run.name for run in runs}
    count = sum(check_scalars(run, told[run.name]) for run in runs)
    print(f"{count} scalars of {len(runs)} exported runs are those of their logs, to the bit")
    check_damaged(runs[0], told[runs[0].name])
    check_hostile(runs[0])
    print(f"so are those of {len(NAMES)} runs with hostile names, and a damaged file is noticed")
    lived = runs_in(live / "runs")
    count = sum(check_scalars(run, live / "tensorboard" / run.name) for run in lived)
    print(f"{count} scalars of {len(lived)} runs that were written live are those of their logs, to the bit")
    # Its server has two readers of its own: a fast one, and the one that takes its place where that does not run.
    for events, there, options in ((boards, runs, ()), (live / "tensorboard", lived, ("--load_fast=false",))):
        rows, columns = check_server(events, there, *options)
        how = " ".join(("its server", *options))
        print(f"{how} lists {rows} runs by parameters, energy and accuracy, with {columns} columns in all")


main()
