"""One local AWS of the tests' own, with IAM enforced, the stack on it, a CRM and an ElevenLabs."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "local")]

from stack import EVENTS, Stack, correlation_id, sample_destinations, sample_sources  # noqa: E402
from stand_ins import Crm, ElevenLabs, Received  # noqa: E402


class World:
    """Everything that a test talks to."""

    def __init__(self, stack: Stack, crm: Crm, elevenlabs: ElevenLabs) -> None:
        self.stack, self.crm, self.elevenlabs = stack, crm, elevenlabs
        self._numbers = itertools.count(1)

    def delivered(self, path: str, key: str) -> list[Received]:
        """The requests about a call that a CRM received."""
        correlation = correlation_id(key)
        return [one for one in self.crm.received(path) if one.headers["x-correlation-id"] == correlation]

    def unique(self, prefix: str) -> str:
        """A call id that no other test uses."""
        return f"{prefix}-{next(self._numbers)}"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world, configured with the samples' sources and two CRMs."""
    key = json.loads((EVENTS / "elevenlabs" / "source.json").read_text())["api_key"]
    with Crm() as crm, ElevenLabs(key, {"conv_sample_by_id": 1}) as elevenlabs:
        stack = Stack(tmp_path_factory.mktemp("aws"), auth=True)
        try:
            # The samples share a few numbers: the deliveries of one must not depend on earlier ones.
            sources = {name: value | {"create_contacts": False} for name, value in sample_sources(elevenlabs.url).items()}
            for name, value in (sources | sample_destinations(crm.url)).items():
                stack.configure(name, value)
            yield World(stack, crm, elevenlabs)
        finally:
            stack.stop()
