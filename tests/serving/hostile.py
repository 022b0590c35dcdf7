"""Requests that mean no good, each made from a seed."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from PIL import Image

BOUNDARY = "b0undary"
SIDE = 30_000
"""Of photos that declare a large size."""


@dataclass
class Hostile:
    """What is sent over a socket.

    Attributes:
        kind: What it is, for who reads of a failure.
        pieces: Sent one after the other.
        leaves: Whether nobody waits for the answer.
    """

    kind: str
    pieces: list[bytes] = field(default_factory=list)
    leaves: bool = False


def make(seed: int) -> Hostile:
    """One request; the same seed makes the same one."""
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    found = kind(draw)
    found.kind = f"{seed}: {kind.__name__.strip('_')} {found.kind}"
    return found


def head(path, length, kind="image/jpeg", method="POST", more=()):
    lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close", f"content-type: {kind}"]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1", "replace")


def whole(path, body, kind="image/jpeg", note=""):
    return Hostile(note, [head(path, len(body), kind), body])


def photo(draw, kind="JPEG", side=None):
    side = side or draw.randrange(8, 96)
    pixels = bytes(draw.randrange(256) for _ in range(12)) * (side * side)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels[: 3 * side * side]).save(file, kind)
    return file.getvalue()


def anywhere(draw, body, note="", kinds=("raw", "form", "feedback", "job")):
    """The same bytes as a photo, in a form, with feedback, or in a job."""
    way = draw.choice(kinds)
    if way == "raw":
        path = draw.choice(("/v2/analyze", "/v2/analyze-mobile", "/api/v1/classify"))
        sent = draw.choice(("image/jpeg", "image/png", "application/octet-stream"))
        return whole(path, body, sent, f"{note} raw")
    if way == "form":
        return whole("/v2/analyze", form([("photo", "a.jpg", body)]), FORM, f"{note} form")
    if way == "feedback":
        parts = [("feedback", None, submission(draw)), ("photo", "a.jpg", body)]
        return whole("/v2/feedback", form(parts), FORM, f"{note} feedback")
    return whole("/v2/jobs", form([("photo", "a.jpg", body)] * 2), FORM, f"{note} job")


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(parts, end=True):
    body = b""
    for name, file, data in parts:
        shown = f'form-data; name="{name}"' + (f'; filename="{file}"' if file is not None else "")
        lines = f"--{BOUNDARY}\r\ncontent-disposition: {shown}\r\n\r\n"
        body += lines.encode("utf-8", "replace") + data + b"\r\n"
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def submission(draw, **changes):
    given = {
        "key": f"key-{draw.random()}",
        "person": "p-1",
        "at": "2026-05-01T12:00:00Z",
        "consent": True,
        "opinions": [{"head": "kind.of thing", "verdict": "unsure"}],
    }
    return json.dumps(given | changes).encode("utf-8", "surrogatepass")


# ------------------------------------------------------------------ photos


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data, depth=8, color=2, more=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + more + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _zeros(count):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 16)) for _ in range(count >> 16)) + packer.flush()


BOMB = png(SIDE, SIDE, _zeros(SIDE * (SIDE // 8 + 1)), depth=1, color=0)
"""113 MB of zeros in 110 kB."""

TEXT_BOMB = _chunk(b"zTXt", b"a\0\0" + _zeros(64 << 20))
PROFILE_BOMB = _chunk(b"iCCP", b"a\0\0" + _zeros(64 << 20))


def bombs(draw):
    which = draw.randrange(7)
    small = zlib.compress(b"\0" * 100)
    body = [
        BOMB,
        png(SIDE, SIDE, small),
        png(2**31 - 1, 2**31 - 1, small),
        png(8, 8, _zeros(32 << 20)),
        png(8, 8, small, more=TEXT_BOMB),
        png(8, 8, small, more=PROFILE_BOMB),
        png(0, 0, small),
    ][which]
    return anywhere(draw, body, f"bomb {which}")


def large_headers(draw):
    """Files that declare 30,000 pixels a side."""
    which = draw.choice(("jpeg", "gif", "bmp", "webp", "tiff", "ppm"))
    if which == "jpeg":
        body = bytearray(photo(draw))
        at = body.find(b"\xff\xc0") + 5
        body[at : at + 4] = struct.pack(">HH", SIDE, SIDE)
    elif which == "gif":
        body = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0xF0, 0, 0) + bytes(6)
        body += b"," + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02D\x01\0;"
    elif which == "bmp":
        body = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
        body += struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(40)
    elif which == "webp":
        size = (SIDE - 1).to_bytes(3, "little") * 2
        chunk = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + size
        body = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    elif which == "tiff":
        entries = [(256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (273, 8), (279, 9)]
        packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + packed
        body += struct.pack("<I", 8)  # the next directory is this one
    else:
        body = f"P6 {SIDE} {SIDE} 255\n".encode() + bytes(100)
    return anywhere(draw, bytes(body), which)


def damaged(draw):
    """Cut anywhere, or with bytes that are others."""
    kind = draw.choice(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"))
    body = bytearray(photo(draw, kind))
    if draw.random() < 0.5:
        del body[draw.randrange(len(body)) :]
    for _ in range(draw.randrange(1, 40)):
        if body:
            body[draw.randrange(len(body))] = draw.randrange(256)
    return anywhere(draw, bytes(body), kind)


def polyglots(draw):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("a.html"), "<script>alert(1)</script>")
    tails = [archive.getvalue(), b"<script>alert(1)</script>", b"%PDF-1.4 1 0 obj", b"<?php a();"]
    tail = draw.choice(tails)
    body = photo(draw, draw.choice(("JPEG", "PNG", "GIF")))
    return anywhere(draw, draw.choice((body + tail, tail + body, tail)), "polyglot")


def noise(draw):
    """Random bytes that begin like a photo."""
    begins = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBP", b"GIF89a"]
    begins += [b"\0\0\0\x20ftypavif", b"\0\0\0\x18ftypheic", b"II*\0", b"MM\0*", b"BM", b""]
    return anywhere(draw, draw.choice(begins) + draw.randbytes(draw.randrange(3000)), "noise")


# ------------------------------------------------------------------ bodies


def lengths(draw):
    """Lengths that are not those of the body."""
    body = photo(draw)
    which = draw.randrange(9)
    declared = [len(body) + 1000, len(body) - 100, -1, 10**18, "1e3", "", "0x10", 2 << 20, 0][which]
    return Hostile(f"length {declared}", [head("/v2/analyze", declared), body])


def framing(draw):
    """Chunks and headers that contradict themselves."""
    body = photo(draw)
    chunked = ("transfer-encoding: chunked",)
    both = head("/v2/analyze", 5, more=chunked)
    two = head("/v2/analyze", 5, more=("content-length: 6",))
    only = head("/v2/analyze", None, more=chunked)
    bad_size = b"zz\r\n" + body
    huge_size = b"ffffffffffffffff\r\n" + body
    cut = f"{len(body):x}\r\n".encode() + body[:50]
    many = b"".join(b"1\r\n" + body[i : i + 1] + b"\r\n" for i in range(min(len(body), 500)))
    which = draw.randrange(6)
    pieces = [
        [both, body],
        [two, body],
        [only, bad_size],
        [only, huge_size],
        [only, cut],
        [only, many, b"0\r\n\r\n"],
    ]
    return Hostile(f"framing {which}", pieces[which])


def slow(draw):
    """A body that does not arrive."""
    body = photo(draw)
    sent = body[: draw.randrange(len(body))]
    path, kind = draw.choice(
        (("/v2/analyze", "image/png"), ("/v2/feedback", "application/json"), ("/v2/jobs", FORM))
    )
    return Hostile("slow", [head(path, len(body) + 10, kind), sent])


def leaving(draw):
    """A client that leaves in the middle, or before the answer."""
    sent = anywhere(draw, photo(draw), "leaves")
    if draw.random() < 0.5:
        sent.pieces[-1] = sent.pieces[-1][: draw.randrange(len(sent.pieces[-1]))]
    sent.leaves = True
    return sent


def too_large(draw):
    """More bytes than allowed, declared or not."""
    body = bytes(3 << 20)
    path, kind = draw.choice(
        (("/v2/analyze", "image/png"), ("/v2/feedback", "application/json"), ("/v2/jobs", FORM))
    )
    if draw.random() < 0.5:
        return Hostile("announced", [head(path, len(body), kind), body])
    chunk = f"{len(body):x}\r\n".encode()
    more = ("transfer-encoding: chunked",)
    return Hostile("chunked", [head(path, None, kind, more=more), chunk, body, b"\r\n0\r\n\r\n"])


NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\system32\\a.jpg",
    "/etc/cron.d/a",
    "a\u0000.jpg",
    "%2e%2e%2fa.jpg",
    "CON",
    "a" * 5000,
    "\u202egpj.exe",
    ".",
    "..",
    "",
    "jobs/../../feedback.db",
    "file:///etc/passwd",
    "a'; DROP TABLE jobs; --",
]


def forms(draw):
    """Forms that are broken, and names that lead out of folders."""
    good = photo(draw)
    which = draw.randrange(9)
    path = draw.choice(("/v2/analyze", "/v2/feedback", "/v2/jobs"))
    name = draw.choice(NAMES)
    bodies = [
        (form([("photo", name, good)]), FORM),
        (form([("photo", name, good)], end=False), FORM),
        (form([("photo", "a.jpg", good)]), "multipart/form-data"),
        (form([("photo", "a.jpg", good)]), "multipart/form-data; boundary=" + "x" * 300),
        (form([(f"f{i}", None, b"x") for i in range(200)]), FORM),
        (form([("photo", f"{i}.jpg", good) for i in range(30)]), FORM),
        (form([("photo", None, b"x" * 70_000)]), FORM),
        (form([("photo", "a.jpg", good), ("zip", name, good), ("feedback", name, good)]), FORM),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"a: b\r\n" * 5000, FORM),
    ]
    return whole(path, *bodies[which], note=f"{path} {which} {name[:20]!r}")


def submissions(draw):
    """JSON that is no submission, or a strange one."""
    which = draw.randrange(10)
    text = "\ud800" if draw.random() < 0.5 else "\u202e\u0000"
    bodies = [
        b"[" * 50_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"key": 1e999, "person": NaN}',
        submission(draw, photo_id="../../etc/passwd"),
        submission(draw, person=text, photo_id="ab" * 32),
        submission(draw, metadata={text: text}, photo_id="ab" * 32),
        submission(draw, opinions=[{"head": "x" * 10_000, "verdict": "unsure"}] * 20),
        submission(draw, key="'; DROP TABLE people; --", photo_id="ab" * 32),
        draw.randbytes(500),
        b'"' + b"x" * 300_000 + b'"',
    ]
    return whole("/v2/feedback", bodies[which], "application/json", f"json {which}")


# ------------------------------------------------------------------ archives


def _archive(entries, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in entries:
            # Of an entry by name the time would be now, another with each call.
            entry = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            packed.writestr(entry, data, compression)
    return bytearray(file.getvalue())


def _one_bomb(draw):
    return _archive([("a.jpg", bytes(20 << 20))])


def _many_bombs(draw):
    return _archive([(f"{i}.jpg", bytes(900_000)) for i in range(10)])


def _nested(draw):
    return _archive([("inner.zip", bytes(_one_bomb(draw)))])


def _names(draw):
    return _archive([(draw.choice(NAMES) or "x", photo(draw))])


def _many(draw):
    return _archive([(str(i), b"") for i in range(30_000)], zipfile.ZIP_STORED)


def _encrypted(draw):
    body = _archive([("a.jpg", photo(draw))])
    body[6] |= 1
    body[body.find(b"PK\x01\x02") + 8] |= 1
    return body


def _packed_otherwise(draw):
    kinds = (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    return _archive([("a.jpg", photo(draw))], draw.choice(kinds))


def _links(draw):
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    return _archive([(link, b"/etc/passwd")])


def _overlapping(draw):
    """500 names of the same bytes."""
    body = _archive([("a.jpg", bytes(900_000))])
    start = body.find(b"PK\x01\x02")
    entry = bytes(body[start : body.rfind(b"PK\x05\x06")])
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 500, 500, 500 * len(entry), start, 0)
    return body[:start] + entry * 500 + end


def _lying(draw):
    """A list that is larger than the file, or a second one."""
    body = _archive([("a.jpg", photo(draw))])
    at = body.rfind(b"PK\x05\x06")
    struct.pack_into("<HHLL", body, at + 8, 65535, 65535, draw.choice((2**32 - 1, 0)), 0)
    if draw.random() < 0.5:
        body[at:at] = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    return body


def _cut(draw):
    body = _archive([("a.jpg", photo(draw)), ("b.jpg", photo(draw))])
    del body[draw.randrange(len(body)) :]
    return body


def _changed(draw):
    body = _archive([("a.jpg", photo(draw)), ("b.jpg", photo(draw))])
    for _ in range(10):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return body


ARCHIVES = [
    *(_one_bomb, _many_bombs, _nested, _names, _many, _encrypted, _packed_otherwise, _links),
    *(_overlapping, _lying, _cut, _changed),
]


def archives(draw):
    """Archives that are bombs, lead out of folders, or lie of themselves."""
    which = draw.choice(ARCHIVES)
    body, note = which(draw), which.__name__.strip("_")
    if draw.random() < 0.5:
        return whole("/v2/jobs", bytes(body), "application/zip", note)
    return whole("/v2/jobs", form([("zip", "a.zip", bytes(body))]), FORM, f"{note} form")


# ------------------------------------------------------------------ requests


def paths(draw):
    """Paths that lead elsewhere."""
    path = draw.choice(
        (
            "/v2/jobs/../../etc/passwd",
            "/v2/jobs/%2e%2e%2f%2e%2e",
            "/v2/people/%00",
            "/v2/people/" + "a" * 5000,
            "/v2/jobs/" + "0" * 32 + "/results?after=99999999999999999999",
            "/v2/analyze?language=" + "%ff" * 50,
            "//v2//analyze",
            "/static/../../pyproject.toml",
            "/%c0%ae%c0%ae/etc/passwd",
            "http://elsewhere.example/v2/analyze",
            "*",
        )
    )
    method = draw.choice(("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"))
    return Hostile(f"{method} {path[:40]}", [head(path, 0, method=method)])


def headers(draw):
    """Headers that are too many, too long, or strange."""
    more = draw.choice(
        (
            [f"x-{i}: {i}" for i in range(300)],
            ["x-a: " + "a" * 20_000],
            ["x-api-key: \xff\xfe"],
            ["x-request-id: a\tb", "x-forwarded-for: ', , ,"],
            ["x-person: " + "p" * 1000],
            ["accept: text/event-stream;q=zz", "content-encoding: gzip"],
            ["expect: 100-continue", "upgrade: websocket", "connection: upgrade"],
            ["no colon here"],
        )
    )
    body = photo(draw)
    return Hostile("headers", [head("/v2/analyze-mobile", len(body), more=more), body])


KINDS = [
    *(bombs, large_headers, damaged, polyglots, noise, lengths, framing, leaving, too_large),
    *(forms, submissions, archives, paths, headers, damaged, archives, slow),
]
