import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml.photo_sets.checks.finding import Finding
from cannabis_ml.photo_sets.checks.registry import SetFindings
from cannabis_ml.photo_sets.link_report import LinkReport
from cannabis_ml.photo_sets.predictability import Predictability
from cannabis_ml.pipelines.ingestion.report import build_report, draw_thumbnails, render_page
from cannabis_ml.pipelines.ingestion.report.thumbnails import EXAMPLES, MAX_THUMBNAILS
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy import Head, Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        Head(name="leaf", classes=["healthy", "dry", "absent"]),
        Head(name="look", kind="multilabel", classes=["seeds", "stems"]),
    ]
)
EVIL = "<script>alert('x')</script> & \"quoted\"\nline.jpg"


def checked(*findings):
    return SetFindings(list(findings), [], [])


def rows(n, **known):
    """`n` photos that differ in path and id only."""
    defaults = {
        **{"source": "field", "group": None, "given_split": None, "split": "train"},
        **{"bytes": 1000, "format": "JPEG", "defect": None, "detail": None, "repairs": None},
        **{"flags": None, "cluster": pd.NA, "duplicate_of": None, "leaf": "dry"},
        **{"look.seeds": pd.NA, "look.stems": pd.NA},
    }
    name = known.pop("name", "photo")
    return [
        {"path": f"/data/{name}/{i}.jpg", "photo_id": f"{name}-{i}", **defaults, **known}
        for i in range(n)
    ]


def table(*parts):
    index = pd.DataFrame([row for part in parts for row in part])
    types = {"cluster": "Int64", "look.seeds": "Int8", "look.stems": "Int8"}
    return index.astype(types)


@pytest.fixture(scope="module")
def index():
    aside = {"split": None}
    return table(
        rows(10, name="plain", leaf="healthy"),
        rows(4, name="test", split="test"),
        rows(3, name="turned", repairs="exif_rotated;cmyk"),
        rows(2, name="dim", flags="dark", repairs="alpha", source="lab"),
        rows(2, name="blur", flags="blurred;dark", **{"look.seeds": 1, "look.stems": 0}),
        rows(5, name="cut", defect="truncated", detail="Ends early.", **aside),
        rows(2, name="copy", defect="exact_duplicate", duplicate_of="/data/plain/0.jpg", **aside),
        rows(1, name="odd", defect="never_heard_of", detail=None, source="lab", **aside),
        rows(2, name="near", cluster=7, leaf="healthy"),
        rows(1, name="near_too", cluster=7, given_split="test"),
        rows(3, name="burst", cluster=3),
    )


def test_every_photo_is_accounted_for(index):
    report = build_report(index, TAXONOMY)
    for counts in (report["totals"], *report["sources"].values()):
        assert counts["found"] == counts["kept"] + counts["set_aside"]
        assert counts["kept"] == (
            counts["plain"]
            + counts["repaired"]
            + counts["flagged"]
            - counts["repaired_and_flagged"]
        )
    assert report["totals"] == {
        **{"found": 35, "kept": 27, "set_aside": 8, "plain": 20, "repaired": 5, "flagged": 4},
        **{"repaired_and_flagged": 2, "bytes": 35_000},
    }
    for name, total in report["totals"].items():
        assert total == sum(source[name] for source in report["sources"].values())
    assert sum(report["splits"].values()) == report["totals"]["kept"]
    aside = [d["count"] for d in report["defects"] if d["kind"] == "set_aside"]
    assert sum(aside) == report["totals"]["set_aside"]


def test_every_photo_of_a_defect_is_listed(index):
    for defect in build_report(index, TAXONOMY)["defects"]:
        assert len(defect["photos"]) == defect["count"]
        assert all(photo["path"] for photo in defect["photos"])
    names = {(d["kind"], d["name"]): d["count"] for d in build_report(index, TAXONOMY)["defects"]}
    assert names["repaired", "cmyk"] == 3
    assert names["flagged", "dark"] == 4
    assert names["set_aside", "never_heard_of"] == 1


