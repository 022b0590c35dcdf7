"""A model file on its own decides by calibrated probabilities once the rule is written into it."""

import numpy as np
import pytest

from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.pipelines.calibration.nodes import carry_decision


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_files_carry_the_calibrated_rule_and_change_in_nothing_else(kind, model_file, photos):
    rule = DecisionRule(calibrators={"kind.of thing": Temperature(temperature=2.0)})
    given = model_file(kind)
    carried = carry_decision({"float": given}, rule)["float"]
    carried.check()
    assert carried.card.decision == rule
    assert carried.card.model_copy(update={"decision": DecisionRule()}) == given.card

    (photo,) = photos(1)
    before, after = open_model(given).predict(photo), open_model(carried).predict(photo)
    np.testing.assert_array_equal(after["kind.of thing"].raw, before["kind.of thing"].probs)
    softened = np.sqrt(before["kind.of thing"].probs)
    np.testing.assert_allclose(after["kind.of thing"].probs, softened / softened.sum(), atol=1e-6)
    np.testing.assert_array_equal(after["grade"].probs, before["grade"].probs)
