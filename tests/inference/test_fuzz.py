"""500 damaged bundles and model files: each is refused, or is proven to be harmless.

They are opened in another process, so that a crash of an interpreter or one that never returns
would be seen and counted.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.model_file import ModelFile

pytestmark = pytest.mark.slow

EACH = 125
"""Cases of each of four kinds: folders, archives, ONNX and TFLite files."""

PATIENCE = 20
"""Seconds after which a case counts as never returning; the slowest takes a tenth of one."""


class Worker:
    """A process that opens things; a new one where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def open(self, kind: str, path: Path) -> dict:
        process = self._process
        if process is None:
            command = [sys.executable, str(Path(__file__).with_name("fuzz_worker.py"))]
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                text=True,
            )
        process.stdin.write(json.dumps([kind, str(path)]) + "\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(PATIENCE) else None
        if line:
            return json.loads(line)
        self.close()
        return {"crash": process.returncode} if line == "" else {"hang": True}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def damaged(data: bytes, how: str, chance: random.Random) -> bytes:
    """The bytes truncated, with one to sixteen bits flipped, or with two stretches exchanged."""
    if how == "truncated":
        return data[: chance.randrange(len(data))]
    if how == "flipped":
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    length = chance.randint(1, len(data) // 4)
    first = chance.randrange(len(data) - 2 * length)
    second = chance.randrange(first + length, len(data) - length + 1)
    one, other = data[first : first + length], data[second : second + length]
    return b"".join(
        [data[:first], other, data[first + length : second], one, data[second + length :]]
    )


HOWS = ("truncated", "flipped", "swapped")


def damage_folder(folder: Path, how: str, chance: random.Random) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    victim = chance.choice(files)
    if how != "swapped":
        victim.write_bytes(damaged(victim.read_bytes(), how, chance))
        return
    other = chance.choice([f for f in files if f.read_bytes() != victim.read_bytes()])
    one_data, other_data = victim.read_bytes(), other.read_bytes()
    victim.write_bytes(other_data)
    if chance.random() < 0.5:
        other.write_bytes(one_data)


@pytest.fixture(scope="module")
def other_bundle(contents, tmp_path_factory) -> Path:
    """Files that are as sound as the bundle's own, but belong to another."""
    given = contents(name="other", model_card="# Other\n")
    tiers = {"tier1": {"float": given.tiers["tier2"]["float"]}}
    folder = tmp_path_factory.mktemp("other") / "bundle"
    write_bundle(folder, contents(name="other", model_card="# Other\n", tiers=tiers))
    return folder


def test_damaged_bundles_and_models_are_refused(
    written, other_bundle, model_file, worker, tmp_path
):
    chance, found = random.Random(20261121), Counter()
    packed = written.with_name("bundle.zip")
    whole = worker.open("bundle", written)["answers"]
    assert worker.open("bundle", packed)["answers"] == whole

    for i in range(EACH):
        how = HOWS[i % 3]
        folder = tmp_path / f"{i}"
        shutil.copytree(written, folder)
        if i % 12 == 11:  # a file that is sound, of another bundle
            shutil.copy(other_bundle / "bundle.json", folder / "bundle.json")
        else:
            damage_folder(folder, how, chance)
        count(found, "folder", how, worker.open("bundle", folder), whole)
        shutil.rmtree(folder)

        archive = tmp_path / f"{i}.zip"
        archive.write_bytes(damaged(packed.read_bytes(), how, chance))
        count(found, "archive", how, worker.open("bundle", archive), whole)

        for kind in ("onnx", "tflite"):
            data = model_file(kind).data
            changed = damaged(data, how, chance)
            path = tmp_path / f"{i}.{kind}"
            path.write_bytes(changed)
            # A file that differs in a single bit is never opened.
            count(found, kind, how, worker.open("model", path), None if changed != data else {})

    print(dict(found))
    assert sum(found.values()) == 4 * EACH
    assert {what for _, _, what in found} <= {"refused", "harmless"}, found
    # Only what lies beside the files in an archive, as dates, can change without consequence.
    assert {kind for kind, _, what in found if what == "harmless"} <= {"archive"}, found
    assert all(found[kind, how, "refused"] for kind in ("folder", "onnx") for how in HOWS)


def count(found: Counter, kind: str, how: str, told: dict, whole: dict | None) -> None:
    """Count what became of a case; what it said where that was not foreseen."""
    if "refused" in told:
        found[kind, how, "refused"] += 1
        assert len(told["said"]) > 20, told
    elif "answers" in told and told["answers"] == whole:
        found[kind, how, "harmless"] += 1
    else:
        found[kind, how, json.dumps(told)[:300]] += 1


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_files_without_their_hash_reach_no_interpreter(bare, worker, tmp_path, kind):
    """What no hash protects could crash an interpreter: it is refused, sound or damaged."""
    chance, found = random.Random(7), Counter()
    path = tmp_path / f"model.{kind}"
    whole = ModelFile(bare[kind], kind).data
    for i in range(EACH):
        path.write_bytes(damaged(whole, HOWS[i % 3], chance) if i else whole)
        told = worker.open("model", path)
        found[next(iter(told))] += 1
        assert told.get("refused") == "ExportError", told
        assert "does not end with the SHA-256" in told["said"]
    print(dict(found))
