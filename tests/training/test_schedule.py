import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from cannabis_ml.networks.params import ModelParams
from cannabis_ml.tiers import TIERS
from cannabis_ml.training.schedule import (
    Distillation,
    LastBlocks,
    Phase,
    Schedule,
    TrainingParams,
    TrainingPlan,
)

CONF = Path(__file__).parents[2] / "conf"

SCHEDULE = Schedule.model_validate(
    yaml.safe_load(
        """
phases:
  - {name: heads, epochs: 2, learning_rate: 1.0e-3, train: heads}
  - {name: top, epochs: 3, learning_rate: 1.0e-4, train: {last_blocks: 2}}
  - {name: whole, epochs: 1, learning_rate: 1.0e-5, train: all}
"""
    )
)


def test_phases_follow_each_other():
    assert SCHEDULE.epochs == 6
    assert [SCHEDULE.phase_at(epoch) for epoch in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    assert [SCHEDULE.first_epoch(index) for index in range(3)] == [0, 2, 5]
    assert SCHEDULE.phases[1].train == LastBlocks(last_blocks=2)


def test_only_leading_phases_of_heads_alone_can_be_cached():
    assert SCHEDULE.cached_epochs == 2
    turned = SCHEDULE.model_copy(update={"phases": SCHEDULE.phases[::-1]})
    assert turned.cached_epochs == 0


def test_phases_of_the_same_name_are_refused():
    phase = {"name": "heads", "epochs": 1, "learning_rate": 1e-3}
    with pytest.raises(ValidationError, match="names of phases must differ"):
        Schedule.model_validate({"phases": [phase, phase]})


@pytest.mark.parametrize("params", [Schedule, TrainingParams, Phase, Distillation, LastBlocks])
def test_fields_are_documented_and_misspelt_ones_refused(params):
    assert all(field.description for field in params.model_fields.values())
    with pytest.raises(ValidationError, match="Extra inputs"):
        params.model_validate({"epoch": 3})


def test_few_photos_get_the_steps_that_a_phase_asks_for():
    phases = [
        SCHEDULE.phases[0],
        SCHEDULE.phases[1].model_copy(update={"fewest_steps": 100}),
    ]
    plan = TrainingPlan(
        ModelParams(),
        TrainingParams(batch_size=32, patience=5),
        SCHEDULE.model_copy(update={"phases": phases}),
    )
    few = plan.for_photos(120)  # 4 steps in an epoch
    assert [phase.epochs for phase in few.schedule.phases] == [2, 25]
    assert few.training.patience == math.ceil(5 * 25 / 3)
    assert few.for_photos(120).schedule == few.schedule
    many = plan.for_photos(3200)
    assert [phase.epochs for phase in many.schedule.phases] == [2, 3]
    assert many.training.patience == 5
    larger = replace(plan, schedule=plan.schedule.model_copy(update={"batch_size": 8}))
    assert larger.for_photos(120).schedule.phases[1].epochs == 7  # of 15 steps


def test_heads_that_are_solved_have_no_steps():
    with pytest.raises(ValidationError, match=r"is solved \(lbfgs\) and has no fewest_steps"):
        Phase(name="heads", train="heads", solver="lbfgs", fewest_steps=9)


def test_every_process_needs_a_photo():
    with pytest.raises(ValidationError, match="leaves none of 4 processes a photo"):
        TrainingParams(batch_size=3, devices=2, nodes=2)


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


ENVIRONMENTS = sorted(path.parent.name for path in CONF.glob("*/parameters_training.yml"))


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_configuration_of_the_project_is_valid(env):
    written = yaml.safe_load((CONF / "base/parameters_training.yml").read_text())
    own = yaml.safe_load((CONF / env / "parameters_training.yml").read_text())
    written = merged(written, own)
    TrainingParams.model_validate(written["training"])
    for tier in TIERS:
        ModelParams.model_validate(written[tier.name]["model"])
        Schedule.model_validate(written[tier.name]["schedule"])


def test_a_batch_size_of_the_schedule_goes_before_that_of_all_tiers():
    phase = Phase(name="top", epochs=1, learning_rate=1e-3, fewest_steps=12)
    schedules = [Schedule(phases=[phase], batch_size=size) for size in (None, 8)]
    assert [schedule.steps(20, 5) for schedule in schedules] == [4, 3]
    assert [schedule.for_photos(20, 5).phases[0].epochs for schedule in schedules] == [3, 4]
