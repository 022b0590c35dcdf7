"""Mapping on a Ray cluster, where Ray is installed: 200 MB that requirements.lock leaves out."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("ray") is None:
    pytest.skip("the extra `ray` is not installed", allow_module_level=True)

from cannabis_ml._io.engine import Engine
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.errors import EngineError

sys.path.insert(0, str(Path(__file__).parents[1]))

import cluster_functions as functions

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def engine():
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        memory = {"num_cpus": 1, "object_store_memory": 10**8}
        cluster = Cluster(initialize_head=True, head_node_args=memory)
        cluster.add_node(**memory)
        yield Engine(ray=cluster.address, chunk=4)
        cluster.shutdown()


def test_results_come_in_order_from_both_nodes(engine):
    assert list(map_in_order(functions.squared, range(50), engine=engine)) == [
        n * n for n in range(50)
    ]
    assert len(set(map_in_order(functions.process_of, range(60), engine=engine))) >= 2


def test_an_error_comes_back_as_itself_after_the_results_before_it(engine):
    results = map_in_order(functions.fail_at_seven, range(100), engine=engine)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(KeyError, match="seven"):
        next(results)


def test_a_photo_that_ends_every_worker_ends_the_run(engine):
    with pytest.raises(EngineError, match="could not be worked on"):
        list(map_in_order(functions.end_the_worker, range(2), engine=engine))
