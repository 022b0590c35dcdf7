from pathlib import Path

import yaml

from cannabis_ml.feedback.vetting import VettingParams

CONF = Path(__file__).parents[3] / "conf/base/parameters_feedback.yml"


def test_defaults_are_those_of_the_configuration():
    written = yaml.safe_load(CONF.read_text("utf-8"))["feedback"]["vetting"]
    assert VettingParams.model_validate(written) == VettingParams()
    assert VettingParams().model_dump(mode="json") == written
