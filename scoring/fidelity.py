"""How fakes compare with real images, by the features of both: (N, num_features) each, a row an image."""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

PRECISION_NEIGHBOUR = 3  # k of precision and recall (Kynkäänniemi et al. 2019)
COVERAGE_NEIGHBOUR = 5  # k of density and coverage (Naeem et al. 2020)
DUPLICATE = 0.01  # of the typical distance of two training images: nearer ones are the same image
KERNEL_ROWS = 100  # of KID at a time: they stay in the processor's cache
ROWS = 1000  # distances are computed for so many rows at a time: 40 MB against 10,000 others


class RealFeatures:
    """Features of real images, prepared once to measure any number of sets of fakes against."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        # sync_on_compute=False: every device holds the features of all of them.
        self._frechet = FrechetInceptionDistance(
            GivenFeatures(features.shape[1]), reset_real_features=False, sync_on_compute=False
        )
        self._frechet.to(features.device).update(features.double(), real=True)
        self._radii: Tensor | None = None
        self._own_kernel: float | None = None

    def frechet_distance(self, fakes: Tensor) -> float:
        """FID (Heusel et al. 2017, arXiv:1706.08500): ≥ 0, 0 for equal mean and covariance; biased upwards."""
        self._frechet.update(fakes.double(), real=False)
        value = float(self._frechet.compute())
        self._frechet.reset()
        return value

    def kernel_distance(self, fakes: Tensor) -> float:
        """KID (Bińkowski et al. 2018, arXiv:1801.01401): the squared MMD under the kernel (x·y / d + 1)³, of all pairs.

        Unbiased: around 0, below it too, for equal distributions.
        """
        if self._own_kernel is None:
            self._own_kernel = mean_kernel(self.features)
        return self._own_kernel + mean_kernel(fakes) - 2 * mean_kernel(self.features, fakes)

    def manifold_scores(self, fakes: Tensor) -> dict[str, float]:
        """Precision, recall, density and coverage, by balls around each image to its k-th neighbour in its own set.

        precision, the share of fakes in a real ball; recall, the share of real images in a fake's ball (k = 3;
        Kynkäänniemi et al. 2019, arXiv:1904.06991); density, how many real balls a fake is in, over k;
        coverage, the share of real balls with a fake inside (k = 5; Naeem et al. 2020, arXiv:2002.09797).
        """
        if self._radii is None:
            self._radii = neighbour_radii(self.features)
        near, far = PRECISION_NEIGHBOUR - 1, COVERAGE_NEIGHBOUR - 1
        fake_radii = neighbour_radii(fakes)[:, near]
        in_a_real_ball = torch.zeros(len(fakes), dtype=torch.bool, device=fakes.device)
        recalled, covered, memberships = 0, 0, 0
        for real, radius in zip(self.features.split(ROWS), self._radii.split(ROWS), strict=True):
            distance = torch.cdist(real, fakes)  # (rows, fakes)
            in_a_real_ball |= (distance <= radius[:, near, None]).any(dim=0)
            recalled += int((distance <= fake_radii).any(dim=1).sum())
            inside = distance <= radius[:, far, None]
            covered += int(inside.any(dim=1).sum())
            memberships += int(inside.sum())
        return {
            "precision": float(in_a_real_ball.float().mean()),
            "recall": recalled / len(self.features),
            "density": memberships / (COVERAGE_NEIGHBOUR * len(fakes)),
            "coverage": covered / len(self.features),
        }


def scores_of(real: RealFeatures, fakes: Tensor) -> dict[str, float]:
    """fid where there are as many images as features, kid, and the manifold's scores where there are neighbours."""
    num_features = fakes.shape[1]
    scores = {"fid": real.frechet_distance(fakes)} if min(len(fakes), len(real.features)) >= num_features else {}
    scores["kid"] = real.kernel_distance(fakes)
    if min(len(fakes), len(real.features)) > COVERAGE_NEIGHBOUR:
        scores |= real.manifold_scores(fakes)
    return scores


class GivenFeatures(nn.Module):
    """The extractor of torchmetrics' classes for features that are at hand: it hands them on."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def mean_kernel(features: Tensor, others: Tensor | None = None) -> float:
    """The mean of (x·y / d + 1)³ over all pairs, in float64; without `others` over all pairs of different rows."""
    left, right = features.double(), (features if others is None else others).double()
    sums = []
    for rows in left.split(KERNEL_ROWS):
        base = (rows @ right.T).div_(right.shape[1]).add_(1)
        sums.append((base * base).mul_(base).sum())
    total = torch.stack(sums).sum()
    if others is not None:
        return float(total / (len(left) * len(right)))
    own = (left.square().sum(dim=1) / left.shape[1] + 1) ** 3  # of each row and itself
    return float((total - own.sum()) / (len(left) * (len(left) - 1)))


def neighbour_radii(features: Tensor) -> Tensor:
    """Distances to the first, second, … nearest other row: (N, 5), ascending."""
    count = COVERAGE_NEIGHBOUR + 1  # the row itself comes first
    return torch.cat(
        [torch.cdist(rows, features).topk(count, largest=False).values[:, 1:] for rows in features.split(ROWS)]
    )


def nearest(features: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each row to the nearest one among others, and which that is: (N,) each."""
    index = torch.cat([torch.cdist(rows, among).argmin(dim=1) for rows in features.split(ROWS)])
    return (features - among[index]).norm(dim=1), index  # cdist's are not 0 for equal rows


def nearest_few(features: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances of each row to the `count` nearest ones among others, ascending, and which these are: on the CPU.

    (N, K) each; K is smaller where there are fewer others.
    """
    index = torch.cdist(features, among).topk(min(count, len(among)), largest=False).indices
    distance, order = (features.unsqueeze(1) - among[index]).norm(dim=2).sort(dim=1)  # cdist's are not 0 for equal rows
    return distance.cpu(), index.gather(1, order).cpu()


def newness(fakes: Tensor, real: Tensor, train: Tensor) -> float | None:
    """The median distance of fakes to their nearest training image, over that of real images that are none.

    None where most of the latter have duplicates among the training images.
    """
    unseen = float(nearest(real, among=train)[0].median())
    if is_duplicate(unseen, typical_distance(train)):
        return None
    return float(nearest(fakes, among=train)[0].median()) / unseen


def is_duplicate(distance: float, typical: float) -> bool:
    """Whether an image is as near to another as only the same image is; `typical`: the distance of two images."""
    return distance <= DUPLICATE * typical


def typical_distance(features: Tensor) -> float:
    """The root mean square of the distances between two rows."""
    return float((2 * features.double().var(dim=0).sum()).sqrt())
