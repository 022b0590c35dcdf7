"""Where the store is, is set once in `globals.yml`."""

import json
from datetime import UTC, datetime

import pytest
from kedro.config import OmegaConfigLoader

from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "product", "classes": ["plant", "trim"]}]})
ENTRIES = ("feedback_store", "audit_draw", "audit_queue", "review_queue")


def catalog_of(conf, env):
    return OmegaConfigLoader(str(conf), base_env="base", default_run_env=env)["catalog"]


@pytest.mark.slow
def test_one_setting_moves_the_store_for_all_that_read_and_write_it(
    tmp_path, copy_project, kedro, encode, draw
):
    project = copy_project(tmp_path / "project")
    local, url, photos = project / "conf/local", f"sqlite:///{tmp_path}/own.db", tmp_path / "photos"
    own = {"photos": str(photos), "credentials": "people"}
    (local / "globals.yml").write_text(json.dumps({"feedback_store": own}))
    (local / "credentials.yml").write_text(json.dumps({"people": {"url": url}}))
    with FeedbackStore(url, str(photos)) as store:
        for i in range(3):
            heads = {"product": {"label": "plant", "confidence": 0.7}}
            told = {
                "key": f"k{i}",
                "person": f"p{i}",
                "at": datetime.now(UTC).isoformat(),
                "consent": True,
                "answered": {"bundle_id": "b1", "tier": "tier1", "heads": heads},
            }
            store.add(read_submission(told, TAXONOMY), encode(draw(i)))

    kedro(project, "run", "--pipeline=feedback")

    with FeedbackStore(url, str(photos)) as store:
        assert set(store.audit_rates().values()) == {1.0}
        up, waiting = store.waiting("ann", 1, 9)
        assert up == 3
        assert all(store.queued_photo(one.photo_id) for one in waiting)
    assert not (project / "data/01_raw/feedback").exists()
    catalog = catalog_of(project / "conf", "local")
    for name in ENTRIES:
        assert own.items() <= catalog[name].items(), name


@pytest.mark.parametrize(("env", "data"), [("local", "data"), ("test", "data/envs/test")])
def test_without_a_setting_the_store_is_below_the_data_of_the_environment(
    tmp_path, copy_project, env, data
):
    catalog = catalog_of(copy_project(tmp_path / "project") / "conf", env)
    for name in ENTRIES:
        assert catalog[name]["url"] == f"sqlite:///{data}/01_raw/feedback/feedback.db", name
        assert catalog[name]["credentials"] is catalog[name]["photos"] is None
