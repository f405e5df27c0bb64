"""Adversarial losses on logits (B, 1): scalars to descend, one for each player."""

from abc import ABC, abstractmethod
from math import exp, log
from typing import ClassVar, NamedTuple

from torch import Tensor
from torch.nn.functional import relu, softplus

from .terms import Level

TWO_LN_2, LN_2, ZERO = Level(2 * log(2), "2 ln 2"), Level(log(2), "ln 2"), Level(0.0, "0")


class Equilibrium(NamedTuple):
    """Both losses where fakes are distributed as real images are, and the discriminator is at its best against them.

    None: that leaves it open.
    """

    discriminator: Level
    generator: Level | None
    verdict: Level | None  # D(x) and D(G(z)): the sigmoid of the logit


class AdversarialLoss(ABC):
    """What the discriminator and the generator each descend, given raw logits."""

    needs_real_logits: ClassVar[bool] = False  # whether the generator's loss looks at real images too
    equilibrium: ClassVar[Equilibrium | None] = None  # where it is known
    unit: ClassVar[str] = ""  # of both losses

    @abstractmethod
    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, a scalar."""

    @abstractmethod
    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar. `real_logits` are given where `needs_real_logits` says so."""


class MinimaxLoss(AdversarialLoss):
    """min_G max_D E[log D(x)] + E[log(1 − D(G(z)))] (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1)."""

    equilibrium = Equilibrium(TWO_LN_2, Level(-log(2), "−ln 2"), Level(0.5, "0.5"))
    unit = "nats"

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        # −log D(x) = softplus(−logit) and −log(1 − D(x)) = softplus(logit): finite for any logit.
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


class NonSaturatingLoss(MinimaxLoss):
    """The same discriminator; the generator ascends E[log D(G(z))] (Goodfellow et al. 2014, section 3)."""

    equilibrium = Equilibrium(TWO_LN_2, LN_2, Level(0.5, "0.5"))

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(-fake_logits).mean()


class HingeLoss(AdversarialLoss):
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894)."""

    equilibrium = Equilibrium(Level(2.0, "2"), None, None)  # any logit in [-1, 1], the same for all images, is as good

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class WassersteinLoss(AdversarialLoss):
    """The critic's loss of WGAN (Arjovsky et al. 2017, arXiv:1701.07875); needs a Lipschitz penalty."""

    equilibrium = Equilibrium(ZERO, None, None)  # a critic is as good with any constant added

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class LeastSquaresLoss(AdversarialLoss):
    """LSGAN: logits are drawn to 1 for real, 0 for fake (Mao et al. 2017, arXiv:1611.04076, eq. 9)."""

    equilibrium = Equilibrium(Level(1 / 4, "1/4"), Level(1 / 8, "1/8"), Level(1 / (1 + exp(-0.5)), "σ(0.5)"))

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return (fake_logits - 1).square().mean() / 2


class RelativisticLoss(AdversarialLoss):
    """Each fake is judged against one real image: softplus(−(C(x) − C(G(z)))), and the reverse for the generator.

    The relativistic pairing GAN (Jolicoeur-Martineau 2018, arXiv:1807.00734, eq. 7 and 8; R3GAN, Huang et al. 2024,
    arXiv:2501.05441).
    """

    needs_real_logits = True
    equilibrium = Equilibrium(LN_2, LN_2, None)  # only differences of logits count
    unit = "nats"

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(fake_logits - real_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        if real_logits is None:
            raise ValueError("the relativistic loss of a generator needs the logits of real images")
        return softplus(real_logits - fake_logits).mean()
