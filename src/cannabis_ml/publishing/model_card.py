"""The model card on the hub: that of the bundle, tied to the photos that it learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from cannabis_ml.errors import PublishingError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden_rights import RIGHTS
from cannabis_ml.inference.hub import FOLDER, PhotosOfBundle
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.text import markdown_text

_LINE = "---\n"


def hub_card(bundle: Bundle, target: Target, photos: PhotosOfBundle | None) -> str:
    """The card of a published version.

    Args:
        bundle: With a model card of its own.
        target: Where it goes.
        photos: The published photos that it learned from; None: they are not published, and the
            scores stay tied to a private data set.

    Raises:
        PublishingError: If the bundle's card has no YAML head.
    """
    head, page = _taken_apart(bundle.model_card)
    if photos is not None:
        head["datasets"] = [photos.repo]
        for model in head.get("model-index", []):
            for result in model["results"]:
                result["dataset"] = _dataset(photos, result["dataset"])
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"{_LINE}{text}{_LINE}\n{page.rstrip()}\n\n{_how_to_load(bundle, target, photos)}"


def _taken_apart(card: str) -> tuple[dict[str, Any], str]:
    parts = card.split(_LINE, 2)
    head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(head, dict):
        raise PublishingError(
            "The model card of the bundle has no YAML head: make the bundle anew, kedro run"
            " --pipeline=bundle."
        )
    return head, parts[2]


def _dataset(photos: PhotosOfBundle, before: Mapping[str, Any]) -> dict[str, Any]:
    """The data set of a result in `model-index`, at the commit of the photos."""
    version = "" if photos.version is None else f" {photos.version}"
    return {
        "name": f"{photos.repo}{version}, test split",
        "type": photos.repo,
        "split": "test",
        "revision": photos.commit,
        **{key: value for key, value in before.items() if key not in ("name", "type")},
    }


def _how_to_load(bundle: Bundle, target: Target, photos: PhotosOfBundle | None) -> str:
    files = [
        f"| {tier} | `{FOLDER}/{file.file}` | {file.quantization} | {file.bytes / 1e6:,.1f} MB |"
        for tier, tier_files in bundle.manifest.tiers.items()
        for file in tier_files.all.values()
    ]
    learned = (
        "The photos that it learned from are not published."
        if photos is None
        else f"It learned from the photos of {markdown_text(photos.repo)} at commit"
        f" `{photos.commit}`" + (f", version {photos.version}." if photos.version else ".")
    )
    listed = "\n".join(files)
    rights = bundle.golden_rights() or []
    licences = sorted({photo.licence for photo in rights})
    names = sorted({markdown_text(photo.credit) for photo in rights if photo.credit})
    under = f" (licence: {', '.join(map(markdown_text, licences))})" if licences else ""
    by = f" Photos by {', '.join(names)}: see `{FOLDER}/{RIGHTS}`." if names else ""
    return f"""\
## Load version {target.version}

```python
from cannabis_ml.inference import Bundle

bundle = Bundle.from_hub("{target.repo}", version="{target.version}")
print(bundle.predict("photo.jpg"))
```

The tag is resolved to its commit once, every file is compared with its SHA-256, and from then on no
network is needed. A service takes it with
`cannabis_ml deploy hf://{target.repo}@{target.version} --to deployments`. {learned}

| tier | file | quantization | size |
|---|---|---|---|
{listed}

`{FOLDER}/golden/` holds photos{under} with the answers that every client must reproduce;
`{FOLDER}/bundle.json` lists every file with its SHA-256; it is bundle
`{bundle.manifest.content_sha256[:12]}`.{by}
"""
