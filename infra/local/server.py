"""MiniStack, with two of its IAM checks brought in line with AWS.

They matter only with AUTH=true, where the functions' roles are tested. MiniStack 1.5.33 asks for the
right `sqs:SendMessageBatch`, where AWS asks for `sqs:SendMessage` (the other is no action of IAM), and
for `ssm:GetParametersByPath` on `*`, where AWS asks for it on the path. Wider roles would hide both, but
then a test could not show that a function is refused another's secrets.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    iam_actions.extract_iam_action = action_as_on_aws
    iam_actions.extract_resource_arn = resource_as_on_aws
    main()
