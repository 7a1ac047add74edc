#!/usr/bin/env python3
"""Forward Asterisk's call detail records to Switchboard: follow Master.csv and post each row.

The place in the file is stored after the rows before it were taken, so neither an outage of Switchboard nor a restart of
this program skips a row. A row may be posted twice, which changes nothing. The place is kept with a digest of the file's
first line: that is how the file is found again after logrotate has renamed, copied or compressed it.

Needs Python 3.9 and nothing else. cdr.conf must have, under [csv]: loguniqueid=yes, loguserfield=yes, newcdrcolumns=yes.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import gzip
import hashlib
import http.client
import json
import os
import random
import re
import signal
import stat
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Optional

# The columns of cdr_csv. The last five are there if cdr.conf says so.
BASE = (
    "accountcode src dst dcontext clid channel dstchannel lastapp lastdata start answer end duration billsec"
    " disposition amaflags"
).split()
NEWER = ["peeraccount", "linkedid", "sequence"]
COLUMNS = {
    len(columns): columns
    for columns in (
        BASE + ["uniqueid"],
        BASE + ["uniqueid", "userfield"],
        BASE + ["uniqueid"] + NEWER,
        BASE + ["uniqueid", "userfield"] + NEWER,
    )
}
# What the last application was given: nothing that a CRM needs, and it may hold a PIN.
NOT_SENT = {"lastdata"}

BATCH = 100
TIMEOUT = 30.0
LONGEST_PAUSE = 60.0
LONGEST_LINE = 64 * 1024


def log(message: str) -> None:
    """One line to standard error, which systemd keeps. Never a phone number or a name."""
    print(message, file=sys.stderr, flush=True)


class Place(NamedTuple):
    """Where we are: the file, by its first line, and how many bytes of it were taken."""

    first_line: Optional[str]
    offset: int


class Line(NamedTuple):
    """A row as it stands in the file, and where the next one begins."""

    text: bytes
    end: int


# --- The file and those that logrotate made of it --------------------------------------------------------------


def open_log(path: Path) -> BinaryIO:
    """Opens a file, compressed by logrotate or not."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def first_line(file: BinaryIO) -> Optional[str]:
    """What tells a file from every other: a digest of its first row. None while there is no whole row."""
    file.seek(0)
    line = file.readline(LONGEST_LINE)
    return hashlib.sha256(line).hexdigest() if line.endswith(b"\n") else None


def read_lines(file: BinaryIO, offset: int, is_complete: bool) -> list[Line]:
    """Up to a batch of rows from a place on. A row without its newline is still being written, unless the file is
    complete."""
    file.seek(offset)
    lines = []
    while len(lines) < BATCH:
        text = file.readline()
        if not text or not (text.endswith(b"\n") or is_complete):
            break
        offset += len(text)
        lines.append(Line(text, offset))
    return lines


class Rotated(NamedTuple):
    """A file that logrotate has made."""

    written: int  # nanoseconds since 1970
    path: Path
    first_line: str


def rotated(path: Path) -> list[Rotated]:
    """What logrotate has made of the file (Master.csv.1, Master.csv-20260220.gz), the oldest first. One that is being
    compressed is there twice for a moment: the same first line counts once."""
    found: dict[str, Rotated] = {}
    for other in path.parent.glob(path.name + "?*"):
        try:
            with open_log(other) as file:
                digest = first_line(file)
            written = other.stat().st_mtime_ns
        except (OSError, EOFError, zlib.error):
            continue
        if digest is not None and (digest not in found or other.suffix != ".gz"):
            found[digest] = Rotated(written, other, digest)
    return sorted(found.values())


