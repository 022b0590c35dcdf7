"""Writers at once, killed at any moment: nothing that was acknowledged is lost or doubled."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from cannabis_ml.feedback.store import FeedbackStore

_spec = importlib.util.spec_from_file_location("writers", Path(__file__).with_name("writers.py"))
writers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writers)

WRITERS, EACH = 16, 15


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request, tmp_path):
    """URL of a database without tables: the writers make them, all at once."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/feedback.db"
    return request.getfixturevalue("postgresql_server")("written_at_once")


@pytest.mark.slow
def test_every_acknowledged_opinion_is_there_once_though_writers_are_killed(
    new_url, tmp_path, encode, draw
):
    photos = [encode(draw(seed=seed)) for seed in range(8)]
    where = (new_url, str(tmp_path / "photos"))

    def arguments(writer):
        return where, tmp_path / f"{writer}.acks", writer, range(EACH), photos

    def progress():
        return len(writers.acknowledged(tmp_path, WRITERS)) / (WRITERS * EACH)

    _, killed = writers.run(writers.write, arguments, WRITERS, kills=12, progress=progress)
    assert killed > 0  # fast ones are through before

    numbers = [(writer, number) for writer in range(WRITERS) for number in range(EACH)]
    assert writers.acknowledged(tmp_path, WRITERS) == {f"w{w}-{n}" for w, n in numbers}
    with FeedbackStore(*where) as store:
        table = store.opinions(history=True)
        kept = {photo_id: store.photo(photo_id) for photo_id in set(table["photo_id"])}
        assert store.summary().submissions == WRITERS * EACH
    assert set(kept.values()) == set(photos)
    by_photo = {data: photo_id for photo_id, data in kept.items()}
    expected = Counter(
        (
            f"person-{w}-{n % 7}",
            by_photo[photos[writers.photo_of(w, n, photos)]],
            writers.LABELS[n % 3],
        )
        for w, n in numbers
    )
    assert Counter(zip(table["person"], table["photo_id"], table["label"], strict=True)) == expected
    assert table["opinion_id"].is_unique
