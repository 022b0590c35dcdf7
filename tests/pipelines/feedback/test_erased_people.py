"""Who is erased from the store is gone from what the next feedback run makes."""

from datetime import UTC, datetime

import pytest

from cannabis_ml.datasets.feedback_photos import FeedbackPhotosDataset
from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.vetting import VettingParams
from cannabis_ml.pipelines.feedback.nodes import list_feedback_photos, vet
from cannabis_ml.taxonomy_spec import TaxonomySpec

TAXONOMY = TaxonomySpec.model_validate(
    {"heads": [{"name": "product", "classes": ["plant", "trim"]}]}
)


@pytest.fixture
def store(tmp_path, encode, draw):
    """Ann sent two photos, one of which Bob sent too; Bob sent one of his own."""
    dataset = FeedbackStoreDataset(url=f"sqlite:///{tmp_path}/feedback.db")
    with dataset.open() as opened:
        for person, photo in (("ann", 0), ("ann", 1), ("bob", 1), ("bob", 2)):
            submission = {
                "key": f"{person}-{photo}",
                "person": person,
                "at": datetime(2026, 3, 1, tzinfo=UTC).isoformat(),
                "consent": True,
                "answered": {
                    "bundle_id": "b1",
                    "tier": "tier1",
                    "heads": {"product": {"label": "plant", "confidence": 0.7}},
                },
                "opinions": [{"head": "product", "verdict": "confirmed"}],
            }
            opened.add(read_submission(submission), encode(draw(photo)))
    return dataset


def test_an_erased_person_is_in_no_table_that_the_next_run_makes(store, tmp_path):
    listed = FeedbackPhotosDataset(filepath=str(tmp_path / "feedback_photos.parquet"))

    def run():
        snapshot = store.load()
        vetted, labels, annotators, proposed = vet(snapshot, None, TAXONOMY, VettingParams())
        listed.save(list_feedback_photos(labels, snapshot))
        tables = (vetted, labels, annotators, proposed, snapshot.answers, listed.load())
        return listed.load(), "\n".join(table.to_json(orient="records") for table in tables)

    photos, text = run()
    assert len(photos) == 3
    with store.open() as opened:
        opinions = opened.opinions()
        opened.erase_person("ann")
        tombstones = opened.tombstones()
    (gone,) = [name for name in photos["photo_id"] if tombstones.covers_photo(name)]
    sent = photos.set_index("photo_id").loc[gone, "sent_as"]
    own = opinions.loc[opinions["person"] == "ann", "opinion_id"].tolist()
    assert all(trace in text for trace in (gone, sent, '"ann"'))

    photos, text = run()
    assert len(photos) == 2
    assert [trace for trace in (gone, sent, '"ann"', *own) if trace in text] == []
