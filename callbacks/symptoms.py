"""What a sick training shows in its terms and gradient norms: each class follows one symptom from look to look."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from statistics import median
from typing import NamedTuple

from .gradient_norms import NORM

REMEMBERED = 100  # looks, over which a norm's median runs
APART = 0.98  # of D(x) and D(G(z))
SQUARABLE = 1.8e19  # float32's largest number whose square is one; squares are in norms and in Adam's moments
IN_A_ROW = 2  # looks: a gradient that has once been small enough to be rounded to 0 may come back
MAKERS = ("generator", "decoder")  # of images
# Whose gradient is gone where a discriminator is saturated, and how it is called: of a decoder that a likelihood moves,
# too, it is what comes from the discriminator alone.
LEARNING = {"adversarial_gradient": "the adversarial gradient", f"{NORM}generator": "the generator's gradient"}
SQUASHED = 1e-3  # from 0 or 1: there a probability says nothing of its logit


class Symptom(NamedTuple):
    """What was seen in the latest look, and what may help."""

    kind: str
    text: str
    measured: float
    threshold: float
    advice: str


class Watch(ABC):
    """Sees the scalars of every look: the terms of the steps by name, and gradient_norm/<network>."""

    @abstractmethod
    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        """What has become certain with this look, if anything."""


class Streak:
    """How often in a row something was so."""

    def __init__(self, needed: int) -> None:
        self.needed, self.length = needed, 0

    def is_full(self, holds: bool) -> bool:
        self.length = self.length + 1 if holds else 0
        return self.length >= self.needed


class ExplodingGradients(Watch):
    """A norm that is no finite number; or more than `factor` times its median before, `patience` looks in a row."""

    advice = "a lower learning rate, or a penalty (model/penalty=r1)"

    def __init__(self, factor: float, patience: int) -> None:
        self.factor, self.patience = factor, patience
        self.norms: dict[str, deque[float]] = {}  # those that were usual
        self.streaks: dict[str, Streak] = {}

    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        found = [self.look_at(name, norm) for name, norm in scalars.items() if name.startswith(NORM)]
        return next(filter(None, found), None)

    def look_at(self, name: str, norm: float) -> Symptom | None:
        network = name.removeprefix(NORM)
        if not isfinite(norm):
            text = f"the norm of the {network}'s gradient is {norm}"
            return Symptom("exploding gradients", text, norm, self.factor, self.advice)
        norms = self.norms.setdefault(name, deque(maxlen=REMEMBERED))
        usual = median(norms) if norms else norm
        is_usual = not norm > self.factor * usual > 0
        if is_usual:
            norms.append(norm)
        if not self.streaks.setdefault(name, Streak(self.patience)).is_full(not is_usual):
            return None
        text = f"the norm of the {network}'s gradient is {norm:.2g}, {norm / usual:.2g} times its median"
        return Symptom("exploding gradients", text, norm / usual, self.factor, self.advice)


class NoGradient(Watch):
    """A network that makes images, and whose gradient is 0 to the last digit, `IN_A_ROW` looks in a row.

    Where every pixel is at its limit, tanh hands nothing back, and the samples stay as they are, whatever else is
    learned. Of other networks it is no harm by itself: under a hinge loss a discriminator that tells all apart by a
    margin has none until the generator moves, and a prior none while the KL is within its free bits.
    """

    advice = "a lower learning rate"

    def __init__(self) -> None:
        self.streaks: dict[str, Streak] = {}

    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        for name, norm in scalars.items():
            network = name.removeprefix(NORM)
            if network not in MAKERS:
                continue
            if self.streaks.setdefault(name, Streak(IN_A_ROW)).is_full(norm == 0):
                text = f"the norm of the {network}'s gradient is 0: it learns nothing more"
                return Symptom("no gradient", text, norm, 0.0, self.advice)
        return None


class ExplodingTerms(Watch):
    """A term of a loss so large that its square is no number any more, be it finite itself."""

    advice = ExplodingGradients.advice

    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        for name, value in scalars.items():
            if not name.startswith(NORM) and not abs(value) <= SQUARABLE:
                return Symptom("exploding terms", f"{name} is {value:.3g}", abs(value), SQUARABLE, self.advice)
        return None


def infinite_moments(networks: Sequence[str], factor: float) -> Symptom | None:
    """Of networks whose optimizers keep no finite moments of their gradients: they take no step any more."""
    if not networks:
        return None
    text = f"what the optimizer keeps of the {networks[0]}'s gradients is no finite number: it learns nothing more"
    return Symptom("exploding gradients", text, inf, factor, ExplodingGradients.advice)


class SaturatedDiscriminator(Watch):
    """Real and fake are fully apart, and the generator's gradient is gone: `share` of what it was, or less.

    What it was is its norm in the first look, or the median of those while they were not apart, if that is more.
    `patience` looks in a row. A verdict apart is no harm by itself: of a Wasserstein critic it means nothing, and
    under most losses the generator still learns from it.
    """

    advice = "model/loss=non_saturating, model/penalty=r1 or a lower learning rate of the discriminator"

    def __init__(self, share: float, patience: int) -> None:
        self.share = share
        self.streak = Streak(patience)
        self.first: float | None = None
        self.norms: deque[float] = deque(maxlen=REMEMBERED)  # while they were not apart

    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        name = next((name for name in LEARNING if name in scalars), None)
        if name is None or not {"d_real", "d_fake"} <= scalars.keys():
            return None
        norm, difference = scalars[name], scalars["d_real"] - scalars["d_fake"]
        if not isfinite(norm):
            return None
        if difference <= APART:
            self.norms.append(norm)
        self.first = norm if self.first is None else self.first
        usual = max(self.first, median(self.norms) if self.norms else 0.0)
        if not self.streak.is_full(difference > APART and norm <= self.share * usual):
            return None
        text = (
            f"D(x) is {scalars['d_real']:.3g} and D(G(z)) {scalars['d_fake']:.2g}, and the norm of {LEARNING[name]} "
            f"{norm:.2g}, before {usual:.2g}"
        )
        return Symptom("saturated discriminator", text, norm / usual if usual else 0.0, self.share, self.advice)


class BlindDiscriminator(Watch):
    """It takes fakes for no less real than real images, `patience` looks in a row.

    A discriminator that has met its match, or whose weights are clipped to little, still finds some difference most of
    the time.
    """

    advice = "a higher learning rate of the discriminator, a wider one, or a lighter penalty (model.penalty.weight)"

    def __init__(self, patience: int) -> None:
        self.streak = Streak(patience)

    def look(self, scalars: Mapping[str, float]) -> Symptom | None:
        if not {"d_real", "d_fake"} <= scalars.keys():
            return None
        real, fake = scalars["d_real"], scalars["d_fake"]
        says_nothing = max(real, fake) < SQUASHED or min(real, fake) > 1 - SQUASHED
        if not self.streak.is_full(real <= fake and not says_nothing):
            return None
        text = f"D(x) is {real:.3g} and D(G(z)) {fake:.3g}"
        return Symptom("discriminator tells nothing apart", text, real - fake, 0.0, self.advice)
