"""Taxonomies as written in configuration, whose classes may be derived from the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.taxonomy import (
    NAMES_ABOUT,
    ClassSpec,
    Head,
    Taxonomy,
    as_class_list,
    refuse_faults,
    taxonomy_faults,
)
from cannabis_ml.text import Name, NormalNames, normal, with_items

if TYPE_CHECKING:
    import pandas as pd


class _WrittenClass(ClassSpec):
    """A class as written in configuration."""

    name: Name


_WrittenClasses = Annotated[list[_WrittenClass], BeforeValidator(as_class_list)]


class HeadSpec(Head):
    """A head as written in configuration: its classes may be left to the labels found."""

    name: Name = Field(min_length=1)
    classes: _WrittenClasses | Literal["derived"] = "derived"  # type: ignore[assignment]
    parent: Name | None = None
    allowed: Annotated[dict[Name, list[Name]], NormalNames] | None = None


class TaxonomySpec(BaseModel):
    """A taxonomy as written in configuration, before any label was seen.

    Raises:
        TaxonomyError: As `Taxonomy`, for everything that is wrong without seeing a label.
    """

    model_config = ConfigDict(extra="forbid")

    heads: list[HeadSpec]
    names: Annotated[dict[str, Annotated[dict[Name, str], NormalNames]], NormalNames] = Field(
        default={}, description=NAMES_ABOUT
    )

    @model_validator(mode="after")
    def _check(self) -> TaxonomySpec:
        faults = list(taxonomy_faults(self.heads))
        faults += [
            f"head '{h.name}' is {h.kind}: write its classes, they cannot be derived from labels"
            for h in self.heads
            if h.classes == "derived" and h.kind != "multiclass"
        ]
        refuse_faults(faults)
        return self

    def resolve(self, photos: pd.DataFrame) -> Taxonomy:
        """Fill in what is `derived` from the labels that came with the photos.

        Derived classes are sorted by name. A derived head with a parent and no `allowed` takes
        the pairs that occur. Names for people of what is not there are left out: those of another
        taxonomy, which Kedro's environments add up.

        Args:
            photos: One row per photo, with a column per derived head.

        Raises:
            TaxonomyError: If a derived head has no label at all, or a single class.
        """
        heads, faults = [], []
        for spec in self.heads:
            fields = spec.model_dump()
            if spec.classes == "derived":
                names = _derived_classes(spec.name, photos)
                if len(names) < 2:
                    present = f"only '{names[0]}'" if names else "none"
                    faults.append(
                        f"head '{spec.name}' needs at least two classes, the labels have {present}"
                    )
                fields["classes"] = names
                there = {spec.name, spec.parent} <= set(photos.columns)
                if spec.parent and there and spec.allowed is None:
                    fields["allowed"] = _derived_pairs(spec.name, spec.parent, photos)
            heads.append(fields)
        if faults:
            raise TaxonomyError(
                with_items("No taxonomy can be derived from these photos", faults)
                + "\nBring photos of the other classes, or write the classes in"
                " parameters_taxonomy.yml. If the outer of several folders name the classes"
                " (CLASS/2024/a.jpg), set class_folder: top in the source."
            )
        words = {h["name"] for h in heads}.union(*(_class_names(h["classes"]) for h in heads))
        shown = {
            language: {name: text for name, text in named.items() if name in words}
            for language, named in self.names.items()
        }
        return Taxonomy.model_validate({"heads": heads, "names": shown})


def normal_labels(labels: pd.Series) -> pd.Series:
    """A column of text with each label in the form in which labels are compared."""
    return labels.map({label: normal(str(label)) for label in labels.dropna().unique()})


def _class_names(classes: list[Any]) -> set[str]:
    return {c["name"] if isinstance(c, dict) else c for c in classes}


def _derived_classes(head: str, photos: pd.DataFrame) -> list[str]:
    return sorted(normal_labels(photos[head]).dropna().unique()) if head in photos else []


def _derived_pairs(head: str, parent: str, photos: pd.DataFrame) -> dict[str, list[str]]:
    pairs = photos[[parent, head]].drop_duplicates().apply(normal_labels).drop_duplicates()
    return {
        str(parent_class): sorted(group[head].dropna())
        for parent_class, group in pairs.groupby(parent, sort=True)
    }
