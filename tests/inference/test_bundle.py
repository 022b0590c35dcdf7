import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cannabis_ml.errors import BundleError, ExportError
from cannabis_ml.exporting.model_metadata import with_card, with_card_text
from cannabis_ml.inference import archive
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.manifest import BundleManifest, content_hash, is_plain_name
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.photos.resize import center_crop_resize

FLOAT, QUANTIZED = "tiers/tier1.float.tflite", "tiers/tier1.weight_only_int8.tflite"


def zipped(bundle: Path) -> Path:
    return bundle.with_name("bundle.zip")


@pytest.fixture(params=["folder", "zip"])
def form(request, written):
    return written if request.param == "folder" else zipped(written)


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    return str(caught.value)


def edited(bundle: Path, **changes) -> None:
    """Change `bundle.json`, its checksum included."""
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    said |= changes
    said["content_sha256"] = content_hash(said)
    (bundle / "bundle.json").write_text(json.dumps(said), encoding="utf-8")


def zip_of(path: Path, files: dict[str, bytes], **how) -> Path:
    with zipfile.ZipFile(path, "w", **how) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def files_of(bundle: Path) -> dict[str, bytes]:
    return {
        p.relative_to(bundle).as_posix(): p.read_bytes()
        for p in sorted(bundle.rglob("*"))
        if p.is_file()
    }


# What is written


def test_a_bundle_describes_itself(form, small):
    bundle = Bundle.open(form)
    said = bundle.manifest
    assert (said.name, said.created) == ("small", "2026-11-21T12:00:00+00:00")
    assert (said.run, said.photo_set_fingerprint) == ("abc", "def")
    assert bundle.taxonomy == small.taxonomy
    assert said.taxonomy_sha256 == small.taxonomy.sha256
    assert bundle.tiers == ["tier1", "tier2"]
    assert said.tiers["tier1"].ships == "quantized"
    assert said.tiers["tier2"].ships == "float"
    assert bundle.model_card == small.model_card


def test_tiers_answer(form, small, photos):
    bundle, given = Bundle.open(form), photos(3)
    expected = small.reference(np.stack([center_crop_resize(photo, small.size) for photo in given]))
    for tier in bundle.tiers:
        for name, probs in bundle.predictor(tier, threads=1).probs(given).items():
            np.testing.assert_allclose(probs, expected[name], atol=2e-5)


def test_what_ships_is_what_one_gets(form):
    bundle = Bundle.open(form)
    assert bundle.model_file("tier1").quantization == "weight_only_int8"
    assert bundle.model_file("tier1", quantized=True).quantization == "weight_only_int8"
    assert bundle.model_file("tier1", quantized=False).quantization == "float"
    assert bundle.model_file("tier2").quantization == "float"
    with pytest.raises(BundleError, match=r"tier2 .* no quantized file"):
        bundle.predictor("tier2", quantized=True)


@pytest.fixture(scope="module")
def with_page(contents, model_file, tmp_path_factory):
    """A bundle whose tier 2 ships as ONNX and has a TFLite file for web pages."""
    files = {
        "tier1": {"float": model_file("tflite", tier="tier1")},
        "tier2": {
            "float": model_file("onnx", tier="tier2"),
            "page": model_file("tflite", "float16", tier="tier2"),
        },
    }
    return write_bundle(tmp_path_factory.mktemp("page") / "bundle", contents(tiers=files))


def test_a_tier_may_have_a_file_for_web_pages_beside_the_one_that_ships(with_page):
    entry = with_page.manifest.tiers["tier2"]
    assert (entry.ships, entry.page.file) == ("float", "tiers/tier2.float16.tflite")
    assert with_page.model_file("tier2").format == "onnx"
    assert with_page.model_file("tier2", kind="page").sha256 == entry.page.sha256
    assert with_page.predictor("tier2", kind="page").runtime in ("litert", "tensorflow")
    with pytest.raises(BundleError, match=r"tier1 .* no file for web pages beside the one"):
        with_page.predictor("tier1", kind="page")


