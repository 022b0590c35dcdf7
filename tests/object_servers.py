"""Object storage on this machine: moto's S3, which checks keys and can fail, and a GCS emulator."""

import http.client
import logging
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer

BUCKET = "hemp"
KEY, SECRET = "known-key", "hush-hush-hush"

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"


class S3Server:
    """moto's S3 with one bucket and one key; `fails(request)` gives a status and a code, or None.

    Attributes:
        url: Its address.
        requests: Method and path of each request since `clear`.
    """

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.fails = lambda request: None
        self.requests = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.options = {"key": KEY, "secret": SECRET, "endpoint_url": self.url}
        self.environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
        }
        self.make_bucket(BUCKET)

    def make_bucket(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port)
        connection.request("PUT", f"/{name}", headers={"Authorization": _signed(KEY)})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    @contextmanager
    def failing(self, fails):
        self.fails = fails
        try:
            yield
        finally:
            self.fails = lambda request: None

    def close(self):
        self._server.shutdown()

    def _answer(self, environ, start_response):
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.requests.append(request)
        refused = _refused(environ.get("HTTP_AUTHORIZATION", "")) or self.fails(request)
        if refused is None:
            return self._moto(environ, start_response)
        status, code = refused
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [b"" if request.startswith("HEAD") else _ERROR.format(code=code).encode()]


def _refused(authorization):
    if not authorization:
        return 403, "AccessDenied"
    return None if f"Credential={KEY}/" in authorization else (403, "InvalidAccessKeyId")


def _signed(key):
    return f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/s3/aws4_request, Signature=x"


class GoogleServer:
    """The GCS emulator, in memory, with one bucket.

    In a process of its own: pyarrow's client holds the interpreter while it waits for an answer.
    And with a thread per connection, unlike its own server: the client keeps several open.
    """

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, text=True
        )
        self.url = self._process.stdout.readline().strip()
        self.options = {"token": "anon", "endpoint_url": self.url}
        self.environment = {"STORAGE_EMULATOR_HOST": self.url}

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def azure_options(url):
    """Options for an emulator of Azure, with its public key; makes the container."""
    from cannabis_ml._io.object_storage_clients import AzureStorage

    options = {
        "account_name": "devstoreaccount1",
        "account_key": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"
        "/K1SZFPTOtr/KBHBeksoGMGw==",
        "endpoint_url": url,
    }
    AzureStorage(**options, skip_instance_cache=True)._arrow.create_dir(BUCKET)
    return options


def serve_google():
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RequestHandler, storage))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve_google()
