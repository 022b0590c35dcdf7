"""The data card of published photos, written from the report of ingestion.

In the format of the Hugging Face hub: Markdown below a YAML head with `license`, `configs` and
`dataset_info` (https://huggingface.co/docs/hub/datasets-cards).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from cannabis_ml.errors import PublishingError
from cannabis_ml.publishing.licences import hub_licence
from cannabis_ml.publishing.photo_shards import PublishedPhotos
from cannabis_ml.splits import SPLITS
from cannabis_ml.text import counted, markdown_text

REPORT = ("cannabis_ml/ingestion-report", 1)
"""Schema and version of the report that cards are written from."""

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Photos below which a set has a size, as the hub names it."""

KINDS = {
    "set_aside": "left out",
    "repaired": "kept, repaired while they are read",
    "flagged": "kept, worth a look",
}


@dataclass(frozen=True)
class DataFacts:
    """Facts in a data card that neither photos nor report hold.

    Attributes:
        repo: Id on the hub.
        version: What is published, such as 1.2.0.
        about: Where the photos come from, in words.
        licences: Photos of each licence.
        credits: How many different people or places are to be named.
    """

    repo: str
    version: str
    about: str
    licences: Mapping[str, int]
    credits: int


def check_report(report: Mapping[str, Any], photos: PublishedPhotos) -> None:
    """End where a report is not about these photos.

    Raises:
        PublishingError: Names the difference.
    """
    schema = (report.get("schema"), report.get("version"))
    if schema != REPORT:
        raise PublishingError(
            f"The ingestion report has schema {schema[0]} version {schema[1]}; cards are written"
            f" from {REPORT[0]} version {REPORT[1]}.\nRun: kedro run --pipeline=ingestion"
        )
    found = {str(split): len(photos.rows_of(split)) for split in SPLITS}
    reported = {name: int(n) for name, n in report["splits"].items()}
    if found != reported:
        raise PublishingError(
            f"The ingestion report is of other photos than the photo set: by split {reported}, and"
            f" in the set {found}.\nRun: kedro run --pipeline=ingestion"
        )


def render(report: Mapping[str, Any], photos: PublishedPhotos, facts: DataFacts) -> str:
    """Render the card: the same photos, report and facts give the same text.

    Args:
        report: Of ingestion.
        photos: What is published.
        facts: What else is known.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters |= {"text": markdown_text, "share": _share, "counted": counted}
    findings = [_without_paths(one, report) for one in report["findings"]]
    source = resources.files("cannabis_ml.publishing").joinpath("data_card.md.j2")
    page = environment.from_string(source.read_text(encoding="utf-8")).render(
        r=report,
        facts=facts,
        name=facts.repo.partition("/")[2],
        splits=[split for split in SPLITS if report["splits"][split]],
        heads=report["heads"],
        columns=_columns(photos),
        defects={
            title: [one for one in report["defects"] if one["kind"] == kind]
            for kind, title in KINDS.items()
        },
        shortcuts=[one for one in findings if one["check"] == "shortcuts"],
        findings=[one for one in findings if one["check"] != "shortcuts"],
    )
    head = yaml.safe_dump(_front_matter(photos, facts), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{page}"


def _front_matter(photos: PublishedPhotos, facts: DataFacts) -> dict[str, Any]:
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    sizes = photos.stored_bytes()
    splits = {str(split): photos.rows_of(split) for split in SPLITS}
    infos = [
        SplitInfo(name, num_bytes=int(sizes[rows].sum()), num_examples=len(rows))
        for name, rows in splits.items()
        if len(rows)
    ]
    info = DatasetInfo(
        features=photos.features,
        splits=SplitDict({one.name: one for one in infos}),
        dataset_size=int(sizes.sum()),
    )
    names = list(dict.fromkeys(map(hub_licence, facts.licences)))
    card = DatasetCardData(
        license=names[0] if len(names) == 1 else names,
        pretty_name=facts.repo.partition("/")[2],
        task_categories=["image-classification"],
        tags=["cannabis_ml", "plants", "image-classification"],
        size_categories=[next((n for most, n in SIZES if len(sizes) < most), "n>1M")],
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(card)
    files = [{"split": one.name, "path": f"data/{one.name}-*"} for one in infos]
    others = [name for name in facts.licences if hub_licence(name) != name]
    named = {"license_name": ", ".join(others)} if others else {}
    configs = [{"config_name": "default", "data_files": files}]
    return {**card.to_dict(), **named, "configs": configs}


def _columns(photos: PublishedPhotos) -> dict[str, str]:
    """What each column is, in words."""
    about = {
        "photo_id": "SHA-256 of the file that the photo was made of",
        "image": "The photo: upright RGB, without any metadata",
        "group": "Photos with the same value (one plant, burst or near-duplicates) share a split",
        "source": "Which of the sources it came from",
        "licence": "Who may use it",
        "credit": "Whom to name",
    }
    for head in photos.taxonomy.heads:
        kind = "Whether it shows" if head.kind == "multilabel" else head.kind.capitalize()
        for name, column in zip(head.class_names, head.columns, strict=False):
            shown = f"{kind} {name}" if head.kind == "multilabel" else f"{kind} label"
            about[column] = f"{shown}; empty where unknown"
    return {name: about[name] for name in photos.features}


def _without_paths(finding: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """A finding whose sentences name no folder of this machine."""
    roots = [source["root"] for source in report["sources"].values() if source["root"]]
    texts = {}
    for key in ("sentence", "advice"):
        text = str(finding[key])
        for root in sorted(roots, key=len, reverse=True):
            text = text.replace(root, "")
        texts[key] = text
    return {**finding, **texts}


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
