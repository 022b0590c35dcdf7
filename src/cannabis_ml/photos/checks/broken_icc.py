"""A colour profile that is damaged.

Programs that apply profiles refuse such a photo, or show it in colours that it does not have.
Repaired: the profile is dropped and the colours are taken as they stand, as for every photo here.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen

# ICC.1:2022, 7.2 and 7.3: a header of 128 bytes, then the count of tags and 12 bytes for each.
_HEADER = 128
_SIGNATURE = slice(36, 40)
_TAG = 12


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say what is wrong with the profile."""
    profile = seen.photo.colour_profile if seen.photo else None
    fault = None if profile is None else _fault(profile)
    return None if fault is None else f"Its colour profile {fault}: left out."


def _fault(profile: bytes) -> str | None:
    if len(profile) < _HEADER + 4 or profile[_SIGNATURE] != b"acsp":
        return "is none"
    if int.from_bytes(profile[:4], "big") > len(profile):
        return "is cut short"
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    if _HEADER + 4 + count * _TAG > len(profile):
        return "lacks its tags"
    for at in range(_HEADER + 4, _HEADER + 4 + count * _TAG, _TAG):
        start, size = (int.from_bytes(profile[at + i : at + i + 4], "big") for i in (4, 8))
        if start + size > len(profile):
            return "points beyond its end"
    return None
