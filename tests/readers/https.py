# needs: cryptography==50.0.2
"""What goes over https goes to the server that it is meant for, and to nobody else.

Servers of this test have certificates of an authority of its own. A training tells the one that it was told to trust. One whose
certificate is another authority's, another host's or out of date, that speaks no TLS, or that sends on to elsewhere, is told
nothing: not a byte of a request arrives there, and the log says why.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path[0] += "/parts"

from authority import DAY, Authority, speaking

SCRATCH, RUNS = Path(os.environ["SCRATCH"]), Path(os.environ["RUNS"])
own, other = Authority(SCRATCH, "own"), Authority(SCRATCH, "other")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate, onward=None):
        super().__init__(("127.0.0.1", 0), Asked)
        self.heard, self.onward = [], onward
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server_port}"
        if certificate:
            # Each connection's own thread shakes hands, so that one that fails does not hold up the others.
            self.socket = speaking(certificate).wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a handshake that failed


class Asked(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.heard.append((self.headers["Authorization"], body))
        if self.server.onward:
            self.send_response(307)
            self.send_header("Location", f"{self.server.onward}{self.path}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


def train(name, url, authority=None):
    environment = {
        **os.environ,
        "SCRAPE": "127.0.0.1:0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20s3cret",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    if authority:
        environment["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(authority)
    log = open(SCRATCH / f"{name}.log", "w")
    return subprocess.Popen([os.environ["MONITORED"], SCRATCH / name, "3"], stdout=log, stderr=log, env=environment)


def events(name):
    for log in (SCRATCH / name).glob("runs/*/rank-*.jsonl"):
        for line in map(json.loads, log.read_text().splitlines()):
            if line["kind"] == "event" and line["event"] == "otlp":
                yield line["detail"]


def trainings():
    plain = Server(None)
    good = own.server("good")
    # The server, whom the client trusts, and what the log says if it is not told.
    cases = {
        "trusted": (Server(good), own.file, None),
        "unknown": (Server(good), None, "UnknownIssuer"),
        "another-authority": (Server(other.server("good")), own.file, "UnknownIssuer"),
        "another-host": (Server(own.server("host", host="example.org")), own.file, "certificate not valid for name"),
        "out-of-date": (Server(own.server("old", valid=(-3 * DAY, -DAY))), own.file, "expired"),
        "not-yet": (Server(own.server("new", valid=(DAY, 3 * DAY))), own.file, "not valid yet"),
        "itself": (Server(other.itself()), SCRATCH / "other-itself.pem", "CA:FALSE"),
        "no-tls": (plain, own.file, "cannot be reached"),
        "onward": (Server(good, onward=plain.url), own.file, "307"),
    }
    running = {}
    for name, (server, authority, _) in cases.items():
        running[name] = train(name, server.url.replace("http://", "https://"), authority)
    for name, process in running.items():
        server, _, why = cases[name]
        status = process.wait(timeout=120)
        said = (SCRATCH / f"{name}.log").read_text()
        told = list(events(name))
        assert "s3cret" not in said + "".join(told), name
        if why is None:
            assert status == 0 and told == [], (name, status, said, told)
            assert len(server.heard) > 2, server.heard
            assert all(secret == "Bearer s3cret" for secret, _ in server.heard)
            continue
        assert status != 0, (name, said)
        assert any(why in detail for detail in told), (name, told)
        # It was meant to be asked for the onward one, and said no.
        assert (name == "onward") == bool(server.heard), (name, server.heard)
    assert plain.heard == []
    # A certificate that cannot be read is said at once.
    refused = train("missing", "https://127.0.0.1:1", SCRATCH / "nowhere.pem")
    assert refused.wait(timeout=60) != 0
    said = (SCRATCH / "missing.log").read_text()
    assert "nowhere.pem` cannot be read" in said and not (SCRATCH / "missing/runs").exists(), said
    return len(cases)


def exports():
    run = next(manifest.parent for manifest in RUNS.glob("*/run.json"))
    silent = Server(other.server("mlflow"))
    environment = {**os.environ, "MLFLOW_TRACKING_TOKEN": "s3cret", "MLFLOW_TRACKING_URI": silent.url}
    command = [os.environ["ERGOMETER"], "export", run, "--format", "mlflow"]
    for authority in [None, own.file]:
        if authority:
            environment["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(authority)
        # It asks not to be safe, and that is not listened to.
        environment["MLFLOW_TRACKING_INSECURE_TLS"] = "true"
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and "UnknownIssuer" in done.stderr, done
        assert "name its file" in done.stderr and "s3cret" not in done.stderr, done.stderr
    assert silent.heard == []


count = trainings()
exports()
print(f"{count} servers of https: one is told, {count - 1} that should not be are not")
