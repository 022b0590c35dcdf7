"""What to do about a finding: rules that people write, with their source."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from cannabis_ml.errors import ConfigError
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import with_items

RuleId = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]


class TreatmentRule(BaseModel):
    """One rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str = Field(min_length=1, description="Head of the finding")
    classes: tuple[str, ...] = Field(min_length=1, description="Any of these")
    advice: str = Field(min_length=10, max_length=600, description="What to do, in full")
    source: str = Field(min_length=10, description="Who says so: title, author, address")
    date: datetime.date = Field(description="When the source was read")


class Treatments(RootModel[dict[RuleId, TreatmentRule]]):
    """All rules, by id."""

    model_config = ConfigDict(frozen=True)

    def applying(self, findings: Iterable[tuple[str, str]]) -> dict[str, TreatmentRule]:
        """Rules for findings, in the order of the table.

        Args:
            findings: Head and class, each.
        """
        found = set(findings)
        return {
            name: rule
            for name, rule in self.root.items()
            if any((rule.head, one) in found for one in rule.classes)
        }


def read_treatments(given: Mapping[str, object], taxonomy: Taxonomy | None = None) -> Treatments:
    """Check a table of rules.

    Args:
        given: As `treatments.yml` has them.
        taxonomy: Where given, rules for its heads must name classes of theirs; rules for other
            heads are left out, as environments add up.

    Raises:
        ConfigError: Names every fault.
    """
    try:
        rules = Treatments.model_validate(dict(given))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(with_items("treatments.yml is not valid", faults)) from error
    if taxonomy is None:
        return rules
    heads = {head.name: head for head in taxonomy.heads}
    kept = {name: rule for name, rule in rules.root.items() if rule.head in heads}
    faults = [
        f"{name}: '{one}' is not a class of '{rule.head}'"
        for name, rule in kept.items()
        for one in rule.classes
        if one not in heads[rule.head].class_names
    ]
    if faults:
        raise ConfigError(with_items("treatments.yml names classes that are not there", faults))
    return Treatments(kept)


_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


def numbers_in(text: str) -> set[str]:
    """Numbers of a text, with a point for a comma."""
    return {number.replace(",", ".") for number in _NUMBER.findall(text)}
