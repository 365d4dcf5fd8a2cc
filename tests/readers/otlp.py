# needs: opentelemetry-proto==1.45.2
"""A collector that takes requests by OpenTelemetry's own definitions of them accepts what a training sends, and an export.

The collector is a server of this test. It is as strict as the strictest: the content's type has to be `application/json` and
nothing beside it, and a field that the protocol does not know is refused. It answers twice that it is busy, and is stopped in
the middle of the training and started again: what was measured meanwhile arrives later, and the log says that it was gone.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

# This file may be called as a package is, and would be taken for it.
sys.path.pop(0)

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

SCRATCH = Path(os.environ["SCRATCH"])
UNITS = {"hw.energy": "J", "hw.power": "W", "hw.host.energy": "J", "hw.host.power": "W"}
accepted, refused, busy = [], [], []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(accepted) == 2 and len(busy) < 2:
            busy.append(body)
            return self.answer(503)
        if self.path != "/v1/metrics" or self.headers["Content-Type"] != "application/json":
            refused.append(f"{self.path} {self.headers['Content-Type']}")
            return self.answer(400)
        if self.headers["Authorization"] != "Bearer s3cret":
            return self.answer(401)
        try:
            accepted.append(parsed(body))
        except json_format.ParseError as error:
            refused.append(str(error))
            return self.answer(400)
        self.answer(200)

    def answer(self, status):
        body = json_format.MessageToJson(ExportMetricsServiceResponse()).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def parsed(text):
    return json_format.Parse(text, ExportMetricsServiceRequest(), ignore_unknown_fields=False)


def text_of(attributes):
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def energies(request, run, name="hw.energy"):
    """The points of a sum, by part: each one's time and value."""
    found = {}
    for resource in request.resource_metrics:
        told = text_of(resource.resource.attributes)
        if told["ergometer.run.id"] != run:
            continue
        assert told["service.name"] and told["service.instance.id"] and told["host.name"], told
        for scope in resource.scope_metrics:
            assert scope.scope.name == "ergometer", scope.scope
            for metric in scope.metrics:
                assert metric.unit == UNITS.get(metric.name, metric.unit), metric
                if metric.name != name:
                    continue
                assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE, metric
                assert metric.sum.is_monotonic, metric
                for point in metric.sum.data_points:
                    assert 0 < point.start_time_unix_nano <= point.time_unix_nano, point
                    own = text_of(point.attributes)
                    if name == "hw.energy":
                        assert own["hw.type"] in {"cpu", "gpu", "memory"} and own["provenance"], own
                    key = own.get("hw.id")
                    # The shortest digits that give the same number are those of the log.
                    energy = Decimal(repr(point.as_double))
                    found.setdefault(key, []).append((point.time_unix_nano, energy))
    return found


def lines_of(run):
    return [
        json.loads(line, parse_float=Decimal)
        for log in run.glob("rank-*.jsonl")
        for line in log.read_text().splitlines()
    ]


def log_of(run):
    return [line for line in lines_of(run) if "domains" in line]


def listening(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stopped(server):
    server.shutdown()
    server.server_close()


def until(what, is_so, training):
    while not is_so():
        assert training.poll() is None, f"the training ended before {what}"
        time.sleep(0.02)


def watch_a_training():
    server = listening(0)
    port = server.server_port
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20s3cret",
        "OTEL_SERVICE_NAME": "a trainer",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "SCRAPE": "127.0.0.1:0",
    }
    command = [os.environ["MONITORED"], SCRATCH / "live", "10"]
    training = subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until("the collector was stopped", lambda: len(accepted) >= 4, training)
        stopped(server)
        gone = time.time_ns()
        time.sleep(2)
        back = time.time_ns()
        before = len(accepted)
        server = listening(port)
        until("what waited arrived", lambda: len(accepted) > before, training)
        said, _ = training.communicate(timeout=120)
    finally:
        training.kill()
        stopped(server)
    assert training.returncode == 0, said
    assert not refused, refused
    assert len(busy) == 2 and before < len(accepted), (len(busy), before, len(accepted))

    (run,) = (SCRATCH / "live/runs").iterdir()
    logged = log_of(run)
    end = logged[-1]
    assert end["kind"] == "end"
    series = {}
    for request in accepted:
        assert text_of(request.resource_metrics[0].resource.attributes)["service.name"] == "a trainer"
        for part, points in energies(request, run.name).items():
            series.setdefault(part, []).extend(points)
    assert set(series) == {part for part, share in end["domains"].items() if share.get("in_total", True)}, series
    for part, points in series.items():
        assert points == sorted(points), points
        known = {line["domains"][part]["total_j"] for line in logged}
        assert {value for _, value in points} <= known, "a value that the log does not have"
        assert points[-1][1] == end["domains"][part]["total_j"], points[-1]
        assert any(gone < at < back for at, _ in points), "what was measured while it was gone"
    events = [line["detail"] for line in lines_of(run) if line.get("event") == "otlp"]
    assert any("cannot be reached" in detail for detail in events), events
    # No secret in what is left behind.
    for file in (SCRATCH / "live").rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes(), file
    assert "s3cret" not in said
    last = ", ".join(f"{part} {points[-1][1]} J" for part, points in sorted(series.items()))
    print(f"the last of a training: {last}; {before} requests before the collector was gone, {len(accepted) - before} behind")
    return len(accepted)


def read_an_export():
    runs = sorted(Path(os.environ["RUNS"]).iterdir())
    text = subprocess.run(
        [os.environ["ERGOMETER"], "export", *runs, "--format", "otlp"], check=True, capture_output=True
    ).stdout
    request = parsed(text)
    count = 0
    for run in runs:
        logged = log_of(run)
        for part, points in energies(request, json.loads((run / "run.json").read_text())["run_id"]).items():
            assert points == sorted(points), points
            known = {line["domains"][part]["total_j"] for line in logged}
            assert {value for _, value in points} <= known, run
            assert points[-1][1] == logged[-1]["domains"][part]["total_j"], run
            count += len(points)
    assert count > 0
    return count, len(runs)


sent = watch_a_training()
count, runs = read_an_export()
print(f"{sent} requests of a training, and {count} points of {runs} exported runs, are the log's")