def test_golden_photos_check_the_file_for_web_pages(with_page):
    golden = with_page.golden().tiers["tier2"]
    assert golden["page"].file == "tiers/tier2.float16.tflite"
    assert golden["page"].tolerance == golden["float"].tolerance
    report = with_page.check_golden()
    assert report.passed
    assert list(report.tiers["tier2"]) == ["float", "page"]
    onnx_alone = with_page.check_golden(runtime="onnxruntime")
    assert "tiers/tier2.float16.tflite" in onnx_alone.not_checked


def test_a_file_for_web_pages_that_answers_otherwise_fails(with_page, monkeypatch):
    wrong = with_page.golden().model_copy(deep=True)
    wrong.tiers["tier2"]["page"].outputs["grade"][0][0] += 0.01
    monkeypatch.setattr(with_page, "golden", lambda: wrong)
    report = with_page.check_golden()
    assert not report.passed
    assert report.tiers["tier2"]["float"].passed
    assert not report.tiers["tier2"]["page"].passed


def test_a_file_for_web_pages_is_tflite_of_a_tier_that_is_not(contents, model_file, tmp_path):
    onnx, tflite = model_file("onnx"), model_file("tflite", "float16")
    for files in ({"float": onnx, "page": onnx}, {"float": model_file("tflite"), "page": tflite}):
        with pytest.raises(BundleError, match="of the same format as its others"):
            write_bundle(tmp_path / "bundle", contents(tiers={"tier1": files}))


def test_a_bundle_from_before_files_for_web_pages_opens(bundle):
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    for tier in said["tiers"].values():
        assert tier.pop("page") is None
    edited(bundle, **said)
    opened = Bundle.open(bundle)
    assert opened.manifest.tiers["tier2"].page is None
    assert opened.check_golden().passed


def test_an_unknown_tier_or_file_is_named_with_those_there_are(form):
    bundle = Bundle.open(form)
    with pytest.raises(BundleError, match="no tier 'tier_1'; it has tier1, tier2; did you mean"):
        bundle.predictor("tier_1")
    with pytest.raises(BundleError, match=r"no file READ\.me; did you mean 'README\.md'"):
        bundle.read("READ.me")


def test_golden_photos_give_the_same_answers_on_this_machine(form, photos):
    bundle = Bundle.open(form)
    for ours, given in zip(bundle.golden_photos(), photos(3), strict=True):
        np.testing.assert_array_equal(ours, given)
    report = bundle.check_golden()
    assert report.passed
    assert report.photos == 3
    assert report.inputs == {"16": 0}
    assert {tier: list(kinds) for tier, kinds in report.tiers.items()} == {
        "tier1": ["float", "quantized"],
        "tier2": ["float"],
    }


def test_the_same_contents_give_the_same_bytes(written, contents, tmp_path):
    write_bundle(tmp_path / "bundle", contents())
    assert files_of(tmp_path / "bundle") == files_of(written)
    assert zipped(tmp_path / "bundle").read_bytes() == zipped(written).read_bytes()


def test_folder_and_zip_hold_the_same(written):
    with zipfile.ZipFile(zipped(written)) as packed:
        assert packed.namelist()[0] == "bundle.json"
        assert {name: packed.read(name) for name in packed.namelist()} == files_of(written)


def test_a_model_file_taken_out_of_a_bundle_still_shows_damage(contents, model_file, tmp_path):
    bundle = write_bundle(tmp_path / "b", contents())
    for tier in bundle.tiers:
        bundle.model_file(tier).check()
    data = model_file("onnx").data
    changed = dataclasses.replace(model_file("onnx"), data=data[:-70] + b"x" + data[-69:])
    with pytest.raises(ExportError, match="does not end with the SHA-256"):
        write_bundle(tmp_path / "c", contents(tiers={"tier2": {"float": changed}}))
    assert not (tmp_path / "c").exists()


def test_the_manifest_follows_its_schema(written):
    said = json.loads((written / "bundle.json").read_text(encoding="utf-8"))
    assert set(said) == set(BundleManifest.model_json_schema()["properties"])
    assert said["schema_version"] == 4
    entry = said["tiers"]["tier1"]["float"]
    assert (written / entry["file"]).stat().st_size == entry["bytes"]
    assert (entry["format"], entry["quantization"], entry["image_size"]) == ("tflite", "float", 16)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tiers": {}}, "at least one tier"),
        ({"created": "yesterday"}, "created"),
    ],
)
def test_contents_that_make_no_bundle_are_refused(contents, tmp_path, change, complaint):
    with pytest.raises(BundleError, match=complaint):
        write_bundle(tmp_path / "bundle", contents(**change))
    assert list(tmp_path.iterdir()) == []


