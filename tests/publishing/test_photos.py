"""Photos as versions of a data set."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from cannabis_ml.errors import HubError, PublishingError
from cannabis_ml.publishing.licences import licence_id
from cannabis_ml.publishing.params import PublishingParams
from cannabis_ml.publishing.photo_shards import MAX_SHARD_BYTES, divided


@pytest.fixture
def place(hub_here, repo):
    """The repository of the test, once it is there: `place()`."""
    return lambda: hub_here.repos["dataset", repo]


@pytest.fixture
def files_of(place):
    """The files of a version: `files_of("1.0.0")`."""
    return lambda version: place().commits[place().tags[version]]


def table_of(files):
    """Every row that was published, with its split."""
    for name in sorted(name for name in files if name.endswith(".parquet")):
        split = name.removeprefix("data/").partition("-")[0]
        for row in pq.read_table(io.BytesIO(files[name])).to_pylist():
            yield {**row, "split": split}


def test_a_version_is_one_commit_and_one_tag(published, place):
    commit = published("1.0.0").commit
    assert list(place().messages.values())[1:] == ["1.0.0: 12 photos"]
    assert place().tags == {"1.0.0": commit}
    assert place().branches["main"] == commit
    assert place().private


def test_photos_splits_and_labels_are_published_as_they_are(published, files_of, photos_at):
    published("1.0.0", count=24)
    given = photos_at("1.0.0", count=24).photos.photo_set
    found = {row["photo_id"]: row for row in table_of(files_of("1.0.0"))}
    assert len(found) == 24
    for number in range(24):
        wanted = given.labels_at(number)
        row = found[wanted["photo_id"]]
        assert row["image"]["bytes"] == given.stored(number)
        assert row["split"] == wanted["split"]
        assert row["kind"] == {"bud": 0, "leaf": 1, None: None}[wanted["kind"]]
        for name in ("looks.dry", "looks.seeds"):
            assert row[name] == (None if wanted[name] is None else bool(wanted[name]))


def test_groups_are_published_without_their_names(published, files_of, photos_at):
    published("1.0.0")
    names = photos_at("1.0.0").photos.photo_set.labels("photo_id", "group")
    found = {row["photo_id"]: row["group"] for row in table_of(files_of("1.0.0"))}
    pairs = {(found[row.photo_id], row.group) for row in names.itertuples()}
    assert len(pairs) == names["group"].nunique() == len(set(found.values()))
    texts = [d for name, d in files_of("1.0.0").items() if not name.endswith(".parquet")]
    everything = str([*table_of(files_of("1.0.0")), *texts])
    assert "plant 0" not in everything
    assert "/home" not in everything


def test_the_card_says_what_the_report_says(published, files_of):
    published("1.0.0", rights_holder="Ann")
    _, head, page = files_of("1.0.0")["README.md"].decode().split("---\n", 2)
    head = yaml.safe_load(head)
    assert head["license"] == "cc-by-4.0"
    splits = {one["name"]: one["num_examples"] for one in head["dataset_info"]["splits"]}
    assert splits == {"train": 6, "validation": 2, "calibration": 2, "test": 2}
    assert head["configs"][0]["data_files"][0] == {"split": "train", "path": "data/train-*"}
    assert "| field | 12 | 12 | 0 |" in page
    assert "| cc-by-4.0 | 12 |" in page
    assert "1 rights holder is named" in page
    assert "| bud | 6 | 3 | 1 | 1 | 1 |" in page
    assert "shortcuts" in page.casefold()


def test_findings_stand_in_the_card_without_paths_of_this_machine(photos_at):
    shortcut = {"check": "shortcuts", "severity": "alarm", "head": "kind"}
    words = {
        "sentence": "Height separates /home/ann/farm/7.jpg *from* the rest.",
        "advice": "Crop.",
    }
    other = {**shortcut, "check": "rare_classes", "severity": "warning"}
    page = photos_at("1.0.0", findings=[shortcut | words, other | words]).card
    for title, severity in (("### Shortcuts", "alarm"), ("### Other findings", "warning")):
        section = page.partition(title)[2].partition("\n#")[0]
        assert rf"- **{severity}**: Height separates 7.jpg \*from\* the rest. Crop." in section
    assert "/home" not in page


def test_licences_that_are_not_allowed_are_refused_and_counted(hub_here, photos_at, repo):
    licences = ["CC BY-NC 4.0"] * 5 + [None] * 3 + ["cc-by-4.0"] * 4
    with pytest.raises(PublishingError) as refused:
        photos_at("1.0.0", params=PublishingParams(), licence=licences)
    told = str(refused.value)
    assert "8 photos of 12" in told
    assert "5 photos of source 'field': the licence cc-by-nc-4.0" in told
    assert "3 photos of source 'field': no known licence" in told
    assert "publishing.allowed_licences: cc-by-nc-4.0" in told
    assert "publishing.licences ({field: …})" in told
    assert ("dataset", repo) not in hub_here.repos
    allowed = PublishingParams(
        allowed_licences=("cc-by-nc-4.0", "cc-by-4.0"), licences={"field": "cc-by-4.0"}
    )
    ready = photos_at("1.0.0", params=allowed, licence=licences)
    assert ready.licences == {"cc-by-4.0": 7, "cc-by-nc-4.0": 5}


def test_a_licence_that_the_hub_has_no_name_for_is_another(photos_at):
    allowed = PublishingParams(allowed_licences=("mit", "owner-agreed"), licences={"field": "mit"})
    licences = ["Owner agreed"] + [None] * 11
    card = photos_at("1.0.0", params=allowed, licence=licences).card
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"]) == (["mit", "other"], "owner-agreed")
    assert "The column `licence` gives that of each photo." in card


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("http://creativecommons.org/licenses/by-nc-sa/4.0/", "cc-by-nc-sa-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("CC0", "cc0-1.0"),
        ("Apache-2.0", "apache-2.0"),
        ("All rights reserved", "all-rights-reserved"),
    ],
)
def test_a_licence_has_one_name(written, known):
    assert licence_id(written) == known


def test_the_same_version_again_changes_nothing(published, place, hub_here):
    first = published("1.0.0")
    sent = len(hub_here.requests)
    again = published("1.0.0")
    assert (again.commit, again.was_there) == (first.commit, True)
    assert not [r for r in hub_here.requests[sent:] if r.startswith(("POST", "PUT"))]


def test_a_version_is_never_replaced(published, place):
    first = published("1.0.0")
    with pytest.raises(PublishingError, match="never replaced"):
        published("1.0.0", count=16)
    assert place().tags == {"1.0.0": first.commit}
    assert len(place().commits) == 2


def test_another_version_leaves_the_first_as_it_is(published, files_of):
    published("1.0.0")
    before = dict(files_of("1.0.0"))
    published("1.1.0", count=16)
    assert files_of("1.0.0") == before
    assert sum(1 for _ in table_of(files_of("1.1.0"))) == 16
    stale = set(before) - set(files_of("1.1.0"))
    assert stale
    assert all(name.endswith(".parquet") for name in stale)


def test_a_public_repository_wants_a_word(published, place, hub_here, repo):
    published("1.0.0", public=True)
    assert not place().private
    with pytest.raises(PublishingError, match="--public"):
        published("1.1.0", count=16)
    assert list(place().tags) == ["1.0.0"]
    published("1.1.0", count=16, public=True)


def test_the_same_photos_give_the_same_files(photos_at):
    ready = photos_at("1.0.0", count=24)
    first = list(ready.files(lambda _: None))
    assert list(ready.files(lambda _: None)) == first
    assert list(photos_at("1.0.0", count=24).files(lambda _: None)) == first


def test_a_photo_more_changes_one_shard_of_its_split():
    ids = [f"{n:064x}" for n in range(30_000)]
    more = [*ids[:12_345], "f" * 64, *ids[12_345:]]

    def shards(names):
        return {tuple(names[part]) for part in divided(names, np.full(len(names), 20_000))}

    before, after = shards(ids), shards(more)
    assert len(before) > 4
    assert len(before - after) <= 2
    assert sum(map(len, after)) == len(more)


def test_no_shard_is_larger_than_memory_should_hold():
    names = [f"{n:064x}" for n in range(1000)]
    sizes = np.full(1000, MAX_SHARD_BYTES // 100)
    parts = list(divided(names, sizes))
    assert max(int(sizes[part].sum()) for part in parts) <= MAX_SHARD_BYTES
    assert [name for part in parts for name in names[part]] == names


def test_who_commits_meanwhile_is_not_overwritten(published, place, hub_here):
    published("1.0.0")

    def commit_before(moment, request):
        if moment == "arriving" and "/commit/" in request.path:
            hub_here.watch = None
            place().commit("x", "main", {"README.md": b"theirs"})

    hub_here.watch = commit_before
    with pytest.raises(PublishingError, match="Somebody else changed"):
        published("1.1.0", count=16)
    assert list(place().tags) == ["1.0.0"]
    assert place().commits[place().branches["main"]] == {"README.md": b"theirs"}


def test_who_tags_meanwhile_keeps_the_tag(published, place, hub_here):
    published("1.0.0")
    theirs = place().tags["1.0.0"]

    def tag_before(moment, request):
        if moment == "arriving" and "/tag/" in request.path:
            place().tags["1.1.0"] = theirs

    hub_here.watch = tag_before
    with pytest.raises(PublishingError, match="theirs stays"):
        published("1.1.0", count=16)
    assert place().tags["1.1.0"] == theirs


def test_a_report_of_other_photos_is_refused(photos_at):
    with pytest.raises(PublishingError, match="of other photos than the photo set"):
        photos_at("1.0.0", report_of_count=16)


def test_without_a_token_nothing_is_written(published, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="hf auth login"):
        published("1.0.0")


def test_publication_lists_every_file(published, files_of):
    import hashlib

    published("1.0.0")
    files = files_of("1.0.0")
    told = json.loads(files["publication.json"])
    parquet = {name: data for name, data in files.items() if name.endswith(".parquet")}
    assert told["files"] == {n: hashlib.sha256(d).hexdigest() for n, d in parquet.items()}
    assert told["label_columns"] == ["kind", "looks.dry", "looks.seeds"]
    assert told["version"] == "1.0.0"
