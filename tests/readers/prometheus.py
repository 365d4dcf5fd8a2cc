# needs:
"""Prometheus asks a training in progress, a Pushgateway and a node exporter, and its query API gives the log's energies.

Energies are compared as decimal numbers, so that each has the log's digits, all of them and no others.

The programs are Debian's. Where they are not installed, their packages are unpacked beside this test: nothing is installed, and
no service starts.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal
from pathlib import Path

PACKAGES = ["prometheus", "prometheus-pushgateway", "prometheus-node-exporter"]
SCRATCH = Path(os.environ["SCRATCH"])
started = []


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def programs():
    """The path of each program, installed or unpacked."""
    names = [*PACKAGES, "promtool"]
    found = {name: shutil.which(name) for name in names}
    if all(found.values()):
        return found
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        skip(f"not installed here, and no Debian to get them from: {', '.join(PACKAGES)}")
    place = SCRATCH / "debian"
    place.mkdir()
    command = ["apt-get", "download", "--quiet", *PACKAGES]
    got = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if got.returncode != 0 and os.geteuid() == 0:
        # The list of packages may be missing or old.
        subprocess.run(["apt-get", "update", "--quiet"], capture_output=True)
        got = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if got.returncode != 0:
        skip(f"Debian's packages cannot be had here: {(got.stderr.strip().splitlines() or ['no reason'])[-1]}")
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, place], check=True)
    return {name: str(place / "usr/bin" / name) for name in names}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(name, *command, **environment):
    log = open(SCRATCH / f"{name}.log", "w")
    process = subprocess.Popen(
        [str(word) for word in command], stdout=log, stderr=log, cwd=SCRATCH, env={**os.environ, **environment}
    )
    started.append(process)
    return process


def get(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return answer.read().decode()


def ready(url, process):
    for _ in range(300):
        assert process.poll() is None, f"{process.args[0]} ended with {process.returncode}"
        try:
            return get(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{url} is not answered")


def lines(run):
    for log in run.glob("rank-*.jsonl"):
        yield from (json.loads(line, parse_float=Decimal) for line in log.read_text().splitlines())


def check(text):
    """Prometheus's own checker of a text."""
    assert "hw_energy_joules_total{" in text, text
    done = subprocess.run([tools["promtool"], "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def hostile(run):
    """A copy of a run, named as nobody should."""
    name = 'a"} 1\nevil_total{x="\\'
    copy = SCRATCH / "hostile"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "run.json").read_text())
    manifest["name"] = name
    for sensor in manifest["sensors"]:
        sensor["domain"]["name"] = name
    (copy / "run.json").write_text(json.dumps(manifest))
    return copy, name