def test_tiers_must_fit_the_bundle(contents, model_file, small, tmp_path):
    file = model_file("onnx")
    fewer = small.taxonomy.model_copy(update={"heads": small.taxonomy.heads[:1]})
    other = with_card(file, file.card.model_copy(update={"taxonomy": fewer}))
    for tiers, complaint in [
        ({"tier1": {"quantized": file}}, "it needs 'float'"),
        ({"tier1": {"float": file, "int8": file}}, "'quantized'"),
        ({"tier1": {"float": file, "quantized": file}}, "same quantization"),
        ({"tier1": {"float": other}}, "another taxonomy"),
        ({"../tier1": {"float": file}}, "plain path"),
    ]:
        with pytest.raises(BundleError, match=complaint):
            write_bundle(tmp_path / "bundle", contents(tiers=tiers))


def test_tiers_keep_their_order_whatever_their_names(contents, model_file, tmp_path):
    tiers = {name: {"float": model_file("onnx", tier=name)} for name in ("watch", "phone")}
    write_bundle(tmp_path / "bundle", contents(tiers=tiers))
    for form in (tmp_path / "bundle", zipped(tmp_path / "bundle")):
        assert Bundle.open(form).tiers == ["watch", "phone"]


# Bands, prediction sets, back-off and unknown scores


def replaced(bundle: Path, name: str, data: bytes) -> None:
    """Exchange a file, and write the manifest anew so that every hash is right."""
    (bundle / name).write_bytes(data)
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    said["files"][name] = hashlib.sha256(data).hexdigest()
    for ref in [said, *said["tiers"].values()]:
        for entry in ref.values():
            if isinstance(entry, dict) and entry.get("file") == name:
                entry["sha256"] = said["files"][name]
    edited(bundle, **said)


def test_reliability_unknown_scores_and_routing_come_back(form, small, photos):
    bundle = Bundle.open(form)
    assert bundle.reliability("tier1") == small.reliability
    assert bundle.routing == small.routing
    score, outputs = bundle.unknown("tier1"), bundle.predictor("tier1").outputs(photos(3))
    np.testing.assert_array_equal(score.score(outputs), small.unknown_score().score(outputs))
    assert score.threshold == small.unknown_score().threshold


def test_tiers_without_them_have_none(written, contents, tmp_path):
    bundle = Bundle.open(written)
    assert bundle.reliability("tier2").is_empty
    assert bundle.unknown("tier2") is None
    bare = write_bundle(tmp_path / "b", contents(reliability={}, unknown={}, routing=None))
    assert bare.routing is None
    assert bare.check_golden().passed
    assert not [name for name in bare.manifest.files if "tier1.json" in name or "npz" in name]


def test_golden_answers_hold_what_follows_from_the_outputs(form, small, photos):
    bundle = Bundle.open(form)
    golden, rules = bundle.golden().tiers["tier1"], bundle.rules("tier1")
    for kind in ("float", "quantized"):
        opened = bundle.predictor("tier1", quantized=kind == "quantized", threads=1)
        found = rules.apply(opened.outputs(photos(3), batch_size=1))
        written = golden[kind].conclusions
        assert written.unknown == pytest.approx(found.unknown.tolist())
        for name, values in found.probs.items():
            np.testing.assert_allclose(written.calibrated[name], values, atol=1e-6)
        third = [
            [name for name in one if name == "blaugrün"] for one in written.sets["kind.of thing"]
        ]
        assert third == [["blaugrün"]] * 3  # its limit is infinite
    assert golden["float"].conclusions.back_off.keys() == {"grade"}
    assert bundle.golden().tiers["tier2"]["float"].conclusions.sets == {}


