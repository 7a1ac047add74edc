"""What the peers are run against: a Runtime API, and AWS services over TLS that check signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import re
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ACCESS_KEY = "AKIDBENCH"
SECRET_KEY = "fake-secret-access-key"
# So long a program may take for its start or for one answer.
PATIENCE = 20


def make_certificates(folder: Path) -> None:
    """Makes `authority.pem`, and `server.pem` and `server.key` for localhost."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "server.ext").write_text(
        "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
    )
    authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"]
    openssl("req", "-x509", *key, "-keyout", "authority.key", "-out", "authority.pem",
            "-subj", "/CN=peers", "-days", "2", *authority)  # fmt: skip
    openssl("req", "-new", *key, "-keyout", "server.key", "-out", "server.csr",
            "-subj", "/CN=localhost")  # fmt: skip
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", "-days", "2",
            "-CA", "authority.pem", "-CAkey", "authority.key", "-set_serial", "1",
            "-extfile", "server.ext")  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Hands each request to what its server stands for."""

    protocol_version = "HTTP/1.1"
    # Else an answer waits for the acknowledgement of its head.
    disable_nagle_algorithm = True

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, answer = self.server.answer(self, body)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _take  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """A server in threads, on a free port, that knows its connections."""

    daemon_threads = True
    # A burst of connections must not be told to come again.
    request_queue_size = 64

    def __init__(self, answer, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.tls = tls
        self.opened = 0
        self.open: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request, client_address) -> None:
        """One connection, in its own thread."""
        self.opened += 1
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            request.close()

    def handle_error(self, request, client_address) -> None:
        """A program that ends breaks its connections; that is no error."""

    def close_connections(self) -> None:
        """Closes what is open, as a service does with what is idle."""
        for connection in list(self.open):
            connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it."""
        self.shutdown()
        self.server_close()


