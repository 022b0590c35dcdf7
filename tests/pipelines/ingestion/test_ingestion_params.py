"""Settings that make no sense are refused."""

import pytest
from pydantic import ValidationError

from cannabis_ml.photo_sets.groups import GroupParams
from cannabis_ml.photo_sets.splitting import SplitParams
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.params import IndexParams


def test_fractions_must_sum_to_one():
    with pytest.raises(ValidationError, match=r"add up to 1\.1"):
        SplitParams(train=0.8)
    assert SplitParams(train=0.6, validation=0.2).fractions["train"] == 0.6


@pytest.mark.parametrize(
    "model", [IndexParams, DefectParams, GroupParams, SplitParams, StoreParams]
)
def test_every_field_is_described_and_typing_errors_are_reported(model):
    assert all(field.description for field in model.model_fields.values())
    with pytest.raises(ValidationError):
        model(sed=1)