@pytest.mark.parametrize("name", ["reliability/tier1.json", "unknown/tier1.npz", "routing.json"])
def test_altered_rules_are_reported(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    assert f"{name} was altered: its SHA-256 differs" in refused(bundle)
    (bundle / name).unlink()
    assert f"{name} is missing" in refused(bundle)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("reliability/tier1.json", {"bands": 3}, "is not a valid Reliability: bands"),
        (
            "reliability/tier1.json",
            {"back_off": [{"heads": ["size"]}]},
            "not a valid Reliability: back_off",
        ),
        ("routing.json", {"head": "size"}, "routing is by 'size', which is not"),
        ("routing.json", {"tiers": [{"tier": "tier9", "accept_from": 0.5}]}, "asks 'tier9'"),
    ],
)
def test_rules_that_do_not_fit_are_refused_whatever_their_hash(bundle, name, change, complaint):
    said = json.loads((bundle / name).read_text("utf-8")) | change
    replaced(bundle, name, json.dumps(said).encode())
    opened = Bundle.open(bundle)
    with pytest.raises(BundleError, match=complaint):
        _ = opened.routing if name == "routing.json" else opened.reliability("tier1")


def test_an_unknown_score_that_cannot_be_read_is_refused(bundle):
    replaced(bundle, "unknown/tier1.npz", b"PK\3\4 not an archive")
    with pytest.raises(BundleError, match=r"tier1\.npz.*cannot be read"):
        Bundle.open(bundle).unknown("tier1")


def test_an_unknown_score_that_would_grow_is_refused(bundle):
    held = io.BytesIO()
    np.savez_compressed(held, header=np.zeros(1_000_000, np.uint8))
    replaced(bundle, "unknown/tier1.npz", held.getvalue())
    with pytest.raises(BundleError, match="would grow"):
        Bundle.open(bundle).unknown("tier1")


def test_rules_must_fit_the_bundle(contents, small, tmp_path):
    score, routing = small.unknown_score(), RoutingRule.fixed("grade", ["tier1", "tier3"], [0.5])
    of_other = {"size": small.reliability.bands["kind.of thing"]}
    bands = small.reliability.model_copy(update={"bands": of_other})
    doubled = {"center": 0, "means": 1, "directions": 0}
    wide = dataclasses.replace(
        score, arrays={n: score.arrays[n].repeat(2, axis=axis) for n, axis in doubled.items()}
    )
    marks = dataclasses.replace(score, head="marks")
    for change, complaint in [
        ({"reliability": {"tier3": small.reliability}}, "reliability of 'tier3', which is not"),
        ({"reliability": {"tier1": bands}}, "tier1: a band is for 'size'"),
        ({"unknown": {"tier1": marks}}, "tier1: its head 'marks'"),
        ({"unknown": {"tier1": wide}}, "reads 6 features of .*, which gives 3"),
        ({"routing": routing}, "asks 'tier3', which is not a tier"),
    ]:
        with pytest.raises(BundleError, match=complaint):
            write_bundle(tmp_path / "bundle", contents(**change))


# Writing that breaks off


def test_an_error_while_writing_leaves_the_older_bundle(bundle, contents, monkeypatch):
    before, packed = files_of(bundle), zipped(bundle).read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("cannabis_ml.inference.bundle_writer._write_zip", full)
    with pytest.raises(OSError, match="No space"):
        write_bundle(bundle, contents(name="newer"))
    assert files_of(bundle) == before
    assert zipped(bundle).read_bytes() == packed
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle", "bundle.zip"]


KILLED = """
import os, sys, pickle
from pathlib import Path
from cannabis_ml.inference import bundle_writer
contents = pickle.loads(Path(sys.argv[1]).read_bytes())
written = 0
def slow(self, data, real=Path.write_bytes):
    global written
    written += 1
    if written == {after}:
        os._exit(9)
    return real(self, data)
Path.write_bytes = slow
bundle_writer.write_bundle(Path(sys.argv[2]), contents)
"""


