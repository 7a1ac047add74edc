"""Runs all of it: the local AWS, the stack, a CRM and an ElevenLabs, and every sample through them.

    make run            stays up, and says how to send one's own
    make run ONCE=1     ends by itself, with an error if a call did not arrive
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from stack import (
    EVENTS,
    SIGNING_SECRET,
    Stack,
    correlation_id,
    rejections,
    sample_destinations,
    sample_sources,
    states,
    wait_for,
)
from stand_ins import Crm, ElevenLabs, Received
from standardwebhooks import Webhook

from http_file import samples  # isort: skip
from sign import fresh  # isort: skip

ARRIVE_SECONDS = 120


@dataclass
class Journey:
    """One call of a sample, from its webhook to the CRM."""

    sample: str
    key: str
    expected: dict
    answers: list[int]
    call: dict | None = None
    deliveries: dict[str, dict] = field(default_factory=dict)
    got: dict[str, Received] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_leg(self) -> bool:
        """A leg is stored and not delivered."""
        return "parent" in self.expected

    @property
    def is_over(self) -> bool:
        return self.expected.get("state") == "ended"


def send_samples(stack: Stack, progress: Progress) -> tuple[list[Journey], list[str]]:
    """Sends every sample in the order of its messages; gives its calls, and what was rejected."""
    journeys, rejected = [], []
    paths = samples()
    task = progress.add_task("sending webhooks", total=len(paths))
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        answers = [stack.send(request) for request in fresh(path)]
        expected = json.loads(path.with_suffix(".call.json").read_text())
        statuses = [answer.status for answer in answers]
        for key, call in expected["calls"].items():
            journeys.append(Journey(name, key, call, statuses))
        wanted = [reject["error"] for reject in expected.get("rejected", [])]
        if rejections(answers) != wanted:
            rejected.append(f"!{name}: {statuses} {rejections(answers)}")
        rejected += [f"{name}: {error}" for error in wanted]
        progress.advance(task)
    return journeys, rejected


def follow(stack: Stack, crm: Crm, journeys: list[Journey], progress: Progress) -> None:
    """Waits until each call has arrived where it should, and notes what is there."""
    task = progress.add_task("waiting for the CRM", total=len(journeys))
    deadline = time.monotonic() + ARRIVE_SECONDS
    for journey in journeys:
        left = max(1.0, deadline - time.monotonic())
        try:
            wait_for(journey.key, lambda: stack.settled(journey.key), left)
        except TimeoutError as error:
            journey.problem = str(error)
        journey.call = stack.call(journey.key)
        journey.deliveries = stack.deliveries(journey.key)
        progress.advance(task)
    by_key = {one.headers["idempotency-key"]: one for one in crm.received()}
    for journey in journeys:
        for name, delivery in journey.deliveries.items():
            for got in by_key.values():
                if got.headers["x-correlation-id"] == correlation_id(journey.key) and name.startswith(
                    got.path.strip("/") + "#"
                ):
                    journey.got[name] = got
        judge(journey)


def judge(journey: Journey) -> None:
    """Finds what is wrong with a call's journey."""
    if journey.problem:
        return
    if not any(200 <= status < 300 for status in journey.answers):
        journey.problem = f"webhook answered {journey.answers}"
    elif journey.is_leg or not journey.is_over:
        journey.problem = "a leg was delivered" if journey.deliveries else ""
    elif journey.call["call"].get("outcome") != journey.expected.get("outcome"):
        journey.problem = f"stored as {journey.call['call'].get('outcome')}"
    else:
        for destination in ("crm#call.completed", "warehouse#call.completed"):
            delivery = journey.deliveries.get(destination, {})
            if delivery.get("state") != "delivered" or destination not in journey.got:
                journey.problem = f"{destination} did not arrive"
        for got in journey.got.values():
            Webhook(SIGNING_SECRET).verify(got.body, got.headers)


