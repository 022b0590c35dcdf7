"""Replicate on this machine: files, models, trainings. Runs the trainer of deploy/replicate.

Fields: https://replicate.com/docs/reference/http (trainings.create, trainings.get, files.create).
"""

import json
import secrets
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

sys.path.insert(0, str(Path(__file__).parent))
from rented import RentedMachine

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1] / "deploy/replicate"
STATES = {"queued": "starting", "cancelled": "canceled", "running": "processing"}
REDACTED = "[REDACTED]"


class Replicate:
    """One account with a trainer and a private model, served on 127.0.0.1.

    Attributes:
        versions: `{model: [ids]}`.
        files: `{id: bytes}` as uploaded.
        trainings: `{id: (request without secrets, machine)}`.
        sent: Addresses, headers and bodies of all requests; of files the name alone, and without
            the inputs that the trainer declares as secret, which Replicate keeps from all others.
    """

    def __init__(self, folder):
        self.folder, self.token = folder, "r8_" + secrets.token_hex(18)
        self.versions = {"me/trainer": ["0" * 64, "1" * 64], "me/models": []}
        self.files, self.trainings, self.sent = {}, {}, []
        self._routes = Map(
            [
                Rule("/v1/files", methods=["POST"], endpoint=self._upload),
                Rule("/v1/files/<id>", methods=["GET"], endpoint=self._file),
                Rule("/v1/models/<owner>/<name>", methods=["GET"], endpoint=self._model),
                Rule(
                    "/v1/models/<owner>/<name>/versions/<version>/trainings",
                    methods=["POST"],
                    endpoint=self._create,
                ),
                Rule("/v1/trainings/<id>", methods=["GET"], endpoint=self._get),
                Rule("/v1/trainings/<id>/cancel", methods=["POST"], endpoint=self._cancel),
                Rule("/delivery/<id>/results.tar", methods=["GET"], endpoint=self._output),
            ]
        )
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.port}"

    def lose_machine(self, training):
        """The machine of a training breaks; Replicate starts no other."""
        self.trainings[training][1].preempt()

    def close(self):
        for _, machine in self.trainings.values():
            machine.close()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, environ, start):
        request = Request(environ)
        try:
            answer = self._answer(request)
        except HTTPException as error:
            answer = _refuse(error.code, error.description)
        return answer(environ, start)

    def _answer(self, request):
        body = b"" if request.path == "/v1/files" else request.get_data()
        if request.path.endswith("/trainings"):
            told = json.loads(body)
            told["input"]["secrets"] = REDACTED
            body = json.dumps(told).encode()
        self.sent.append(f"{request.method} {request.url}\n{request.headers}".encode() + body)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refuse(401, "You did not pass a valid authentication token")
        endpoint, names = self._routes.bind_to_environ(request.environ).match()
        return endpoint(request, **names)

    def _upload(self, request):
        file = request.files["content"]
        name = secrets.token_hex(8)
        self.files[name] = file.read()
        told = {"id": name, "name": file.filename, "content_type": file.content_type}
        return _json({**told, "urls": {"get": f"{self.address}/v1/files/{name}"}}, 201)

    def _file(self, request, id):
        return Response(self.files[id])

    def _model(self, request, owner, name):
        versions = self.versions.get(f"{owner}/{name}")
        if versions is None:
            raise NotFound("The requested resource could not be found.")
        newest = {"id": versions[-1]} if versions else None
        return _json({"owner": owner, "name": name, "latest_version": newest})

    def _create(self, request, owner, name, version):
        if version not in self.versions.get(f"{owner}/{name}", ()):
            raise NotFound("The requested resource could not be found.")
        asked = request.get_json()
        unknown = set(asked) - {"destination", "input", "webhook", "webhook_events_filter"}
        if unknown or asked["destination"] not in self.versions:
            return _refuse(422, f"destination: {asked['destination']}; unknown: {sorted(unknown)}")
        id = secrets.token_hex(13)
        folder = self.folder / id
        folder.mkdir(parents=True)
        (folder / "input.json").write_text(json.dumps(asked["input"]))
        command = [sys.executable, str(HERE / "cog_worker.py"), str(REPOSITORY)]
        machine = RentedMachine(
            [*command, str(folder / "input.json"), str(folder / "output")],
            {"COG_TOKEN": self.token},
            {},
            folder,
        )
        shown = {**asked, "input": {**asked["input"], "secrets": REDACTED}}
        shown |= {"version": version, "created_at": _now(), "model": f"{owner}/{name}"}
        self.trainings[id] = shown, machine
        machine.start()
        return _json(self._told(id), 201)

    def _get(self, request, id):
        if id not in self.trainings:
            raise NotFound("The requested resource could not be found.")
        return _json(self._told(id))

    def _told(self, id):
        shown, machine = self.trainings[id]
        status = STATES.get(machine.phase, machine.phase)
        told = {**shown, "id": id, "status": status, "error": None, "output": None}
        told["logs"] = "".join(f"{line}\n" for _, line in list(machine.lines))
        told["urls"] = {"get": f"{self.address}/v1/trainings/{id}"}
        told["started_at"] = shown["created_at"]
        if machine.ended:
            told["completed_at"] = _now()
        if status == "succeeded":
            told["output"] = {"version": f"{shown['destination']}:{'2' * 64}"}
            told["output"]["weights"] = f"{self.address}/delivery/{id}/results.tar"
        if status == "failed":
            lost = machine.exit_code == -9
            told["error"] = "The machine was lost." if lost else told["logs"].splitlines()[-1]
        return told

    def _cancel(self, request, id):
        self.trainings[id][1].cancel()
        return _json({})

    def _output(self, request, id):
        return Response(Path((self.folder / id / "output").read_text()).read_bytes())


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


def _json(value, status=200):
    return Response(json.dumps(value), status, content_type="application/json")


def _refuse(status, detail):
    return _json({"title": "Refused", "detail": detail, "status": status}, status)


def _now():
    return datetime.now(UTC).isoformat()