def next_rows(path: Path, place: Place, since: int) -> tuple[list[Line], Place]:
    """The next rows after a place that was stored at `since`, and their place, which may be the start of a newer file."""
    current = None
    try:
        with open_log(path) as file:
            current = first_line(file)
            if current is not None and current == place.first_line:
                return read_lines(file, place.offset, is_complete=False), place
    except FileNotFoundError:
        pass
    older = rotated(path)
    index = next((i for i, one in enumerate(older) if one.first_line == place.first_line), None)
    if index is not None:
        later = older[index + 1 :]
        with open_log(older[index].path) as file:
            rows = read_lines(file, place.offset, is_complete=current is not None or bool(later))
        if rows:
            return rows, place
    else:
        later = [one for one in older if one.written > since]
        if place.first_line is not None and (later or current is not None):
            log(f"the file that was read up to byte {place.offset} is gone: does logrotate keep too few?")
    later = [one for one in later if one.first_line != current]
    if later:
        with open_log(later[0].path) as file:
            return read_lines(file, 0, is_complete=True), Place(later[0].first_line, 0)
    if current is None:
        return [], place
    with open_log(path) as file:
        digest = first_line(file)
        return (read_lines(file, 0, is_complete=False), Place(digest, 0)) if digest else ([], place)


def record(line: bytes) -> Optional[dict[str, str]]:
    """A row as an object, or None if it is none."""
    try:
        rows = list(csv.reader([line.decode("utf-8", errors="replace")], strict=True))
    except csv.Error:
        return None
    columns = COLUMNS.get(len(rows[0])) if len(rows) == 1 else None
    if columns is None:
        return None
    return {name: value for name, value in zip(columns, rows[0]) if name not in NOT_SENT}


# --- Posting ---------------------------------------------------------------------------------------------------


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET that loses the rows, and take the secret elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Answer(NamedTuple):
    """What came of a request."""

    status: int  # 0: no answer
    body: Any
    retry_after: Optional[float]


def post(url: str, secret: str, records: list[dict[str, str]]) -> Answer:
    """Posts rows, once."""
    headers = {
        "Content-Type": "application/json",
        "X-Webhook-Secret": secret,
        "User-Agent": "switchboard-forward-cdr",
    }
    request = urllib.request.Request(url, json.dumps(records).encode(), headers, method="POST")
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            return Answer(response.status, as_json(response.read()), None)
    except urllib.error.HTTPError as error:
        with error:
            after = error.headers.get("Retry-After", "")
            return Answer(error.code, as_json(error.read()), float(after) if after.isdigit() else None)
    except (OSError, http.client.HTTPException) as error:
        log(f"no answer: {type(error).__name__}")
        return Answer(0, None, None)


def as_json(body: bytes) -> Any:
    """A body as JSON, or None."""
    try:
        return json.loads(body)
    except ValueError:
        return None


# --- The program -----------------------------------------------------------------------------------------------


