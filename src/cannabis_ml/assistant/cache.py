"""Answers that were paid for, by what was asked: nothing is paid twice."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.assistant.provider import Question, Reply, schema_of


class Entry(BaseModel):
    """All replies to one question: the second was asked because the first was not valid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    prompt: str = Field(description="Name and version, such as suggest_labels.v1")
    model: str
    subject: str = Field(description="What it is about, such as a photo's id")
    replies: tuple[Reply, ...]


class PendingBatch(BaseModel):
    """A batch that is sent or about to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mark: str
    batch: str | None = Field(description="Its id; None while it is being sent")
    since: datetime
    address: str
    model: str
    prompts: dict[str, str] = Field(description="Prompt by key")
    subjects: dict[str, str] = Field(description="Subject by key")


def key_of(question: Question, prompt: str, model: tuple[str, str], photos: str) -> str:
    """Hash of photos, prompt and model, 64 hex digits.

    Args:
        question: Its texts and the form of the answer count; its photos are not looked at.
        prompt: Name and version.
        model: Address and name.
        photos: Ids of the photos as they are, and how they are scaled.
    """
    schema = schema_of(question.answer)
    parts = [prompt, *model, question.system, question.text, schema, photos, question.most_tokens]
    written = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


class AnswerCache:
    """A folder of entries, each written aside and renamed: a killed process leaves none broken.

    Args:
        folder: Made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sent = folder / "sent.jsonl"

    def get(self, key: str) -> Entry | None:
        """The entry of a key; None if it was not asked, or its file is not sound."""
        try:
            return Entry.model_validate_json(self._file(key).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def put(self, entry: Entry) -> None:
        """Keep an entry, in place of the former."""
        _write(self._file(entry.key), entry)

    def batches(self) -> list[PendingBatch]:
        """Batches whose results were not all taken, oldest first."""
        found = [
            PendingBatch.model_validate_json(file.read_bytes())
            for file in self.folder.glob("batches/*.json")
        ]
        return sorted(found, key=lambda each: (each.since, each.mark))

    def keep_batch(self, batch: PendingBatch) -> None:
        """Remember a batch before it is sent, and again once its id is known."""
        _write(self._batch_file(batch), batch)

    def drop_batch(self, batch: PendingBatch) -> None:
        """Forget a batch whose results are all in the cache, or that was never made."""
        self._batch_file(batch).unlink(missing_ok=True)

    def log_sent(self, line: dict[str, object]) -> None:
        """Note what leaves the machine, before it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stamped = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **line}
        written = (json.dumps(stamped, ensure_ascii=False) + "\n").encode()
        # One write to a file opened for appending is whole, whoever else writes.
        descriptor = os.open(self._sent, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, written)
        finally:
            os.close(descriptor)

    def _file(self, key: str) -> Path:
        return self.folder / "answers" / key[:2] / f"{key}.json"

    def _batch_file(self, batch: PendingBatch) -> Path:
        return self.folder / "batches" / f"{batch.mark}.json"


def _write(file: Path, model: BaseModel) -> None:
    with written_aside(file) as aside:
        aside.write_text(model.model_dump_json(indent=1), "utf-8")
