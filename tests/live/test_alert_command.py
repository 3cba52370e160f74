"""``lbproxy alert test``, as operators run it."""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

LB = [sys.executable, "-m", "lbproxy", "alert", "test"]
REST = "[frontend w]\nlisten = tcp:80\nbackend = a\n[backend a]\nservers = x 127.0.0.1:1\n"


def run(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LB, str(config)], capture_output=True, text=True, timeout=60, check=False
    )


def test_everybody_is_told_and_failures_are_named(tmp_path: Path) -> None:
    got: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/good" else 500)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    out = tmp_path / "out"
    config = tmp_path / "lb.ini"
    config.write_text(f"[alerts]\nwebhooks = {base}/good\ncommands = /usr/bin/tee {out}\n{REST}")
    good = run(config)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == f"webhook {base} (line 2): delivered\ncommand /usr/bin/tee: delivered\n"
    assert b"this is a test of lbproxy's alerts" in got[0] and "test" in out.read_text()
    config.write_text(f"[alerts]\nwebhooks = {base}/bad retries=0\n{REST}")
    bad = run(config)
    assert bad.returncode == 1
    assert bad.stderr == f"webhook {base} (line 2): answered 500\n"
    config.write_text(REST)
    assert run(config).returncode == 2
    server.shutdown()
    server.server_close()