def test_classes_are_counted_per_split_and_source(index):
    leaf, look = build_report(index, TAXONOMY)["heads"]
    dry = next(c for c in leaf["classes"] if c["name"] == "dry")
    assert (dry["found"], dry["kept"]) == (23, 15)
    assert dry["splits"] == {"train": 11, "validation": 0, "calibration": 0, "test": 4}
    assert dry["fractions"]["test"] == round(4 / 15, 4)
    assert dry["sources"] == {"field": 13, "lab": 2}
    assert [c["kept"] for c in look["classes"]] == [2, 0]
    assert (look["labelled"], look["unlabelled"]) == (2, 25)


def test_clusters_under_two_labels_come_first(index):
    near = build_report(index, TAXONOMY)["near_duplicates"]
    assert (near["clusters"], near["photos"], near["two_labels"]) == (2, 6, 1)
    first, second = near["list"]
    assert (first["number"], first["labels"], first["two_labels"]) == (7, ["dry", "healthy"], True)
    assert (second["size"], second["two_labels"]) == (3, False)


def test_an_unknown_label_contradicts_nothing():
    index = table(rows(1, name="a", cluster=1), rows(1, name="b", cluster=1, leaf=None))
    assert build_report(index, TAXONOMY)["near_duplicates"]["two_labels"] == 0


def test_a_head_may_be_called_label():
    taxonomy = Taxonomy(heads=[Head(name="label", classes=["a", "b"])])
    index = table(rows(1, cluster=1), rows(1, cluster=1)).assign(label=["a", None])
    report = build_report(index, taxonomy)
    assert report["near_duplicates"]["two_labels"] == 0
    assert report["heads"][0]["unlabelled"] == 1


def test_a_cluster_shows_who_was_taken_out_of_it_and_no_exact_copy():
    index = table(
        rows(1, name="test", cluster=1, given_split="test", split="test"),
        rows(1, name="twin", cluster=1, given_split="train", split=None, defect="twin_of_test"),
        rows(1, name="copy", cluster=1, split=None, defect="exact_duplicate"),
        rows(1, name="alone", cluster=2),
        rows(1, name="copy_too", cluster=2, split=None, defect="exact_duplicate"),
    )
    (cluster,) = build_report(index, TAXONOMY)["near_duplicates"]["list"]
    assert [(p["path"], p.get("defect")) for p in cluster["photos"]] == [
        ("/data/test/0.jpg", None),
        ("/data/twin/0.jpg", "twin_of_test"),
    ]
    assert cluster["given_splits"] == ["test", "train"]


def test_conflicts_are_grouped_by_file():
    same = {"defect": "conflicting_duplicate", "split": None}
    index = table(
        rows(1, name="a", **same), rows(1, name="b", leaf="healthy", **same), rows(1, name="c")
    )
    index.loc[:1, "photo_id"] = "same"
    (conflict,) = build_report(index, TAXONOMY)["conflicts"]
    assert conflict["labels"] == ["dry", "healthy"]
    assert [p["path"] for p in conflict["photos"]] == ["/data/a/0.jpg", "/data/b/0.jpg"]


def test_the_report_is_plain_versioned_json(index):
    report = build_report(index, TAXONOMY)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["schema"] == "cannabis_ml/ingestion-report"
    assert report["version"] == 1


# ------------------------------------------------------------------ what to do


def test_a_sound_set_needs_nothing():
    parts = [rows(5, name=f"{c}-{s}", leaf=c, split=s) for c in ("dry", "healthy") for s in SPLITS]
    report = build_report(table(*parts), Taxonomy(heads=[TAXONOMY["leaf"]]))
    assert report["to_do"] == []
    assert report["verdict"]["level"] == "good"
    assert "Nothing. Train:" in render_page(report)


