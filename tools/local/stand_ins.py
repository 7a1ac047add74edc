"""Real HTTP servers that stand in for a CRM and for ElevenLabs, on free ports of the loopback."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
CONVERSATIONS = ROOT / "events" / "elevenlabs" / "conversations"


class Server:
    """A server in a thread of its own: `with` starts and stops it."""

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            """Hands each request to the server object."""

            protocol_version = "HTTP/1.1"

            def _take(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.handle(self, headers, self.rfile.read(length))

            do_GET = do_POST = do_PUT = _take  # noqa: N815

            def answer(self, status: int, body: bytes = b"{}", headers: dict | None = None) -> None:
                """Sends an answer."""
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Logs nothing: the recorded requests show everything."""

        return Handler

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        """Answers one request."""
        raise NotImplementedError


@dataclass
class Received:
    """A request that a CRM got."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> dict:
        """The body."""
        return json.loads(self.body)


@dataclass
class Answer:
    """How to answer one request: after a wait, with a status and headers; status 0 hangs up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


class Crm(Server):
    """A CRM: records requests and sends the responses set by path; default, 200."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._answers: dict[str, deque[Answer]] = {}
        self._always: dict[str, Answer] = {}

    def script(self, path: str, *answers: Answer, then: Answer | None = None) -> None:
        """The next answers at a path, and what it answers ever after."""
        with self._lock:
            self._answers[path] = deque(answers)
            if then:
                self._always[path] = then

    def received(self, path: str | None = None) -> list[Received]:
        """What came, at one path or at all."""
        with self._lock:
            return [one for one in self._received if path in (None, one.path)]

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        path = handler.path
        with self._lock:
            self._received.append(Received(path, headers, body, time.time()))
            scripted = self._answers.get(path)
            answer = scripted.popleft() if scripted else self._always.get(path, Answer())
        time.sleep(answer.wait)
        if answer.status == 0:
            handler.close_connection = True
            return
        try:
            handler.answer(answer.status, headers=answer.headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The caller did not wait.


class ElevenLabs(Server):
    """ElevenLabs' conversations API over sample conversations.

    `processing` says how often a conversation is still being processed when asked for.
    """

    def __init__(self, api_key: str, processing: dict[str, int] | None = None) -> None:
        super().__init__()
        self._key = api_key
        self._lock = threading.Lock()
        self.processing = processing or {}
        self.conversations = {
            path.stem: json.loads(path.read_text()) for path in CONVERSATIONS.glob("*.json")
        }
        self.asked: list[str] = []

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        url = urlsplit(handler.path)
        parts = url.path.strip("/").split("/")
        with self._lock:
            self.asked.append(handler.path)
        if headers.get("xi-api-key") != self._key:
            handler.answer(401, b'{"detail":{"status":"invalid_api_key"}}')
        elif parts == ["v1", "convai", "conversations"]:
            handler.answer(200, json.dumps(self._list(parse_qs(url.query))).encode())
        elif len(parts) == 4 and parts[3] in self.conversations:
            handler.answer(200, json.dumps(self._one(parts[3])).encode())
        else:
            handler.answer(404, b'{"detail":{"status":"conversation_not_found"}}')

    def _one(self, name: str) -> dict:
        conversation = self.conversations[name]
        with self._lock:
            left = self.processing.get(name, 0)
            self.processing[name] = max(0, left - 1)
        return conversation | {"status": "processing", "analysis": None} if left else conversation

    def _list(self, query: dict[str, list[str]]) -> dict:
        def number(name: str, default: int) -> int:
            return int(query.get(name, [default])[0])

        def fits(conversation: dict) -> bool:
            start = conversation["metadata"]["start_time_unix_secs"]
            agent = query.get("agent_id", [conversation["agent_id"]])[0]
            in_time = number("call_start_after_unix", 0) <= start <= number("call_start_before_unix", 2**40)
            return in_time and agent == conversation["agent_id"]

        found = [one for one in self.conversations.values() if fits(one)]
        first, size = number("cursor", 0), number("page_size", 30)
        page = found[first : first + size]
        more = first + size < len(found)
        return {
            "conversations": [
                {
                    "agent_id": one["agent_id"],
                    "conversation_id": one["conversation_id"],
                    "status": one["status"],
                    "start_time_unix_secs": one["metadata"]["start_time_unix_secs"],
                    "call_duration_secs": one["metadata"]["call_duration_secs"],
                    "message_count": len(one["transcript"]),
                }
                for one in page
            ],
            "next_cursor": str(first + size) if more else None,
            "has_more": more,
        }
