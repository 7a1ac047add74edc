"""The CDR forwarder against a real server: it loses no row, whatever stops, breaks or is rotated."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "pbx" / "asterisk" / "forward_cdr.py"
SECRET = "fake-asterisk-secret"


class Switchboard:
    """A webhook on a port that can be closed and opened again."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        # What to answer instead of 200, the next first: a status, a body and headers.
        self.faults: list[tuple[int, Any, dict[str, str]]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._server: ThreadingHTTPServer | None = None
        self.open(0)
        assert self._server is not None
        self.port = self._server.server_address[1]

    def open(self, port: int | None = None) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((headers | {":path": self.path}, json.loads(body)))
                outer.hold.wait(20)
                accepted = {"accepted": len(json.loads(body)), "duplicates": 0}
                status, answer, extra = outer.faults.pop(0) if outer.faults else (200, accepted, {})
                sent = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def do_GET(self) -> None:
                outer.requests.append(({":path": self.path}, "GET"))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port if port is None else port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def ids(self) -> list[str]:
        """The uniqueids of all rows that came, in order."""
        return [row["uniqueid"] for _, rows in self.requests for row in rows]


class Pbx:
    """Asterisk's side: a Master.csv, and the forwarder beside it."""

    def __init__(self, folder: Path, switchboard: Switchboard) -> None:
        self.csv = folder / "cdr-csv" / "Master.csv"
        self.csv.parent.mkdir()
        self.state = folder / "place.json"
        self.rejected = folder / "place.json.rejected"
        self.switchboard = switchboard
        self.secret_file = folder / "secret"
        self.secret_file.write_text(SECRET + "\n")
        self.secret_file.chmod(0o600)
        self.process: subprocess.Popen[str] | None = None

    def write(self, *ids: str, clid: str = '"Kim Example" <+61491570156>') -> None:
        """Rows as cdr_csv writes them: the file is opened, appended to and closed for each."""
        for one in ids:
            with self.csv.open("ab") as file:
                file.write(row(one, clid))

    def command(self, *more: str) -> list[str]:
        url = f"http://127.0.0.1:{self.switchboard.port}/webhooks/asterisk?source=melbourne"
        return [
            sys.executable, str(SCRIPT), "--url", url, "--csv", str(self.csv), "--state", str(self.state),
            "--secret-file", str(self.secret_file), "--interval", "0.05", *more,
        ]

    def start(self, *more: str) -> None:
        self.process = subprocess.Popen(self.command(*more), text=True, stderr=subprocess.PIPE)
        until(self.state.exists)

    def kill(self, number: int = signal.SIGKILL) -> str:
        assert self.process is not None and self.process.stderr is not None
        self.process.send_signal(number)
        said = self.process.communicate(timeout=20)[1]
        self.process = None
        return said

    def once(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command("--once", *more), text=True, capture_output=True, timeout=30, check=False)


def row(unique: str, clid: str = "") -> bytes:
    """A row with all columns. cdr_csv quotes texts and doubles their quotes; numbers stand bare."""
    fields: list[str | int] = [
        "", "+61491570156", "600", "from-trunk", clid, "PJSIP/trunk-1", "PJSIP/201-2", "Queue", "sales,t",
        "2026-02-20 20:00:00", "", "2026-02-20 20:00:20", 20, 0, "NO ANSWER", "DOCUMENTATION", unique, "", "", unique, 7,
    ]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerow(fields)
    return text.getvalue().encode()


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def switchboard() -> Iterator[Switchboard]:
    server = Switchboard()
    yield server
    server.hold.set()
    server.close()


@pytest.fixture
def pbx(tmp_path: Path, switchboard: Switchboard) -> Iterator[Pbx]:
    pbx = Pbx(tmp_path, switchboard)
    yield pbx
    if pbx.process is not None:
        pbx.kill()


def test_a_row_is_posted_as_the_cdr_variables(pbx: Pbx, switchboard: Switchboard) -> None:
    hostile = r'''"Kim \"K\"; $(touch x) `id` a=b&c, ${X}" <+61491570156>'''
    pbx.once()
    pbx.write("1.1", clid=hostile)
    assert pbx.once().returncode == 0
    ((headers, rows),) = switchboard.requests
    assert headers["x-webhook-secret"] == SECRET
    assert headers["content-type"] == "application/json"
    assert headers[":path"] == "/webhooks/asterisk?source=melbourne"
    assert rows == [
        {
            "accountcode": "", "src": "+61491570156", "dst": "600", "dcontext": "from-trunk", "clid": hostile,
            "channel": "PJSIP/trunk-1", "dstchannel": "PJSIP/201-2", "lastapp": "Queue",
            "start": "2026-02-20 20:00:00", "answer": "", "end": "2026-02-20 20:00:20", "duration": "20",
            "billsec": "0", "disposition": "NO ANSWER", "amaflags": "DOCUMENTATION", "uniqueid": "1.1",
            "userfield": "", "peeraccount": "", "linkedid": "1.1", "sequence": "7",
        }
    ]


def test_what_was_there_before_is_left_out_unless_asked_for(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.write("1.1", "1.2")
    pbx.once()
    pbx.write("1.3")
    pbx.once()
    assert switchboard.ids == ["1.3"]
    pbx.state.unlink()
    pbx.once("--from-start")
    assert switchboard.ids == ["1.3", "1.1", "1.2", "1.3"]


def test_many_rows_go_in_batches_and_each_once(pbx: Pbx, switchboard: Switchboard) -> None:
    ids = [f"1.{n}" for n in range(250)]
    pbx.write(*ids)
    pbx.once("--from-start")
    assert [len(rows) for _, rows in switchboard.requests] == [100, 100, 50]
    assert switchboard.ids == ids


def test_our_outage_and_its_restart_lose_nothing(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.start()
    pbx.write("1.1")
    until(lambda: switchboard.ids == ["1.1"])
    switchboard.close()
    pbx.write("1.2", "1.3")
    time.sleep(1)
    said = pbx.kill()
    assert "not taken: no answer" in said and "1491570156" not in said
    pbx.write("1.4")
    pbx.start()
    time.sleep(0.5)
    switchboard.open()
    until(lambda: switchboard.ids == ["1.1", "1.2", "1.3", "1.4"])
    pbx.write("1.5")
    until(lambda: switchboard.ids[-1] == "1.5")
    assert len(switchboard.ids) == 5


def test_killed_before_the_answer_it_sends_the_row_again(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.start()
    switchboard.hold.clear()
    pbx.write("1.1")
    until(lambda: switchboard.ids == ["1.1"])
    pbx.kill()
    switchboard.hold.set()
    pbx.once()
    assert switchboard.ids == ["1.1", "1.1"]
    pbx.once()
    assert switchboard.ids == ["1.1", "1.1"]


@pytest.mark.parametrize(
    "fault",
    [
        (500, {"error": "our fault"}, {}),
        (503, {"error": "our fault"}, {"Retry-After": "1"}),
        (401, {"error": "not authenticated"}, {}),
        (403, {"error": "not allowed"}, {}),
        (400, "a proxy's page", {}),
        (200, "a log-in page", {}),
        (302, {}, {"Location": "/elsewhere"}),
    ],
)
def test_it_goes_on_until_the_rows_are_taken(pbx: Pbx, switchboard: Switchboard, fault: Any) -> None:
    switchboard.faults = [fault, fault]
    pbx.write("1.1")
    pbx.once("--from-start")
    assert switchboard.ids == ["1.1"] * 3
    assert not pbx.rejected.exists()


def test_too_large_a_batch_is_halved(pbx: Pbx, switchboard: Switchboard) -> None:
    switchboard.faults = [(413, {"error": "body too large"}, {})]
    pbx.write("1.1", "1.2", "1.3")
    pbx.once("--from-start")
    assert [len(rows) for _, rows in switchboard.requests] == [3, 1, 2]
    assert switchboard.ids[3:] == ["1.1", "1.2", "1.3"]


def test_a_row_that_is_refused_is_kept_and_holds_nothing_up(pbx: Pbx, switchboard: Switchboard) -> None:
    partly = {"accepted": 1, "duplicates": 0, "rejected": [{"index": 1, "error": "uniqueid: is required, or linkedid"}]}
    switchboard.faults = [(200, partly, {}), (400, {"error": "uniqueid: is required, or linkedid"}, {})]
    pbx.write("1.1", "1.2")
    pbx.once("--from-start")
    pbx.write("1.3")
    pbx.once()
    pbx.write("1.4")
    pbx.once()
    assert pbx.rejected.read_bytes() == b"".join(row(one, '"Kim Example" <+61491570156>') for one in ("1.2", "1.3"))
    assert switchboard.ids[-1] == "1.4"
    assert oct(pbx.rejected.stat().st_mode)[-3:] == "600"


def test_a_line_that_is_no_row_is_kept_and_holds_nothing_up(pbx: Pbx, switchboard: Switchboard) -> None:
    torn = b'"","+61491570156","600","from-tr' + row("1.2")
    pbx.write("1.1")
    with pbx.csv.open("ab") as file:
        file.write(torn)
        file.write(b"\n")
        file.write(b'"short","row"\n')
    pbx.write("1.3")
    pbx.once("--from-start")
    assert switchboard.ids == ["1.1", "1.3"]
    assert pbx.rejected.read_bytes() == torn + b'"short","row"\n'


def test_a_row_that_is_half_written_is_waited_for(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.start()
    whole = row("1.1")
    with pbx.csv.open("ab", buffering=0) as file:
        file.write(whole[:50])
        time.sleep(0.3)
        assert not switchboard.requests
        file.write(whole[50:])
    until(lambda: switchboard.ids == ["1.1"])
    assert not pbx.rejected.exists()


@pytest.mark.parametrize("columns", [17, 18, 20, 21])
def test_the_columns_that_cdr_conf_may_leave_out(pbx: Pbx, switchboard: Switchboard, columns: int) -> None:
    fields = row("1.1").decode().strip().split(",")
    lastdata = fields.index('"sales')
    fields[lastdata : lastdata + 2] = ['"x"']
    kept = {17: fields[:17], 18: fields[:18], 20: fields[:17] + fields[18:], 21: fields}[columns]
    pbx.csv.write_text(",".join(kept) + "\n")
    pbx.once("--from-start")
    ((_, ((sent),)),) = switchboard.requests
    assert sent["uniqueid"] == "1.1"
    assert sent.get("linkedid") == ("1.1" if columns >= 20 else None)
    assert sent.get("sequence") == ("7" if columns >= 20 else None)


class TestRotation:
    """Master.csv is rotated while the forwarder runs, and while it does not."""

    def rename(self, pbx: Pbx, to: str) -> Path:
        path = pbx.csv.with_name(to)
        pbx.csv.rename(path)
        return path

    def compress(self, path: Path) -> None:
        written = path.stat().st_mtime_ns
        packed = path.with_name(path.name + ".gz")
        with path.open("rb") as plain, gzip.open(packed, "wb") as file:
            shutil.copyfileobj(plain, file)
        os.utime(packed, ns=(written, written))
        path.unlink()

    def test_while_it_runs(self, pbx: Pbx, switchboard: Switchboard) -> None:
        pbx.start()
        pbx.write("1.1")
        until(lambda: switchboard.ids == ["1.1"])
        switchboard.close()
        pbx.write("1.2")
        self.rename(pbx, "Master.csv.1")
        pbx.write("2.1")
        switchboard.open()
        until(lambda: switchboard.ids == ["1.1", "1.2", "2.1"])
        self.rename(pbx, "Master.csv.2")
        time.sleep(0.3)
        pbx.write("3.1")
        until(lambda: switchboard.ids == ["1.1", "1.2", "2.1", "3.1"])

    @pytest.mark.parametrize("compressed", [False, True])
    def test_more_than_once_while_it_does_not(self, pbx: Pbx, switchboard: Switchboard, compressed: bool) -> None:
        pbx.write("1.1")
        pbx.once("--from-start")
        for n in (1, 2, 3):
            pbx.write(f"{n}.2", f"{n}.3")
            path = self.rename(pbx, f"Master.csv-2026022{n}")
            if compressed:
                self.compress(path)
            time.sleep(0.02)
        pbx.write("4.1")
        pbx.once()
        assert switchboard.ids == ["1.1", "1.2", "1.3", "2.2", "2.3", "3.2", "3.3", "4.1"]

    def test_by_copying_and_truncating(self, pbx: Pbx, switchboard: Switchboard) -> None:
        pbx.write("1.1")
        pbx.once("--from-start")
        pbx.write("1.2")
        shutil.copy(pbx.csv, pbx.csv.with_name("Master.csv.1"))
        pbx.once()
        os.truncate(pbx.csv, 0)
        pbx.once()
        pbx.write("2.1", "2.2", "2.3")
        pbx.once()
        assert switchboard.ids == ["1.1", "1.2", "2.1", "2.2", "2.3"]

    def test_the_file_that_was_read_is_gone(self, pbx: Pbx, switchboard: Switchboard) -> None:
        pbx.write("1.1")
        pbx.once("--from-start")
        pbx.csv.unlink()
        pbx.write("2.1")
        self.rename(pbx, "Master.csv.1")
        pbx.write("3.1")
        assert "is gone" in pbx.once().stderr
        assert switchboard.ids == ["1.1", "2.1", "3.1"]

    def test_before_the_first_row_was_seen(self, pbx: Pbx, switchboard: Switchboard) -> None:
        pbx.once()
        time.sleep(0.02)
        pbx.write("1.1")
        self.rename(pbx, "Master.csv.1")
        pbx.write("2.1")
        pbx.once()
        assert switchboard.ids == ["1.1", "2.1"]


def test_it_stops_when_it_is_told_to(pbx: Pbx, switchboard: Switchboard) -> None:
    switchboard.close()
    pbx.start()
    pbx.write("1.1")
    time.sleep(0.3)
    started = time.monotonic()
    pbx.kill(signal.SIGTERM)
    assert time.monotonic() - started < 5
    switchboard.open()
    pbx.once()
    assert switchboard.ids == ["1.1"]


def test_only_one_runs_at_a_time(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.start()
    assert "another one is running" in pbx.once().stderr


def test_what_it_refuses_to_start_with(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.secret_file.chmod(0o644)
    refused = pbx.once()
    assert refused.returncode != 0 and "can be read by everybody" in refused.stderr
    pbx.secret_file.chmod(0o600)
    pbx.secret_file.write_text("\n")
    assert "no secret" in pbx.once().stderr
    command = pbx.command("--once")
    command[command.index("--url") + 1] = "http://calls.example.com/webhooks/asterisk"
    refused = subprocess.run(command, text=True, capture_output=True, timeout=30, check=False)
    assert refused.returncode != 0 and "must be https://" in refused.stderr
    assert not switchboard.requests


def test_the_secret_may_come_from_the_environment(pbx: Pbx, switchboard: Switchboard) -> None:
    pbx.write("1.1")
    command = pbx.command("--once", "--from-start")
    place = command.index("--secret-file")
    del command[place : place + 2]
    environment = {**os.environ, "SWITCHBOARD_SECRET": "fake-from-the-environment"}
    subprocess.run(command, env=environment, timeout=30, check=True)
    assert switchboard.requests[0][0]["x-webhook-secret"] == "fake-from-the-environment"
