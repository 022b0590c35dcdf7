"""Writing that is whole or not at all; see `cannabis_ml.files`, which inference shares."""

from cannabis_ml.files import written_aside

__all__ = ["written_aside"]
