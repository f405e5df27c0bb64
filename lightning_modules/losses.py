"""Adversarial losses on logits (B, 1): scalars to descend, one for each player."""

from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn.functional import relu, softplus


class AdversarialLoss(ABC):
    """What the discriminator and the generator each descend, given raw logits."""

    @abstractmethod
    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...

    @abstractmethod
    def generator(self, fake_logits: Tensor) -> Tensor: ...


class MinimaxLoss(AdversarialLoss):
    """min_G max_D E[log D(x)] + E[log(1 − D(G(z)))] (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1)."""

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        # −log D(x) = softplus(−logit) and −log(1 − D(x)) = softplus(logit): finite for any logit.
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return -softplus(fake_logits).mean()


class NonSaturatingLoss(MinimaxLoss):
    """The same discriminator; the generator ascends E[log D(G(z))] (Goodfellow et al. 2014, section 3)."""

    def generator(self, fake_logits: Tensor) -> Tensor:
        return softplus(-fake_logits).mean()


class HingeLoss(AdversarialLoss):
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894)."""

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()


class WassersteinLoss(AdversarialLoss):
    """The critic's loss of WGAN (Arjovsky et al. 2017, arXiv:1701.07875); needs a Lipschitz penalty."""

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()