def table(journeys: list[Journey]) -> Table:
    """Each call on a line, or two where the CRM got an update."""
    shown = Table(title="Calls, from webhook to CRM", title_justify="left", show_lines=False)
    for column in ("sample", "webhook", "stored", "enriched", "delivered", "what the CRM got"):
        shown.add_column(column, overflow="fold", no_wrap=column in ("webhook", "stored"))
    for journey in journeys:
        facts = (journey.call or {}).get("call", {})
        contact = (journey.call or {}).get("people", {}).get("contact", {})
        lookup = (journey.call or {}).get("lookup", {}).get("state")
        enriched = [contact.get("e164") or contact.get("kind", "no contact")]
        enriched += [{"found": "summary", "no_conversation": "no conversation"}.get(lookup, lookup)] if lookup else []
        got = journey.got.get("crm#call.completed")
        body = got.json() if got else {}
        summary = body.get("summary", "")
        crm = f"{body['status']}, {body['duration']} s, “{body['subject']}”" if body else "–"
        crm += f"\n“{summary[:44]}…”" if summary else ""
        delivered = [
            f"{name.split('#')[0]}{' (update)' if name.endswith('updated') else ''} ×{len(one.get('attempts', []))}"
            for name, one in journey.deliveries.items()
        ] or ["a leg: not delivered" if journey.is_leg else "–"]
        stored = f"{facts.get('outcome', facts.get('state', '–'))} {facts.get('talk', '')}".strip()
        shown.add_row(
            journey.sample + (f"\n[red]{journey.problem}[/red]" if journey.problem else ""),
            " ".join(map(str, journey.answers)),
            stored,
            "\n".join(filter(None, enriched)),
            "\n".join(delivered),
            crm,
        )
    return shown


def how_to_go_on(stack: Stack) -> str:
    """What one can do with a stack that is up."""
    url = stack.stack["base_url"].replace("$", "\\$")
    example = (EVENTS / "intake" / "source.json").read_text()
    secret = json.loads(example)["secrets"][0]
    return f"""
Send a call of your own:

  curl -sS "{url}/api/crm/intake/calls" -H 'content-type: application/json' \\
    -H 'x-crm-intake-secret: {secret}' \\
    -d '{{"provider":"asterisk","externalCallId":"my-call-1","clientPhone":"+79991234567","durationSec":60}}'

What the CRM gets is shown here. Ctrl-C stops everything.
"""


def stay(stack: Stack, crm: Crm, console: Console) -> None:
    """Shows what arrives at the CRM until the user has enough."""
    console.print(how_to_go_on(stack), highlight=False, markup=False)
    shown = len(crm.received())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            for got in crm.received()[shown:]:
                console.print(f"{got.path} {got.body.decode()}", highlight=False, markup=False)
                shown += 1
            time.sleep(0.3)
    except KeyboardInterrupt:
        console.print("stopping")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    states.add_state_argument(parser)
    parser.add_argument("--once", action="store_true", help="end when every sample has arrived")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    started = time.monotonic()
    key = json.loads((EVENTS / "elevenlabs" / "source.json").read_text())["api_key"]
    # One conversation is still being processed when it is first asked for.
    with Crm() as crm, ElevenLabs(key, {"conv_sample_by_id": 1}) as elevenlabs:
        stack = Stack(given.state)
        try:
            for name, value in (sample_sources(elevenlabs.url) | sample_destinations(crm.url)).items():
                stack.configure(name, value)
            columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console) as progress:
                journeys, rejected = send_samples(stack, progress)
                follow(stack, crm, journeys, progress)
            console.print(table(journeys))
            for line in rejected:
                console.print(f"rejected, as it should be: {line}", highlight=False, markup=False)
            wrong = [journey for journey in journeys if journey.problem]
            wrong_rejects = [line for line in rejected if line.startswith("!")]
            arrived = sum(len(journey.got) for journey in journeys)
            console.print(
                f"{len(journeys)} calls, {arrived} deliveries, {len(wrong) + len(wrong_rejects)} problems, "
                f"{time.monotonic() - started:.0f} s since start"
            )
            if not given.once:
                stay(stack, crm, console)
            return 1 if wrong or wrong_rejects else 0
        finally:
            stack.stop()


if __name__ == "__main__":
    sys.exit(main())
