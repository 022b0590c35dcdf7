"""What can be wrong with one photo: a row per check, in `set_aside`, `repaired` and `flagged`."""

from cannabis_ml.photos.checks.flagged import FLAGGED
from cannabis_ml.photos.checks.repaired import REPAIRED
from cannabis_ml.photos.checks.set_aside import SET_ASIDE

CHECKS = (*SET_ASIDE, *REPAIRED, *FLAGGED)

__all__ = ["CHECKS", "FLAGGED", "REPAIRED", "SET_ASIDE"]