class RuntimeApi:
    """Gives one event after the other to whoever polls, and takes the answers."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, dict]] = queue.Queue()
        self._answers: queue.Queue[tuple[str, str, dict]] = queue.Queue()
        self.polled_at: float | None = None
        self._polled = threading.Event()
        self._server = Server(self._answer)
        self._number = 0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def _answer(self, handler: Handler, body: bytes):
        path = handler.path.removeprefix("/2018-06-01/runtime/")
        if path == "invocation/next":
            self.polled_at = self.polled_at or time.monotonic()
            self._polled.set()
            request_id, event = self._events.get()
            headers = {
                "lambda-runtime-aws-request-id": request_id,
                "lambda-runtime-deadline-ms": str(int(time.time() * 1_000) + 10_000),
                "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:123456789012:function:twilio",
                "lambda-runtime-trace-id": "Root=1-00000000-000000000000000000000000",
                "content-type": "application/json",
            }
            return 200, headers, json.dumps(event).encode()
        if path == "init/error":
            self._answers.put(("", "init error", json.loads(body)))
        else:
            _, request_id, outcome = path.split("/")
            self._answers.put((request_id, outcome, json.loads(body)))
        return 202, {}, b'{"status":"OK"}'

    def wait_for_poll(self, said) -> None:
        """Waits for the first question for an event."""
        assert self._polled.wait(PATIENCE), f"it does not poll; it said:\n{said()}"

    def invoke(self, event: dict, said) -> tuple[str, dict]:
        """`response` or `error`, and what came with it."""
        self._number += 1
        request_id = f"00000000-0000-4000-8000-{self._number:012}"
        self._events.put((request_id, event))
        try:
            answered, outcome, answer = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"it does not answer; it said:\n{said()}") from None
        assert answered == request_id, (outcome, answer)
        return outcome, answer

    def close(self) -> None:
        """Ends it."""
        self._server.close()


class Aws:
    """DynamoDB, SQS and SSM, each at an address of its own."""

    def __init__(self, certificates: Path, parameters: dict[str, str]) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        tls.set_alpn_protocols(["http/1.1"])
        self._parameters = parameters
        self._items: dict[tuple[str, str], dict] = {}
        self._failing: tuple[str, int] | None = None
        self._all: list[tuple[float, str, dict]] = []
        self.asked: list[tuple[str, dict]] = []
        self.complaints: list[str] = []
        self.checked = 0
        self._servers = {name: self._server(name, tls) for name in ("dynamodb", "sqs", "ssm")}

    def _server(self, service: str, tls: ssl.SSLContext) -> Server:
        return Server(lambda handler, body: self._answer(service, handler, body), tls)

    def url(self, service: str) -> str:
        """Where a service is."""
        return f"https://localhost:{self._servers[service].server_port}"

    @property
    def opened(self) -> int:
        """How many connections there were."""
        return sum(server.opened for server in self._servers.values())

    def close_connections(self) -> None:
        """Closes what is open."""
        for server in self._servers.values():
            server.close_connections()

    def close(self) -> None:
        """Ends them."""
        for server in self._servers.values():
            server.close()

    def fail(self, operation: str, status: int = 400) -> None:
        """Refuses the next request for an operation: 400 for good, 500 for this time."""
        self._failing = operation, status

    def before_first_poll(self, api: RuntimeApi) -> list[str]:
        """What was asked for before a program asked for its first event."""
        return [operation for at, operation, _ in self._all if at < api.polled_at]

    def first_of(self, operation: str) -> dict:
        """The first request for an operation."""
        return next(request for _, asked, request in self._all if asked == operation)

    def _answer(self, service: str, handler: Handler, body: bytes):
        operation = handler.headers["x-amz-target"].rpartition(".")[2]
        if complaint := check(service, handler, body):
            self.complaints.append(f"{operation}: {complaint}")
        self.checked += 1
        request = json.loads(body)
        self._all.append((time.monotonic(), operation, request))
        self.asked.append((operation, request))
        if self._failing and self._failing[0] == operation:
            (_, status), self._failing = self._failing, None
            kind = "AccessDeniedException" if status == 400 else "InternalServerError"
            answer = {"__type": f"fake#{kind}", "message": "as ordered"}
        else:
            status, answer = getattr(self, f"_{operation}")(request)
        headers = {"content-type": handler.headers["content-type"], "x-amzn-requestid": "test"}
        return status, headers, json.dumps(answer).encode()

    def _GetParametersByPath(self, request: dict):  # noqa: N802
        found = [
            {"Name": name, "Type": "SecureString", "Value": value, "Version": 1}
            for name, value in self._parameters.items()
            if name.startswith(request["Path"] + "/")
        ]
        return 200, {"Parameters": found}

    def _PutItem(self, request: dict):  # noqa: N802
        item = request["Item"]
        key = (item["pk"]["S"], item["sk"]["S"])
        stored = self._items.get(key)
        if stored and request.get("ConditionExpression") == "attribute_not_exists(pk)":
            kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
            return 400, {"__type": kind, "message": "The conditional request failed", "Item": stored}
        self._items[key] = item
        return 200, {}

    def _SendMessage(self, request: dict):  # noqa: N802
        body = request["MessageBody"]
        # As if a worker had been there at once: the call owes nothing any more.
        provider, source, call = json.loads(body)["call"].split("/")
        item = self._items[f"call#{provider}#{source}#{call}", "call"]
        self._items[item["pk"]["S"], "call"] = {
            name: value
            for name, value in item.items()
            if name not in ("owed", "due_at", "due_shard")
        }
        return 200, {"MessageId": "1", "MD5OfMessageBody": hashlib.md5(body.encode()).hexdigest()}


def check(service: str, handler: Handler, body: bytes) -> str | None:
    """What is wrong with a request's signature, version 4, if anything."""
    authorization = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
        r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        handler.headers.get("authorization", ""),
    )
    if not authorization:
        return "no authorization"
    key_id, day, region, name, signed, signature = authorization.groups()
    if (key_id, name) != (ACCESS_KEY, service):
        return f"signed for {name} by {key_id}"
    if "host" not in signed.split(";") or "x-amz-security-token" not in signed.split(";"):
        return f"only {signed} is signed"
    headers = "".join(
        f"{name}:{' '.join(handler.headers[name].split())}\n" for name in signed.split(";")
    )
    canonical = f"POST\n{handler.path}\n\n{headers}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
    date = handler.headers["x-amz-date"]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    scope = f"{day}/{region}/{name}/aws4_request"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, name, "aws4_request", f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return None if hmac.compare_digest(key.hex(), signature) else "the signature is wrong"
