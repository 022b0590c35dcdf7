"""Modal on this machine: speaks its protocol, and runs the functions that it is sent."""
# ruff: noqa: N802  # methods are called as in the protocol

import asyncio
import hashlib
import json
import pickle
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import modal  # noqa: F401  # before modal_proto, which it prepares
from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from modal_proto import api_grpc, api_pb2

sys.path.insert(0, str(Path(__file__).parent))
from rented import RentedMachine

CONTAINER = Path(__file__).with_name("modal_container.py")
BLOCK = 8 << 20
"""Bytes of a block of a file in a Volume."""

GENERIC = api_pb2.GenericResult


class Call(RentedMachine):
    """A call of a function, in containers of which each takes one call."""

    def __init__(self, definition, variables, mounts, entry, home):
        self.definition, self.outcome_file = definition, (outcome := home / "outcome.json")
        self.created = time.time()
        super().__init__(
            [sys.executable, *map(str, (CONTAINER, entry, definition.function_name, outcome))],
            variables,
            mounts,
            home,
            attempts=definition.retry_policy.retries + 1,
            seconds=definition.timeout_secs,
            free_preemptions=True,
        )

    @property
    def outcome(self):
        return json.loads(self.outcome_file.read_text()) if self.outcome_file.exists() else {}

    @property
    def result(self):
        """How it ended, as Modal tells."""
        if self.phase == "timeout":
            message = f"Task's current input hit its timeout of {self.definition.timeout_secs}s"
            return GENERIC(status=GENERIC.GENERIC_STATUS_TIMEOUT, exception=message)
        if self.phase == "cancelled":
            message = "Input was cancelled"
            return GENERIC(status=GENERIC.GENERIC_STATUS_TERMINATED, exception=message)
        if self.phase == "failed":
            message = self.outcome.get("error", "the container was killed")
            return GENERIC(status=GENERIC.GENERIC_STATUS_FAILURE, exception=message)
        value = pickle.dumps(self.outcome["value"])
        return GENERIC(status=GENERIC.GENERIC_STATUS_SUCCESS, data=value)


