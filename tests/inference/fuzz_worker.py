"""Opens what it is told to, in a process that may crash without taking the tests along.

Reads a kind (`bundle` or `model`) and a path per line; answers with one line of JSON: `refused` and
the error's name and message, or `answers`, what the opened thing says of one photo.
"""

import json
import sys
from pathlib import Path

import numpy as np

from cannabis_ml.errors import CannabisMLError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden import conclusions
from cannabis_ml.inference.predictor import open_model

PHOTO = np.random.default_rng(5).integers(0, 256, (20, 24, 3), dtype=np.uint8)


def answers(kind: str, path: Path) -> dict:
    if kind == "model":
        tiers = {"": open_model(path, threads=1)}
        rules, found = {}, {}
    else:
        bundle = Bundle.open(path)
        tiers = {name: bundle.predictor(name, threads=1) for name in bundle.tiers}
        rules = {name: bundle.rules(name) for name in bundle.tiers}
        found = {"routing": bundle.routing and bundle.routing.model_dump()}
    for name, tier in tiers.items():
        outputs = tier.outputs([PHOTO])
        found |= {f"{name} {output}": values.tolist() for output, values in outputs.items()}
        if name in rules:
            follows = conclusions(rules[name], rules[name].apply(outputs))
            found[f"{name} conclusions"] = follows.model_dump()
    return found


def main() -> None:
    for line in sys.stdin:
        kind, path = json.loads(line)
        try:
            told = {"answers": answers(kind, Path(path))}
        except CannabisMLError as error:
            told = {"refused": type(error).__name__, "said": str(error)}
        except Exception as error:
            told = {"unforeseen": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
