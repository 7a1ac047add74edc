"""What a month in an AWS account costs, computed from the newest figures of `make bench`, prices.toml and assumptions.toml.

Prints the tables; with --write, writes them into docs/cost.md. Runs in .venv/aws, which transforms the template.
"""

import json
import math
import re
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOURS, DAYS, MINUTES = 730, 730 / 24, 730 * 60
GB = 1e9
# The memory, MB, that comes with a whole CPU.
WHOLE_CPU = 1_769
MARKS = "<!-- figures: cost -->", "<!-- end -->"


class Model:
    """The month's bill for a number of calls. `figures` is by program, `memory` by function, MB."""

    def __init__(self, results: dict, prices: dict, assumed: dict, deployed: dict) -> None:
        self.results, self.prices, self.assumed, self.deployed = results, prices, assumed, deployed
        self.figures = {figures["name"]: figures for figures in results["figures"]}
        self.gb_second = prices["lambda"][f"gb_second_{results['architecture']}"]

    def environments(self, per_second: float, seconds: float) -> int:
        """How many environments are busy at the same time: the mean and three standard deviations."""
        return max(1, math.ceil(per_second * seconds + 3 * math.sqrt(per_second * seconds)))

    def cold_share(self, per_month: float, seconds: float) -> float:
        """The share of invocations, at random times, that start an environment: the last is gone or too old."""
        traffic = self.assumed["traffic"]
        per_second = per_month / (HOURS * 3_600)
        idle = math.exp(-per_second * traffic["idle_minutes"] * 60)
        aged = self.environments(per_second, seconds) / (traffic["environment_hours"] * 3_600)
        return min(1, idle + aged / per_second)

    def billed_ms(self, name: str, kind: str, memory: int) -> float:
        """The billed time of an invocation: as measured, or as long as its CPU time takes with the memory's share."""
        figures = self.figures[name]
        throttled = figures["cpu_us"] / 1e3 / min(1, memory / WHOLE_CPU)
        return max(figures["kinds"][kind]["ms"], math.ceil(throttled) if kind != "start" else 0)

    def hook(self, name: str, memory: int, webhooks: float) -> tuple[float, float]:
        """Dollars of Lambda for one new webhook, at so many a month, and the share that starts cold."""
        warm = self.billed_ms(name, "new", memory)
        cold = self.cold_share(webhooks, warm / 1e3)
        ms = (1 - cold) * warm + cold * self.billed_ms(name, "start", memory)
        return memory / 1_024 * ms / 1e3 * self.gb_second + self.prices["lambda"]["million_requests"] / 1e6, cold

    def webhooks(self, calls: float) -> float:
        """The webhooks of so many calls, duplicates included."""
        return calls * self.assumed["life"]["messages"] * (1 + self.assumed["life"]["duplicate_percent"] / 100)

    def work(self, name: str, kinds: dict[str, float], is_scheduled: bool = False) -> dict[str, float]:
        """What the month's invocations of a function add up to, given how many of each kind there are."""
        figures, memory = self.figures[name], self.deployed["memory"][name]
        total = sum(kinds.values())
        ms = sum(self.billed_ms(name, kind, memory) * times for kind, times in kinds.items())
        seconds = ms / total / 1e3
        # What comes every minute finds its environment until that is too old.
        scheduled = HOURS / self.assumed["traffic"]["environment_hours"] / total
        starts = total * (scheduled if is_scheduled else self.cold_share(total, seconds))
        ms += starts * (self.billed_ms(name, "start", memory) - ms / total)
        work = {"invocations": total, "gb_seconds": memory / 1_024 * ms / 1e3, "cpu": figures["cpu_us"] / 1e6 * total}
        for kind, times in {**kinds, "start": starts}.items():
            taken = dict(figures["kinds"][kind])
            for service in ("sqs", "crm"):
                taken[service] = sum(n for name, n in taken["requests"].items() if name.startswith(service + " "))
            for what in ("reads", "writes", "stored_bytes", "crm_bytes", "log_bytes", "sqs", "crm"):
                work[what] = work.get(what, 0) + taken[what] * times
        # No more often than it is invoked.
        again = self.environments(total / (HOURS * 3_600), seconds) * MINUTES / self.assumed["parameters"]["minutes"]
        reads = any(name.startswith("ssm ") for name in figures["kinds"]["start"]["requests"])
        return work | {"parameter_reads": (starts + min(again, total)) * reads}

    def month(self, calls: float) -> tuple[dict[str, float], float]:
        """The sums of the month over hook, enrich, deliver and sweep, and the jobs that pass through queues."""
        life, batch = self.assumed["life"], self.assumed["queues"]["jobs_per_batch"]
        messages = calls * life["messages"]
        hook = {"new": calls, "further": messages - calls, "duplicate": self.webhooks(calls) - messages}
        enrich, deliver = messages / batch, calls * life["destinations"] * (1 + life["updates"]) / batch
        jobs = {"enrich": {"new": enrich}, "deliver": {"new": deliver}}
        parts = [self.work(name, kinds) for name, kinds in ({"twilio": hook} | jobs).items()]
        parts.append(self.work("sweep", {"new": MINUTES}, is_scheduled=True))
        return {what: sum(part[what] for part in parts) for what in parts[0]}, enrich + deliver

    def shared(self, calls: float, lambda_log_bytes: float) -> dict[str, float]:
        """What functions and servers pay alike: table, queues, logs, network."""
        prices, assumed = self.prices, self.assumed
        work, jobs = self.month(calls)
        webhooks, dynamodb, cloudwatch = self.webhooks(calls), prices["dynamodb"], prices["cloudwatch"]
        # After as long as calls are kept, as many are deleted as come.
        kept = work["stored_bytes"] * (1 + assumed["table"]["indexes"]) / GB * self.deployed["retention_days"] / DAYS
        polls = 2 * assumed["queues"]["pollers"] * assumed["queues"]["empty_polls_per_minute"] * MINUTES
        logs = (work["log_bytes"] + lambda_log_bytes + webhooks * assumed["logs"]["access_bytes"]) / GB
        kept_logs = logs * cloudwatch["log_compressed"] * self.deployed["log_retention_days"] / DAYS
        sent = webhooks * assumed["network"]["answer_bytes"] + work["crm_bytes"]
        sent += work["crm"] * assumed["network"]["delivery_bytes"]
        units = work["writes"] * dynamodb["million_writes"] + work["reads"] * dynamodb["million_reads"]
        metrics = assumed["logs"]["metrics"] * cloudwatch["metric_month"]
        return {
            "DynamoDB, requests": units / 1e6,
            "DynamoDB, storage": kept * (dynamodb["gb_month"] + dynamodb["recovery_gb_month"]),
            # A function sends each job; a poller receives and deletes it.
            "SQS": (work["sqs"] + 2 * jobs + polls) * prices["sqs"]["million_requests"] / 1e6,
            "logs": logs * cloudwatch["log_gb"] + kept_logs * cloudwatch["log_gb_month"],
            "metrics and alarms": metrics + self.deployed["alarms"] * cloudwatch["alarm_month"],
            "network": sent / GB * prices["network"]["out_gb"],
        }

    def functions(self, calls: float) -> dict[str, float]:
        """The month's bill of the functions, by service."""
        prices, (work, _) = self.prices, self.month(calls)
        api, millions = prices["api_gateway"], self.webhooks(calls) / 1e6
        first = min(millions, api["first_millions"])
        decrypted = work["parameter_reads"] * self.assumed["parameters"]["in_each_read"]
        return {
            "API Gateway": first * api["million_requests"] + (millions - first) * api["million_further_requests"],
            "Lambda, requests": work["invocations"] * prices["lambda"]["million_requests"] / 1e6,
            "Lambda, time": work["gb_seconds"] * self.gb_second,
            "Scheduler": MINUTES * prices["scheduler"]["million_invocations"] / 1e6,
            "KMS, for parameters": decrypted * prices["kms"]["million_requests"] / 1e6,
            **self.shared(calls, work["invocations"] * self.assumed["logs"]["lambda_bytes"]),
        }

    def servers(self, calls: float) -> tuple[float, int]:
        """The month's bill of servers that do the same with the same table and queues, and how many there are."""
        prices, assumed, network = self.prices["server"], self.assumed["servers"], self.assumed["network"]
        peak = self.month(calls)[0]["cpu"] * self.assumed["traffic"]["peak"] / (HOURS * 3_600)
        # One of them may fail.
        count = max(math.ceil(peak / assumed["cpus"]) + 1, assumed["fewest"])
        each = HOURS * (prices["hour"] + prices["address_hour"]) + assumed["disk_gb"] * prices["disk_gb_month"]
        webhooks = self.webhooks(calls)
        gb_an_hour = webhooks * (network["webhook_bytes"] + network["answer_bytes"]) / GB / HOURS
        units = max(webhooks / (HOURS * 3_600) / 25, gb_an_hour) * prices["balancer_unit_hour"]
        balancer = prices["balancer_hour"] + units + assumed["balancer_addresses"] * prices["address_hour"]
        return count * each + HOURS * balancer + sum(self.shared(calls, 0).values()), int(count)