def test_alarms_come_first_and_set_the_verdict(index):
    def finding(severity):
        return Finding("shortcuts", severity, "leaf", f"This is {severity}.", "Do that.")

    report = build_report(index, TAXONOMY, checked(finding("warning"), finding("alarm")))
    assert report["to_do"][0]["what"] == "This is alarm."
    assert report["verdict"]["level"] == "alarm"
    page = render_page(report)
    assert page.index("This is alarm.") < page.index("This is warning.")


def test_damage_at_large_is_an_alarm_and_a_trace_of_it_a_hint():
    def severities(damaged):
        index = table(rows(200), rows(damaged, name="cut", defect="truncated", split=None))
        leaf = Taxonomy(heads=[Head(name="leaf", classes=["dry", "healthy"])])
        return {s["severity"] for s in build_report(index, leaf)["to_do"] if "set" in s["see"]}

    assert severities(1) == {"hint"}
    assert severities(10) == {"warning"}
    assert "alarm" in severities(100)


def test_classes_missing_from_a_split_are_named(index):
    steps = [s["what"] for s in build_report(index, TAXONOMY)["to_do"]]
    assert "1 class is missing from a split of 'leaf': 'healthy' (test)." in steps


def test_nothing_kept_is_reported_first():
    report = build_report(table(rows(3, defect="empty", split=None)), TAXONOMY)
    assert report["verdict"]["title"] == "No photo can be used"
    assert "No photo can be used" in render_page(report)


# ------------------------------------------------------------------ the page


