import numpy as np
import pytest
from scipy.stats import binom, ks_2samp

from cannabis_ml.feedback.drift import DriftParams, Sample, _holm, _ks, _mmd, find_drift

QUICK = DriftParams(false_alarms=0.05, permutations=199)


def sample(random, photos, shift=0.0, groups=None):
    embeddings = random.normal(0, 1, (photos, 8))
    if groups is not None:
        embeddings = random.normal(0, 1, (groups.max() + 1, 8))[groups]
        embeddings += random.normal(0, 0.05, embeddings.shape)
    confidence = 1 / (1 + np.exp(-embeddings[:, 0] - 1))
    embeddings[:, 1] += shift
    return Sample(embeddings, {"kind": np.clip(confidence - shift / 5, 0, 1)}, groups)


def test_false_alarms_are_as_rare_as_promised():
    """200 quiet checks of three tests each, at 5% in total."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        before, after = sample(random, 40), sample(random, 60)
        before.confidences["grade"] = random.random(40)
        after.confidences["grade"] = random.random(60)
        alarms += find_drift(before, after, QUICK)["drifted"].any()
    assert alarms <= binom.ppf(0.995, 200, 0.05)


def test_near_duplicates_alarm_nobody():
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 5)
    together = apart = 0
    for _ in range(60):
        before, after = sample(random, 60, groups=groups), sample(random, 60, groups=groups)
        together += find_drift(before, after, QUICK)["drifted"].any()
        alone = (Sample(s.embeddings, s.confidences) for s in (before, after))
        apart += find_drift(*alone, QUICK)["drifted"].any()
    assert together <= binom.ppf(0.995, 60, 0.05)
    assert apart > binom.ppf(0.995, 60, 0.05)


def test_what_drifts_is_found_and_named():
    random = np.random.default_rng(2)
    before, after = sample(random, 200), sample(random, 150, shift=1.0)
    found = find_drift(before, after, DriftParams()).set_index("what")
    assert found["drifted"].all()
    assert found.loc["confidence of kind", "change"] < -0.1
    assert found.loc["confidence of kind", "reason"].startswith(
        "confidence of kind: drifted (p = 0.0"
    )
    assert found.loc["embeddings", "reason"].endswith("150 recent photos)")


def test_what_drifts_is_found_however_many_heads_there_are():
    """999 permutations give no p-value that is below 1% after correction for 12 tests."""
    random = np.random.default_rng(5)
    before = {f"head {i}": random.random(60) for i in range(12)}
    after = {name: values + 2.0 for name, values in before.items()}
    assert find_drift(Sample(None, before), Sample(None, after), DriftParams())["drifted"].all()


def test_the_statistic_and_p_value_are_those_of_scipy():
    random = np.random.default_rng(3)
    before, after = random.random(80).round(2), random.random(70).round(2) ** 1.3
    theirs = ks_2samp(before, after)
    params = DriftParams(permutations=1999)
    found = find_drift(Sample(None, {"a": before}), Sample(None, {"a": after}), params).iloc[0]
    assert found["statistic"] == pytest.approx(theirs.statistic)
    assert found["p_value"] == pytest.approx(theirs.pvalue, abs=0.03)


def test_the_discrepancy_is_that_of_its_definition():
    values = np.random.default_rng(4).normal(0, 1, (7, 2))
    side = np.array([[True, True, True, False, False, False, False]])
    squares = ((values[:, None] - values) ** 2).sum(axis=2)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(7, 1)]))
    expected = kernel[:3, :3].mean() + kernel[3:, 3:].mean() - 2 * kernel[:3, 3:].mean()
    assert _mmd(values, side)[0] == pytest.approx(expected)


def test_equal_confidences_do_not_differ():
    values = np.repeat([0.2, 0.9], 6)[:, None]
    side = np.tile([True, False], 6)[None]
    assert _ks(values, side)[0] == pytest.approx(0)


def test_too_few_photos_are_not_tested():
    random = np.random.default_rng(5)
    found = find_drift(sample(random, 100), sample(random, 10), DriftParams())
    assert found["p_value"].isna().all()
    assert not found["drifted"].any()
    assert found["reason"].str.contains("too few photos to test").all()


def test_unknown_confidences_are_left_out():
    random = np.random.default_rng(6)
    before, after = random.random(100), random.random(100)
    after[:60] = np.nan
    found = find_drift(Sample(None, {"a": before}), Sample(None, {"a": after}), DriftParams())
    assert found["photos"].tolist() == [40]


def test_holm_by_hand():
    assert _holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
