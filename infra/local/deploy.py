"""Deploys template.yaml and the built binaries to a local AWS, through `sam deploy`.

The only difference from a real account: the binaries come from another directory, which
`make build-local` fills quickly.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

import state as states
from progress import Step

STACK = "switchboard-local"
STAGE = "local"
BUCKET = "switchboard-local-artifacts"
TEMPLATE = states.ROOT / "template.yaml"
BINARIES = states.ROOT / "target" / "lambda-local"
SAM = states.ROOT / ".venv" / "sam" / "bin" / "sam"
CODE = re.compile(r"\b(Code|CodeUri): target/lambda/([a-z0-9_-]+)/")


class Aws:
    """The clients of one instance."""

    def __init__(self, state: states.State) -> None:
        settings = state["environment"]
        self._session = boto3.Session(
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            region_name=state["region"],
        )
        self._endpoint = state["endpoint"]

    def client(self, service: str) -> Any:
        """A client for a service."""
        return self._session.client(service, endpoint_url=self._endpoint)


def architecture() -> str:
    """This machine's architecture in Lambda's words: the functions run on it."""
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def localized_template(directory: Path, binaries: Path) -> Path:
    """A copy of the template whose functions come from `binaries`."""
    text = TEMPLATE.read_text()
    for _, name in CODE.findall(text):
        if not os.access(binaries / name / "bootstrap", os.X_OK):
            raise SystemExit(f"{binaries / name / 'bootstrap'} is missing; run: make build-local")
    copy = directory / "template.yaml"
    copy.write_text(CODE.sub(rf"\1: {binaries}/\2/", text))
    return copy


def make_bucket(aws: Aws, region: str) -> None:
    """Makes the bucket that `sam deploy` uploads the functions to."""
    storage = aws.client("s3")
    try:
        storage.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": region}
        )
    except storage.exceptions.BucketAlreadyOwnedByYou:
        pass  # An earlier deployment made it.


def sam_deploy(directory: Path, state: states.State, template: Path, overrides: list[str]) -> None:
    """Runs `sam deploy` as for a real account. Its output goes to a file, shown if it fails."""
    parameters = [
        f"Stage={STAGE}", f"Architecture={architecture()}", "AllowPrivateDestinations=true", "CopyRecordings=true",
    ]  # fmt: skip
    command = [
        str(SAM), "deploy",
        "--template-file", str(template),
        "--stack-name", STACK,
        "--s3-bucket", BUCKET,
        "--language-extensions",
        "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND",
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        "--no-progressbar",
        "--region", state["region"],
        "--parameter-overrides", *parameters, *overrides,
    ]  # fmt: skip
    settings = {
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.3",
        "__SAM_CLI_APP_DIR": str(directory / "sam"),
    }
    log = directory / "deploy.log"
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            env=states.environment(state) | settings,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"sam deploy failed:\n{log.read_text()[-4000:]}")


def resources(aws: Aws) -> dict[str, dict[str, str]]:
    """The stack's resources: logical name to type and physical name."""
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK)
    return {
        resource["LogicalResourceId"]: {
            "type": resource["ResourceType"],
            "name": resource["PhysicalResourceId"],
        }
        for page in pages
        for resource in page["StackResourceSummaries"]
    }


def short(name: str) -> str:
    """A resource's name without the stack's."""
    return name.removeprefix(f"{STACK}-")


def describe(aws: Aws, state: states.State, found: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What callers need to know about the deployed stack."""

    def named(kind: str) -> list[str]:
        return [resource["name"] for resource in found.values() if resource["type"] == kind]

    stack = aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    # By its name, because the one for JWTs is of the same type.
    api = found["Api"]["name"]
    functions = {short(name): name for name in named("AWS::Lambda::Function")}
    queues = {short(url.rsplit("/", 1)[-1]): url for url in named("AWS::SQS::Queue")}
    return {
        "name": STACK,
        "stage": STAGE,
        "api_id": api,
        # Any client can use this address; with the host header the path alone will do.
        "base_url": f"{state['endpoint']}/_aws/execute-api/{api}/$default",
        "host": f"{api}.execute-api.localhost:{state['port']}",
        "parameter_prefix": f"/switchboard/{STAGE}",
        "tables": {"calls": outputs["CallsTableName"], "directory": outputs["DirectoryTableName"]},
        "queues": queues,
        "functions": functions,
        "log_groups": {short_name: f"/aws/lambda/{name}" for short_name, name in functions.items()},
        "outputs": outputs,
    }


def deploy(directory: Path, binaries: Path = BINARIES, overrides: list[str] | None = None) -> states.State:
    """Deploys to the instance that runs in this directory."""
    state = states.read(directory)
    if state is None or not states.is_running(state):
        raise SystemExit(f"no local AWS runs in {directory}; start one first")
    aws = Aws(state)
    template = localized_template(directory, binaries)
    with Step("deploying the stack"):
        make_bucket(aws, state["region"])
        sam_deploy(directory, state, template, overrides or [])
    found = resources(aws)
    state["stack"] = describe(aws, state, found)
    states.write(directory, state)
    return state


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    states.add_state_argument(parser)
    parser.add_argument("--binaries", type=lambda path: Path(path).resolve(), default=BINARIES,
                        metavar="DIR", help="where <function>/bootstrap are (target/lambda-local)")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of the template; may be given more than once")
    given = parser.parse_args()
    state = deploy(given.state, given.binaries, given.parameter)
    print(f"stack at {state['stack']['base_url']}", file=sys.stderr)


if __name__ == "__main__":
    main()