def deployed() -> dict:
    """What template.yaml deploys: memory by function, alarms without a condition, and how long things are kept."""
    sys.path.append(str(ROOT / "infra" / "check"))
    from template_diff import text_of, transformed

    template = transformed(text_of(str(ROOT / "template.yaml")))
    of = lambda kind: [r for r in template["Resources"].values() if r["Type"] == kind]  # noqa: E731
    memory = {}
    for function in of("AWS::Lambda::Function"):
        name = re.search(r"lambda/(\w+)", json.dumps(function["Properties"]["Code"]))
        memory[name[1]] = int(function["Properties"]["MemorySize"])
    days = lambda name: int(template["Parameters"][name]["Default"])  # noqa: E731
    return {
        "memory": memory,
        "alarms": sum("Condition" not in alarm for alarm in of("AWS::CloudWatch::Alarm")),
        "retention_days": days("RetentionDays"),
        "log_retention_days": days("LogRetentionDays"),
    }


def dollars(value: float) -> str:
    """To the cent, or two digits if it is less."""
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def table(*rows: list[str]) -> str:
    """A table in Markdown, the first row being its head."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])) + "\n"


def page(model: Model) -> str:
    """All tables."""
    results, assumed, volumes = model.results, model.assumed, model.assumed["calls"]
    bills = {calls: model.functions(calls) for calls in volumes}
    million = lambda cost, calls: dollars(cost / calls * 1e6)  # noqa: E731
    totals = [["calls a month", "functions, a month", "a million calls", "servers, a month", "a million calls", "servers", "cold hooks, %"]]
    for calls in volumes:
        month, (server, count) = sum(bills[calls].values()), model.servers(calls)
        cold = model.hook("twilio", model.deployed["memory"]["twilio"], model.webhooks(calls))[1]
        both = [dollars(month), million(month, calls), dollars(server), million(server, calls)]
        totals.append([f"{calls:,}", *both, str(count), f"{cold * 100:.3g}"])
    services = [["service, of a million calls"] + [f"at {calls:,}" for calls in volumes]]
    services += [[name] + [million(bills[calls][name], calls) for calls in volumes] for name in bills[volumes[0]]]
    services.append(["all"] + [million(sum(bills[calls].values()), calls) for calls in volumes])
    hooks = [["program", "MB", "warm, ms", "cold, ms"] + [f"at {calls:,} calls a month" for calls in volumes]]
    free = 1 - assumed["memory"]["free_percent"] / 100
    for name, figures in model.figures.items():
        for memory in assumed["memory"]["sizes_mb"]:
            if (figures["is_peer"] or name == "twilio") and figures["peak_bytes"] <= memory * free * 2**20:
                ms = [f"{model.billed_ms(name, kind, memory):.3g}" for kind in ("new", "start")]
                costs = [dollars(model.hook(name, memory, model.webhooks(calls))[0] * 1e6) for calls in volumes]
                hooks.append([figures["title"], str(memory), *ms, *costs])
    prices = model.prices
    sources = "".join(f"\n### `tools/bench/{name}`\n\n```toml\n{(HERE / name).read_text().strip()}\n```\n" for name in ("assumptions.toml", "prices.toml"))
    return f"""Measured {results["taken_at"]}, {results["machine"]}. Prices of {prices["region"]}, {prices["looked_up"]}, without free tiers. Dollars.

### A million calls

{table(*totals)}
Not counted: the people who run, patch and watch the servers.

{table(*services)}
### The hook alone: Lambda, for a million new webhooks

{table(*hooks)}{sources}"""


def main() -> None:
    """Prints or writes the page."""
    newest = max((ROOT / "target" / "bench").glob("2*Z.json"), default=None) or sys.exit("run `make bench` first")
    read = lambda name: tomllib.loads((HERE / name).read_text())  # noqa: E731
    text = page(Model(json.loads(newest.read_text()), read("prices.toml"), read("assumptions.toml"), deployed()))
    if "--write" not in sys.argv:
        sys.exit(print(text))
    path = ROOT / "docs" / "cost.md"
    before, rest = path.read_text().split(MARKS[0])
    path.write_text(f"{before}{MARKS[0]}\n\n{text.strip()}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
