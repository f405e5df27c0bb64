"""How fakes compare with real images, by the features of both: (N, num_features) each, a row an image."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

PRECISION_NEIGHBOUR = 3  # k of precision and recall (Kynkäänniemi et al. 2019)
COVERAGE_NEIGHBOUR = 5  # k of density and coverage (Naeem et al. 2020)
DUPLICATE = 0.01  # of the typical distance of two training images: nearer ones are the same image
ROUNDING = 1e-6  # of |x|²: two products of the same rows differ by so much, and what lies on a ball is in it
KERNEL_ROWS = 100  # of KID at a time: they stay in the processor's cache
SIDE = {"cpu": 512, "other": 8192}  # rows of either set whose pairs are compared at a time: 1 MB stays in a CPU's cache
RADII_ROWS = {"cpu": 100, "other": 2000}  # each with the distances to all others: 4 MB of 10,000


class RealFeatures:
    """Features of real images, prepared once to measure any number of sets of fakes against."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    @cached_property
    def _frechet(self) -> FrechetInceptionDistance:
        # sync_on_compute=False: every device holds the features of all of them.
        extractor = GivenFeatures(self.features.shape[1])
        metric = FrechetInceptionDistance(extractor, reset_real_features=False, sync_on_compute=False)
        metric.to(self.features.device).update(self.features.double(), real=True)
        return metric

    @cached_property
    def _radii(self) -> Tensor:
        return neighbour_radii(self.features)

    @cached_property
    def _moment(self) -> Tensor | None:
        """None where a moment is more work than all pairs."""
        return third_moment(self.features) if self.features.shape[1] ** 2 < len(self.features) else None

    @cached_property
    def _own_kernel(self) -> float:
        return mean_kernel(self.features) if self._moment is None else unbiased_kernel(self._moment, self.features)

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
        if self._moment is None:
            return self._own_kernel + mean_kernel(fakes) - 2 * mean_kernel(self.features, fakes)
        moment = third_moment(fakes)
        return self._own_kernel + unbiased_kernel(moment, fakes) - 2 * float((self._moment * moment).sum())

    def manifold_scores(self, fakes: Tensor) -> dict[str, float]:
        """Precision, recall, density and coverage, by balls around each image to its k-th neighbour in its own set.

        precision, the share of fakes in a real ball; recall, the share of real images in a fake's ball (k = 3;
        Kynkäänniemi et al. 2019, arXiv:1904.06991); density, how many real balls a fake is in, over k;
        coverage, the share of real balls with a fake inside (k = 5; Naeem et al. 2020, arXiv:2002.09797).
        """
        near, far = PRECISION_NEIGHBOUR - 1, COVERAGE_NEIGHBOUR - 1
        # d² ≤ r² is x·y − |y|²/2 ≥ (|x|² − r²) / 2, of which the left side is one product for all four.
        lengths, balls = half_squares(self.features) * (1 - ROUNDING), self._radii.square() / 2
        fake_lengths, fake_balls = half_squares(fakes), neighbour_radii(fakes)[:, near].square() / 2
        side = rows_at_once(SIDE, fakes)
        in_a_real_ball = torch.zeros(len(fakes), dtype=torch.bool, device=fakes.device)
        recalled, covered = (torch.zeros(len(self.features), dtype=torch.bool, device=fakes.device) for _ in range(2))
        memberships = torch.zeros((), dtype=torch.long, device=fakes.device)
        for rows in blocks(len(self.features), side):
            length = lengths[rows]
            in_near, in_far = length - balls[rows, near], length - balls[rows, far]
            for columns in blocks(len(fakes), side):
                product = torch.addmm(fake_lengths[columns], self.features[rows], fakes[columns].T, beta=-1)
                covered[rows] |= product.amax(dim=1) >= in_far
                memberships += torch.count_nonzero(product >= in_far[:, None])
                recalled[rows] |= (product + fake_balls[columns]).amax(dim=1) >= length
                in_a_real_ball[columns] |= product.sub_(in_near[:, None]).amax(dim=0) >= 0
        return {
            "precision": float(in_a_real_ball.float().mean()),
            "recall": int(recalled.sum()) / len(self.features),
            "density": int(memberships) / (COVERAGE_NEIGHBOUR * len(fakes)),
            "coverage": int(covered.sum()) / len(self.features),
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


def third_moment(features: Tensor) -> Tensor:
    """The mean of v ⊗ v ⊗ v for v = (x / √d, 1), ((D + 1)², D + 1), in float64.

    The scalar product of two of them is the mean of (x·y / d + 1)³ over all pairs, without looking at any: less work
    than pairs, where features are few and images many.
    """
    count, size = features.shape
    total = torch.zeros((size + 1) ** 2, size + 1, dtype=torch.float64, device=features.device)
    for rows in features.double().split(KERNEL_ROWS):
        v = torch.cat([rows / size**0.5, rows.new_ones(len(rows), 1)], dim=1)
        total.addmm_((v.unsqueeze(2) * v.unsqueeze(1)).flatten(1).T, v)
    return total / count


def unbiased_kernel(moment: Tensor, features: Tensor) -> float:
    """The mean of (x·y / d + 1)³ over all pairs of different rows, from the third moment of all of them."""
    count = len(features)
    return (float(moment.square().sum()) * count**2 - kernel_of_itself(features)) / (count * (count - 1))


def kernel_of_itself(features: Tensor) -> float:
    """The sum over rows of (x·x / d + 1)³, in float64."""
    return float(((features.double().square().sum(dim=1) / features.shape[1] + 1) ** 3).sum())


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
    return (float(total) - kernel_of_itself(features)) / (len(left) * (len(left) - 1))


def neighbour_radii(features: Tensor) -> Tensor:
    """Distances to the first, second, … nearest other row: (N, 5), ascending."""
    count, lengths = COVERAGE_NEIGHBOUR + 1, half_squares(features)  # the row itself comes first
    found = [
        lengths[rows, None] - torch.addmm(lengths, features[rows], features.T, beta=-1).topk(count).values[:, 1:]
        for rows in blocks(len(features), rows_at_once(RADII_ROWS, features))
    ]
    return torch.cat(found).clamp(min=0).mul(2).sqrt()


def nearest(features: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each row to the nearest one among others, and which that is: (N,) each."""
    lengths = half_squares(among)
    index = torch.cat([nearest_index(rows, among, lengths) for rows in features.split(rows_at_once(SIDE, features))])
    return (features - among[index]).norm(dim=1), index  # products are not 0 apart for equal rows


def nearest_index(rows: Tensor, among: Tensor, lengths: Tensor) -> Tensor:
    """Which one is nearest to each row, (B,); `lengths`: half the squares of the others' lengths."""
    closeness, index = (
        rows.new_full((len(rows),), -torch.inf),
        torch.zeros(len(rows), dtype=torch.long, device=rows.device),
    )
    for block in blocks(len(among), rows_at_once(SIDE, rows)):
        product = torch.addmm(lengths[block], rows, among[block].T, beta=-1)  # |x|²/2 − d²/2
        highest = product.amax(dim=1)
        # Ever fewer: an argmax of all would take thrice as long.
        (nearer,) = (highest > closeness).nonzero(as_tuple=True)
        closeness[nearer], index[nearer] = highest[nearer], block.start + product[nearer].argmax(dim=1)
    return index


def half_squares(features: Tensor) -> Tensor:
    """|x|² / 2 of each row: (N,)."""
    return features.square().sum(dim=1) / 2


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` rows, of `size` rows each but the last."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def rows_at_once(sizes: dict[str, int], features: Tensor) -> int:
    return sizes.get(features.device.type, sizes["other"])


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
