import numpy as np
import pytest

from cannabis_ml.evaluation.calibration_scores import score_head
from cannabis_ml.pipelines.calibration.figures import OUTSIDE, WITHIN, reliability_diagram
from cannabis_ml.taxonomy import MISSING, Head

KIND = Head(name="kind", classes=list("abcd"))
LOOK = Head(name="look", kind="multilabel", classes=["mould", "seeds"])


def _scores(power=1.0, groups=None):
    random = np.random.default_rng(0)
    true = random.dirichlet([0.7] * 4, 300)
    labels = (true.cumsum(axis=1) < random.random((300, 1))).sum(axis=1)
    said = true**power
    return score_head(KIND, said / said.sum(axis=1, keepdims=True), labels, groups, draws=100)


def _colors(axes):
    from matplotlib.colors import to_hex

    points = axes.collections[-1]
    return [to_hex(color) for color in points.get_facecolors()]


def test_points_outside_the_band_of_perfection_are_red_and_reported():
    sure = _scores(3.0)
    figure = reliability_diagram("kind", {"before": sure, "after": _scores()})
    before, after = figure.axes[0], figure.axes[1]
    outside = [not one.consistent[0] <= one.right <= one.consistent[1] for one in sure.reliability]
    assert sum(outside) > 3
    assert _colors(before) == [OUTSIDE if out else WITHIN for out in outside]
    worst = max(
        (one for one, out in zip(sure.reliability, outside, strict=True) if out),
        key=lambda one: abs(one.right - one.confidence),
    )
    title = before.get_title(loc="left")
    assert (
        f"with confidence {worst.confidence:.2f}, about {100 * worst.right:.0f} are right" in title
    )
    assert "more off than a perfect model is by chance" in title
    assert "no more off than a perfect model is by chance" in after.get_title(loc="left")


def test_points_lie_where_the_bins_are():
    scores = _scores(2.0)
    figure = reliability_diagram("kind", {"before": scores})
    points = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(points, [(one.confidence, one.right) for one in scores.reliability])
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_allclose(heights, scores.histogram)
    assert sum(heights) == pytest.approx(1)


def test_groups_are_reported():
    figure = reliability_diagram("kind", {"before": _scores(groups=np.arange(300) // 3)})
    assert figure.get_suptitle() == "kind: 300 photos in 100 groups, each counting as one"


def test_attributes_are_called_so():
    random = np.random.default_rng(0)
    probs = random.random((200, 2))
    labels = (random.random((200, 2)) < probs).astype(float)
    figure = reliability_diagram("look", {"before": score_head(LOOK, probs, labels, draws=50)})
    assert figure.axes[0].get_ylabel() == "share where it is there"
    assert figure.axes[1].get_xlabel() == "probability that the attribute is there"


@pytest.mark.parametrize("photos", [0, 1, 14])
def test_few_photos_or_none_can_be_drawn(photos, tmp_path):
    labels = np.where(np.arange(20) < photos, np.arange(20) % 4, MISSING)
    probs = np.random.default_rng(0).dirichlet([1] * 4, 20)
    scores = score_head(KIND, probs, labels, draws=20)
    figure = reliability_diagram("kind", {"before": scores, "after": scores})
    figure.savefig(tmp_path / "figure.png")
    told = [text.get_text() for text in figure.axes[0].texts]
    assert ("no photo has a label" in told) == (photos == 0)
