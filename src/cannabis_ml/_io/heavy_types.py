"""Types of heavy libraries, to annotate nodes with.

Kedro resolves the annotations of every node to find the types of parameters, so a name that
exists for the type checker alone would switch parameter validation off. Here the type checker
sees the real types, and at run time nothing is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any

__all__ = ["Figure"]
