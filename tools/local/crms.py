"""CRMs that enforce their APIs' rules: the stand-ins of lib/testkit, each a process of its own."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

from stand_ins import ROOT

PROGRAM = ROOT / "target" / "debug" / "stand-in"


class CrmApi:
    """A stand-in by its name: `with` starts and stops it."""

    def __init__(self, name: str) -> None:
        # It ends when its standard input does.
        self._process = subprocess.Popen([PROGRAM, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> CrmApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def change(self, **fields: Any) -> dict[str, Any]:
        """Replaces fields of its state; gives the state."""
        body = json.dumps(fields).encode() if fields else None
        request = urllib.request.Request(f"{self.url}/stand-in", body, method="PUT" if fields else "GET")
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def __getitem__(self, field: str) -> Any:
        """A field of its state."""
        return self.change()[field]

    def instead(self, request: str, status: int, **headers: str) -> None:
        """The next request whose method and path begin so gets this response. Status 0: it is done, and the
        connection is closed."""
        this = {"request": request, "status": status, "headers": headers}
        self.change(instead=[*self["instead"], this])

    def requests(self, request: str) -> list[dict[str, Any]]:
        """The requests whose method and path begin so."""
        return [one for one in self["received"] if one["request"].startswith(request)]
