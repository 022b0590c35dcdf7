"""How the C library gives memory back: rarely, as the next photo or step needs as much."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 1 << 20
KEPT, MAPPED = 128 * MEGABYTE, 32 * MEGABYTE

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Of mallopt(3)."""
_NEVER, _MAPS = -1, 65536
"""A threshold that is not reached, and glibc's default number of blocks that are mapped."""


def reuse_memory() -> bool:
    """Let glibc keep up to `KEPT` freed bytes per thread, and map blocks from `MAPPED` on.

    By default it gives megabytes back to the kernel after each photo that a thread decodes, and
    takes them again, a page fault for every 4 kB: a fifth of the CPU time of a photo of 12
    megapixels.

    Returns:
        Whether the C library took both; other libraries than glibc are left as they are.
    """
    libc = _glibc()
    if libc is None:
        return False
    found = [
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED),
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT),
    ]
    return all(found)


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let glibc keep what is freed within, and give it back at the end; also a decorator.

    Each step of a training needs the same tensors again. By default those of tens of megabytes are
    mapped anew in each step, a page fault for every 4 kB: two fifths of the CPU time of a training
    on one core. Where PyTorch allocates from another library nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        # What glibc's own adjusting ends with, which setting any of these has switched off.
        libc.mallopt(_M_MMAP_MAX, _MAPS)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * MAPPED)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
