"""Mapping on a Dask cluster gives what threads give, whatever becomes of workers."""

import json
import pickle
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

from cannabis_ml._io.cluster import Asking, installed, run_chunk
from cannabis_ml._io.cluster_dask import DaskPool
from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.photo_files import read_file
from cannabis_ml.errors import EngineError

sys.path.insert(0, str(Path(__file__).parents[1]))

import cluster_functions as functions


@pytest.fixture(scope="module")
def cluster(dask_cluster):
    with dask_cluster() as cluster:
        cluster.add_worker()
        cluster.add_worker()
        yield cluster


@pytest.fixture
def engine(cluster):
    return Engine(dask=cluster.address, chunk=4)


@pytest.mark.parametrize("count", [0, 1, 4, 50])
def test_results_come_in_order(engine, count):
    assert list(map_in_order(functions.squared, range(count), engine=engine)) == [
        n * n for n in range(count)
    ]


def test_both_workers_work(engine):
    assert len(set(map_in_order(functions.process_of, range(40), engine=engine))) == 2


def test_items_are_consumed_little_by_little(engine):
    taken = []

    def items():
        for n in range(10_000):
            taken.append(n)
            yield n

    results = map_in_order(functions.squared, items(), engine=engine)
    assert next(results) == 0
    assert len(taken) <= 2 * 3 * 4  # workers, chunks ahead of each, photos per chunk
    results.close()


def test_an_error_comes_back_as_itself_after_the_results_before_it(engine):
    results = map_in_order(functions.fail_at_seven, range(1000), engine=engine)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(KeyError, match="seven") as caught:
        next(results)
    assert any("fail_at_seven" in note for note in caught.value.__notes__)


def test_an_error_that_cannot_travel_is_told(engine):
    with pytest.raises(EngineError, match=r"OddError.*0: odd"):
        list(map_in_order(functions.fail_oddly, range(3), engine=engine))


def test_a_killed_worker_costs_nothing_but_time(dask_cluster):
    with dask_cluster() as cluster:
        doomed = cluster.add_worker(dies_in_task=3)
        cluster.add_worker()
        engine = Engine(dask=cluster.address, chunk=4)
        found = list(map_in_order(functions.squared_slowly, range(120), engine=engine))
        assert doomed.wait().returncode == -9
    assert found == [n * n for n in range(120)]


def test_another_version_on_a_worker_is_refused():
    other = json.dumps({**json.loads(installed()), "pillow": "0.1"})
    results, error = pickle.loads(
        run_chunk(pickle.dumps(functions.squared), pickle.dumps([1]), Asking(other, "/"))
    )
    assert results == []
    assert isinstance(error, EngineError)
    assert "pillow" in str(error)
    assert "(here 0.1)" in str(error)


def test_relative_paths_start_where_the_run_was_started(engine, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    assert list(map_in_order(read_file, ["a.txt"], engine=engine)) == [b"content"]


def test_an_address_where_nothing_answers_is_named():
    with (
        pytest.raises(EngineError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        DaskPool("tcp://127.0.0.1:9", connect_seconds=0.2),
    ):
        pass


def test_a_cluster_without_workers_is_named(dask_cluster):
    with (
        dask_cluster() as empty,
        pytest.raises(EngineError, match="has no workers"),
        DaskPool(empty.address, workers_seconds=0.2),
    ):
        pass


def test_what_cannot_travel_is_refused_before_anything_is_sent(engine):
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        list(map_in_order(lambda n: n, [1], engine=engine))


def test_an_engine_has_one_address():
    assert not THREADS.is_cluster
    with pytest.raises(ValueError, match="both a Dask and a Ray cluster"):
        Engine(dask="tcp://a:1", ray="auto")
    assert Engine(dask="tcp://a:1", chunk=32).for_items_of(8).chunk == 4
    assert Engine(dask="tcp://a:1", chunk=4).for_items_of(8).chunk == 1
