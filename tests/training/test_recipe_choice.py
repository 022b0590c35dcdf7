"""Choosing what a run does in its minutes, on machines whose speed is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.errors import ConfigError
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photos.augmentation_policy import Policy
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe, choose_recipe
from cannabis_ml.training.recipes import BudgetParams, Costs, Recipe, Setup, TierSetup
from cannabis_ml.training.schedule import (
    Distillation,
    LastBlocks,
    Phase,
    Schedule,
    TrainingParams,
)
from cannabis_ml.training.time_needed import (
    SOLVED,
    BackboneSpeed,
    MachineSpeed,
    PerPhoto,
    PhotoCounts,
    forecast,
)

CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters_planning.yml"

FREE = Costs(
    reference_unit=1,
    **{"start": 0, "once": 0, "per_tier": 0, "per_photo": 0, "lightning": 0},
    **{"compared": (0, 0), "comparisons": 0, "answered": 0},
)
"""Nothing but training costs time."""


def schedule(heads=8, top=6, side=None):
    return Schedule(
        phases=[
            Phase(name="heads", epochs=heads, learning_rate=1e-3, train="heads"),
            Phase(
                name="top",
                epochs=top,
                learning_rate=1e-3,
                train=LastBlocks(last_blocks=5),
                image_size=side,
            ),
        ]
    )


def setup(copies=5):
    tiers = {
        name: TierSetup(
            model=ModelParams(backbone=backbone, image_size=side), schedule=schedule(top=top)
        )
        for name, backbone, side, top in (
            ("tier3", "large", 224, 12),
            ("tier2", "small", 192, 9),
            ("tier1", "small", 160, 9),
        )
    }
    return Setup(tiers, TrainingParams(), Policy(), copies, stored_side=256)


def machine(slower=1.0):
    def line(each, megapixel):
        return PerPhoto(each=each * slower, megapixel=megapixel * slower)

    backbones = {
        name: BackboneSpeed(
            features=line(0.001, 0.2 * size),
            predicting=line(0.001, 0.3 * size),
            cpu=line(0.001, 0.2 * size),
            steps={"last 5 blocks": line(0.002, 0.7 * size)},
        )
        for name, size in (("large", 2.0), ("small", 1.0))
    }
    return MachineSpeed(
        machine="test",
        probing=10,
        unit=0.003 * slower,
        reading=0.001 * slower,
        copying=0.002 * slower,
        heads=0.0003 * slower,
        backbones=backbones,
    )


def counts(photos):
    training = int(0.7 * photos)
    return PhotoCounts(
        shown=training,
        training=training,
        validation=photos // 10,
        held_out=photos - training,
    )


@pytest.fixture(scope="module")
def configured():
    text = CONF.read_text("utf-8").replace("${runtime_params:minutes,${globals:minutes,null}}", "1")
    return BudgetParams.model_validate(yaml.safe_load(text)["budget"])


@pytest.fixture(scope="module")
def choose(configured):
    def choose(minutes, photos=2000, slower=1.0, spent=30.0):
        budget = configured.model_copy(update={"minutes": minutes})
        return choose_recipe(setup(), counts(photos), machine(slower), budget, spent)

    return choose


def rank(chosen, budget):
    """Recipes in the order of the list, epochs within each."""
    names = [recipe.name for recipe in budget.recipes]
    epochs = sum(tier.schedule.epochs for tier in chosen.tiers.values())
    return names.index(chosen.name), epochs


def test_a_step_counts_for_every_photo_and_epoch_at_its_own_side():
    one = TierSetup(
        model=ModelParams(backbone="small", image_size=100), schedule=schedule(heads=2, top=3)
    )
    stages = forecast(Setup({"tier1": one}, TrainingParams()), counts(1000), machine(), FREE)
    read, features, predicting = 0.001, 0.001 + 0.002, 0.001 + 0.003
    expected = 800 * (read + features)  # features, of training and validation photos
    expected += 2 * (700 + 50) * 0.0003
    expected += 3 * (700 * (read + 0.002 + 0.007) + 100 * (read + predicting))
    expected += 1000 * (read + predicting)
    assert [stage.name for stage in stages] == ["tier1", "after training"]
    assert stages[0].seconds == pytest.approx(expected)
    # The model file answers the photos that are held out, one by one.
    assert stages[1].seconds == pytest.approx(300 * (read + features))


def test_a_phase_at_a_side_of_its_own_costs_that_side():
    def seconds(side):
        tier = TierSetup(
            model=ModelParams(backbone="small", image_size=200), schedule=schedule(side=side)
        )
        run = Setup({"tier1": tier}, TrainingParams())
        return forecast(run, counts(1000), machine(), FREE)[0].seconds

    assert seconds(200) == pytest.approx(seconds(None))
    assert seconds(200) - seconds(100) == pytest.approx(6 * 700 * 0.7 * 0.03)


def test_a_student_that_is_compared_is_trained_twice():
    def seconds(compare):
        tier = TierSetup(
            model=ModelParams(backbone="small", image_size=100),
            schedule=schedule().model_copy(
                update={"distillation": Distillation(compare_without_teacher=compare)}
            ),
        )
        run = Setup({"tier3": setup().tiers["tier3"], "tier1": tier}, TrainingParams())
        return {s.name: s.seconds for s in forecast(run, counts(1000), machine(), FREE)}

    predicted = 1000 * (0.001 + 0.004)
    once, twice = seconds(False), seconds(True)
    assert twice["tier1"] - predicted == pytest.approx(2 * (once["tier1"] - predicted))
    assert twice["tier3"] == once["tier3"]


@pytest.mark.parametrize("minutes", [15, 20, 30, 60, 90])
@pytest.mark.parametrize("slower", [0.5, 1.0, 2.0])
def test_the_forecast_keeps_to_the_minutes(choose, minutes, slower):
    chosen = choose(minutes, slower=slower)
    assert chosen.forecast_minutes <= minutes
    assert sum(stage.seconds for stage in chosen.stages) == pytest.approx(
        60 * chosen.forecast_minutes
    )


def test_time_that_is_left_goes_to_epochs(choose):
    """Between the cheapest and the dearest recipe the promise is kept from below too."""
    for minutes in range(12, 60, 4):
        assert choose(minutes).forecast_minutes >= 0.8 * minutes, minutes


@settings(max_examples=40, deadline=None)
@given(few=st.floats(8, 100), more=st.floats(8, 100), photos=st.integers(300, 2000))
def test_more_minutes_never_give_a_lesser_recipe(choose, configured, few, more, photos):
    few, more = sorted((few, more))
    assert rank(choose(few, photos), configured) <= rank(choose(more, photos), configured)


def test_more_photos_never_give_a_dearer_recipe(choose, configured):
    ranks = [rank(choose(40, photos), configured) for photos in range(300, 4000, 200)]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) > 3


def test_too_few_minutes_are_refused_with_the_number_that_is_needed(choose):
    with pytest.raises(ConfigError, match=r"2 minutes are too few for 2,000 photos") as refused:
        choose(2)
    needed = float(str(refused.value).partition("--params minutes=")[2].split()[0])
    assert "heads at half the sides" in str(refused.value)
    assert choose(needed).name == "heads at half the sides"
    with pytest.raises(ConfigError):
        choose(needed - 1)


def test_what_was_spent_before_counts(choose):
    assert choose(30, spent=600).stages[0].seconds == 600
    assert choose(30, spent=600).forecast_minutes <= 30


def test_no_photo_is_enlarged(choose):
    sides = {tier.image_size for tier in choose(10_000).tiers.values()}
    assert max(sides) == 256
    assert choose(10_000).copies_side == 256


def test_a_recipe_of_heads_alone_makes_no_copies_and_trains_no_backbone(choose):
    chosen = choose(7)
    assert chosen.copies == 0
    assert {p.name for tier in chosen.tiers.values() for p in tier.schedule.phases} == {"heads"}
    assert {tier.backbone for tier in chosen.tiers.values()} == {"small"}


def test_a_schedule_without_a_phase_of_heads_trains_them_in_its_first():
    tier = setup().tiers["tier3"]
    whole = Schedule(phases=[Phase(name="whole", epochs=7, learning_rate=1e-3, train="all")])
    run = Setup({"tier3": TierSetup(model=tier.model, schedule=whole)}, TrainingParams())
    (phase,) = run.following(Recipe(name="heads", epochs=0)).tiers["tier3"].schedule.phases
    assert (phase.train, phase.epochs) == ("heads", 7)


def test_heads_that_are_solved_stay_so_and_are_read_back(configured):
    solved = Schedule(phases=[Phase(name="heads", train="heads", solver="lbfgs")])
    tier = TierSetup(model=ModelParams(backbone="small", image_size=160), schedule=solved)
    run = Setup({"tier1": tier}, TrainingParams())
    budget = configured.model_copy(update={"minutes": 60})
    chosen = choose_recipe(run, counts(1000), machine(), budget, 30)
    assert chosen.tiers["tier1"].schedule == solved
    read = ChosenRecipe.model_validate_json(chosen.model_dump_json())
    assert read.tiers["tier1"].schedule.phases[0].is_solved


def test_heads_that_are_solved_look_at_each_photo_once():
    solved = Schedule(phases=[Phase(name="heads", train="heads", solver="lbfgs")])
    tier = TierSetup(model=ModelParams(backbone="small", image_size=100), schedule=solved)
    stages = forecast(Setup({"tier1": tier}, TrainingParams()), counts(1000), machine(), FREE)
    looking = 1000 * (0.001 + 0.001 + 0.002)
    assert stages[0].seconds == pytest.approx(looking + SOLVED * 700 * 0.0003)


def test_the_recipe_that_changes_nothing_changes_nothing():
    same = setup().following(Recipe(name="same"))
    assert same == setup()


def test_steps_that_few_photos_need_are_foreseen():
    asking = setup()
    tier1 = asking.tiers["tier1"]
    heads, top = tier1.schedule.phases
    phases = [heads, top.model_copy(update={"fewest_steps": 120})]
    asked = tier1.model_copy(
        update={"schedule": tier1.schedule.model_copy(update={"phases": phases})}
    )
    asking = replace(asking, tiers={**asking.tiers, "tier1": asked})
    few = asking.for_photos(64)  # 2 steps in an epoch
    assert [phase.epochs for phase in few.tiers["tier1"].schedule.phases] == [8, 60]
    assert few.tiers["tier2"] == asking.tiers["tier2"]
    assert few.for_photos(64) == few
    assert few.following(Recipe(name="half", epochs=0.5)).for_photos(64).most_epochs == 30
    assert asking.for_photos(3200).tiers["tier1"].schedule.phases[1].epochs == 9


def test_without_minutes_all_stays_as_configured():
    tier = setup().tiers["tier3"]
    assert AS_CONFIGURED.model_of("tier3", tier.model) is tier.model
    assert AS_CONFIGURED.schedule_of("tier3", tier.schedule) is tier.schedule


def test_what_is_chosen_is_what_a_tier_gets(choose):
    chosen, tier = choose(60), setup().tiers["tier3"]
    model = chosen.model_of("tier3", tier.model)
    assert model.image_size == chosen.tiers["tier3"].image_size
    assert chosen.schedule_of("tier3", tier.schedule) == chosen.tiers["tier3"].schedule
    assert chosen.model_validate_json(chosen.model_dump_json()) == chosen


def test_the_table_has_a_line_per_stage(choose):
    table = "\n".join(choose(30).table())
    for word in ("so far", "tier3", "tier2", "tier1", "after training", "together"):
        assert word in table
