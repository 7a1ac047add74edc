"""A real HTTP server that stands in for a model: chat completions, and Bedrock's Converse."""

from __future__ import annotations

import json
import threading
from collections import deque

from stand_ins import Server


def between(prompt: str, tag: str) -> list[dict]:
    """The objects on the lines between two tags."""
    _, _, rest = prompt.partition(f"<{tag}>\n")
    inside, _, _ = rest.partition(f"</{tag}>")
    return [json.loads(line) for line in inside.splitlines()]


def sound(prompt: str, schema: dict) -> dict:
    """What a good model says of what it is shown: every word of it is there."""
    first = next(line for line in between(prompt, "transcript") if "turn" in line)
    evidence = [{"turn": first["turn"], "quote": first["text"][:300].strip()}]
    answer = {"summary": "A fake analysis of the talk.", "outcome": "follow_up", "sentiment": "neutral"}
    if "scorecard" in schema["properties"]:
        answer["scorecard"] = [
            {"criterion": one["criterion"], "score": one["scale"], "confidence": 80, "evidence": evidence}
            for one in between(prompt, "criteria")
        ]
    if "tasks" in schema["properties"]:
        answer["tasks"] = [{"title": "Call back", "due": None, "owner": "employee"}]
    return answer


class Model(Server):
    """A model. `says` holds what it answers next: a dict to change its answer by, or a status."""

    def __init__(self, api_key: str = "fake-model-key") -> None:
        super().__init__()
        self._key = api_key
        self._lock = threading.Lock()
        self.says: deque[dict | int] = deque()
        self.asked: list[dict] = []

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        request = json.loads(body)
        is_chat = handler.path == "/v1/chat/completions"
        with self._lock:
            self.asked.append({"path": handler.path, "headers": headers, "body": request})
            says = self.says.popleft() if self.says else {}
        known = f"Bearer {self._key}" if is_chat else "AWS4-HMAC-SHA256 Credential="
        if not headers.get("authorization", "").startswith(known):
            handler.answer(401 if is_chat else 403)
        elif isinstance(says, int):
            handler.answer(says)
        else:
            answer = self._chat(request, says) if is_chat else self._converse(request, says)
            handler.answer(200, json.dumps(answer).encode())

    def _chat(self, request: dict, says: dict) -> dict:
        schema = request["tools"][0]["function"]["parameters"]
        answer = sound(request["messages"][-1]["content"], schema) | says
        function = {"name": "record_analysis", "arguments": json.dumps(answer)}
        call = {"id": "call_1", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790},
        }  # fmt: skip

    def _converse(self, request: dict, says: dict) -> dict:
        schema = request["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
        answer = sound(request["messages"][-1]["content"][0]["text"], schema) | says
        use = {"toolUseId": "tooluse_1", "name": "record_analysis", "input": answer}
        return {
            "output": {"message": {"role": "assistant", "content": [{"toolUse": use}]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 700, "outputTokens": 90, "totalTokens": 790},
            "metrics": {"latencyMs": 1},
        }