class Page(HTMLParser):
    """Collects tags, ids and links, and sees that what opens is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append((tag, known))
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if "href" in known else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def test_the_page_is_whole_and_refers_to_nothing_outside(index):
    text = render_page(build_report(index, TAXONOMY))
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", text)
    sources = [known["src"] for tag, known in page.tags if "src" in known]
    assert all(source.startswith("data:") for source in sources)


def test_counts_and_verdict_come_first(index):
    report = build_report(index, TAXONOMY)
    words = " ".join(" ".join(Page(render_page(report)).words).split())
    start = words[: words.index("What to do")]
    assert report["verdict"]["title"] in start
    assert "Found 35" in start
    assert "Kept 27" in start


def test_what_was_measured_is_shown_even_where_nothing_is_wrong(index):
    measured = [
        Predictability("leaf", "leaf", None, kind, 27, 27, 3, accuracy, 0.25, 0.0, False)
        for kind, accuracy in (("file", 0.31), ("border", 0.28))
    ]
    page = Page(render_page(build_report(index, TAXONOMY, SetFindings([], measured, []))))
    words = " ".join(" ".join(page.words).split())
    assert "Neither file nor border gives a label away." in words
    assert "leaf 25% 31% 28% 27" in words


def test_names_cannot_become_markup():
    taxonomy = Taxonomy(heads=[Head(name="<i>head</i>", classes=["<b>a</b>", "c&d"])])
    parts = table(
        rows(2, name="near", cluster=1),
        rows(1, name="cut", defect="<u>new", detail="<em>why</em>", split=None),
        rows(1, name="copy", defect="exact_duplicate", duplicate_of=EVIL, split=None),
        rows(1, name="two", defect="conflicting_duplicate", split=None),
        rows(1, name="dim", flags="<u>flag", repairs="<u>repair"),
    ).assign(source="<s>source</s>")
    parts["<i>head</i>"] = "<b>a</b>"
    parts["path"] = [f"/data/{i}/{EVIL}" for i in range(len(parts))]
    finding = Finding("rare_classes", "warning", "h", "<q>said</q>", "<q>do</q>")
    report = build_report(parts, taxonomy, checked(finding))
    text = render_page(report, draw_thumbnails(report, parts))
    page = Page(text)
    assert page.open == []
    assert not {"script", "i", "b", "u", "em", "s", "q"} & {tag for tag, _ in page.tags}
    assert any("\u240a" in word for word in page.words)  # the line break, made visible


def test_names_that_utf8_cannot_hold_are_borne():
    index = table(rows(1, defect="empty", split=None))
    index["path"] = pd.Series(["/data/caf\udce9.jpg"], dtype=object)
    report = build_report(index, TAXONOMY)
    render_page(report, draw_thumbnails(report, index)).encode("utf-8")


def test_large_sets_make_small_pages():
    index = table(
        rows(3000, name="cut", defect="truncated", detail="Ends early.", split=None),
        rows(3000, name="dim", flags="dark"),
        *(rows(3, name=f"near{i}", cluster=i) for i in range(300)),
    )
    report = build_report(index, TAXONOMY)
    text = render_page(report)
    assert len(text) < 100_000
    assert f"and {3000 - EXAMPLES:,} more" in text
    assert f"and {300 - EXAMPLES:,} more clusters" in text
    assert len(report["near_duplicates"]["list"]) == 300


def test_columns_that_are_not_there_count_as_empty():
    index = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "defect": [None, "empty"], "leaf": "dry"})
    report = build_report(index, TAXONOMY)
    assert report["totals"]["kept"] == 1
    assert Page(render_page(report)).open == []


def test_an_empty_index_makes_a_page():
    report = build_report(table(rows(1)).iloc[:0], TAXONOMY)
    assert report["totals"]["found"] == 0
    assert Page(render_page(report, {})).open == []


# ------------------------------------------------------------------ thumbnails


@pytest.fixture
def shown(tmp_path, write_photo):
    photo = write_photo(tmp_path / "sound.jpg", 1, width=300, height=200)
    broken = tmp_path / "cut.jpg"
    broken.write_bytes(photo.read_bytes()[:2000])
    empty, gone = tmp_path / "none.jpg", tmp_path / "gone.jpg"
    empty.write_bytes(b"")
    index = table(
        rows(1, flags="dark"),
        *(rows(1, defect=d, split=None) for d in ("truncated", "empty", "missing")),
        rows(1),
    )
    unseen = write_photo(tmp_path / "unseen.jpg", 2)
    index["path"] = [str(p) for p in (photo, broken, empty, gone, unseen)]
    return index


def test_photos_are_shrunk_and_others_drawn(shown):
    drawn = draw_thumbnails(build_report(shown, TAXONOMY), shown, size=96)
    sound, *others = (drawn[path] for path in shown["path"][:4])
    kind, _, data = sound.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (96, 64)
    assert all(other.startswith("data:image/svg+xml,") for other in others)
    for other, defect in zip(others, ("truncated", "empty", "missing"), strict=True):
        assert defect in other


def test_only_what_the_page_shows_is_decoded(shown):
    drawn = draw_thumbnails(build_report(shown, TAXONOMY), shown)
    assert shown["path"].iloc[-1] not in drawn
    page = render_page(build_report(shown, TAXONOMY), drawn)
    assert all(page.count(uri) == 1 for uri in drawn.values() if "jpeg" in uri)


def test_a_page_holds_so_many_thumbnails_at_most():
    many = [rows(20, name=f"d{i}", defect=f"defect_{i}", split=None) for i in range(30)]
    index = table(*many, *(rows(9, name=f"n{i}", cluster=i) for i in range(20)))
    report = build_report(index, TAXONOMY)
    drawn = draw_thumbnails(report, index)
    assert len(drawn) == MAX_THUMBNAILS
    per_defect = [sum(p["path"] in drawn for p in d["photos"]) for d in report["defects"]]
    assert min(per_defect) >= max(per_defect) - 1


def test_fifty_thousand_photos_take_seconds():
    import time

    random = np.random.default_rng(0)
    n = 50_000
    index = pd.DataFrame(rows(n)).astype({"look.seeds": "Int8", "look.stems": "Int8"})
    index["cluster"] = pd.array(random.integers(0, n, n), dtype="Int64").astype("Int64")
    index.loc[random.random(n) < 0.5, "cluster"] = pd.NA
    start = time.process_time()
    render_page(build_report(index, TAXONOMY))
    assert time.process_time() - start < 10


def links(**changed):
    """As `check_links` gives them."""
    return LinkReport(
        **{
            "looked_for": True,
            "max_distance": 8,
            "max_difference": 0.045,
            "across_splits": 0,
            "photos_across": {},
            "kept": 9,
            "in_named_groups": 0,
            "named_groups_across": 0,
            "chains": [],
        }
        | changed
    )


def test_links_across_splits_are_counted_and_an_alarm_where_there_are_any(index):
    index = index.assign(cluster=pd.array([1] * len(index), dtype="Int64"))
    sound = build_report(index, TAXONOMY, links=links())
    assert sound["links"]["across_splits"] == 0
    assert "Links across splits: 0" in render_page(sound)
    assert not [s for s in sound["to_do"] if "across splits" in s["what"]]
    cut = links(across_splits=61, photos_across={"test": 15, "train": 11})
    (step,) = [
        s
        for s in build_report(index, TAXONOMY, links=cut)["to_do"]
        if "61 links across splits" in s["what"]
    ]
    assert step["severity"] == "alarm"
    assert "15 in test, 11 in train" in step["what"]


def test_chains_are_a_step_with_the_limits_to_lower(index):
    chain = {
        "photos": 44,
        "of": 80,
        "share": 0.55,
        "first": "a.jpg",
        "last": "z.jpg",
        "difference": 0.4,
        "max_difference": 0.045,
        "lower": {"max_distance": None, "max_difference": 0.031},
    }
    report = build_report(index, TAXONOMY, links=links(chains=[chain]))
    (step,) = [s for s in report["to_do"] if "chain" in s["what"]]
    assert "44 of 80 photos (55%), from a.jpg to z.jpg" in step["what"]
    assert "lower ingestion.groups.max_difference to 0.031:" in step["how"]


def test_given_training_photos_that_share_groups_are_an_alarm_with_the_remedy():
    train = rows(8, split=None, given_split="train", defect="twin_of_test", group="a")
    test = rows(2, split="test", given_split="test", group="a")
    other = rows(4, split="train", given_split="train", group="b")
    report = build_report(table(train, test, other), TAXONOMY)
    assert report["shared_groups"] == {"train": {"shared": 8, "given": 12}}
    (step,) = [s for s in report["to_do"] if "share a group" in s["what"]]
    assert step["severity"] == "alarm"
    assert "8 of 12 photos given as train (67%)" in step["what"]
    assert "keep_splits: false" in step["how"]
    # Twins are not damage: nothing was copied badly.
    assert not [s for s in report["to_do"] if "copied whole" in s["how"]]


def test_a_head_that_is_divided_unevenly_is_reported_once(index):
    def missing(*findings):
        steps = build_report(index, TAXONOMY, checked(*findings))["to_do"]
        return [s for s in steps if "missing from a split" in s["what"]]

    uneven = [
        Finding("uneven_splits", "warning", head.name, f"uneven {head.name}", "Bring.")
        for head in TAXONOMY.heads
    ]
    assert missing()
    assert not missing(*uneven)


def test_hints_fit_what_was_flagged():
    table = pd.DataFrame(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "defect": None,
            "flags": ["near_duplicate", "blurred", "almost_uniform"],
        }
    )
    steps = build_report(table, Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}]))["to_do"]
    told = {step["what"]: step["how"] for step in steps if step["see"] == "flagged"}
    assert "Nothing need be done" in told["Kept with a flag: near-duplicates 1."]
    assert "take again" in told["Kept with a flag: blurred 1."]
    assert "delete what shows no plant" in told["Kept with a flag: almost uniform 1."]
