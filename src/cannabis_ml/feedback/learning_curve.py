"""What more photos would bring: learning curves of heads and of single classes.

A linear head is fitted on cached embeddings with ever more of the photos, and judged on photos that
it never saw. Error falls with the photos n as a + b * n^-c, an inverse power law down to what no
number of photos removes (Figueroa et al. 2012, BMC Med. Inform. Decis. Mak. 12:8; Viering & Loog
2023, IEEE TPAMI 45:7799). For a class, only its own photos vary, and the share of them that is
recognized (recall) is looked at; all other photos are there throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.linear_head import fit_head, folds_by_group
from cannabis_ml.text import counted

FASTEST = 2.0
"""Upper limit of the exponent c. Those of learning curves are mostly below 1."""

SLOWEST = 0.05

DRAWS = 200
"""Bootstrap samples that intervals rest on."""

MOST = 20
"""Times the photos that there are: farther off, a curve is not followed."""


class CurveParams(BaseModel):
    """How learning curves are measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fractions: tuple[float, ...] = Field(
        default=(0.15, 0.3, 0.5, 0.75, 1.0), description="Of the photos, that heads are fitted with"
    )
    folds: int = Field(
        default=5, ge=2, description="Parts that photos are divided into; each is judged once"
    )
    target: float = Field(default=0.9, gt=0, lt=1, description="Share right that is asked for")
    worth: float = Field(
        default=0.01, gt=0, lt=1, description="Gain by twice as many photos that is worth the work"
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Share right by number of photos, and what is expected of more.

    Attributes:
        name: Of the class; None for the head as a whole.
        photos: Photos that the head was fitted with, float64 (S,), ascending.
        right: Mean share right with so many, near-duplicates counted once, float64 (S,).
        available: Photos that there are.
        fits: a, b and c of each bootstrap sample, float64 (DRAWS, 3).
    """

    name: str | None
    photos: np.ndarray
    right: np.ndarray
    available: int
    fits: np.ndarray = field(repr=False)

    def expected(self, photos: float) -> tuple[float, tuple[float, float]]:
        """Share right with so many photos, and its interval of 95%."""
        draws = 1.0 - _error(photos, *self.fits.T)
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(np.median(draws)), (float(low), float(high))

    def needed(self, target: float) -> tuple[float, tuple[float, float]]:
        """Photos in all that a share right takes, and the interval; infinity where none suffice."""
        a, b, c = self.fits.T
        left = 1.0 - target - a
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            draws = np.where(left > 0, (b / np.where(left > 0, left, 1.0)) ** (1 / c), np.inf)
        draws[draws > MOST * self.available] = np.inf
        low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975], method="nearest")
        return float(middle), (float(low), float(high))


class Advice(BaseModel):
    """What more photos of a class, or of all, would bring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str
    class_name: str | None = Field(description="None: photos of all classes, as they come")
    photos: int = Field(description="Photos that there are to learn from")
    right: float = Field(description="Share right with these, by the curve")
    right_low: float
    right_high: float
    doubled: float = Field(description="Share right with twice as many")
    doubled_low: float
    doubled_high: float
    target: float
    more: int | None = Field(description="More photos for the target; 0: reached, None: no number")
    more_low: int | None
    more_high: int | None
    text: str


def measure_curve(
    components: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    params: CurveParams,
    of_class: tuple[int, str] | None = None,
) -> LearningCurve:
    """Measure a learning curve.

    Args:
        components: float64 (N, D) of labelled photos.
        labels: int (N,), from 0.
        groups: Photos that show the same, (N,): they are learnt from together or judged together,
            and come together when photos are added.
        params: Sizes and folds.
        of_class: Number and name of the class whose photos alone vary; None: all vary.

    Raises:
        ValueError: If the photos (of the class) fall into fewer than two groups.
    """
    varies = np.ones(len(labels), bool) if of_class is None else labels == of_class[0]
    count = len(np.unique(groups[varies]))
    if count < 2:
        raise ValueError("photos of one group cannot be divided into photos to learn and to judge")
    sizes: list[list[int]] = [[] for _ in params.fractions]
    judged: list[list[np.ndarray]] = [[] for _ in params.fractions]
    who: list[np.ndarray] = []
    classes = int(labels.max()) + 1
    folds = np.full(len(labels), -1)
    places = np.flatnonzero(varies)
    folds[places] = folds_by_group(
        labels[places], groups[places], min(params.folds, count), params.seed
    )
    for fold in range(folds.max() + 1):
        learn = (folds != fold) & ~np.isin(groups, groups[folds == fold])
        # Of a class whose only group is held out nothing would be known.
        out = (folds == fold) & np.isin(labels, labels[learn])
        who.append(groups[out])
        own, others = np.flatnonzero(learn & varies), np.flatnonzero(learn & ~varies)
        order = arrival(labels[own], groups[own], params.seed + fold)
        for place, fraction in enumerate(params.fractions):
            rows = np.concatenate([others, own[order < fraction]])
            # A class of which more photos came would be recognized more often for that alone.
            head = fit_head(components[rows], labels[rows], classes, balanced=True)
            judged[place].append(head.probs(components[out]).argmax(axis=1) == labels[out])
            sizes[place].append(len(rows) - len(others))
    photos = np.array([np.mean(of) for of in sizes])
    wrong = _wrong_of_groups(np.stack([np.concatenate(of) for of in judged]), np.concatenate(who))
    fits = _bootstrap(photos, wrong, params.seed)
    name = None if of_class is None else of_class[1]
    return LearningCurve(name, photos, 1 - wrong.mean(axis=1), int(varies.sum()), fits)


def advise(head: str, curve: LearningCurve, params: CurveParams) -> Advice:
    """Put a learning curve into words: how many more photos, or that more change nothing.

    Args:
        head: Name of the head.
        curve: As from `measure_curve`.
        params: The target, and the gain that is worth the work.
    """
    now, ends = curve.expected(curve.available)
    twice, twice_ends = curve.expected(2 * curve.available)
    total, (fewest, most) = curve.needed(params.target)
    more, low, high = (_more(n, curve.available) for n in (total, fewest, most))
    if now >= params.target:
        more = low = 0
    what = f"'{curve.name}'" if curve.name is not None else f"all classes of '{head}'"
    return Advice(
        head=head,
        class_name=curve.name,
        photos=curve.available,
        right=now,
        right_low=ends[0],
        right_high=ends[1],
        doubled=twice,
        doubled_low=twice_ends[0],
        doubled_high=twice_ends[1],
        target=params.target,
        more=more,
        more_low=low,
        more_high=high,
        text=_in_words(what, curve.available, (now, twice - now), (more, low, high), params),
    )


def rounded(photos: int) -> int:
    """Rounded to the precision of a curve: two digits, and tens below 100."""
    if photos < 10:
        return photos
    step = 10 ** max(1, len(str(photos)) - 2)
    return max(step, round(photos / step) * step)


def _in_words(
    what: str,
    photos: int,
    right: tuple[float, float],
    more: tuple[int | None, int | None, int | None],
    params: CurveParams,
) -> str:
    """One sentence.

    Args:
        what: More photos of what.
        photos: That there are.
        right: Share right now, and what twice as many photos add to it.
        more: Photos for the target, with the ends of the interval; None: no number.
        params: The target, and the gain that is worth the work.
    """
    (share, gain), (middle, low, high) = right, more
    now = _below(share, params.target)
    reached, is_near = share >= params.target, middle is not None and middle <= photos
    if gain < params.worth and (reached or not is_near):
        return (
            f"More photos of {what} would change nothing: {now} is right now, and twice as"
            f" many would bring {100 * max(0.0, gain):.1f} points."
        )
    if reached:
        return (
            f"{what[0].upper()}{what[1:]}: {now} is right now, which reaches"
            f" {params.target:.0%}; twice as many photos would bring {100 * gain:.1f} points more."
        )
    doubled = f"{now} now, {100 * gain:+.1f} points with twice as many"
    if middle is None and low is None:
        return (
            f"No number of photos of {what} that the curve reaches makes {params.target:.0%}"
            f" ({doubled})."
        )
    if middle is None:
        return (
            f"Whether more photos of {what} make {params.target:.0%}, the curve leaves open"
            f" ({doubled}): probably no number does, and surely none below"
            f" {rounded(low or 0):,} more."
        )
    return (
        f"About {counted(rounded(middle), 'more photo')} of {what} for {params.target:.0%}"
        f"{_between(middle, low or 0, high)}; {now} now."
    )


def _below(share: float, target: float) -> str:
    """A share in percent; with a decimal where it would look like a target that it is below."""
    whole = f"{share:.0%}"
    return f"{share:.1%}" if share < target and whole == f"{target:.0%}" else whole


def _between(middle: int, low: int, high: int | None) -> str:
    """The interval in parentheses; nothing where it is as narrow as the rounding."""
    fewest = rounded(low) if low else 0
    if high is None:
        return f" (at least {fewest:,})" if low else " (the interval is wide)"
    most = rounded(high)
    if fewest == rounded(middle) == most:
        return ""
    return f" ({fewest:,} to {most:,})" if low else f" (at most {most:,})"


def _more(total: float, available: int) -> int | None:
    return None if not np.isfinite(total) else max(0, int(np.ceil(total)) - available)


def arrival(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """When each photo arrives, in [0, 1): within each class groups in random order.

    Sizes are nested, and every class is there from the beginning.
    """
    random, times = np.random.default_rng(seed), np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        _, which, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
        order = random.permutation(len(sizes))
        start = np.empty(len(sizes))
        start[order] = (np.cumsum(sizes[order]) - sizes[order]) / len(rows)
        times[rows] = start[which.reshape(-1)]
    return times


def _wrong_of_groups(right: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Share of each group's photos that is wrong, float64 (S, groups): a burst counts once."""
    names, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = [np.bincount(which, weights=~row, minlength=len(names)) for row in right]
    return np.stack(sums) / counts


def _bootstrap(photos: np.ndarray, wrong: np.ndarray, seed: int) -> np.ndarray:
    """Fits of DRAWS samples of the judged groups, float64 (DRAWS, 3)."""
    count = wrong.shape[1]
    random = np.random.default_rng(seed)
    draws = random.integers(count, size=(DRAWS, count))
    return np.stack([fit_power_law(photos, wrong[:, draw].mean(axis=1)) for draw in draws])


def fit_power_law(photos: np.ndarray, errors: Sequence[float] | np.ndarray) -> np.ndarray:
    """Least squares of error = a + b * n^-c with a, b >= 0, float64 (3,).

    For a given c the best a and b are those of a line in n^-c; c is searched on a grid.

    Args:
        photos: float64 (S,), above 0 where they are on the curve; sizes of 0 are left out.
        errors: In [0, 1], (S,).
    """
    errors = np.asarray(errors, float)
    known = photos > 0
    photos, errors = photos[known], errors[known]
    mean = float(errors.mean()) if len(errors) else 1.0
    best, fitted = float(((errors - mean) ** 2).sum()), np.array([mean, 0.0, 1.0])
    if len(np.unique(photos)) < 2:
        return fitted
    for c in np.geomspace(SLOWEST, FASTEST, 40):
        steep = photos**-c
        away = steep - steep.mean()
        b = float((away @ errors) / (away @ away))
        a = float(errors.mean() - b * steep.mean())
        if a < 0:  # on the border a = 0
            a, b = 0.0, float((steep @ errors) / (steep @ steep))
        if b < 0:
            continue
        rest = float(((a + b * steep - errors) ** 2).sum())
        if rest < best - 1e-15:
            best, fitted = rest, np.array([a, b, c])
    return fitted


def _error(photos: float, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.clip(a + b * float(photos) ** -c, 0.0, 1.0)
