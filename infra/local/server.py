"""MiniStack, with its IAM checks brought in line with AWS.

They matter only with AUTH=true, where the functions' roles are tested. MiniStack 1.5.33 asks for the right
`sqs:SendMessageBatch`, where AWS asks for `sqs:SendMessage` (the other is no action of IAM), and for
`ssm:GetParametersByPath` on `*`, where AWS asks for it on the path; wider roles would hide both, but then a test
could not show that a function is refused another's secrets. And it does not know `dynamodb:LeadingKeys`, so that a
role limited to some partition keys of a table would have the whole table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ministack.app import main
from ministack.core import iam_actions

SAME_RIGHT = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}

find_action = iam_actions.extract_iam_action
find_resource = iam_actions.extract_resource_arn
find_context = iam_actions.dynamodb_service_context


def action_as_on_aws(*request: Any) -> str | None:
    """The right that AWS asks for."""
    action = find_action(*request)
    return SAME_RIGHT.get(action, action) if action else None


def resource_as_on_aws(
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
    region: str,
    account: str,
    *more: Any,
    **named: Any,
) -> str:
    """What AWS asks the right for."""
    if service == "ssm":
        below = iam_actions._safe_json_field(body, "Path")
        if below:
            return f"arn:aws:ssm:{region}:{account}:parameter/{below.lstrip('/')}"
    return find_resource(service, method, path, headers, body, query, region, account, *more, **named)


def leading_keys(request: Any) -> Iterator[str]:
    """The partition keys that a request names: `pk` of every item or key in it, and the value that a query is for."""
    if isinstance(request, list):
        for one in request:
            yield from leading_keys(one)
    elif isinstance(request, dict) and "KeyConditionExpression" in request:
        value = re.search(r"=\s*(:\w+)", request["KeyConditionExpression"])[1]
        yield request["ExpressionAttributeValues"][value]["S"]
    elif isinstance(request, dict) and "S" in request.get("pk", ()):
        yield request["pk"]["S"]
    elif isinstance(request, dict):
        for name, value in request.items():
            if name not in ("ExclusiveStartKey", "ExpressionAttributeValues"):
                yield from leading_keys(value)


def context_as_on_aws(body: bytes) -> dict[str, Any]:
    """The condition keys of a request to DynamoDB."""
    keys = list(leading_keys(json.loads(body or b"{}")))
    return find_context(body) | ({"dynamodb:LeadingKeys": keys} if keys else {})


if __name__ == "__main__":
    iam_actions.dynamodb_service_context = context_as_on_aws
    iam_actions.extract_iam_action = action_as_on_aws
    iam_actions.extract_resource_arn = resource_as_on_aws
    main()