class Service:
    """The calls that a client makes which defines an app, runs it, and reads what came of it."""

    def __init__(self, folder):
        self.folder = folder
        self.requests, self.files, self.mounts, self.images = [], {}, {}, {}
        self.secrets, self.volumes, self.functions, self.calls = {}, {}, {}, {}
        self.named_secrets = {}
        self.blocks = ""

    def forget(self):
        """Begin a test: nothing was asked for and sent."""
        self.requests.clear()
        self.files.clear()
        self.mounts.clear()

    def asked(self, kind):
        """The only request of a kind."""
        (request,) = [request for request in self.requests if isinstance(request, kind)]
        return request

    def wire(self):
        """All that clients sent but the values of secrets and the contents of archives."""
        hidden = (api_pb2.SecretGetOrCreateRequest, api_pb2.MountPutFileRequest)
        sent = [r.SerializeToString() for r in self.requests if not isinstance(r, hidden)]
        archives = b"\x1f\x8b"
        return b"".join(sent + [f for f in self.files.values() if not f.startswith(archives)])

    def close(self):
        for call in self.calls.values():
            call.close()

    def ClientHello(self, _):
        return api_pb2.ClientHelloResponse(image_builder_version="2025.06")

    def AuthTokenGet(self, _):
        return api_pb2.AuthTokenGetResponse(token="x.eyJleHAiOjk5OTk5OTk5OTl9.x")

    def EnvironmentGetOrCreate(self, _):
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
        metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    def AppCreate(self, request):
        return api_pb2.AppCreateResponse(app_id="ap-1", app_page_url="http://modal/ap-1")

    def AppPublish(self, _):
        return api_pb2.AppPublishResponse()

    def AppHeartbeat(self, _):
        return Empty()

    def AppClientDisconnect(self, _):
        return Empty()

    def VolumeGetOrCreate(self, request):
        name = request.deployment_name
        if name not in self.volumes:
            if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise GRPCError(Status.NOT_FOUND, f"Volume '{name}' not found")
            (self.folder / "volumes" / name).mkdir(parents=True)
            self.volumes[name] = self.folder / "volumes" / name
        metadata = api_pb2.VolumeMetadata(version=api_pb2.VOLUME_FS_VERSION_V2, name=name)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=f"vo-{name}", metadata=metadata)

    def VolumeGetFile2(self, request):
        path = self._volume(request.volume_id) / request.path
        if not path.is_file():
            raise GRPCError(Status.NOT_FOUND, f"{request.path} does not exist")
        size = path.stat().st_size
        urls = [
            f"{self.blocks}/{request.volume_id}/{start}/{request.path}"
            for start in range(0, size, BLOCK)
        ]
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=0, len=size)

    def block(self, path):
        """Part of a file, as its address tells."""
        volume, start, name = unquote(path).lstrip("/").split("/", 2)
        with (self._volume(volume) / name).open("rb") as file:
            file.seek(int(start))
            return file.read(BLOCK)

    def _volume(self, volume_id):
        return self.volumes[volume_id.removeprefix("vo-")]

    def SecretGetOrCreate(self, request):
        if request.deployment_name:
            has = self.named_secrets.get(request.deployment_name, {})
            lacking = [key for key in request.required_keys if key not in has]
            if lacking:
                raise GRPCError(Status.NOT_FOUND, f"Secret lacks the keys {lacking}")
            self.secrets[f"st-{request.deployment_name}"] = has
            return api_pb2.SecretGetOrCreateResponse(secret_id=f"st-{request.deployment_name}")
        secret_id = f"st-{len(self.secrets)}"
        self.secrets[secret_id] = dict(request.env_dict)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id)

    def ImageGetOrCreate(self, request):
        image_id = f"im-{len(self.images)}"
        self.images[image_id] = request.image
        metadata = api_pb2.ImageMetadata(image_builder_version="2025.06")
        done = GENERIC(status=GENERIC.GENERIC_STATUS_SUCCESS)
        return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=done, metadata=metadata)

    def MountBatchedCheckExistence(self, request):
        missing = [name for name in request.sha256_hex_hashes if name not in self.files]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    def MountPutFile(self, request):
        if request.data:
            assert hashlib.sha256(request.data).hexdigest() == request.sha256_hex
            self.files[request.sha256_hex] = request.data
        return api_pb2.MountPutFileResponse(exists=request.sha256_hex in self.files)

    def MountGetOrCreate(self, request):
        mount_id = f"mo-{len(self.mounts)}"
        self.mounts[mount_id] = {file.filename: file.sha256_hex for file in request.files}
        return api_pb2.MountGetOrCreateResponse(mount_id=mount_id)

    def FunctionPrecreate(self, request):
        return api_pb2.FunctionPrecreateResponse(
            function_id="fu-1", handle_metadata=self._handle(request.function_name)
        )

    def FunctionCreate(self, request):
        told = request.function_data
        if not told.ranked_functions:
            told.ranked_functions.add(rank=0, function=request.function)
        self.functions["fu-1"] = [one.function for one in told.ranked_functions]
        return api_pb2.FunctionCreateResponse(
            function_id="fu-1",
            function_data=told,
            function=request.function,
            handle_metadata=self._handle(self.functions["fu-1"][0].function_name),
        )

    @staticmethod
    def _handle(name):
        formats = [api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR]
        return api_pb2.FunctionHandleMetadata(
            function_name=name,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            supported_input_formats=formats,
            supported_output_formats=formats,
        )

    def FunctionMap(self, request):
        call_id = f"fc-{len(self.calls)}"
        self.calls[call_id] = call = self._call(request.function_id, self.folder / call_id)
        call.start()
        put = api_pb2.FunctionPutInputsResponseItem(idx=0, input_id="in-1", input_jwt="x")
        return api_pb2.FunctionMapResponse(
            function_call_id=call_id,
            pipelined_inputs=[put],
            retry_policy=call.definition.retry_policy,
        )

    def _call(self, function_id, home):
        """A container with the files of the mounts, the Volumes, and what the secrets have."""
        definition = self.functions[function_id][0]
        places = {v.mount_path: self._volume(v.volume_id) for v in definition.volume_mounts}
        for mount_id in definition.mount_ids:
            for name, sha256 in self.mounts[mount_id].items():
                file = home / "sent" / name.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.files[sha256])
                places[name] = file
        variables = self._image_variables(definition.image_id)
        for secret_id in definition.secret_ids:
            variables |= self.secrets[secret_id]
        entry = places[f"/root/{definition.module_name}.py"]
        return Call(definition, variables, places, entry, home)

    def _image_variables(self, image_id):
        """What an image and those below it set."""
        found = {}
        for below in self.images[image_id].base_images:
            found |= self._image_variables(below.image_id)
        for command in self.images[image_id].dockerfile_commands:
            if command.startswith("ENV "):
                name, _, value = command.removeprefix("ENV ").partition("=")
                found[name] = shlex.split(value)[0]
        return found

    def FunctionGetOutputs(self, request):
        call = self.calls[request.function_call_id]
        if not call.ended:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        output = api_pb2.FunctionGetOutputsItem(
            result=call.result, data_format=api_pb2.DATA_FORMAT_PICKLE, input_id="in-1"
        )
        return api_pb2.FunctionGetOutputsResponse(outputs=[output])

    def FunctionCallFromId(self, request):
        known = api_pb2.FunctionCallFromIdResponse(
            function_call_id=request.function_call_id, num_inputs=1
        )
        known.metadata.app_id, known.metadata.function_id = "ap-1", "fu-1"
        return known

    def FunctionCallGetInfo(self, request):
        info = api_pb2.FunctionCallInfo(function_call_id=request.function_call_id, total_inputs=1)
        info.created_at = self.calls[request.function_call_id].created
        return api_pb2.FunctionCallGetInfoResponse(info=info)

    def FunctionCallCancel(self, request):
        self.calls[request.function_call_id].cancel(signal.SIGUSR1)
        return Empty()

    def FunctionGetCallGraph(self, request):
        call_id = request.function_call_id
        call = self.calls[call_id]
        asked = api_pb2.InputCallGraphInfo(
            input_id="in-1",
            function_call_id=call_id,
            task_id="" if call.phase == "queued" else "ta-1",
            status=call.result.status if call.ended else 0,
        )
        about = api_pb2.FunctionCallCallGraphInfo(function_call_id=call_id, function_name="run")
        return api_pb2.FunctionGetCallGraphResponse(inputs=[asked], function_calls=[about])

    def AppCountLogs(self, request):
        width = request.bucket_secs * 10**9
        since = request.since.ToNanoseconds()
        counts = Counter((at - since) // width for at, _ in self._logs(request))
        buckets = []
        for number, count in sorted(counts.items()):
            bucket = api_pb2.AppCountLogsResponse.LogBucket(stdout_logs=count)
            bucket.bucket_start_at.FromNanoseconds(since + number * width)
            buckets.append(bucket)
        return api_pb2.AppCountLogsResponse(app_id="ap-1", buckets=buckets)

    def AppFetchLogs(self, request):
        items = [
            api_pb2.TaskLogs(
                data=f"{line}\n",
                timestamp_ns=at,
                file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT,
                function_call_id=request.function_call_id,
            )
            for at, line in self._logs(request)
        ]
        batch = api_pb2.TaskLogsBatch(task_id="ta-1", items=items)
        return api_pb2.AppFetchLogsResponse(batches=[batch])

    def _logs(self, request):
        call = self.calls[request.function_call_id]
        since, until = request.since.ToNanoseconds(), request.until.ToNanoseconds()
        return [(at, line) for at, line in list(call.lines) if since <= at <= until]


class ModalServer:
    """Modal's address for clients: `url`, for MODAL_SERVER_URL."""

    def __init__(self, folder):
        self.service = Service(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        self.url = f"http://127.0.0.1:{self._server._server.sockets[0].getsockname()[1]}"
        handler = type("Handler", (_Blocks,), {"service": self.service})
        self._blocks = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.service.blocks = f"http://127.0.0.1:{self._blocks.server_port}"
        threading.Thread(target=self._blocks.serve_forever, daemon=True).start()

    async def _open(self):
        server = Server([_stub(self.service)])
        await server.start("127.0.0.1", 0)
        return server

    def close(self):
        self.service.close()
        self._blocks.shutdown()
        self._blocks.server_close()

        async def stop():
            self._server.close()
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)


class _Blocks(BaseHTTPRequestHandler):
    def do_GET(self):
        data = self.service.block(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _stub(service):
    """A servicer of Modal's protocol: what `service` lacks is refused as unimplemented."""

    def method(name):
        async def answer(self, stream):
            request = await stream.recv_message()
            service.requests.append(request)
            if not hasattr(service, name):
                raise GRPCError(Status.UNIMPLEMENTED, name)
            await stream.send_message(getattr(service, name)(request))

        return answer

    base = api_grpc.ModalClientBase
    methods = {name: method(name) for name in base.__abstractmethods__}
    return type("Stub", (base,), methods)()
