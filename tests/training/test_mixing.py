import pytest
import torch

from cannabis_ml.networks.params import LossParams
from cannabis_ml.training.losses import hierarchical_loss
from cannabis_ml.training.mixing import mix


@pytest.fixture
def photos():
    """Four photos, each of one level."""
    levels = torch.tensor([0, 10, 100, 200], dtype=torch.uint8)
    return levels[:, None, None, None].expand(4, 3, 20, 30).contiguous()


def test_mixup_weighs_every_pixel_by_its_share(photos):
    torch.manual_seed(1)
    mixed = mix(photos, mixup=0.4, cutmix=0.0)
    assert (mixed.partner != torch.arange(4)).all()
    expected = mixed.share * photos.float() + (1 - mixed.share) * photos.float()[mixed.partner]
    torch.testing.assert_close(mixed.photos, expected)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_shares_are_those_of_the_area(photos, seed):
    torch.manual_seed(seed)
    mixed = mix(photos, mixup=0.0, cutmix=1.0)
    own = (mixed.photos == photos).float().mean(dim=(1, 2, 3))
    assert own.tolist() == pytest.approx([mixed.share] * 4)
    other = mixed.photos == photos[mixed.partner]
    assert ((mixed.photos == photos) | other).all()


def test_nothing_is_mixed_unless_asked_or_alone(photos):
    assert mix(photos, 0.0, 0.0) is None
    assert mix(photos[:1], 1.0, 1.0) is None


def test_same_seed_same_mixture(photos):
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(mix(photos, 0.2, 1.0))
    assert torch.equal(found[0].photos, found[1].photos)
    assert found[0].share == found[1].share


def test_mixed_loss_is_that_of_soft_labels(taxonomy):
    """Cross-entropy with the label (share, 1 - share) is the shared sum of two: by hand."""
    logits = {
        "colour": torch.tensor([[[2.0, 0.0, -1.0]]]),
        "shade": torch.zeros(1, 1, 3),
        "marks": torch.tensor([[[0.5, -1.0]]]),
    }
    params = LossParams(label_smoothing=0.0)

    def loss(colour, mark):
        targets = {
            "colour": torch.tensor([colour]),
            "shade": torch.tensor([-1]),
            "marks": torch.tensor([[mark, float("nan")]]),
        }
        return hierarchical_loss(logits, targets, taxonomy, params)[0]

    soft = torch.tensor([0.7, 0.3, 0.0])
    by_hand = -(soft * logits["colour"][0, 0].log_softmax(0)).sum()
    by_hand += 0.3 * torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(0.5), torch.tensor(0.7)
    )
    assert 0.7 * loss(0, 1.0) + 0.3 * loss(1, 0.0) == pytest.approx(float(by_hand))
