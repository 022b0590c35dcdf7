"""Results come in order, and few wait."""

import threading
import time

import pytest

from cannabis_ml._io.parallel import AHEAD, map_in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_order_is_kept_whatever_the_workers(workers):
    def slow_at_first(n):
        time.sleep(0.02 if n == 0 else 0)
        return n * n

    assert list(map_in_order(slow_at_first, range(50), workers)) == [n * n for n in range(50)]


def test_items_are_consumed_little_by_little():
    taken = []

    def items():
        for n in range(1000):
            taken.append(n)
            yield n

    results = map_in_order(str, items(), 2)
    next(results)
    assert len(taken) <= 2 * AHEAD
    results.close()


def test_first_error_is_raised_and_the_rest_dropped():
    done = []
    lock = threading.Lock()

    def fail_at_three(n):
        if n == 3:
            raise ValueError("three")
        with lock:
            done.append(n)

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(10_000), 2))
    assert len(done) < 100


def test_nothing_to_do_gives_nothing():
    assert list(map_in_order(str, [], 2)) == []
