"""Totals of feedback, the retrain decision, the last training and the champion."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime

import pytest
from PIL import Image

from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.promotion.records import Standing
from cannabis_ml.promotion.store import ChampionStore

HEAD = "kind.of thing"


@pytest.fixture
def opinions(database, small_bundle):
    """40 photos, of which the model answered 10 right: `opinions(start=0)` adds them."""
    first, second = small_bundle.taxonomy[HEAD].class_names[:2]
    bundle = small_bundle.manifest.content_sha256

    def add(start=0, photos=40, right=10):
        with FeedbackStore(database) as store:
            for i in range(start, start + photos):
                answer = {"label": first, "confidence": 0.9, "probs": {first: 0.9, second: 0.1}}
                is_right = i < start + right
                opinion = {"verdict": "confirmed"}
                if not is_right:
                    opinion = {"verdict": "corrected", "label": second, "confidence": 0.8}
                given = {
                    "key": f"key-{i}",
                    "person": f"p-{i % 20}",
                    "at": datetime.now(UTC).isoformat(),
                    "consent": True,
                    "answered": {"bundle_id": bundle, "tier": "tier2", "heads": {HEAD: answer}},
                    "opinions": [{"head": HEAD, **opinion}],
                }
                photo = io.BytesIO()
                Image.new("RGB", (8, 8), (i, 99, 99)).save(photo, "PNG")
                store.add(read_submission(given), photo.getvalue())

    return add


def test_an_empty_store(client_of, database, small_bundle):
    found = client_of(feedback={"database": database}).get("/v2/learning-status")
    assert found.status_code == 200, found.text
    status = found.json()
    assert status["store"]["opinions"] == 0
    assert status["decision"]["retrain"] is False
    assert status["last_training"] is None
    assert status["champion"]["bundle"] == small_bundle.manifest.content_sha256
    assert status["champion"]["since"] is None


def test_totals_and_reasons(client_of, database, opinions):
    opinions()
    limits = {"retrain": {"corrections_of_class": 20}}
    client = client_of(feedback={"database": database, "decision": limits})
    status = client.get("/v2/learning-status").json()
    first = next(iter(status["store"]["most_corrected"]))
    assert (first["head"], first["count"]) == (HEAD, 30)
    assert status["store"]["people"] == 20
    assert status["store"]["by_verdict"]["confirmed"] == 10
    assert status["decision"]["retrain"]
    firing = {one["name"] for one in status["decision"]["reasons"] if one["fires"]}
    assert "corrections" in firing
    assert all(one["text"].endswith(".") for one in status["decision"]["reasons"])


def test_last_training_and_champion(client_of, database, opinions, small_bundle, tmp_path):
    opinions()
    started = datetime(2026, 1, 1, tzinfo=UTC)
    record = TrainingRecord(
        at=started,
        bundle_id=small_bundle.manifest.content_sha256,
        taxonomy=small_bundle.taxonomy,
        baselines={"tier2": {HEAD: Baseline(accuracy=0.95, low=0.9, photos=200)}},
    )
    for version, written in (("2026-01-01", record), ("2025-01-01", None)):
        path = tmp_path / "training_record.json" / version / "training_record.json"
        path.parent.mkdir(parents=True)
        path.write_text(written.model_dump_json() if written else "older, and not read")
    packed = tmp_path / "bundle.zip"
    packed.write_bytes(small_bundle.path.with_name("bundle.zip").read_bytes())
    champion = ChampionStore(tmp_path / "champion")
    champion.promote(
        type(small_bundle).open(packed), Standing(by="ann", reason="surer", at=started)
    )
    client = client_of(
        feedback={
            "database": database,
            "training_record": str(tmp_path / "training_record.json"),
            "champion": str(champion.root),
        }
    )
    status = client.get("/v2/learning-status").json()
    assert status["last_training"]["test_accuracy"] == {"tier2": {HEAD: 0.95}}
    assert status["decision"]["last_training"] == status["last_training"]["at"]
    assert {n: status["champion"][n] for n in ("by", "reason")} == {"by": "ann", "reason": "surer"}
    age = next(one for one in status["decision"]["reasons"] if one["name"] == "age")
    assert "days old" in age["text"]


def test_accuracy_is_that_of_the_bundle_in_service_where_the_last_one_was_refused(
    client_of, database, opinions, small_bundle, tmp_path
):
    opinions(photos=160)
    served = small_bundle.manifest.content_sha256
    baselines = {"tier2": {HEAD: Baseline(accuracy=0.95, low=0.9, photos=200)}}
    for month, bundle in ((1, served), (2, "f" * 64)):
        path = tmp_path / "training_record.json" / f"2026-0{month}" / "training_record.json"
        path.parent.mkdir(parents=True)
        record = TrainingRecord(
            at=datetime(2026, month, 1, tzinfo=UTC),
            bundle_id=bundle,
            taxonomy=small_bundle.taxonomy,
            baselines=baselines if bundle == served else {},
        )
        path.write_text(record.model_dump_json())
    records = str(tmp_path / "training_record.json")
    client = client_of(feedback={"database": database, "training_record": records})
    status = client.get("/v2/learning-status").json()
    assert status["last_training"]["bundle"] == "f" * 64
    names = {one["name"] for one in status["decision"]["reasons"]}
    assert "accuracy" in names


def test_made_once_for_all_who_ask_within_some_seconds(client_of, database, opinions):
    client = client_of(feedback={"database": database, "status_seconds": 600})
    before = client.get("/v2/learning-status").json()
    opinions()
    assert client.get("/v2/learning-status").json() == before


def test_made_anew_afterwards(client_of, database, opinions):
    client = client_of(feedback={"database": database, "status_seconds": 0.001})
    assert client.get("/v2/learning-status").json()["store"]["opinions"] == 0
    opinions()
    while client.get("/v2/learning-status").json()["store"]["opinions"] == 0:
        pass


def test_who_leaves_does_not_begin_it_a_second_time(client_of, database):
    client = client_of(feedback={"database": database}, limits={"deadline_seconds": 0.2})
    desk, go, begun = client.app.state.feedback, threading.Event(), []
    status = desk._sources.store.summary
    desk._sources.store.summary = lambda: begun.append(1) or (go.wait() and status())
    for _ in range(3):
        assert client.get("/v2/learning-status").status_code == 504
    go.set()
    while client.get("/v2/learning-status").status_code != 200:
        pass
    assert begun == [1]


def test_a_record_that_is_none_is_told_in_the_log(client_of, database, tmp_path, caplog):
    (tmp_path / "record.json").write_text("{}")
    client = client_of(
        feedback={"database": database, "training_record": str(tmp_path / "record.json")}
    )
    assert client.get("/v2/learning-status").status_code == 503
    assert "not the record of a training" in caplog.text


def test_limits_that_cannot_be_end_the_start(client_of, database):
    from cannabis_ml.errors import ConfigError

    for wrong in ({"retrain": {"days": 0}}, {"never": {}}):
        with pytest.raises(ConfigError, match=r"days|never"):
            client_of(feedback={"database": database, "decision": wrong})


def test_without_a_store(client_of):
    assert client_of().get("/v2/learning-status").status_code == 503