class Forwarder:
    """Reads, posts and remembers."""

    def __init__(self, arguments: argparse.Namespace, secret: str) -> None:
        self.path = Path(arguments.csv)
        self.state = Path(arguments.state)
        self.url = arguments.url
        self.secret = secret
        self.interval = arguments.interval
        self.is_stopping = False

    def wait(self, seconds: float) -> None:
        """Sleeps, unless it is to stop."""
        end = time.monotonic() + seconds
        while not self.is_stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def stop(self, *_: Any) -> None:
        """Asks it to stop when it can. What was not taken is sent after the next start."""
        self.is_stopping = True

    def load(self, from_start: bool) -> Place:
        """The stored place. Without one, what is in the file already is left out, unless it is asked for."""
        try:
            stored = json.loads(self.state.read_text())
            return Place(stored["first_line"], int(stored["offset"]))
        except FileNotFoundError:
            pass
        place = Place(None, 0)
        if not from_start and self.path.exists():
            with open_log(self.path) as file:
                digest = first_line(file)
                file.seek(0)
                # Up to the last whole row.
                offset = sum(len(line) for line in file if line.endswith(b"\n"))
            place = Place(digest, offset)
        log(f"first start: beginning at byte {place.offset}")
        self.save(place)
        return place

    def save(self, place: Place) -> None:
        """Stores a place so that it is there whole or not at all."""
        draft = self.state.with_name(self.state.name + ".new")
        with draft.open("w") as file:
            json.dump(place._asdict(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.state)

    def set_aside(self, lines: list[bytes], why: str) -> None:
        """Keeps rows that cannot be parsed, for a person to look at."""
        aside = self.state.with_name(self.state.name + ".rejected")
        log(f"{len(lines)} rows set aside in {aside.name}: {why}")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def run(self, from_start: bool, once: bool) -> int:
        """Runs until a signal stops it; with `once`, until there is no further row."""
        place = self.load(from_start)
        while not self.is_stopping:
            lines, at = next_rows(self.path, place, self.state.stat().st_mtime_ns)
            if at != place:
                self.save(at)
                place = at
            if not lines:
                if once:
                    return 0
                self.wait(self.interval)
                continue
            if not self.deliver([line.text for line in lines]):
                break
            place = Place(place.first_line, lines[-1].end)
            self.save(place)
        return 0

    def deliver(self, lines: list[bytes]) -> bool:
        """Posts rows until they are taken. False if the program is to stop first."""
        read = [(line, record(line)) for line in lines if line.strip()]
        unreadable = [line for line, row in read if row is None]
        good = [(line, row) for line, row in read if row is not None]
        taken = True
        if good:
            taken = self.post_until_taken([line for line, _ in good], [row for _, row in good if row is not None])
        # After the post: else a row would be set aside once more after every restart.
        if taken and unreadable:
            self.set_aside(unreadable, "not a row of cdr_csv with its uniqueid")
        return taken

    def post_until_taken(self, lines: list[bytes], rows: list[dict[str, str]]) -> bool:
        """Posts until the answer is final. Only what Switchboard itself calls malformed is not sent again."""
        pause = 1.0
        while not self.is_stopping:
            answer = post(self.url, self.secret, rows)
            body = answer.body if isinstance(answer.body, dict) else {}
            # Another server behind the same address may say 2xx too. Only Switchboard says what it accepted.
            if 200 <= answer.status < 300 and "accepted" in body:
                rejected = [one for one in body.get("rejected", []) if isinstance(one, dict)]
                indexes = [one.get("index") for one in rejected]
                aside = [lines[index] for index in indexes if isinstance(index, int) and 0 <= index < len(lines)]
                if aside:
                    self.set_aside(aside, str(rejected[0].get("error")))
                return True
            if answer.status == 400 and "error" in body:
                self.set_aside(lines, str(body["error"]))
                return True
            if answer.status == 413 and len(rows) > 1:
                half = len(rows) // 2
                return self.post_until_taken(lines[:half], rows[:half]) and self.post_until_taken(
                    lines[half:], rows[half:]
                )
            wait = max(pause * random.uniform(0.5, 1.0), min(answer.retry_after or 0.0, 5 * LONGEST_PAUSE))
            log(f"not taken: {answer.status or 'no answer'}; {len(rows)} rows, again in {wait:.1f} s")
            self.wait(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
        return False


def read_secret(file: Optional[str]) -> str:
    """The secret from a file that only its owner can read, or from the environment."""
    if file is None:
        secret = os.environ.get("SWITCHBOARD_SECRET", "")
    else:
        mode = os.stat(file).st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise SystemExit(f"{file} can be read by everybody: chmod 600 {file}")
        secret = Path(file).read_text()
    secret = secret.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise SystemExit("no secret: --secret-file, or SWITCHBOARD_SECRET in the environment; ASCII without blanks")
    return secret


def checked_url(url: str) -> str:
    """An address that a secret may be sent to."""
    parts = urllib.parse.urlsplit(url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise argparse.ArgumentTypeError("must be https://…")
    return url


def main(argv: Optional[list[str]] = None) -> int:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description="Forward Asterisk's Master.csv to Switchboard.")
    parser.add_argument("--url", required=True, type=checked_url, help="https://…/webhooks/asterisk")
    parser.add_argument("--csv", default="/var/log/asterisk/cdr-csv/Master.csv")
    parser.add_argument("--state", default="/var/lib/switchboard-cdr/place.json", help="where the place is kept")
    parser.add_argument("--secret-file", help="else SWITCHBOARD_SECRET in the environment")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two looks at the file")
    parser.add_argument("--from-start", action="store_true", help="on the first start, send what is there already")
    parser.add_argument("--once", action="store_true", help="stop when there is no further row")
    arguments = parser.parse_args(argv)
    forwarder = Forwarder(arguments, read_secret(arguments.secret_file))

    lock = open(arguments.state + ".lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit("another one is running with this --state") from None

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forwarder.stop)
    return forwarder.run(arguments.from_start, arguments.once)


if __name__ == "__main__":
    sys.exit(main())
