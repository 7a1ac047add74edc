"""The arithmetic of the cost model, on figures and prices that are easy to add up."""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"
sys.path.append(str(BENCH))
from cost import DAYS, MINUTES, Model, dollars, page, table  # noqa: E402


def kind(ms: float, **taken: float) -> dict:
    nothing = dict.fromkeys(("reads", "writes", "stored_bytes", "crm_bytes", "log_bytes"), 0)
    return nothing | {"ms": ms, "requests": {"dynamodb PutItem": 1, "sqs SendMessage": 1}} | taken


@pytest.fixture
def model() -> Model:
    kinds = {"new": kind(10, writes=4, stored_bytes=1_000), "further": kind(20), "duplicate": kind(5), "start": kind(110)}
    each = {"cpu_us": 1_000, "peak_bytes": 1, "is_peer": False, "kinds": kinds}
    figures = [each | {"name": name, "title": name} for name in ("twilio", "enrich", "deliver", "sweep")]
    results = {"taken_at": "now", "machine": "here", "architecture": "x86_64", "figures": figures}
    prices, assumed = (tomllib.loads((BENCH / f"{name}.toml").read_text()) for name in ("prices", "assumptions"))
    deployed = {"memory": {f["name"]: 1_024 for f in figures}, "alarms": 10, "retention_days": DAYS, "log_retention_days": DAYS}
    return Model(results, prices, assumed, deployed)


def test_rare_invocations_all_start_an_environment_and_frequent_ones_hardly_any(model):
    assert model.cold_share(1, 0.01) == 1
    assert 0 < model.cold_share(100_000_000, 0.01) < 0.0001
    assert model.environments(100, 1) == 100 + 3 * 10


def test_an_invocation_is_billed_as_long_as_it_takes_or_its_cpu_time_lasts_at_the_share(model):
    assert model.billed_ms("twilio", "new", 1_769) == 10
    assert model.billed_ms("twilio", "new", 128) == math.ceil(1_769 / 128)
    assert model.billed_ms("twilio", "start", 128) == 110


def test_work_adds_up_kinds_starts_and_requests(model):
    work = model.work("sweep", {"new": MINUTES}, is_scheduled=True)
    starts = 730 / model.assumed["traffic"]["environment_hours"]
    assert work["invocations"] == MINUTES
    assert work["gb_seconds"] == pytest.approx((MINUTES * 10 + starts * 100) / 1e3)
    assert work["writes"] == 4 * MINUTES
    assert work["sqs"] == pytest.approx(MINUTES + starts)
    assert work["parameter_reads"] == 0


def test_the_bill_follows_webhooks_prices_and_what_is_stored(model):
    assert model.webhooks(100) == pytest.approx(100 * 3 * 1.02)
    bill = model.functions(1_000_000)
    assert bill["API Gateway"] == pytest.approx(3.06)
    stored = 1_000_000 * 1_000 * (1 + 3 + 2) + MINUTES * 1_000
    assert bill["DynamoDB, storage"] == pytest.approx(stored * 1.3 / 1e9 * 0.45)
    assert bill["metrics and alarms"] == pytest.approx(40 * 0.3 + 10 * 0.1)
    more = model.functions(2_000_000)
    assert more["Scheduler"] == bill["Scheduler"] and more["API Gateway"] == pytest.approx(6.12)
    dear, count = model.servers(1_000_000)
    assert count == 2 and dear > 2 * 730 * 0.0168


def test_the_page_has_a_row_for_each_volume_service_and_memory_size(model):
    text = page(model)
    assert text.count("| twilio | ") == 3 and "| 1,000,000 | " in text and "[life]" in text
    assert table(["a", "b"], ["x", "1"]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
    assert [dollars(value) for value in (0, 0.0123, 12_345.6)] == ["0.00", "0.012", "12,345.60"]
