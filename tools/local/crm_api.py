"""What stand-ins for CRMs with an API of their own have in common: JSON, faults, access tokens."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from stand_ins import Answer, Received, Server


class Refused(Exception):
    """A request that breaks a rule: the status and the body that it is answered."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class JsonApi(Server):
    """Responds to every request with JSON by a CRM's rules, unless a response was set."""

    # The responses set instead.
    BUSY: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self.asked: list[str] = []
        # Answers that come first: a status, headers; status 0 does as it is asked and hangs up.
        self.instead: list[tuple[int, dict]] = []

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        url = urlsplit(handler.path)
        with self._lock:
            self.asked.append(f"{handler.command} {url.path}")
            status, more = self.instead.pop(0) if self.instead else (None, {})
            answer = (status, self.BUSY) if status else self.answer(handler.command, url, headers, body)
        if status == 0:
            handler.close_connection = True
            return
        content = b"" if answer[1] is None else json.dumps(answer[1]).encode()
        handler.answer(answer[0], content, more)

    def answer(self, method: str, url, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """The status and the body that a request is answered by the CRM's rules."""
        raise NotImplementedError


class CrmApi(Server):
    """Takes requests that come with an access token which it gave out; everything else is for each CRM."""

    TOKEN_PATH = ""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.tokens: set[str] = set()
        self.granted: list[str] = []
        self._received: list[Received] = []
        self._faults: deque[tuple[str, Answer]] = deque()
        self._next = 0

    def fault(self, path: str, answer: Answer) -> None:
        """The next request to a path that begins so is answered this, and not done."""
        with self.lock:
            self._faults.append((path, answer))

    def received(self, path: str = "") -> list[Received]:
        """What came to paths that begin so."""
        with self.lock:
            return [one for one in self._received if one.path.startswith(path)]

    def grant(self) -> str:
        """A new access token."""
        token = f"fake-access-token-{len(self.granted) + 1}"
        self.granted.append(token)
        self.tokens.add(token)
        return token

    def new_id(self) -> int:
        """A number that nothing else has."""
        self._next += 1
        return self._next

    def _handler(self) -> type:
        handler = super()._handler()
        handler.do_PATCH = handler.do_PUT = handler.do_DELETE = handler.do_POST
        return handler

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        url = urlsplit(handler.path)
        with self.lock:
            self._received.append(Received(url.path, headers, body, time.time()))
            try:
                status, said = self._answer(handler.command, url, headers, body)
            except Refused as refused:
                status, said = refused.status, refused.body
            except Fault as fault:
                handler.answer(fault.answer.status, headers=fault.answer.headers)
                return
        handler.answer(status, b"" if said is None else json.dumps(said).encode())

    def _answer(self, method: str, url, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        if self._faults and url.path.startswith(self._faults[0][0]):
            raise Fault(self._faults.popleft()[1])
        if url.path == self.TOKEN_PATH:
            if headers.get("content-type") != "application/x-www-form-urlencoded":
                raise Refused(400, {"error": "invalid_request"})
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            return self.token(form)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise self.unknown_token()
        if body and headers.get("content-type") != "application/json":
            raise self.malformed("content type")
        try:
            parsed = json.loads(body) if body else None
        except ValueError as error:
            raise self.malformed("not JSON") from error
        path = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return self.take(method, path, query, parsed)

    # --- What each CRM says ---

    def token(self, form: dict[str, str]) -> tuple[int, Any]:
        """Answers the token endpoint."""
        raise NotImplementedError

    def unknown_token(self) -> Refused:
        """What a request without a good token is answered."""
        raise NotImplementedError

    def malformed(self, why: str) -> Refused:
        """What a request that cannot be read is answered."""
        raise NotImplementedError

    def take(self, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Answers a request."""
        raise NotImplementedError


class Fault(Exception):
    """A request that is answered something else than it asks for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer
