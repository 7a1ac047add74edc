"""Reading the samples in events/: requests as a provider sends them, several in a file parted by `###`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"


@dataclass
class Request:
    """One request of a sample."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """A header by its name, however it is written."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), None)

    def text(self) -> str:
        """The request as it stands in a file."""
        head = [f"{self.method} {self.target} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers.items())]
        return "\n".join(head) + "\n\n" + self.body.decode() + "\n"


def parse(text: str) -> list[Request]:
    """The requests of a file."""
    return [parse_one(part.strip("\n")) for part in text.split("\n###\n")]


def parse_one(text: str) -> Request:
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    return Request(method, target, headers, body.strip("\n").encode())


def samples(provider: str | None = None) -> list[Path]:
    """Every sample file, of one provider or of all."""
    return sorted(EVENTS.glob(f"{provider or '*'}/*.http"))
