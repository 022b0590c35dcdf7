"""The ledger of requests: noted before they are sent, capped over processes, logged once."""

import sqlite3
import threading
from contextlib import closing

import pytest

from cannabis_ml.assistant.cost import CapReachedError
from cannabis_ml.assistant.ledger import DAY, FILE, Asking, Ledger, SharedCap
from cannabis_ml.assistant.provider import Usage

USAGE = Usage(input_tokens=10, output_tokens=2)


def asking(key="k", most_usd=1.0):
    return Asking("explain.v1", "m", "http://there", key, "photo", most_usd)


def test_a_request_keeps_its_name_until_something_definite_came_of_it(tmp_path):
    first, second = Ledger(tmp_path, "command"), Ledger(tmp_path, "command")
    row, name = first.begin(asking())
    first.settle(row, "may be billed", 1.0)
    again, same = second.begin(asking())
    assert same == name
    second.settle(again, "not billed", 0.0)
    assert second.begin(asking())[1] != name
    assert second.begin(asking("other"))[1] not in (name, same)


def test_what_a_killed_command_had_under_way_is_known(tmp_path):
    killed, service, now = (Ledger(tmp_path, kind) for kind in ("command", "service", "command"))
    row, name = killed.begin(asking("a", 0.5))
    service.begin(asking("b"))
    now.begin(asking("c"))
    (doubt,) = now.doubts()
    assert (doubt.row, doubt.name, doubt.key, doubt.most_usd) == (row, name, "a", 0.5)
    now.settle(row, "may be billed", 0.5)
    assert not now.doubts()
    (spent,) = now.unlogged()
    assert (spent.run, spent.usd, spent.may_be_billed_usd) == (killed.run, 0.5, 0.5)


def test_a_cap_holds_over_processes_and_after_they_are_started_anew(tmp_path):
    cap, taken = SharedCap(most_usd=5.0, days=30), []

    def ask(ledger):
        for key in range(4):
            try:
                row, _ = ledger.begin(asking(str(key)), cap)
            except CapReachedError:
                continue
            ledger.settle(row, "answered", 1.0, USAGE)
            taken.append(row)

    threads = [threading.Thread(target=ask, args=[Ledger(tmp_path, "service")]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 5
    later = Ledger(tmp_path, "service")
    with pytest.raises(CapReachedError, match="within 30 days"):
        later.begin(asking(), cap)
    later.begin(asking(), SharedCap(most_usd=6.0, days=30))
    Ledger(tmp_path, "command").begin(asking())  # has a cap of its own
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("UPDATE asked SET at = at - ?", [31 * DAY])
    later.begin(asking(), cap)


def test_a_request_under_way_counts_at_its_most(tmp_path):
    cap = SharedCap(most_usd=2.0, days=1)
    Ledger(tmp_path, "service").begin(asking(most_usd=1.5), cap)
    with pytest.raises(CapReachedError, match=r"\$1\.5000 is spent or under way"):
        Ledger(tmp_path, "service").begin(asking(), cap)


def test_replies_of_a_batch_are_noted_once_and_spending_is_logged_once(tmp_path):
    ledger, other = Ledger(tmp_path, "command"), Ledger(tmp_path, "command")
    for one in (ledger, other):
        one.add_of_batch(asking(), "mark", 0.25, USAGE)
    (spent,) = other.unlogged()
    assert (spent.run, spent.requests, spent.usd, spent.usage) == (ledger.run, 1, 0.25, USAGE)
    other.mark_logged([ledger.run])
    assert not other.unlogged()
    assert len(other.all_spent()) == 1
