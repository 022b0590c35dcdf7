"""Embeddings that answers came with: kept with consent, moved, erased; and older stores."""

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback import migrations
from cannabis_ml.feedback.exchange import export, import_folder
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission

HEADS = {"product": {"label": "hash", "confidence": 0.9}}


def answered(embedding, bundle="bundle-1"):
    return {"bundle_id": bundle, "tier": "tier1", "heads": HEADS, "embedding": embedding}


def test_an_embedding_comes_back_in_half_precision(store, submit, encode):
    values = np.random.default_rng(0).gamma(1, 1, 1280)
    receipt = store.add(submit(answered=answered(values.tolist())), encode())
    (row,) = store.embeddings().to_dict("records")
    assert (row["photo_id"], row["tier"], row["bundle_id"]) == (
        receipt.photo_id,
        "tier1",
        "bundle-1",
    )
    assert row["embedding"].dtype == np.float32
    np.testing.assert_array_equal(row["embedding"], values.astype(np.float16).astype(np.float32))


def test_of_a_photo_and_bundle_the_latest_counts(store, submit, encode):
    photo = encode()
    store.add(submit(answered=answered([1.0]), at="2026-05-01T11:00:00Z"), photo)
    store.add(submit(answered=answered([2.0]), at="2026-05-01T10:00:00Z", person="bob"), photo)
    store.add(submit(answered=answered([3.0], "bundle-2")), photo)
    found = store.embeddings().set_index("bundle_id")["embedding"]
    assert {name: one.tolist() for name, one in found.items()} == {
        "bundle-1": [1.0],
        "bundle-2": [3.0],
    }


def test_without_consent_none_is_kept(store, submit, encode):
    store.add(submit(answered=answered([1.0]), consent=False), encode())
    assert store.embeddings().empty
    assert len(store.answers()) == 1


@pytest.mark.parametrize("embedding", [[], [float("nan")], [1e9], ["1.0x"], [0.0] * 4097])
def test_what_is_no_embedding_is_refused(submit, embedding):
    with pytest.raises(FeedbackRefusedError, match=r"answered.embedding"):
        submit(answered=answered(embedding))


def test_the_digest_of_a_submission_without_one_is_as_it_was_before_there_were_any():
    """Else a client that sends again what an older version took in would be refused."""
    given = {
        "key": "k",
        "person": "ann",
        "at": "2026-05-01T12:00:00Z",
        "answered": {"bundle_id": "b", "tier": "tier1", "heads": HEADS},
    }
    submission = read_submission(given)
    assert "embedding" not in submission.model_dump()["answered"]
    with_one = read_submission(given | {"answered": answered([1.0])})
    assert submission.digest(None) != with_one.digest(None)


def test_embeddings_go_with_an_export_and_are_gone_after_erasure(store, submit, encode, tmp_path):
    photo = encode()
    ann = submit(answered=answered([1.0, 2.0]))
    store.add(ann, photo)
    export(store, tmp_path / "out")
    with FeedbackStore(f"sqlite:///{tmp_path}/copy/feedback.db") as copy:
        import_folder(copy, tmp_path / "out")
        assert copy.embeddings()["embedding"][0].tolist() == [1.0, 2.0]
        assert copy.add(ann, photo).is_retry
        copy.erase_person("ann")
        assert copy.embeddings().empty


def test_embeddings_of_a_photo_that_nobody_wants_kept_any_more_are_gone(store, submit, encode):
    photo = encode()
    photo_id = store.add(submit(person="ann"), photo).photo_id
    store.add(submit(person="bob", consent=False), photo)
    # An opinion on a photo that the store knows, with its embedding.
    named = submit(person="bob", photo_id=photo_id, answered=answered([1.0]))
    store.add(named)
    assert len(store.embeddings()) == 1
    store.erase_person("ann")
    assert store.embeddings().empty
    assert len(store.answers().query("person == 'bob'")) == 3


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path, submit, encode):
    url = f"sqlite:///{tmp_path}/feedback.db"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO people VALUES (1, 'ann', '2026-01-01 00:00:00')"))
        connection.execute(
            text(
                "INSERT INTO photos (photo_id, kept, received_at)"
                f" VALUES ('{'a' * 64}', 0, '2026-01-01 00:00:00')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO submissions (person_id, key, digest, photo_id, at, received_at,"
                " seen_answer, annotator, bundle_id, tier, outputs) VALUES (1, 'k', 'd',"
                f" '{'a' * 64}', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 1, 'person', 'b',"
                """ 'tier1', '{"product": {"label": "hash", "confidence": 0.9, "probs": {}}}')"""
            )
        )
    engine.dispose()
    with FeedbackStore(url) as store:
        assert store.answers()["answered"].tolist() == ["hash"]
        assert store.embeddings().empty
        store.add(submit(answered=answered([1.0])), encode())
        assert len(store.embeddings()) == 1
