"""The core with a bundle that was written, and the check that a device makes of itself."""

import base64
import json

import pytest

from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize

TIER = "tier1"


@pytest.fixture
def files(small_bundle):
    return {
        path.relative_to(small_bundle.path).as_posix(): path.read_bytes()
        for path in sorted(small_bundle.path.rglob("*"))
        if path.is_file()
    }


def as_case(files, **more):
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return {"files": encoded, "tier": TIER, **more}


def device(bundle, files, outputs, pixels=None):
    """A device whose model gives outputs (N, …); `pixels` are decoded otherwise than here."""
    photos = {name: decode(data) for name, data in files.items() if name.endswith(".png")}
    photos |= pixels or {}
    count = len(bundle.golden().photos)
    return as_case(
        files,
        pixels={
            name: {
                "width": found.shape[1],
                "height": found.shape[0],
                "data": base64.b64encode(found.tobytes()).decode(),
            }
            for name, found in photos.items()
        },
        outputs=[{n: v[i].ravel().tolist() for n, v in outputs.items()} for i in range(count)],
    )


@pytest.fixture
def outputs(small_bundle):
    return small_bundle.predictor(TIER).outputs(small_bundle.golden_photos(), batch_size=1)


def test_a_device_that_answers_alike_passes(core, small_bundle, files, outputs):
    (found,) = core("device", [device(small_bundle, files, outputs)])
    report = found["report"]
    ours = small_bundle.check_golden()
    assert report["passed"]
    assert report["photos"] == ours.photos
    assert report["inputs"] == ours.inputs
    size = small_bundle.tier_file(TIER).image_size
    seen = [center_crop_resize(photo, size).tobytes() for photo in small_bundle.golden_photos()]
    assert [base64.b64decode(text) for text in found["seen"]] == seen


def test_a_device_that_answers_otherwise_fails(core, small_bundle, files, outputs):
    head = small_bundle.taxonomy.heads[0].name
    turned = {**outputs, head: outputs[head][:, ::-1]}
    (found,) = core("device", [device(small_bundle, files, turned)])
    (report,) = found["report"]["tiers"][TIER].values()
    assert not found["report"]["passed"]
    assert not report["passed"]
    assert report["largest_difference"][head] > report["tolerance"]


def test_a_browser_that_scrambles_pixels_fails(core, small_bundle, files, outputs):
    name = small_bundle.golden().photos[0]
    scrambled = {name: decode(files[name]) ^ 0x20}
    (found,) = core("device", [device(small_bundle, files, outputs, scrambled)])
    assert not found["report"]["passed"]
    assert max(found["report"]["inputs"].values()) > 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 5}, "BundleError: The bundle has schema_version 5"),
        ({"tiers": {}}, "BundleError: Routing asks 'tier1', which is not a tier"),
        ({"tiers": {}, "routing": None}, "BundleError: The bundle has no tier 'tier1'"),
        ({"routing": {"file": "README.md", "sha256": ""}}, "BundleError: README.md is not JSON"),
    ],
)
def test_bundles_of_another_kind_are_refused(core, files, change, reason):
    manifest = json.loads(files["bundle.json"]) | change
    given = {**files, "bundle.json": json.dumps(manifest).encode()}
    (found,) = core("refused", [as_case(given)])
    assert found.startswith(reason)


def test_a_damaged_unknown_score_is_refused(core, files):
    (name,) = [name for name in files if name.endswith("tier1.npz")]
    whole = files[name]
    damaged = [whole[: len(whole) // 2], whole[:-30], b"", whole.replace(b"<f4", b"<f8")]
    cases = [as_case({**files, name: data}) for data in [*damaged, whole]]
    *refused, fine = core("refused", cases)
    assert fine is None
    assert all(found.startswith("BundleError: ") for found in refused), refused


def test_outputs_that_no_model_gives_are_refused(core, small_bundle, files, outputs):
    name = small_bundle.taxonomy.heads[0].name
    first = {n: values[0].ravel().tolist() for n, values in outputs.items()}
    missing = {n: values for n, values in first.items() if n != name}
    short = {**first, name: first[name][:-1]}
    # JSON has no NaN; what is not a number becomes one in a Float32Array.
    broken = {**first, "embedding": ["NaN", *first["embedding"][1:]]}
    cases = [as_case(files, outputs=given) for given in (missing, short, broken, first)]
    assert core("refused", cases) == [
        f"BundleError: The model gives 0 probabilities of '{name}', not 3.",
        f"BundleError: The model gives 2 probabilities of '{name}', not 3.",
        "BundleError: The model gives values that are not finite for 'embedding'.",
        None,
    ]


def test_pages_run_the_file_that_is_for_them(core, small_bundle, files):
    manifest = json.loads(files["bundle.json"])
    shipped = manifest["tiers"][TIER]["float"]
    page = {**shipped, "file": "tiers/tier1.page.tflite", "format": "tflite"}
    manifest["tiers"][TIER]["page"] = page
    with_page = {**files, "bundle.json": json.dumps(manifest).encode()}
    assert core("model", [as_case(given) for given in (files, with_page)]) == [shipped, page]