@pytest.mark.parametrize("older", [True, False])
def test_a_killed_writer_leaves_the_older_bundle_or_none(
    written, contents, older, tmp_path, monkeypatch
):
    import pickle

    folder = tmp_path / "out" / "bundle"
    folder.parent.mkdir()
    if older:
        shutil.copytree(written, folder)
    (tmp_path / "contents").write_bytes(pickle.dumps(contents(name="newer")))
    code = KILLED.format(after=4)
    command = [sys.executable, "-c", code, str(tmp_path / "contents"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 9, done.stderr
    if older:
        assert Bundle.open(folder).manifest.name == "small"
    else:
        assert not folder.exists()
    write_bundle(folder, contents(name="newer"))
    assert Bundle.open(folder).manifest.name == "newer"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["bundle", "bundle.zip"]


# What is refused


def test_nothing_there(tmp_path):
    assert "Nothing is at" in refused(tmp_path / "absent")
    assert "it has no bundle.json" in refused(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert "photo.jpg cannot be read" in refused(tmp_path / "photo.jpg")


def test_all_that_is_wrong_is_listed(bundle):
    (bundle / FLOAT).unlink()
    data = bytearray((bundle / QUANTIZED).read_bytes())
    data[-1] ^= 1
    (bundle / QUANTIZED).write_bytes(data)
    (bundle / "README.md").write_text("shorter")
    (bundle / "more.txt").write_text("")
    assert refused(bundle).splitlines()[1:-1] == [
        "  README.md was altered: its SHA-256 differs",
        f"  {FLOAT} is missing",
        f"  {QUANTIZED} was altered: its SHA-256 differs",
        "  more.txt was added",
    ]


def test_a_file_cut_short_is_noticed_by_its_size(bundle):
    size = (bundle / FLOAT).stat().st_size
    os.truncate(bundle / FLOAT, size - 7)
    assert f"{FLOAT} was altered: {size - 7:,} bytes instead of {size:,}" in refused(bundle)


def test_exchanged_files_are_reported(bundle):
    one, other = bundle / FLOAT, bundle / QUANTIZED
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)
    told = refused(bundle)
    assert FLOAT in told
    assert QUANTIZED in told


def test_what_systems_add_does_not_matter(bundle, tmp_path):
    (bundle / ".DS_Store").write_bytes(b"x")
    (bundle / "tiers" / "Thumbs.db").write_bytes(b"x")
    Bundle.open(bundle)
    files = {f"my bundle/{name}": data for name, data in files_of(bundle).items()}
    litter = {"__MACOSX/my bundle/._x": b"x"}
    packed = zip_of(tmp_path / "mine.zip", files | litter, compression=zipfile.ZIP_DEFLATED)
    assert Bundle.open(packed).manifest.name == "small"


@pytest.mark.parametrize("top", ["", "my bundle\\", ".\\", ".\\my bundle\\", "./"])
def test_a_bundle_packed_again_with_backslashes_is_the_same(bundle, tmp_path, top):
    slash = "/" if top == "./" else "\\"
    files = {f"{top}{name.replace('/', slash)}": data for name, data in files_of(bundle).items()}
    folders = {f"{top}tiers{slash}": b"", f"{top}__MACOSX{slash}._x": b"x"}
    opened = Bundle.open(zip_of(tmp_path / "again.zip", folders | files))
    assert opened.read("README.md") == (bundle / "README.md").read_bytes()
    assert {name: opened.read(name) for name in opened.manifest.files} == {
        name: data for name, data in files_of(bundle).items() if name != "bundle.json"
    }


def test_backslashes_hide_nothing(bundle, tmp_path):
    evil = zip_of(tmp_path / "out.zip", files_of(bundle) | {"..\\..\\evil": b"x"})
    assert "../../evil was added" in refused(evil)
    name = next(n for n in files_of(bundle) if n.startswith("tiers/"))
    twice = zip_of(tmp_path / "2.zip", files_of(bundle) | {name.replace("/", "\\"): b"x"})
    assert f"holds {name} twice" in refused(twice)


@pytest.mark.parametrize("version", [0, 1, 3, 5, "4", True, 4.0, None, [4]])
def test_an_unknown_schema_is_reported(bundle, version):
    edited(bundle, schema_version=version)
    told = refused(bundle)
    assert f"schema_version {version!r}; known here is 4" in told
    assert "Update cannabis_ml" in told


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"schema_version": 4}', "\0"])
def test_a_manifest_that_is_none_is_reported(bundle, text):
    (bundle / "bundle.json").write_text(text)
    assert "bundle.json" in refused(bundle)


def test_an_edited_manifest_is_reported(bundle):
    path = bundle / "bundle.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"small"', '"large"'), "utf-8")
    assert "bundle.json was altered: its checksum differs" in refused(bundle)


def test_another_layout_of_the_same_manifest_is_accepted(bundle):
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))), "utf-8")
    assert Bundle.open(bundle).manifest.name == "small"


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:/x", "a//b", "a/", "", "nul", "con.txt", ".x"],
)
def test_names_that_lead_out_of_the_bundle_are_refused(bundle, name):
    assert not is_plain_name(name)
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    edited(bundle, files={**said["files"], name: "0" * 64})
    assert "is not a plain path" in refused(bundle)


