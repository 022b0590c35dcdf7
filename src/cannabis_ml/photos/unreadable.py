"""The error of files that give no photo."""

from __future__ import annotations


class UnreadableError(ValueError):
    """A file that gives no photo.

    Attributes:
        defect: Short name: `empty`, `lfs_pointer`, `not_an_image`, `truncated`, `too_large`,
            `too_small` or `unreadable`.
        detail: One sentence for a person.
    """

    def __init__(self, defect: str, detail: str) -> None:
        super().__init__(f"{defect}: {detail}")
        self.defect = defect
        self.detail = detail

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[str, str]]:
        return UnreadableError, (self.defect, self.detail)
