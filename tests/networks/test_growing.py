import numpy as np
import pytest
import torch

from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.building import build_network, grow_network, replace_head, restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def start(taxonomy):
    params = ModelParams(
        backbone="test_efficientnet", image_size=32, weights=["random"], ensemble=2
    )
    torch.manual_seed(1)
    network, _ = build_network(params, taxonomy)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Checkpoint(state, network.card("test_efficientnet"))


def grown(taxonomy):
    heads = taxonomy.model_dump()["heads"]
    heads[0]["classes"] = [{"name": name} for name in ("grey", "red", "green", "blue")]
    return Taxonomy.model_validate({"heads": heads})


def test_a_grown_network_has_the_same_features_and_old_answers(start, taxonomy):
    before, after = restore(start), grow_network(start, grown(taxonomy))
    photos = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(after.embed(photos), before.embed(photos), rtol=0, atol=0)
    old, new = before(photos), after(photos)
    torch.testing.assert_close(new["colour"][:, :, 1:], old["colour"])
    torch.testing.assert_close(new["marks"], old["marks"])


def test_a_head_with_a_hidden_layer_of_its_own_survives_a_checkpoint(start, taxonomy):
    network = grow_network(start, grown(taxonomy))
    replace_head(network, "colour", 7)
    card = network.card("test_efficientnet")
    assert card.hidden == {"colour": 7, "shade": 0, "marks": 0}
    again = NetworkCard.model_validate_json(card.model_dump_json())
    state = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    restored = restore(Checkpoint(state, again))
    features = torch.randn(4, network.num_features)
    for name, logits in network.eval().classify(features).items():
        np.testing.assert_array_equal(restored.classify(features)[name].detach(), logits.detach())
