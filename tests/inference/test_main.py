"""`python -m cannabis_ml.inference`."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.inference.__main__ import main
from cannabis_ml.photos.resize import center_crop_resize


@pytest.fixture
def folder(photos, tmp_path):
    """Two photos, one of them deeper, something broken and something else."""
    (tmp_path / "photos/deep").mkdir(parents=True)
    first, second = photos(2)
    Image.fromarray(first).save(tmp_path / "photos/1.png")
    Image.fromarray(second).save(tmp_path / "photos/deep/2.PNG", "PNG")
    (tmp_path / "photos/bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "photos/notes.txt").write_text("not a photo")
    return tmp_path / "photos"


@pytest.fixture
def run(written, capfd):
    """Run with a sound bundle: `status, out, err = run("photo.jpg", "--json")`."""

    def run(*arguments, bundle=written):
        try:
            status = main([str(bundle), *map(str, arguments)])
        except SystemExit as ended:  # argparse
            status = ended.code
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.mark.parametrize(
    "order",
    ["b --tier tier2 1 2", "--tier tier2 b 1 2", "b 1 --tier tier2 2", "b 1 2 --tier tier2"],
)
def test_options_may_stand_anywhere(run, folder, written, order, capfd):
    names = {"b": str(written), "1": str(folder / "1.png"), "2": str(folder / "deep/2.PNG")}
    given = [names.get(word, word) for word in order.split()]
    assert main([*given, "--json"]) == 0
    out = capfd.readouterr().out
    assert [json.loads(line)["photo"] for line in out.splitlines()] == [names["1"], names["2"]]
    assert out == run(names["1"], names["2"], "--json", "--tier", "tier2")[1]


def test_a_photo_whose_name_looks_like_an_option(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "1.png").rename("--1.png")
    status, out, _ = run("--json", "--", "--1.png")
    assert (status, json.loads(out)["photo"]) == (0, "--1.png")


def test_a_report_for_people(run, folder, photos, written):
    from cannabis_ml.inference import Bundle

    status, out, err = run(folder / "1.png", folder / "deep/2.PNG")
    assert (status, err) == (0, "")
    first, second = out.split("\n\n")
    expected = Bundle.open(written).report(folder / "1.png").in_words(str(folder / "1.png"))
    assert first.split() == " ".join(expected).split()
    assert second.startswith(f"{folder / 'deep/2.PNG'}:")  # a long path has a line of its own
    assert max(map(len, out.splitlines()[1:])) <= 100


def test_a_report_in_another_language(run, folder):
    status, out, err = run(folder / "1.png", "--language", "es")
    assert (status, err) == (0, "")
    assert "Confianza:" in out or "Puntuación:" in out
    told = json.loads(run(folder / "1.png", "--language", "es", "--json")[1])
    assert told["language"] == "es"


def test_a_language_without_texts_is_refused_before_anything_is_read(run, folder):
    status, out, err = run(folder / "1.png", "--language", "tlh", bundle="no bundle")
    assert (status, out) == (2, "")
    assert "Reports have no texts in 'tlh', only in en, es" in err


def test_levels_are_chosen(run, folder, monkeypatch):
    from cannabis_ml.inference import reporter

    seen, real = [], reporter.Reporter.__init__
    monkeypatch.setattr(
        reporter.Reporter, "__init__", lambda self, *a: seen.append(a[2]) or real(self, *a)
    )
    assert run(folder / "1.png", "--levels", "0.8", "0.7", "0.5", "--top", "1")[0] == 0
    (settings,) = seen
    assert (settings.reliable, settings.likely, settings.retake) == (0.8, 0.7, 0.5)
    assert settings.alternatives == 1
    status, _, err = run(folder / "1.png", "--levels", "0.5", "0.7", "0.8")
    assert status == 2
    assert "they must fall" in err


def test_heat_maps_of_photos_of_one_name_do_not_overwrite_each_other(
    run, folder, tmp_path, monkeypatch
):
    from cannabis_ml.inference.onnx_predictor import ONNXPredictor

    real = ONNXPredictor.invoke
    map_of_all = np.array([[[0.2, 0.6]]], np.float32)
    monkeypatch.setattr(ONNXPredictor, "invoke", lambda *a: {**real(*a), "attention": map_of_all})
    (folder / "deep/2.PNG").rename(folder / "deep/1.png")
    maps = tmp_path / "new/maps"
    photos = (folder / "1.png", folder / "deep/1.png")
    status, out, err = run(
        *photos, "--tier", "tier2", "--heat-map", maps, "--heat-map-of", "attention"
    )
    assert (status, err) == (0, "")
    assert sorted(path.name for path in maps.iterdir()) == ["1.2.heat_map.png", "1.heat_map.png"]
    for photo, name in zip(photos, ("1.heat_map.png", "1.2.heat_map.png"), strict=True):
        assert Image.open(maps / name).size == Image.open(photo).size
        assert str(maps / name) in out.replace("\n    ", " ")
    told = json.loads(run(photos[0], "--tier", "tier2", "--heat-map", maps, "--json")[1])
    assert told["heat_map"]["file"] == str(maps / "1.heat_map.png")
    assert told["heat_map"]["kind"] == "occlusion"


def test_a_model_without_attention_reports_that_it_gives_no_heat_map(run, folder, tmp_path):
    status, out, _ = run(
        folder / "1.png", "--heat-map", tmp_path / "maps", "--heat-map-of", "attention"
    )
    assert status == 0
    assert "No heat map: the model file of tier1 gives none." in out
    assert list((tmp_path / "maps").iterdir()) == []


def test_a_folder_for_heat_maps_that_cannot_be_made_is_refused(run, folder):
    status, out, err = run(folder / "1.png", "--heat-map", folder / "notes.txt")
    assert (status, out) == (2, "")
    assert "--heat-map: no folder" in err


def test_a_heat_map_that_cannot_be_written_costs_no_report(run, folder, tmp_path, monkeypatch):
    from cannabis_ml.inference import heat_map

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heat_map, "save_png", fails)
    status, out, err = run(folder / "1.png", "--heat-map", tmp_path, "--json")
    assert status == 1
    assert json.loads(out)["heads"]
    assert err.endswith("1.heat_map.png: No space left on device\n")


def test_a_table_for_people(run, folder, small, photos):
    status, out, err = run(folder / "1.png", "--table")
    assert (status, err) == (0, "")
    heading, *lines = out.splitlines()
    assert heading.split() == ["photo", "head", "answer", "how", "likely"]
    assert len(lines) == 3
    expected = small.reference(center_crop_resize(photos(1)[0], small.size)[None])["kind.of thing"][
        0
    ]
    best = small.taxonomy["kind.of thing"].class_names[expected.argmax()]
    cells = lines[0].removeprefix(str(folder / "1.png")).split()
    assert cells[:4] == ["kind.of", "thing", best, best]
    assert float(cells[4]) == pytest.approx(expected.max(), abs=0.006)
    assert lines[1].split()[0] == "grade"


def test_an_ordinal_answer_and_how_likely_it_is_are_one_reading(run, folder, small, photos):
    """Both in the table and in JSON: never the median beside another class that is likelier."""
    probs = small.reference(center_crop_resize(photos(1)[0], small.size)[None])["grade"][0]
    _, out, _ = run(folder / "1.png", "--json")
    told = json.loads(out)["heads"]["grade"]
    names = small.taxonomy["grade"].class_names
    k = names.index(told["answer"])
    assert k == int((probs.cumsum() < 0.5).sum())
    assert told["or_better"] == pytest.approx(probs[: k + 1].sum(), abs=1e-3)
    assert told["within_one"] == pytest.approx(probs[max(0, k - 1) : k + 2].sum(), abs=1e-3)
    _, out, _ = run(folder / "1.png", "--table")
    cells = next(line for line in out.splitlines() if line.split()[0] == "grade").split()
    assert cells[1:3] == [told["answer"]] * 2


def test_json_for_machines(run, folder, small, photos):
    status, out, err = run(folder / "1.png", folder / "deep/2.PNG", "--json", "--tier", "tier2")
    assert (status, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["photo"] for t in told] == [str(folder / "1.png"), str(folder / "deep/2.PNG")]
    expected = small.reference(
        np.stack([center_crop_resize(photo, small.size) for photo in photos(2)])
    )
    for i, one in enumerate(told):
        for head in small.taxonomy.heads:
            probs = one["heads"][head.name]["probs"]
            assert list(probs) == head.class_names
            np.testing.assert_allclose(list(probs.values()), expected[head.name][i], atol=2e-5)
        likely = [c for c, p in one["heads"]["marks"]["probs"].items() if p >= 0.5]
        assert one["heads"]["marks"]["answer"] == likely
        assert (
            one["heads"]["kind.of thing"]["answer"] in small.taxonomy["kind.of thing"].class_names
        )


def test_a_folder_is_searched_in_order(run, folder):
    status, out, _ = run(folder, "--json")
    assert status == 1
    names = [json.loads(line)["photo"] for line in out.splitlines()]
    assert names == [str(folder / name) for name in ("1.png", "bad.jpg", "deep/2.PNG")]


def test_a_photo_in_a_folder_is_known_by_what_it_is_whatever_it_is_called(
    run, folder, small, photos
):
    (folder / "bad.jpg").unlink()
    (folder / "1.png").rename(folder / "IMG_1")
    (folder / "deep/2.PNG").rename(folder / "deep/2.download")
    status, out, err = run(folder, "--json")
    assert status == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["photo"] for t in told] == [str(folder / "IMG_1"), str(folder / "deep/2.download")]
    assert err == f"{folder / 'notes.txt'}: not a photo\n"


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "._1.png", ".DS_Store", "~$1.png"])
def test_hidden_and_system_files_fail_nothing(name, run, folder):
    (folder / name).write_bytes(b"not a photo")
    status, out, err = run(folder / "1.png", folder / name, "--json")
    assert (status, len(out.splitlines())) == (0, 1)
    assert err == f"{folder / name}: a hidden file or a system's, passed over\n"
    (folder / "bad.jpg").unlink()
    (folder / "notes.txt").unlink()
    assert run(folder)[::2] == (0, "")


def test_a_system_folder_that_a_shell_gave_fails_nothing(run, folder):
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX/._1.png").write_bytes(b"\0\5\x16\7")
    status, out, _ = run(folder / "1.png", folder / "__MACOSX", "--json")
    assert (status, len(out.splitlines())) == (0, 1)


def test_a_folder_may_itself_be_hidden(run, folder):
    (folder / "deep").rename(folder / ".deep")
    assert run(folder / ".deep", "--json")[0] == 0


def test_nothing_but_hidden_files_is_reported(run, folder):
    (folder / ".DS_Store").touch()
    status, _, err = run(folder / ".DS_Store")
    assert status == 2
    assert "No photo" in err


def test_a_bad_photo_is_named_and_the_rest_answered(run, folder):
    status, out, err = run(folder / "bad.jpg", folder / "absent.jpg", folder / "1.png", "--json")
    assert status == 1
    bad, absent = err.splitlines()
    assert bad.startswith(f"{folder / 'bad.jpg'}: truncated")
    assert absent == f"{folder / 'absent.jpg'}: No such file or directory"
    lines = [json.loads(line) for line in out.splitlines()]
    assert ["error" in line for line in lines] == [True, True, False]


def test_a_photo_from_stdin(run, folder, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((folder / "1.png").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    status, out, _ = run("-", "--json")
    assert status == 0
    piped = json.loads(out)
    assert piped["photo"] == "-"
    assert piped["heads"] == json.loads(run(folder / "1.png", "--json")[1])["heads"]


def test_top_limits_what_is_shown(run, folder):
    assert run(folder / "1.png", "--top", "1", "--table")[1].splitlines()[2].count("0.") <= 1
    assert run(folder / "1.png", "--top", "0")[0] == 2


def test_float_takes_the_float_file(run, folder, written, monkeypatch):
    from cannabis_ml.inference.bundle import Bundle

    asked, real = [], Bundle.predictor
    monkeypatch.setattr(Bundle, "predictor", lambda *a: asked.append(a[1:]) or real(*a))
    run(folder / "1.png", "--float", "--threads", "2")
    run(folder / "1.png")
    assert asked == [("tier1", False, 2, None), ("tier1", None, 0, None)]


def test_an_unknown_tier_is_refused(run, folder):
    status, out, err = run(folder / "1.png", "--tier", "tier9")
    assert (status, out) == (2, "")
    assert "no tier 'tier9'; it has tier1, tier2" in err


def test_an_altered_bundle_is_refused(run, folder, bundle):
    (bundle / "README.md").write_text("other")
    status, out, err = run(folder / "1.png", bundle=bundle)
    assert (status, out) == (2, "")
    assert "README.md was altered" in err
    assert "Traceback" not in err


def test_photos_must_be_given(run, tmp_path):
    assert run()[0] == 2
    status, _, err = run(tmp_path)
    assert status == 1
    assert "a folder without photos" in err


def test_a_device_is_not_read(run):
    status, _, err = run("/dev/zero")
    assert status == 1
    assert "not a regular file" in err


def test_check_reports_on_the_golden_photos(run, written, bundle):
    status, out, err = run("--check")
    assert (status, err) == (0, "")
    assert out.count("agrees") == 3
    assert "photos at 16: 0 grey levels apart" in out
    assert json.loads(run("--check", "--json")[1])["passed"] is True


def test_check_fails_where_answers_differ(run, written, monkeypatch):
    from cannabis_ml.inference.predictor import Predictor

    real = Predictor.outputs
    monkeypatch.setattr(
        Predictor, "outputs", lambda *a, **k: {n: 0.9 * v for n, v in real(*a, **k).items()}
    )
    status, out, _ = run("--check")
    assert status == 1
    assert out.count("DIFFERS") == 3


def test_as_a_process_it_answers_a_zip_without_heavy_libraries(written, folder):
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_module('cannabis_ml.inference', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as ended:\n    assert ended.code == 0, ended\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(written.with_name("bundle.zip"))]
    done = subprocess.run(
        [*command, str(folder / "1.png"), "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["photo"] == str(folder / "1.png")
    heavy = {"torch", "tensorflow", "timm", "lightning", "kedro", "pandas", "datasets", "onnx"}
    assert heavy & set(eval(done.stderr.splitlines()[-1])) == set()


def test_a_reader_that_has_seen_enough_ends_it_quietly(written, folder):
    photos = [str(folder / "1.png")] * 300
    command = [sys.executable, "-m", "cannabis_ml.inference", str(written), *photos]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("as_json", [True, False])
def test_names_that_the_output_cannot_encode_cost_no_answer(encoding, as_json, written, folder):
    photo = (folder / "1.png").read_bytes()
    names = [b"caf\xe9.png", "花.png".encode(), b"last.png"]
    odd = os.fsencode(folder) + b"/odd"
    Path(os.fsdecode(odd)).mkdir()
    for name in names:
        Path(os.fsdecode(odd + b"/" + name)).write_bytes(photo)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cannabis_ml.inference", str(written), os.fsdecode(odd)),
            *(["--json"] if as_json else []),
        ],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    if as_json:
        said = [json.loads(line)["photo"].rpartition("/")[2] for line in text.splitlines()]
        # No surrogates: other readers of JSON refuse or replace them.
        assert sorted(said) == sorted(["caf\\xe9.png", "花.png", "last.png"])
    else:
        assert "last.png" in text
        assert "caf\\xe9.png" in text


def test_a_runtime_is_chosen_by_name(run, folder):
    status, out, err = run(folder / "1.png", "--json", "--runtime", "onnxruntime")
    told = json.loads(out)
    assert (status, err, told["tier"], told["runtime"]) == (0, "", "tier2", "onnxruntime")
    status, out, err = run(folder / "1.png", "--runtime", "onnxruntime", "--tier", "tier1")
    assert (status, out) == (2, "")
    assert "onnxruntime does not run tflite files: take litert or tensorflow" in err
    assert run(folder / "1.png", "--runtime", "tflite")[0] == 2


def test_check_lists_what_the_runtime_does_not_run(run):
    status, out, _ = run("--check", "--runtime", "litert")
    assert status == 0
    assert out.count("litert: agrees") == 2
    assert "tiers/tier2.float.onnx: not checked, litert does not run it" in out
