import logging
import os
import sys
import warnings

import pytest

from cannabis_ml.exporting.held_back import held_back


def test_nothing_comes_through(capfd, recwarn, caplog):
    with held_back("converter"):
        print("progress")
        print("chatter", file=sys.stderr)
        os.write(1, b"from compiled code")
        os.write(2, b"to the other")
        warnings.warn("of internals", stacklevel=1)
        logging.getLogger("converter.part").warning("of more")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not caplog.records


def test_output_goes_on_afterwards(capfd):
    level = logging.getLogger("converter").level
    with held_back("converter"):
        taken = sys.stderr  # as a library does that sets up its log when imported
    print("after")
    os.write(2, b"and this")
    taken.write("and that")
    taken.flush()
    out, err = capfd.readouterr()
    assert out == "after\n"
    assert "and this" in err
    assert "and that" in err
    assert logging.getLogger("converter").level == level


def test_error_brings_what_was_held_back(caplog):
    caplog.set_level(logging.INFO)

    @held_back()
    def convert():
        print("because of this")
        os.write(2, b"and of that")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        convert()
    assert "because of this" in caplog.text
    assert "and of that" in caplog.text
