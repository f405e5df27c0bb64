"""Looking at a model changes no draw that comes after it."""

import pytest
import torch

from lightning_modules.observing import drawing_from


def test_draws_inside_depend_on_the_seed_and_those_outside_go_on():
    torch.manual_seed(3)
    undisturbed = torch.rand(4)
    torch.manual_seed(3)
    first = torch.rand(2)
    with drawing_from(7, torch.device("cpu")):
        inside = torch.rand(3)
    assert torch.equal(torch.cat([first, torch.rand(2)]), undisturbed)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), inside)


def test_draws_on_the_cpu_seed_no_gpu(monkeypatch: pytest.MonkeyPatch):
    """A GPU that trains would go on from that seed, since only what is forked comes back."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with drawing_from(7, torch.device("cpu")):
        pass
    assert seeded == []
    torch.manual_seed(3)
    assert seeded == [3]  # as it would have been
