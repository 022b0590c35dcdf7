"""Many clients on kept connections, in little CPU time: requests are bytes, answers are not parsed.

As a program: `python http_load.py PORT PATH BODY CLIENTS SECONDS PAUSE` prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: That answers were counted for, from a fifth of the time on.
        answered: Answers with status 200 in all, before and after too.
        accepted: Milliseconds of each answer with status 200 that came in that time.
        refused: As `accepted`, with status 503.
        other: Other statuses, and connections that ended without an answer.
    """

    seconds: float = 0.0
    answered: int = 0
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


async def load(
    port: int, path: str, body: bytes, clients: int, seconds: float, pause: float = 0.05
) -> Load:
    """Ask as often as answers come.

    Args:
        port: On this machine.
        path: Of the route.
        body: A photo.
        clients: How many ask at the same time, each one request after the other.
        seconds: How long.
        pause: Seconds that a client waits after it was refused.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    found, start = Load(), time.perf_counter()
    begin, end = start + seconds / 5, start + seconds

    async def client() -> None:
        reader = writer = None
        while time.perf_counter() < end:
            asked = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                found.other.append(repr(error))
                writer = None
                continue
            status = answer[9:12].decode()
            if b"connection: close" in answer.lower():
                writer.close()
                writer = None
            now = time.perf_counter()
            took = 1000 * (now - asked)
            found.answered += status == "200"
            if begin <= now <= end:
                if status == "200":
                    found.accepted.append(took)
                elif status == "503":
                    found.refused.append(took)
                else:
                    found.other.append(status)
            if status == "503":
                await asyncio.sleep(pause)
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    found.seconds = end - begin
    return found


if __name__ == "__main__":
    port, path, body, clients, seconds, pause = sys.argv[1:]
    asked = load(
        int(port), path, Path(body).read_bytes(), int(clients), float(seconds), float(pause)
    )
    print(json.dumps(vars(asyncio.run(asked))))
