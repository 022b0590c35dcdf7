"""A server that speaks Anthropic's protocol: messages, token counting and Message Batches."""

import json
from datetime import UTC, datetime

from model_server import Asked, Fault, ModelServer, photo_of

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class AnthropicServer(ModelServer):
    prefix = ""

    def lets_in(self, headers):
        given = headers.get("x-api-key") or headers.get("authorization", "").split(" ")[-1]
        return given == self.key and headers.get("anthropic-version")

    def error(self, fault):
        kind = KINDS.get(fault.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": fault.message}}

    def read(self, body, number):
        (turn,) = body["messages"]
        photos = tuple(
            photo_of(part["source"]["data"]) for part in turn["content"] if part["type"] == "image"
        )
        (text,) = (part["text"] for part in turn["content"] if part["type"] == "text")
        schema = body["output_config"]["format"]["schema"]
        assert schema["additionalProperties"] is False
        return Asked(body["system"], text, photos, schema, number)

    def written(self, text):
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": self.tokens, "output_tokens": 100},
        }

    def route(self, method, path, body, headers):  # noqa: PLR0911
        if path == "/v1/messages":
            return self.reply_to(json.loads(body), headers["idempotency-key"])
        if path == "/v1/messages/count_tokens":
            assert "max_tokens" not in json.loads(body)
            return {"input_tokens": self.tokens}
        if path == "/v1/messages/batches" and method == "POST":
            return self._take(json.loads(body)["requests"])
        if path == "/v1/messages/batches":
            for batch in self.batches.values():
                batch["looks"] += 1
            found = [self._shown(name) for name in reversed(self.batches)]
            return {"data": found, "has_more": False, "first_id": None, "last_id": None}
        name = path.split("/")[4]
        if name not in self.batches:
            return Fault(404, "no such batch")
        if path.endswith("/results"):
            return "".join(json.dumps(line) + "\n" for line in self.batches[name]["lines"]).encode()
        self.batches[name]["looks"] += 1
        return self._shown(name)

    def _take(self, requests):
        keys = [one["custom_id"] for one in requests]
        assert len(set(keys)) == len(keys)
        lines = []
        for one in requests:
            reply = self.reply_to(one["params"])
            if isinstance(reply, Fault):
                result = {"type": "errored", "error": self.error(reply)}
            else:
                result = {"type": "succeeded", "message": reply}
            lines.append({"custom_id": one["custom_id"], "result": result})
        name = f"msgbatch_{len(self.batches)}"
        at = datetime.now(UTC).isoformat()
        self.batches[name] = {"lines": lines[::-1], "looks": 0, "at": at}
        if self.lose:
            self.lose = False
            return Fault(how="drop")
        return self._shown(name)

    def _shown(self, name):
        batch = self.batches[name]
        ended = batch["looks"] >= self.looks
        total = len(batch["lines"])
        counts = dict.fromkeys(("canceled", "errored", "expired", "processing", "succeeded"), 0)
        counts["succeeded" if ended else "processing"] = total
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": batch["at"],
            "expires_at": batch["at"],
            "ended_at": batch["at"] if ended else None,
            "results_url": f"{self.url}/v1/messages/batches/{name}/results" if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
        }
