"""A server that speaks OpenAI's protocol: chat completions, token counting, files and batches."""

import json
import time
from email import message_from_bytes

from model_server import Asked, Fault, ModelServer, photo_of

PREFIX = "data:image/jpeg;base64,"


class OpenAIServer(ModelServer):
    prefix = "/v1"

    def __init__(self, answer):
        super().__init__(answer)
        self.files = {}

    def lets_in(self, headers):
        return headers.get("authorization") == f"Bearer {self.key}"

    def error(self, fault):
        return {"error": {"message": fault.message, "type": "error", "code": None, "param": None}}

    def read(self, body, number):
        system, user = body["messages"]
        photos = tuple(
            photo_of(part["image_url"]["url"].removeprefix(PREFIX))
            for part in user["content"]
            if part["type"] == "image_url"
        )
        (text,) = (part["text"] for part in user["content"] if part["type"] == "text")
        form = body["response_format"]["json_schema"]
        assert form["strict"]
        assert form["schema"]["additionalProperties"] is False
        assert sorted(form["schema"]["required"]) == sorted(form["schema"]["properties"])
        return Asked(system["content"], text, photos, form["schema"], number)

    def written(self, text):
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {
                "prompt_tokens": self.tokens,
                "completion_tokens": 100,
                "total_tokens": self.tokens + 100,
            },
        }

    def route(self, method, path, body, headers):  # noqa: PLR0911
        if path == "/v1/chat/completions":
            return self.reply_to(json.loads(body), headers["idempotency-key"])
        if path == "/v1/responses/input_tokens" and self.counts_tokens:
            assert json.loads(body)["input"][0]["role"] == "user"
            return {"object": "response.input_tokens", "input_tokens": self.tokens}
        if path == "/v1/files":
            return self._upload(body, headers)
        if path == "/v1/batches" and method == "POST":
            return self._take(json.loads(body))
        if path == "/v1/batches":
            found = [self._shown(name) for name in reversed(self.batches)]
            return {"object": "list", "data": found, "has_more": False}
        parts = path.split("/")
        if parts[2] == "batches" and parts[3] in self.batches:
            self.batches[parts[3]]["looks"] += 1
            return self._shown(parts[3])
        if parts[2] == "files" and parts[3] in self.files:
            return self.files[parts[3]]
        return Fault(404, "not found")

    def _upload(self, body, headers):
        whole = b"Content-Type: " + headers["Content-Type"].encode() + b"\n\n" + body
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in message_from_bytes(whole).get_payload()
        }
        assert parts["purpose"] == b"batch"
        return self._keep(parts["file"])

    def _keep(self, data):
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return {
            "id": name,
            "object": "file",
            "bytes": len(data),
            "created_at": 1,
            "filename": "batch.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    def _take(self, given):
        good, bad = [], []
        for line in map(json.loads, self.files[given["input_file_id"]].splitlines()):
            reply = self.reply_to(line["body"])
            shown = {"id": "r", "custom_id": line["custom_id"], "error": None}
            failed = isinstance(reply, Fault)
            shown["response"] = {
                "status_code": reply.status if failed else 200,
                "body": self.error(reply) if failed else reply,
            }
            (bad if failed else good).append(json.dumps(shown))
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {
            "looks": 0,
            "at": int(time.time()),
            "metadata": given["metadata"],
            "input": given["input_file_id"],
            "out": self._keep("\n".join(good).encode())["id"] if good else None,
            "bad": self._keep("\n".join(bad).encode())["id"] if bad else None,
        }
        if self.lose:
            self.lose = False
            return Fault(how="drop")
        return self._shown(name)

    def _shown(self, name):
        batch = self.batches[name]
        ended = batch["looks"] >= self.looks
        return {
            "id": name,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": batch["input"],
            "completion_window": "24h",
            "status": "completed" if ended else "in_progress",
            "created_at": batch["at"],
            "metadata": batch["metadata"],
            "output_file_id": batch["out"] if ended else None,
            "error_file_id": batch["bad"] if ended else None,
        }
