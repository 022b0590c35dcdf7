"""The recipe of a run in the catalog: taken for the minutes that it was chosen for, no others."""

import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.chosen_recipe import ChosenRecipeDataset, EarlierRecipeDataset
from cannabis_ml.datasets.clock import StopwatchDataset
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe


@pytest.fixture
def at(tmp_path):
    def at(minutes, kind=ChosenRecipeDataset, save=None):
        path = str(tmp_path / "chosen_recipe.json")
        return kind(filepath=path, minutes=minutes, version=Version(None, save))

    return at


def test_without_minutes_all_stays_as_configured_whatever_is_stored(at):
    assert at(None).load() == AS_CONFIGURED
    at(30, save="2031-01-01").save(ChosenRecipe(minutes=30, name="heads"))
    assert at(None).load() == AS_CONFIGURED
    assert at(None, EarlierRecipeDataset).load() is None


def test_a_stage_of_its_own_takes_the_recipe_of_the_same_minutes(at):
    at(30, save="2031-01-01").save(ChosenRecipe(minutes=30, name="heads"))
    assert at(30).load().name == "heads"
    assert at(30, EarlierRecipeDataset).load().name == "heads"
    assert at(20, EarlierRecipeDataset).load() is None


def test_minutes_that_nothing_was_chosen_for_are_refused(at):
    assert at(20, EarlierRecipeDataset).load() is None
    with pytest.raises(DatasetError, match=r"20 minutes \(there is none\)"):
        at(20).load()
    at(30, save="2031-01-01").save(ChosenRecipe(minutes=30, name="heads"))
    with pytest.raises(DatasetError, match=r"that of the last run is for 30.*\n.*minutes=20"):
        at(20).load()


def test_the_newest_counts(at):
    at(30, save="2031-01-01").save(ChosenRecipe(minutes=30, name="heads"))
    at(30, save="2031-01-02").save(AS_CONFIGURED)
    assert at(30, EarlierRecipeDataset).load() is None
    with pytest.raises(DatasetError, match="is for any number"):
        at(30).load()


def test_what_was_before_is_read_only(at):
    with pytest.raises(DatasetError, match="read-only"):
        at(30, EarlierRecipeDataset).save(AS_CONFIGURED)
    with pytest.raises(DatasetError, match="read-only"):
        StopwatchDataset().save(1)


def test_a_stopwatch_goes_on():
    stopwatch = StopwatchDataset().load()
    assert 0 <= stopwatch.seconds <= stopwatch.seconds
