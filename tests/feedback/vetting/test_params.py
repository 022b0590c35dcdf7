from pathlib import Path

import pytest
import yaml

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.vetting import VettingParams

CONF = Path(__file__).parents[3] / "conf/base/parameters_feedback.yml"


@pytest.mark.parametrize(("key", "params"), [("vetting", VettingParams), ("audit", AuditParams)])
def test_defaults_are_those_of_the_configuration(key, params):
    written = yaml.safe_load(CONF.read_text("utf-8"))["feedback"][key]
    assert params().model_dump(mode="json") == written