def main():
    ports = {name: free_port() for name in ["training", "prometheus", "gateway", "node"]}
    # What a gateway tells keeps the job that it was pushed under.
    targets = {"training": "training", "ergometer": "gateway", "node": "node", "itself": "prometheus"}
    jobs = [
        {
            "job_name": job,
            "honor_labels": job == "ergometer",
            "static_configs": [{"targets": [f"127.0.0.1:{ports[port]}"]}],
        }
        for job, port in targets.items()
    ]
    intervals = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
    (SCRATCH / "prometheus.yml").write_text(json.dumps({"global": intervals, "scrape_configs": jobs}))
    textfiles = SCRATCH / "textfiles"
    textfiles.mkdir()

    base = f"http://127.0.0.1:{ports['prometheus']}"
    prometheus = start(
        "prometheus",
        tools["prometheus"],
        f"--config.file={SCRATCH / 'prometheus.yml'}",
        f"--storage.tsdb.path={SCRATCH / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    )
    gateway = start(
        "gateway",
        tools["prometheus-pushgateway"],
        # Debian's has a file of the machine's by default.
        f"--persistence.file={SCRATCH / 'gateway'}",
        f"--web.listen-address=127.0.0.1:{ports['gateway']}",
    )
    node = start(
        "node",
        tools["prometheus-node-exporter"],
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={textfiles}",
        f"--web.listen-address=127.0.0.1:{ports['node']}",
    )
    ready(f"{base}/-/ready", prometheus)
    ready(f"http://127.0.0.1:{ports['gateway']}/-/ready", gateway)
    ready(f"http://127.0.0.1:{ports['node']}/metrics", node)

    def query(expression):
        answer = json.loads(get(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    training = start(
        "training",
        os.environ["MONITORED"],
        SCRATCH / "live",
        "6",
        SCRAPE=f"127.0.0.1:{ports['training']}",
        TEXTFILE=str(textfiles / "live.prom"),
        PUSHGATEWAY=f"http://127.0.0.1:{ports['gateway']}",
    )
    began = time.monotonic()
    during = []
    while not during and time.monotonic() - began < 20:
        time.sleep(0.2)
        during = query('hw_energy_joules_total{job="training"}')
    (run,) = (SCRATCH / "live/runs").iterdir()
    assert during and json.loads((run / "run.json").read_text())["state"] == "running", "a training in progress"
    while not query('hw_power_watts{job="training"} > 0'):
        assert training.poll() is None, "no power during the training"
        time.sleep(0.2)
    check(get(f"http://127.0.0.1:{ports['training']}/metrics"))
    check((textfiles / "live.prom").read_text())
    assert training.wait(timeout=120) == 0, (SCRATCH / "training.log").read_text()
    check((textfiles / "live.prom").read_text())
    # The node exporter and the gateway are asked once more.
    time.sleep(1)

    manifest = json.loads((run / "run.json").read_text())
    logged = [line for line in lines(run) if "domains" in line]
    end = logged[-1]
    assert end["kind"] == "end"
    sensors = {sensor["domain"]["id"]: sensor for sensor in manifest["sensors"]}
    parts = {id for id, share in end["domains"].items() if share.get("in_total", True)}
    for one in during:
        id, value = one["metric"]["hw_id"], Decimal(one["value"][1])
        earlier = {line["domains"][id]["total_j"] for line in logged if line is not end}
        assert value in earlier and value < end["domains"][id]["total_j"], (id, value)
    count = 0
    for job in ["training", "ergometer", "node"]:
        series = query(f'hw_energy_joules_total{{job="{job}"}}[10m]')
        assert {one["metric"]["hw_id"] for one in series} == parts, (job, series)
        for one in series:
            labels = one["metric"]
            id, sensor = labels["hw_id"], sensors[labels["hw_id"]]
            hardware = {"dram": "memory"}.get(sensor["domain"]["hardware"], sensor["domain"]["hardware"])
            assert labels["hw_type"] == hardware and labels["hw_name"] == sensor["domain"]["name"], labels
            assert labels["run_id"] == run.name and labels["name"] == "line" and labels["rank"] == "0", labels
            assert labels["provenance"] == sensor["provenance"], labels
            values = [Decimal(value) for _, value in one["values"]]
            known = {line["domains"][id]["total_j"] for line in logged}
            assert set(values) <= known, f"{job}: {sorted(set(values) - known)} are not in the log"
            assert values == sorted(values) and values[-1] == end["domains"][id]["total_j"], (job, values)
            count += len(values)
        total = query(f'ergometer_run_energy_joules_total{{job="{job}"}}[10m]')
        assert Decimal(total[0]["values"][-1][1]) == end["total_j"], total
    for job in ["ergometer", "node"]:
        assert not query(f'hw_power_watts{{job="{job}"}}'), "a power of a run that is over"

    copy, name = hostile(run)
    exported = SCRATCH / "hostile.prom"
    command = [os.environ["ERGOMETER"], "export", copy, "--format", "prometheus", "-o", exported]
    subprocess.run(command, check=True)
    check(exported.read_text())
    exported.rename(textfiles / "hostile.prom")
    (textfiles / "live.prom").unlink()
    for _ in range(100):
        time.sleep(0.2)
        series = [one for one in query('hw_energy_joules_total{job="node"}') if one["metric"]["name"] == name]
        if series:
            break
    assert {one["metric"]["hw_id"] for one in series} == parts, series
    assert all(one["metric"]["hw_name"] == name for one in series), series
    assert not query("evil_total")
    print(f"during the training: {', '.join(said(one['metric']['hw_id'], one['value'][1]) for one in during)}")
    print(f"at its end, by all three ways: {', '.join(said(id, end['domains'][id]['total_j']) for id in sorted(parts))}")
    print(f"{count} samples of {len(parts)} parts over three ways are the log's, and the last of each its total")


def said(part, energy):
    return f"{part} {energy} J"


tools = programs()
try:
    main()
except BaseException:
    for log in SCRATCH.glob("*.log"):
        print(f"-- {log.name}", log.read_text()[-2000:], sep="\n", file=sys.stderr)
    raise
finally:
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