def test_a_manifest_that_contradicts_itself_is_refused(bundle):
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    tier = said["tiers"]["tier2"]
    for changes, complaint in [
        ({"taxonomy_sha256": "0" * 64}, "another hash"),
        ({"files": {}}, "is not among `files`"),
        ({"tiers": {"tier2": {**tier, "ships": "quantized"}}}, "there is none"),
        ({"tiers": {}}, "at least 1"),
        ({"taxonomy": {"heads": []}}, "no heads"),
        ({"files": {**said["files"], "x": "no hash"}}, "no SHA-256"),
        ({"surprise": 1}, "surprise"),  # stays there: the last
    ]:
        edited(bundle, **{**said, **changes})
        assert complaint in refused(bundle)


def test_a_file_altered_after_opening_is_reported(bundle):
    opened = Bundle.open(bundle)
    path = bundle / FLOAT
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(BundleError, match="altered since the bundle was opened"):
        opened.predictor("tier1", quantized=False)
    path.write_bytes(path.read_bytes() + b"\7" * 100)
    with pytest.raises(BundleError, match="grew while it was read"):
        opened.predictor("tier1", quantized=False)
    os.truncate(path, 100)
    with pytest.raises(BundleError, match="bytes early"):
        opened.predictor("tier1", quantized=False)


def test_a_pipe_in_the_folder_is_refused(bundle):
    os.mkfifo(bundle / "pipe")
    assert "pipe is not a regular file" in refused(bundle)


# Archives


def test_a_bomb_is_not_unpacked(bundle, tmp_path):
    files = files_of(bundle) | {"bomb": bytes(100_000_000)}
    packed = zip_of(tmp_path / "bomb.zip", files, compression=zipfile.ZIP_DEFLATED)
    assert "bomb would grow from" in refused(packed)


def test_too_much_altogether_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    assert "1,000 are allowed" in refused(bundle)
    assert "1,000 are allowed" in refused(zipped(bundle))
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    assert "a bundle has fewer" in refused(zipped(bundle))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(bundle):
    with zipfile.ZipFile(zipped(bundle), "a") as packed:
        packed.writestr("README.md", "another")
    assert "holds README.md twice" in refused(zipped(bundle))


def test_an_encrypted_archive_is_refused(bundle):
    data = bytearray(zipped(bundle).read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 8] |= 1
    zipped(bundle).write_bytes(data)
    assert "encrypted" in refused(zipped(bundle))


def test_entries_outside_of_the_archive_are_refused(bundle, tmp_path):
    packed = zip_of(tmp_path / "out.zip", files_of(bundle) | {"../../evil": b"x"})
    assert "../../evil was added" in refused(packed)
    assert not (tmp_path.parent / "evil").exists()


def test_a_model_of_another_bundle_is_refused(bundle, contents, model_file, small, tmp_path):
    """Its hash in the manifest may be right, if the manifest was written anew."""
    file = model_file("onnx")
    heads = small.taxonomy.model_dump()["heads"]
    renamed = {"heads": [{**heads[0], "classes": ["x", "y", "z"]}, *heads[1:]]}
    other = with_card_text(file, json.dumps({**small.card(), "taxonomy": renamed}))
    name = "tiers/tier2.float.onnx"
    (bundle / name).write_bytes(other.data)
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    said["files"][name] = said["tiers"]["tier2"]["float"]["sha256"] = other.sha256
    said["tiers"]["tier2"]["float"]["bytes"] = len(other.data)
    edited(bundle, **said)
    with pytest.raises(BundleError, match="another taxonomy"):
        Bundle.open(bundle).predictor("tier2")


def test_a_broken_model_in_a_sound_bundle_is_an_export_error(written, monkeypatch):
    bundle = Bundle.open(written)
    file = bundle.model_file("tier2")
    broken = dataclasses.replace(file, data=file.data[:200])
    monkeypatch.setattr(bundle, "model_file", lambda *_, **__: broken)
    with pytest.raises(ExportError):
        bundle.predictor("tier2")
