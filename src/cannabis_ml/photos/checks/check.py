"""What is known of a defect of photos, and how one is found in a single file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cannabis_ml.photos.checks.examined_file import ExaminedFile
from cannabis_ml.photos.checks.params import DefectParams

Kind = Literal["set_aside", "repaired", "flagged"]
"""`set_aside`: the photo is not used. `repaired`: decoding mends it. `flagged`: kept as it is, a
person may want to look."""


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A defect and its texts in the report.

    Attributes:
        name: Short name in tables, such as `blurred`.
        kind: What becomes of the photo.
        title: Heading in the report.
        about: What it means, in a sentence.
        advice: What a person does about it, without the last full stop; empty where nothing.
        only_of_photos: False where files that were never photos (tables, notes, films) have it too:
            then those with the suffix of a photo count as photos lost, and no others.
    """

    name: str
    kind: Kind
    title: str
    about: str
    advice: str = ""
    only_of_photos: bool = True


@dataclass(frozen=True, kw_only=True)
class Check(Defect):
    """A defect that a single file shows.

    Attributes:
        find: Returns a sentence where the file has the defect, else None.
    """

    find: Callable[[ExaminedFile, DefectParams], str | None]
