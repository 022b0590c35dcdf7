"""What the local servers of both protocols share: answers, faults, and what was billed."""

import base64
import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """One question as the server sees it.

    Attributes:
        system: Instructions.
        text: What is asked.
        photos: JPEG files.
        schema: JSON schema of the answer.
        number: How many questions came before.
    """

    system: str
    text: str
    photos: tuple[bytes, ...]
    schema: dict
    number: int

    @property
    def name(self):
        """The same for the same photos and text."""
        return hashlib.sha256(b"".join(self.photos) + self.text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Fault:
    """What goes wrong in place of an answer.

    Attributes:
        status: Of the reply.
        message: Of the error.
        headers: Such as retry-after.
        how: `reply` as it is, `hang` (never comes), `drop` (closes); a good reply, billed, that
            ends in the middle: `cut` (shorter than it declares) or `short` (as long as it does).
        whole: That reply.
    """

    status: int = 500
    message: str = "out of order"
    headers: dict = field(default_factory=dict)
    how: str = "reply"
    whole: dict | None = None


class ModelServer:
    """A language model on this machine.

    Attributes:
        answer: From `Asked` to the answer: a dict, text as it stands, or a `Fault`.
        tokens: Tokens that it counts for any question; answers have 100.
        key: The key that it takes.
        billed: How often each question was answered, by `Asked.name`.
        asked: All questions, in order.
        counts_tokens: Whether it has that endpoint.
        looks: How often a batch is looked at before it has ended.
        lose: Whether the next batch is taken, and its reply lost.
        bills_by_name: Whether a request under a name that it answered is answered for nothing.
        cut_results: How many times results of batches are cut short.
        cut_how: `cut` or `short`, as of `Fault.how`.
    """

    def __init__(self, answer):
        self.answer = answer
        self.tokens = 1000
        self.key = "secret"
        self.billed = Counter()
        self.asked = []
        self.requests = []
        self.counts_tokens = True
        self.looks = 0
        self.lose = False
        self.cut_results = 0
        self.cut_how = "cut"
        self.bills_by_name = False
        self.named = {}
        self.batches = {}
        self.lock = threading.Lock()
        self.released = threading.Event()
        handler = type("Handler", (_Handler,), {"model": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}{self.prefix}"

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def reply_to(self, body, name=None):
        """The reply to one question's body: a dict or a Fault."""
        if self.bills_by_name and name in self.named:
            return self.named[name]
        with self.lock:
            asked = self.read(body, len(self.asked))
            self.asked.append(asked)
        answer = self.answer(asked)
        if isinstance(answer, Fault):
            if answer.how not in ("cut", "short"):
                return answer
            with self.lock:
                self.billed[asked.name] += 1
            whole = self.written(json.dumps(example_of(asked.schema)))
            return replace(answer, status=200, whole=whole)
        text = answer if isinstance(answer, str) else json.dumps(answer)
        with self.lock:
            self.billed[asked.name] += 1
            reply = self.named[name] = self.written(text)
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._serve(None)

    def do_POST(self):
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *_):
        pass

    def _serve(self, body):
        path = urlsplit(self.path).path
        self.model.requests.append((self.command, path))
        try:
            if not self.model.lets_in(self.headers):
                self._give(Fault(401, "invalid x-api-key"))
            else:
                self._give(self.model.route(self.command, path, body, self.headers))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _give(self, reply):
        if isinstance(reply, Fault):
            if reply.how in ("hang", "drop"):
                if reply.how == "hang":
                    self.model.released.wait(20)
                self.close_connection = True
                return
            whole = json.dumps(reply.whole or self.model.error(reply)).encode()
            self._write(reply.status, whole, reply.headers, reply.how)
        elif isinstance(reply, bytes):
            how = self.model.cut_how if self.model.cut_results > 0 else "reply"
            self.model.cut_results -= 1
            self._write(200, reply, {"Content-Type": "application/binary"}, how)
        else:
            self._write(200, json.dumps(reply).encode(), {})

    def _write(self, status, body, headers, how="reply"):
        sent = body[: len(body) // 2] if how in ("cut", "short") else body
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(sent if how == "short" else body)))
        self.end_headers()
        self.wfile.write(sent)
        if how == "cut":
            self.close_connection = True


def photo_of(data):
    return base64.b64decode(data, validate=True)


def example_of(schema, defs=None):
    """The least answer of a JSON schema: first choices, empty lists, nothing to review."""
    defs = defs or schema.get("$defs", {})
    if "$ref" in schema:
        return example_of(defs[schema["$ref"].rsplit("/", 1)[1]], defs)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], defs)
    if schema["type"] == "object":
        return {name: example_of(part, defs) for name, part in schema["properties"].items()}
    return {"array": [], "boolean": False, "number": 0.9, "integer": 1, "string": "fine"}[
        schema["type"]
    ]
