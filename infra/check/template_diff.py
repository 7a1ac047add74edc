"""Compares what two versions of template.yaml deploy, resource by resource.

    .venv/aws/bin/python infra/check/template_diff.py OLD NEW

OLD and NEW are files or git revisions. Both are transformed (AWS::LanguageExtensions, then AWS::Serverless) by what
deploys them locally. Routes and the permissions to be invoked by them are compared by what they say, because SAM can
also write them into the API's body. Descriptions and names of statements are no difference. Prints one line per
difference, and exits with 1 if there is one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ministack.services.cloudformation.engine import _apply_transforms, _parse_template

ROOT = Path(__file__).resolve().parents[2]
ROUTE, INTEGRATION, PERMISSION = "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Integration", "AWS::Lambda::Permission"
WORDING = {"Description", "AlarmDescription", "AssertDescription", "Sid"}


def text_of(version: str) -> str:
    """The template of a file or of a git revision."""
    if Path(version).is_file():
        return Path(version).read_text()
    command = ["git", "-C", str(ROOT), "show", f"{version}:template.yaml"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def transformed(text: str) -> dict[str, Any]:
    """The template that is deployed. The code of a function stays the directory of its binary."""
    template = _parse_template(text.replace("target/lambda/", "s3://target/lambda/"))
    return plain(json.loads(json.dumps(_apply_transforms(template))))


def plain(node: Any) -> Any:
    """The same value in one of the forms that CloudFormation accepts for it."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if isinstance(node, bool):
        return str(node).lower()
    if not isinstance(node, dict):
        return str(node)
    node = {key: plain(value) for key, value in node.items() if key not in WORDING}
    if list(node) == ["Fn::GetAtt"] and isinstance(node["Fn::GetAtt"], str):
        return {"Fn::GetAtt": node["Fn::GetAtt"].split(".", 1)}
    if list(node) == ["Fn::Sub"] and isinstance(node["Fn::Sub"], list):
        text, variables = node["Fn::Sub"]
        known = {name: value for name, value in variables.items() if isinstance(value, str)}
        for name, value in known.items():
            text = text.replace(f"${{{name}}}", value)
        return {"Fn::Sub": [text, variables] if len(known) < len(variables) else text}
    return node


def name_in(pattern: str, node: Any) -> str:
    """The logical id that a value refers to."""
    found = re.search(pattern, json.dumps(node))
    if not found:
        raise SystemExit(f"{json.dumps(node)} does not match {pattern}")
    return found[1]


def routes(resources: dict[str, Any]) -> dict[str, str]:
    """The function of each route of each API, the version of its events, its authorizer and its condition."""
    found = {}
    for logical_id, resource in resources.items():
        properties = resource["Properties"]
        for path, operations in properties.get("Body", {}).get("paths", {}).items():
            for method, operation in operations.items():
                integration = operation["x-amazon-apigateway-integration"]
                function = name_in(r"\$\{(\w+)\.Arn\}", integration["uri"])
                found[f"{logical_id} {method.upper()} {path}"] = f"{function} {integration['payloadFormatVersion']}"
        if resource["Type"] == ROUTE:
            integration = resources[name_in(r"\b(\w+Integration)\b", properties["Target"])]["Properties"]
            what = [name_in(r"(\w+Function)", integration["IntegrationUri"]), integration["PayloadFormatVersion"]]
            what += [properties.get("AuthorizerId", {}).get("Ref", ""), resource.get("Condition", "")]
            found[f"{properties['ApiId']['Ref']} {properties['RouteKey']}"] = " ".join(what).strip()
    return found


def callers(resources: dict[str, Any]) -> dict[str, str]:
    """The functions that each API may invoke."""
    found = {}
    for resource in resources.values():
        if resource["Type"] == PERMISSION:
            properties = resource["Properties"]
            api = name_in(r'"Ref": "(\w*Api)"|$', properties["SourceArn"]) or name_in(r"\{(\w*Api)\}", properties["SourceArn"])
            found[f"{properties['FunctionName']['Ref']} by {api}"] = resource.get("Condition", "always")
    return found


def flat(node: Any, path: str) -> dict[str, str]:
    """Every leaf of a value by its path."""
    if not node or not isinstance(node, (dict, list)):
        return {path: json.dumps(node)}
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return {key: leaf for name, value in pairs for key, leaf in flat(value, f"{path}/{name}").items()}


def described(template: dict[str, Any]) -> dict[str, str]:
    """All that a template deploys: a line of text by a name."""
    resources = template["Resources"]
    everything = {f"route {key}": value for key, value in routes(resources).items()}
    everything |= {f"invocation of {key}": value for key, value in callers(resources).items()}
    for section in ("Parameters", "Rules", "Conditions", "Outputs", "Resources"):
        for name, entry in template.get(section, {}).items():
            if entry.get("Type") not in (ROUTE, INTEGRATION, PERMISSION):
                entry.get("Properties", {}).pop("Body", None)
                everything |= flat(entry, f"{section}/{name}")
    return everything


def main(versions: list[str]) -> int:
    """The command."""
    if len(versions) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    templates = [transformed(text_of(version)) for version in versions]
    counts = [len(template["Resources"]) for template in templates]
    old, new = (described(template) for template in templates)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    for name in names:
        for sign, version in (("-", old), ("+", new)):
            if name in version:
                print(f"{sign} {name}: {version[name]}")
    print(f"{counts[0]} resources before, {counts[1]} after, {len(names)} differences", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
