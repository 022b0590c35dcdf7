"""What a model file gives besides the probabilities of its heads."""

import numpy as np
import pytest

from cannabis_ml.errors import ExportError, TaxonomyError
from cannabis_ml.inference.outputs import (
    Output,
    absent,
    described,
    output_faults,
    output_names,
    relative_difference,
)
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.taxonomy import Taxonomy

FAMILY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "crop", "classes": ["rose", "fern"]},
            {
                "name": "leaf",
                "classes": ["spot", "rust"],
                "parent": "crop",
                "allowed": {"rose": ["spot"], "fern": ["rust"]},
            },
        ]
    }
)


def test_every_output_has_its_name_and_its_meaning():
    names = output_names(FAMILY, members=2, attention=True)
    assert names == [
        "crop",
        "leaf",
        "embedding",
        "crop.aleatoric",
        "crop.epistemic",
        "leaf.aleatoric",
        "leaf.epistemic",
        "attention",
        "leaf.given",
    ]
    told = described(FAMILY, dict.fromkeys(names, (2,)))
    assert list(told) == names
    assert "mean entropy" in told["leaf.aleatoric"].meaning
    assert "mutual information" in told["leaf.epistemic"].meaning
    assert absent(members=2, attention=True) == {}


def test_what_a_network_cannot_give_is_absent_with_a_reason():
    assert output_names(FAMILY, members=1, attention=False) == [
        "crop",
        "leaf",
        "embedding",
        "leaf.given",
    ]
    reasons = absent(members=1, attention=False)
    assert set(reasons) == {"{head}.aleatoric", "{head}.epistemic", "attention"}
    assert "feature map" in reasons["attention"]


@pytest.mark.parametrize("name", ["embedding", "attention", "crop.epistemic"])
def test_no_head_may_be_called_as_another_output(name):
    heads = [*FAMILY.model_dump()["heads"][:1], {"name": name, "classes": ["a", "b"]}]
    taxonomy = Taxonomy.model_validate({"heads": heads})
    with pytest.raises(TaxonomyError, match=f"'{name}': no head may have the name of another"):
        output_names(taxonomy, members=2, attention=False)


def test_a_shape_that_is_not_fixed_fits_any():
    told = {"a": Output(shape=(3, 2), meaning=""), "b": Output(shape=(), meaning="")}
    assert list(output_faults(told, {"a": (0, 2), "b": (), "c": (9,)})) == []
    assert list(output_faults(told, {"a": (3, 4)})) == [
        "'a' is [3, 4] per photo, not [3, 2]",
        "'b' is missing",
    ]


def test_differences_are_relative_where_values_are_large():
    small, large = np.array([0.0, 0.5]), np.array([0.0, -4.0])
    assert relative_difference(small, small + 0.1) == pytest.approx(0.1)
    assert relative_difference(large, large + 0.1) == pytest.approx(0.025)
    assert relative_difference(large, large[:1]) == relative_difference(large, None) == np.inf


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_outputs_of_a_file_must_match_its_card(model_file, kind):
    def output(*shape):
        return {"shape": list(shape), "meaning": "told"}

    true = {"embedding": output(3), "grade": output(4)}
    assert open_model(model_file(kind, outputs=true)).card.outputs["grade"].shape == (4,)
    missing = model_file(kind, outputs={**true, "attention": output(2, 2)})
    with pytest.raises(ExportError, match="has other outputs than its card: 'attention' is miss"):
        open_model(missing)
    with pytest.raises(ExportError, match=r"'embedding' is \[3\] per photo, not \[5\]"):
        open_model(model_file(kind, outputs={"embedding": output(5)}))
    with pytest.raises(ExportError, match=r"card of .* makes no sense: outputs\.embedding"):
        open_model(model_file(kind, outputs={"embedding": 3}))


def test_cards_that_describe_no_output_are_read(model_file, photos):
    """Files that were written before cards did have one text for all."""
    opened = open_model(model_file("onnx", outputs="float32 (N, K) probabilities per head"))
    assert opened.card.outputs == {}
    answer = opened.predict(photos(1)[0])
    assert answer.attention is None
    assert answer["grade"].uncertainty == {}
    assert answer.embedding.shape == (3,)


def test_an_answer_carries_all_outputs_of_its_photo(model_file, photos):
    opened = open_model(model_file("onnx"))
    outputs = opened.outputs(photos(2))
    outputs |= {
        "grade.aleatoric": np.array([0.5, 0.75], np.float32),
        "grade.epistemic": np.array([0.125, 0.25], np.float32),
        "attention": np.arange(8, dtype=np.float32).reshape(2, 2, 2) / 8,
    }
    answer = opened.answer(outputs, row=1)
    assert answer["grade"].uncertainty == {"aleatoric": 0.75, "epistemic": 0.25}
    assert answer["marks"].uncertainty == {}
    np.testing.assert_array_equal(answer.attention, [[0.5, 0.625], [0.75, 0.875]])
    np.testing.assert_array_equal(answer.embedding, outputs["embedding"][1])
    told = answer.as_json()["heads"]
    assert (told["grade"]["aleatoric"], told["grade"]["epistemic"]) == (0.75, 0.25)
    assert "aleatoric" not in told["marks"]
