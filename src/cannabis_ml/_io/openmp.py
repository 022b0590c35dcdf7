"""How OpenMP threads wait for work; decided before a library that brings OpenMP is loaded."""

from __future__ import annotations

import os

CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Any of these in the environment sets how to wait: by the standard, GNU's library or LLVM's."""


SPIN_COUNT = "1000"
"""Turns before a thread without work sleeps (GNU's library; its default is about 300,000)."""


def limit_spinning() -> None:
    """Let OpenMP threads without work spin a little before they sleep, unless the user chose.

    A training step is thousands of parallel regions. Beside other work a thread that spins at the
    end of one takes the core that the last thread of the region needs, and a step takes longer;
    on a quiet machine a thread that sleeps at once takes longer to go on (a fifth of a step).
    A few spins cost neither (`tests/benchmarks/bench_waiting.py`).

    OpenMP reads the environment once, when it is loaded, so this is called where every command
    passes before anything is trained: in `settings.py`. Processes started later inherit it.
    Importing `cannabis_ml` alone changes nothing.
    """
    if not any(name in os.environ for name in CHOSEN_BY_USER):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
