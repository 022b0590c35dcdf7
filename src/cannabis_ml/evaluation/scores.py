"""Scores as they are passed on, drawn and stored: one model per kind of head.

Every share is in [0, 1]. What cannot be computed (no label, no positive, one class only) is None.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Thresholds = dict[str, dict[str, float]]
"""Per multilabel head and class, the probability from which on the class is predicted."""

Interval = tuple[float, float]
"""Lower and upper end."""


class Record(BaseModel):
    """Immutable, and without fields of other names."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class ClassScores(Record):
    """Precision, recall and F1 of one class."""

    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    recall_per_group: float | None = Field(description="Mean over groups of the recall in each")
    f1: float | None
    f1_interval: Interval | None
    support: int = Field(description="Photos that have the class")
    groups: int = Field(description="Groups with such a photo")
    predicted: int = Field(description="Photos that it was predicted for")
    error: float | None = Field(
        description="Share of the class's photos with another prediction; of an attribute the mean"
        " of false-negative and false-positive rate, so that rare attributes are not flattered"
    )


class AttributeScores(ClassScores):
    """Precision, recall, F1 and average precision of one attribute of a multilabel head."""

    n: int = Field(description="Photos with a label of it")
    threshold: float = Field(description="Probability from which on it is predicted")
    specificity: float | None
    average_precision: float | None = Field(
        description="None unless it was seen both present and absent"
    )


class _WorstClass(Record):
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    name: str = Field(validation_alias="class", serialization_alias="class")
    error: float
    support: int

    def _photos(self) -> str:
        return f"{self.support:,} photo{'' if self.support == 1 else 's'}"


class ConfusedClass(_WorstClass):
    """A class of a multiclass or ordinal head that goes wrong too often."""

    mostly_taken_for: str = Field(description="The most frequent wrong prediction")

    def in_words(self) -> str:
        """As "green (50% of 2 photos, mostly taken for red)"."""
        instead = f"mostly taken for {self.mostly_taken_for}"
        return f"{self.name} ({self.error:.0%} of {self._photos()}, {instead})"


class WrongAttribute(_WorstClass):
    """An attribute of a multilabel head that goes wrong too often."""

    missed: float | None = Field(description="False-negative rate")
    falsely_claimed: float | None = Field(description="False-positive rate")

    def in_words(self) -> str:
        """As "dot (33%: missed on 33% of 3 photos)"."""
        parts = []
        if self.missed is not None:
            parts.append(f"missed on {self.missed:.0%} of {self._photos()}")
        if self.falsely_claimed is not None:
            parts.append(f"claimed on {self.falsely_claimed:.0%} of those without it")
        return f"{self.name} ({self.error:.0%}: {', '.join(parts)})"


class _HeadScores(Record):
    n: int = Field(description="Photos with a label")
    groups: int = Field(description="Groups that these fall into")
    accuracy: float | None = Field(description="Over known labels")
    accuracy_interval: Interval | None
    accuracy_per_group: float | None = Field(
        description="Mean over groups of the accuracy in each, so that a burst counts once"
    )
    accuracy_per_group_interval: Interval | None
    balanced_accuracy: float | None = Field(
        description="Mean recall of the classes that occur; of attributes, mean of recall and"
        " specificity over those seen both present and absent"
    )
    macro_f1: float | None = Field(
        description="Mean over the classes that occur among labels or predictions"
    )


class _ExclusiveScores(_HeadScores):
    confusion: list[list[int]] = Field(description="(K, K), true class by predicted class")
    per_class: dict[str, ClassScores]
    worst_classes: list[ConfusedClass] = Field(description="Those above the limit of error")
    in_words: str = Field(description="The worst classes in a sentence")
    unanswered: int | None = Field(
        default=None,
        description="Of a head with a parent: labelled photos whose predicted parent allows no"
        " class here; they count as wrong, and in no measure of distance",
    )


class MulticlassScores(_ExclusiveScores):
    """Scores of a multiclass head."""

    kind: Literal["multiclass"] = "multiclass"


class OrdinalScores(_ExclusiveScores):
    """Scores of an ordinal head."""

    kind: Literal["ordinal"] = "ordinal"
    quadratic_weighted_kappa: float | None
    mean_absolute_error: float | None = Field(description="In classes")


class MultilabelScores(_HeadScores):
    """Scores of a multilabel head."""

    kind: Literal["multilabel"] = "multilabel"
    mean_average_precision: float | None = Field(
        description="Mean over the attributes seen both present and absent"
    )
    confusion: list[list[int]] = Field(
        description="(K, 4), true positives, false positives, false negatives, true negatives"
    )
    per_class: dict[str, AttributeScores]
    worst_classes: list[WrongAttribute]
    in_words: str


HeadScores = MulticlassScores | OrdinalScores | MultilabelScores
"""Scores of one head."""


class HierarchyScores(Record):
    """How well a head and its parent do together."""

    parent: str
    n: int = Field(description="Photos with both labels")
    groups: int
    joint_accuracy: float | None = Field(description="Both right")
    joint_accuracy_interval: Interval | None
    joint_accuracy_per_group: float | None
    joint_accuracy_per_group_interval: Interval | None
    parent_accuracy: float | None
    parent_accuracy_interval: Interval | None
    parent_accuracy_per_group: float | None
    parent_accuracy_per_group_interval: Interval | None
    accuracy_where_parent_right: float | None
    impossible_pairs: float | None = Field(
        description="Share of all predictions, labelled or not, that the taxonomy forbids"
    )
    impossible_pairs_read_apart: float | None = Field(
        description="What that share would be if each head were asked alone"
    )


class Evaluation(Record):
    """What a model reaches on one split."""

    split: str
    photos: int
    groups: int
    confidence: float = Field(description="Of the intervals, in (0, 1)")
    error_limit: float = Field(description="Classes with a larger error are named")
    heads: dict[str, Annotated[HeadScores, Field(discriminator="kind")]]
    hierarchy: dict[str, HierarchyScores] = Field(description="By child head")
    thresholds: Thresholds = Field(description="Of attributes; as in the tier's decision rule")
