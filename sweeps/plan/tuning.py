"""Which hyperparameters a tuning tries, which of them it gives up on, and which it picks.

Two objectives: `success`, the mean over facts of reliability and generalization (token accuracy), up; `drift`, the mean
over operations, each on the unedited model, of the KL divergence from it in nats, down.

Picked is the least drift among the settings whose success is within `tolerance` of the best: of few facts small
differences say nothing. A setting that cannot be picked any more, whatever its facts to come give, is not measured
further: what is picked is what would be otherwise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from modelfolder import yaml_files
from modelfolder.errors import InputError, nearest
from rect.facts import Fact
from rect.order import permutation

TOLERANCE = 0.02
ROUNDING = 1e-9  # far below what one fact can change
TUNED = "tuning"

VALUES: dict[str, tuple[Any, ...]] = {  # what ROME and MEMIT share
    "layers": (),
    "v_lr": (0.1, 0.2, 0.5, 1.0),
    "v_num_grad_steps": (10, 15, 20, 25),
    "clamp_norm_factor": (0.75, 1.0, 2.0, 4.0),
    "kl_factor": (0.0625, 0.25, 1.0),
    "mom2_adjustment": (False, True),
}


@dataclass(frozen=True)
class Space:
    """What can be looked for.

    Attributes:
        batch: facts in an operation.
        values: to choose from, by key; of `layers` the candidates depend on the model.
        usual: the keys that are looked for unless others are asked for.
    """

    batch: int
    values: Mapping[str, tuple[Any, ...]]
    usual: tuple[str, ...]


SPACES: dict[str, Space] = {
    "rome": Space(1, VALUES, ("layers", "mom2_adjustment")),
    "memit": Space(
        4, VALUES | {"mom2_update_weight": (150.0, 500.0, 1500.0, 5000.0, 15000.0)}, ("layers", "mom2_update_weight")
    ),
    "kn": Space(
        1,
        {
            "adaptive_threshold": (0.05, 0.1, 0.2, 0.4, 0.7),
            "lr_scale": (0.5, 1.0, 2.0, 4.0, 8.0),
            "refine": (False, True),
            "p": (0.2, 0.4, 0.6),
        },
        ("adaptive_threshold", "lr_scale"),
    ),
}


def check(method: str, keys: Sequence[str]) -> tuple[str, ...]:
    """The keys that are looked for.

    Raises:
        InputError: the method cannot be tuned, or has no such key.
    """
    if method not in SPACES:
        raise InputError(f"--method {method}: cannot be tuned; {nearest(method, SPACES)}")
    for key in keys:
        if key not in SPACES[method].values:
            raise InputError(f"--vary {key}: {nearest(key, SPACES[method].values)}")
    return tuple(dict.fromkeys(keys)) or SPACES[method].usual


def held(given: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    """Values that all settings have, from KEY=VALUE in YAML.

    Raises:
        InputError: another form, or a key that is looked for.
    """
    found: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals:
            raise InputError(f"--set {one}: KEY=VALUE is wanted")
        if key in keys:
            raise InputError(f"--set {one}: {key} is looked for; leave it out of --vary to set it")
        found[key] = yaml_files.read(text, f"--set {one}")[0]
    return found


def choices(method: str, keys: Sequence[str], layers: Sequence[Sequence[int]], now: Mapping[str, Any]) -> Choices:
    """By key the values to choose from, those that are used now among them.

    Args:
        keys: what is looked for.
        layers: the candidates, `candidates`.
        now: the values that would be used without a tuning.
    """
    found: Choices = {}
    for key in keys:
        values = [list(one) for one in layers] if key == "layers" else list(SPACES[method].values[key])
        own = list(now[key]) if key == "layers" else now[key]
        found[key] = values if own in values else [*values, own]
    return found


Choices = dict[str, list[Any]]


def candidates(effects: Sequence[float], width: int, count: int) -> list[list[int]]:
    """Runs of so many layers around those with the largest effects, the most promising first.

    The last layer is none: nothing is left behind it by which a value could be found.

    Args:
        effects: by layer, as `rect.tracing.profile` has them.
        width: layers that are edited together.
        count: how many candidates.
    """
    last = max(len(effects) - 2, 0)
    width = min(width, last + 1)
    found: list[list[int]] = []
    for layer in sorted(range(last + 1), key=lambda layer: -effects[layer]):
        start = min(max(layer - width // 2, 0), last + 1 - width)
        run = list(range(start, start + width))
        if run not in found:
            found.append(run)
    return found[:count]


def split(facts: Sequence[Fact], seed: int = 0) -> tuple[list[Fact], list[Fact]]:
    """Facts that tuning may see, and those that it must not: the halves of a seeded order of its own."""
    order = permutation(len(facts), seed, TUNED)
    half = len(facts) // 2
    return [facts[i] for i in order[:half]], [facts[i] for i in order[half:]]


@dataclass(frozen=True)
class Operation:
    """What one operation, on the unedited model, gave.

    Attributes:
        reliability, generalization: per fact, token accuracy; generalization NaN where a fact has no rephrasing.
        drift: in nats.
        seconds: that it took.
        failed: why there is nothing of these; "" where there is.
    """

    reliability: tuple[float, ...]
    generalization: tuple[float, ...]
    drift: float
    seconds: float
    failed: str = ""

    @property
    def success(self) -> list[float]:
        """Per fact."""
        pairs = zip(self.reliability, self.generalization, strict=True)
        return [a if math.isnan(b) else (a + b) / 2 for a, b in pairs]


@dataclass(frozen=True)
class Setting:
    """One setting as far as it was measured.

    Attributes:
        values: what is set, by key.
        operations: what was measured, in order.
        sizes: facts in each operation of a whole one.
    """

    values: Mapping[str, Any]
    operations: tuple[Operation, ...]
    sizes: tuple[int, ...]

    @property
    def failed(self) -> str:
        return next((one.failed for one in self.operations if one.failed), "")

    @property
    def whole(self) -> bool:
        return len(self.operations) == len(self.sizes) and not self.failed

    @property
    def success(self) -> float:
        """Of what was measured."""
        return statistics.fmean(value for one in self.operations for value in one.success)

    @property
    def drift(self) -> float:
        """Of what was measured."""
        return statistics.fmean(one.drift for one in self.operations)

    @property
    def most_success(self) -> float:
        """Of the whole, if all facts to come succeed."""
        done = [value for one in self.operations for value in one.success]
        return (math.fsum(done) + sum(self.sizes[len(self.operations) :])) / sum(self.sizes)

    @property
    def least_drift(self) -> float:
        """Of the whole, if the operations to come move nothing."""
        return math.fsum(one.drift for one in self.operations) / len(self.sizes)


S = TypeVar("S", bound=Setting)


def tolerance(facts: int) -> float:
    """How much less success than the best is as good: half a fact, `TOLERANCE` from 25 facts on."""
    return max(TOLERANCE, 0.5 / facts)


def hopeless(setting: Setting, others: Iterable[Setting]) -> bool:
    """Whether a setting cannot be picked any more, given others of which those count that are whole."""
    most, least = setting.most_success, setting.least_drift
    near = tolerance(sum(setting.sizes)) + 2 * ROUNDING
    for other in others:
        if other.whole and (other.success - near > most or (other.success >= most and other.drift <= least)):
            return True
    return False


def pick(settings: Iterable[S]) -> S | None:
    """By the rule above; of several the one with more success, then the first."""
    whole = [one for one in settings if one.whole]
    if not whole:
        return None
    best = max(one.success for one in whole)
    near = tolerance(sum(whole[0].sizes)) + ROUNDING
    good = [one for one in whole if best - near <= one.success]
    return min(good, key=lambda one: (one.drift, -one.success))
