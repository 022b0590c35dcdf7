"""Random small bundles with the outputs of their models, and what Python makes of them.

Between them the cases have every kind of head, calibrator, prediction set, unknown score and rule
of routing, heads below heads, photos with every fault, and names that trap programs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cannabis_ml.inference.bundle_router import rule_of
from cannabis_ml.inference.calibrators import Calibrator
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.golden import ExpectedAnswers, compare, conclusions
from cannabis_ml.inference.local_tier import tier_answer
from cannabis_ml.inference.manifest import BundleManifest, reliability_file, unknown_file
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import METHODS, UnknownScore
from cannabis_ml.taxonomy import Head, Taxonomy

LANGUAGES = ("en", "es_MX.UTF-8")
TIERS = ("tier1", "tier2")
NAMES = ("dry_flower", "blaugrün", "3", "constructor", "A+", "leaf spot", "trim", "__proto", "x")
PHOTOS = 3
SHA = "0" * 64
_OTHER_FILES = ["golden/answers.json", "README.md", *(f"tiers/{tier}.tflite" for tier in TIERS)]

_CALIBRATOR: TypeAdapter[Any] = TypeAdapter(Calibrator)


class Written(Predictor):
    """Gives outputs that were written down."""

    format, runtime, largest_batch = "tflite", "litert", 1

    def __init__(self, card, tier, outputs):
        super().__init__(card, tier)
        self.written = outputs

    @property
    def output_shapes(self):
        return {name: values.shape[1:] for name, values in self.written.items()}

    def invoke(self, pixels):
        return self.written


@dataclass
class Case:
    """A bundle with one opened tier.

    Attributes:
        files: Of the bundle, by path.
        tier: Which one answers.
        image_size: Of its model.
        rules: Of the tier.
        routing: As the server takes it.
        outputs: Of its model, float32 (PHOTOS, …).
        pixels: uint8 RGB, of the first photo.
    """

    files: dict[str, bytes]
    tier: str
    image_size: int
    rules: TierRules
    routing: RoutingRule
    outputs: dict[str, np.ndarray]
    pixels: np.ndarray

    def as_json(self, others: dict[str, np.ndarray]) -> dict[str, Any]:
        """For the core; `others` are the outputs of a client to compare with golden ones."""
        height, width = self.pixels.shape[:2]
        return {
            "files": {name: base64.b64encode(data).decode() for name, data in self.files.items()},
            "tier": self.tier,
            "languages": LANGUAGES,
            "outputs": _plain(self.outputs),
            "others": _plain(others),
            "expected": self.expected_answers().model_dump(),
            "photo": {
                "width": width,
                "height": height,
                "data": base64.b64encode(self.pixels.tobytes()).decode(),
            },
        }

    def reports(self) -> list[dict[str, Any]]:
        """On the first photo, by language."""
        taxonomy = self.rules.decision.taxonomy
        card = FileCard(
            taxonomy=taxonomy,
            image_size=self.image_size,
            backbone="written",
            decision=self.rules.decision.rule,
        )
        one = {name: values[:1] for name, values in self.outputs.items()}
        reporter = Reporter(Written(card, self.tier, one), self.rules)
        return [reporter.report(self.pixels, language=tag).as_json("a.jpg") for tag in LANGUAGES]

    def verdict(self) -> dict[str, Any]:
        """Of the first photo, with the tier that a router asks next."""
        one = {name: values[:1] for name, values in self.outputs.items()}
        found = tier_answer(None, one, self.rules.decision, self.routing, self.rules.unknown)
        names = [tier.tier for tier in self.routing.tiers]
        place = names.index(self.tier)
        accepted = self.routing.tiers[place].accepts(found.score, found.unknown, found.decided)
        later = [None] if accepted else [*names[place + 1 :], None]
        return {
            "accepted": accepted,
            "score": found.score,
            "unknown": found.unknown,
            "decided": found.decided,
            "next": later[0],
        }

    def expected_answers(self) -> ExpectedAnswers:
        """Of all photos, as a bundle has them."""
        return ExpectedAnswers(
            file="tiers/a.tflite",
            image_size=self.image_size,
            tolerance=1e-3,
            outputs={name: values.tolist() for name, values in self.outputs.items()},
            conclusions=conclusions(self.rules, self.rules.apply(self.outputs)),
        )

    def golden_report(self, others: dict[str, np.ndarray]) -> dict[str, Any]:
        """How the outputs of a client compare."""
        return compare(self.expected_answers(), others, self.rules, "litert").model_dump()


def _plain(outputs: dict[str, np.ndarray]) -> list[dict[str, list[float]]]:
    return [
        {name: values[i].ravel().tolist() for name, values in outputs.items()}
        for i in range(len(next(iter(outputs.values()))))
    ]


def make_case(seed: int) -> Case:
    """The case of a seed."""
    draw = Draw(seed)
    taxonomy = draw.taxonomy()
    outputs = draw.outputs(taxonomy)
    rule = draw.rule(taxonomy)
    reliability = draw.reliability(taxonomy)
    unknown = draw.unknown(taxonomy, outputs)
    given_routing = draw.routing(taxonomy, outputs)
    image_size = draw.one([8, 16, 32])
    files: dict[str, bytes] = {}
    tier = draw.one(TIERS)
    tiers = {}
    for name in TIERS:
        tiers[name] = {
            "float": {
                "file": f"tiers/{name}.tflite",
                "sha256": SHA,
                "bytes": 1,
                "format": "tflite",
                "quantization": "float",
                "image_size": image_size,
            },
            "ships": "float",
            "decision": rule.model_dump(),
        }
        if name == tier:
            files[reliability_file(name)] = reliability.model_dump_json().encode()
            tiers[name]["reliability"] = {"file": reliability_file(name), "sha256": SHA}
            if unknown is not None:
                files[unknown_file(name)] = unknown.to_bytes()
                tiers[name]["unknown"] = {"file": unknown_file(name), "sha256": SHA}
    if given_routing is not None:
        files["routing.json"] = given_routing.model_dump_json().encode()
    manifest = BundleManifest.model_validate(
        {
            "name": "random",
            "created": "2026-01-01",
            "taxonomy": taxonomy,
            "taxonomy_sha256": taxonomy.sha256,
            "tiers": tiers,
            "golden": {"file": "golden/answers.json", "sha256": SHA},
            "model_card": {"file": "README.md", "sha256": SHA},
            "routing": {"file": "routing.json", "sha256": SHA} if given_routing else None,
            "files": dict.fromkeys([*files, *_OTHER_FILES], SHA),
        }
    )
    files["bundle.json"] = manifest.sealed().model_dump_json().encode()
    routing = given_routing or _fixed(taxonomy, {tier: unknown})
    rules = TierRules(Decision(taxonomy, rule), reliability, unknown)
    return Case(files, tier, image_size, rules, routing, outputs, draw.photo())


def _fixed(taxonomy: Taxonomy, scores: dict[str, UnknownScore | None]) -> RoutingRule:
    """As `rule_of` makes it for a bundle without routing."""

    class Unrouted:
        routing, tiers = None, list(TIERS)

        def unknown(self, tier):
            return scores.get(tier)

    bundle = Unrouted()
    bundle.taxonomy = taxonomy
    return rule_of(bundle, [0.75])  # type: ignore[arg-type]


class Draw:
    """Draws what a case is made of."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def one(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def maybe(self, share: float = 0.5) -> bool:
        return bool(self.rng.random() < share)

    def names(self, count: int) -> list[str]:
        return [str(name) for name in self.rng.permutation(NAMES)[:count]]

    def taxonomy(self) -> Taxonomy:
        heads = [self.head("plant", "multiclass")]
        if self.maybe(0.7):
            heads.append(self.head("condition", self.one(["multiclass", "ordinal"]), heads[0]))
            if self.maybe():
                heads.append(self.head("stage", self.one(["multiclass", "ordinal"]), heads[1]))
        if self.maybe():
            heads.append(self.head("grade", "ordinal"))
        if self.maybe():
            heads.append(self.head("marks", "multilabel", self.one([None, heads[0]])))
        self.rng.shuffle(heads)  # parents may come after their children
        names = {"es": {"plant": "planta", heads[0]["classes"][0]: "primera"}}
        return Taxonomy.model_validate({"heads": heads, "names": self.one([{}, names])})

    def head(self, name: str, kind: str, parent: dict[str, Any] | None = None) -> dict[str, Any]:
        classes = self.names(int(self.rng.integers(2, len(NAMES) + 1)))
        head: dict[str, Any] = {"name": name, "kind": kind, "classes": classes}
        if parent is not None:
            head["parent"] = parent["name"]
            table = self.rng.random((len(parent["classes"]), len(classes))) < self.one([0.3, 0.7])
            table[:, 0] |= ~table.any(axis=1) & self.maybe()
            head["allowed"] = {
                above: [c for c, can in zip(classes, row, strict=True) if can]
                for above, row in zip(parent["classes"], table, strict=True)
            }
        return head

    def softmax(self, *shape: int) -> np.ndarray:
        raised = np.exp(self.rng.normal(0, self.one([0.5, 2, 6]), shape))
        return raised / raised.sum(axis=-1, keepdims=True)

    def outputs(self, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        waiting = list(taxonomy.heads)
        while waiting:
            held = {head.name for head in waiting}
            for head in [head for head in waiting if head.parent not in held]:
                waiting.remove(head)
                found[head.name] = self.probs(taxonomy, head, found)
        features = int(self.rng.integers(4, 9))
        found["embedding"] = self.rng.normal(0, 1, (PHOTOS, features))
        if self.maybe():
            for head in taxonomy.heads:
                found[head.name + ".aleatoric"] = self.rng.random(PHOTOS)
                found[head.name + ".epistemic"] = self.rng.random(PHOTOS) / 10
        return {name: values.astype(np.float32) for name, values in found.items()}

    def probs(self, taxonomy: Taxonomy, head: Head, found: dict[str, np.ndarray]) -> np.ndarray:
        classes = len(head.classes)
        if not taxonomy.limits(head):
            if head.kind == "multilabel":
                return self.rng.random((PHOTOS, classes))
            probs = self.softmax(PHOTOS, classes)
            if self.maybe(0.2):  # of a quantized file: zeros
                probs = np.where(probs < 0.01, 0.0, probs)
            return probs
        allowed = taxonomy.allowed_pairs(head)
        parent = found[head.parent or ""]
        if head.kind == "multilabel":
            return self.rng.random((PHOTOS, classes)) * np.minimum(parent @ allowed, 1.0)
        table = self.softmax(PHOTOS, len(allowed), classes) * allowed
        table = table / np.maximum(table.sum(axis=2, keepdims=True), 1e-30)
        if self.maybe():
            found[head.name + ".given"] = table
        mass = np.einsum("np,npk->nk", parent, table)
        return mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-30)

    def rule(self, taxonomy: Taxonomy) -> DecisionRule:
        chosen = {head.name: self.calibrator(head) for head in taxonomy.heads if self.maybe(0.8)}
        if self.maybe(0.1):
            chosen = {}
        thresholds = {
            head.name: {name: float(self.rng.random()) for name in head.class_names[1:]}
            for head in taxonomy.heads
            if head.kind == "multilabel" and self.maybe()
        }
        return DecisionRule(thresholds=thresholds, calibrators=chosen)

    def calibrator(self, head: Head) -> Any:
        kinds = {
            "multiclass": ["temperature", "structured", "platt", "beta", "isotonic"],
            "ordinal": ["ordinal"],
            "multilabel": ["affine"],
        }
        kind = self.one(["none", *kinds[head.kind]])
        numbers = {"none": {}, **self.numbers(len(head.classes))}[kind]
        return _CALIBRATOR.validate_python({"kind": kind, **numbers})

    def numbers(self, classes: int) -> dict[str, dict[str, Any]]:
        def normal(*shape: int, mean: float = 0.0, spread: float = 0.5) -> Any:
            return np.asarray(self.rng.normal(mean, spread, shape or None)).tolist()

        def uniform(low: float, high: float, *shape: int) -> Any:
            return np.asarray(self.rng.uniform(low, high, shape or None)).tolist()

        smoothing = float(self.one([0.0, 0.05]))
        temperature = {"temperature": float(uniform(0.3, 4)), "smoothing": smoothing}
        others = self.rng.normal(0, 0.2, (classes, classes))
        np.fill_diagonal(others, 0)
        return {
            "temperature": temperature,
            "structured": {
                **temperature,
                "diagonal": normal(classes, mean=1.0),
                "bias": normal(classes),
                "others": self.one([None, others.tolist()]),
            },
            "platt": {"slope": float(uniform(0, 3)), "shift": float(normal())},
            "beta": {
                "a": float(uniform(0, 3)),
                "b": float(uniform(0, 3)),
                "shift": float(normal()),
            },
            "isotonic": {
                "confidence": sorted(uniform(0, 1, 5)),
                "right": sorted(uniform(0, 1, 5)),
                "smoothing": smoothing,
            },
            "ordinal": {
                "scale": float(uniform(0.2, 3)),
                "shifts": sorted(normal(classes - 1), reverse=True),
                "smoothing": smoothing,
            },
            "affine": {"slopes": uniform(0, 3, classes), "shifts": normal(classes)},
        }

    def reliability(self, taxonomy: Taxonomy) -> Reliability:
        bands = {head.name: self.band() for head in taxonomy.heads if self.maybe(0.7)}
        sets = {head.name: self.sets(head) for head in taxonomy.heads if self.maybe(0.8)}
        return Reliability.model_validate(
            {
                "bands": bands,
                "sets": {"heads": sets} if self.maybe(0.9) else None,
                "back_off": [
                    {
                        "heads": chain,
                        "threshold": self.one([None, *self.rng.uniform(0.2, 0.9, 3).tolist()]),
                        "alpha": 0.05,
                        "groups": self.one([1, 7, 18, 2500]),
                    }
                    for chain in self.chains(taxonomy)
                    if self.maybe(0.8)
                ],
            }
        )

    def chains(self, taxonomy: Taxonomy) -> list[list[str]]:
        heads = {head.name: head for head in taxonomy.heads if head.kind != "multilabel"}
        chains = [["grade"]] if "grade" in heads else []
        chain = [name for name in ("plant", "condition", "stage") if name in heads]
        return [*chains, chain, *([chain[:2]] if len(chain) > 2 else [])]

    def band(self) -> dict[str, Any]:
        count = int(self.rng.integers(2, 12))
        ends = np.sort(self.rng.random((2, count)), axis=0)
        return {
            "level": self.one([0.9, 0.95]),
            "low": ends[0].tolist(),
            "high": ends[1].tolist(),
            "photos": [self.one([0, 1, 12, 999, 1000, 12345, 2_000_000]) for _ in range(count)],
        }

    def sets(self, head: Head) -> dict[str, Any]:
        count = len(head.classes)
        is_multilabel = head.kind == "multilabel"

        def limits() -> list[float | None]:
            if self.maybe():
                return [float(self.rng.random())] * count
            return [None if self.maybe(0.15) else float(self.rng.random()) for _ in range(count)]

        return {
            "kind": head.kind,
            "alpha": self.one([0.1, 0.05, 0.085]),
            "method": self.one(["pooled", "clustered", "classwise"]),
            "limits": limits(),
            "groups": [30] * count,
            "absent_limits": limits() if is_multilabel else [],
            "absent_groups": [30] * count if is_multilabel else [],
        }

    def unknown(self, taxonomy: Taxonomy, outputs: dict[str, np.ndarray]) -> UnknownScore | None:
        if self.maybe(0.1):
            return None
        head = next(head for head in taxonomy.heads if head.kind != "multilabel")
        method = METHODS[self.seed % len(METHODS)]
        k, f = len(head.classes), outputs["embedding"].shape[1]

        def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
            order = self.one(["C", "F"])  # fits leave matrices by rows and by columns
            return {
                name: np.array(self.rng.normal(0, 1, shape), np.float32, order=order)
                for name, shape in shapes.items()
            }

        gaussian = {"center": (f,), "means": (k + 1, f), "directions": (f, 3)}
        linear = {"weight": (k, f), "bias": (k,)}
        own = {
            "energy": arrays(**linear),
            "nci": arrays(**linear, mean=(f,)),
            "fdbd": arrays(**linear, mean=(f,), apart=(k, k)),
            "mahalanobis": arrays(**gaussian),
            "relative_mahalanobis": arrays(**gaussian, overall_directions=(f, 2)),
            "knn": arrays(bank=(9, f)),
        }.get(method, {})
        if "apart" in own:
            own["apart"] = np.abs(own["apart"]) + np.float32(0.1)  # distances
        numbers = {
            "gen": {"classes": 2.0, "gamma": 0.1},
            "nci": {"alpha": 0.01},
            "mahalanobis": {"scale": 7.5},
            "relative_mahalanobis": {"scale": 7.5, "overall_scale": 3.0},
            "knn": {"k": 4.0},
        }.get(method, {})
        score = UnknownScore(method, head.name, own, numbers)
        if self.maybe(0.1):
            return score
        at = float(score.score(outputs)[0]) + float(self.one([-0.01, 0.01]))
        return UnknownScore(
            method, head.name, own, numbers, threshold=at, kept=self.one([None, 0.95]), groups=40
        )

    def routing(self, taxonomy: Taxonomy, outputs: dict[str, np.ndarray]) -> RoutingRule | None:
        if self.maybe(0.2):
            return None
        heads = [head for head in taxonomy.heads if head.kind != "multilabel"]
        head = self.one(heads)
        scores = ["max_probability", "margin", "p_norm", "entropy"]
        if f"{head.name}.epistemic" in outputs:
            scores.append("agreement")
        promised = {"error_rate": 0.05, "confidence": 0.95, "groups": 9, "accepted": 5, "errors": 0}
        return RoutingRule.model_validate(
            {
                "head": head.name,
                "score": self.one(scores),
                "promised": self.one([None, promised]),
                "tiers": [
                    {
                        "tier": tier,
                        "accept_from": self.one([None, 0.0, -0.5, float(self.rng.random())]),
                        "accept_all": self.maybe(0.2),
                        "by_class": {
                            name: self.one([None, float(self.rng.random())])
                            for name in head.class_names
                            if self.maybe(0.3)
                        },
                        "unknown_above": self.one([None, 0.0, float(self.rng.normal())]),
                    }
                    for tier in TIERS
                ],
            }
        )

    def photo(self) -> np.ndarray:
        height, width = (int(side) for side in self.rng.integers(5, 60, 2))
        shape = (height, width, 3)
        kind = self.one(["noise", "dark", "white", "even", "smooth", "edge"])
        if kind == "smooth":
            ramp = np.linspace(0, 255, width)[None, :, None] * np.ones(shape)
            return ramp.astype(np.uint8)
        low, high = {
            "noise": (0, 256),
            "dark": (0, 40),
            "white": (int(self.rng.integers(248, 251)), 256),
            "even": (100, 104),
            "edge": (50, int(self.rng.integers(55, 90))),
        }[kind]
        return self.rng.integers(low, high, shape, dtype=np.uint8)


def others_of(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Outputs of a client: nearly those of the case, far from them, or with a part missing."""
    rng = np.random.default_rng(seed)
    noise = float(rng.choice([0.0, 1e-6, 0.05]))
    found = {
        name: np.clip(values + rng.normal(0, 1, values.shape) * noise * values, -9, 9).astype(
            np.float32
        )
        for name, values in case.outputs.items()
    }
    if seed % 10 == 0:
        del found["embedding"]
    return found
