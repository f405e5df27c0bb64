"""The model of cost: counts by closed forms, and what is made of them."""

from typing import Any

import pytest
import torch
from conftest import PROJECT, TinyImages
from torch import nn

from benchmarks.cost import Machine, Network, StepCounter, Work, cost_of, ring_bytes, size_of, work_of
from benchmarks.loops import bare_step
from benchmarks.throughput import flops_per_image
from jobs.building import build_model, facts_of
from jobs.composition import composed
from lightning_modules.values import Batch

MODELS = [
    path.stem
    for path in sorted((PROJECT / "conf" / "model").glob("[!_]*.yaml"))
    if "augmentation@" not in path.read_text()  # a classifier
]
SMALL = ["network.encoder.width=8", "network.decoder.width=8"]
FLOAT = 4  # bytes


def work(kernels: dict[tuple[int, int], int], **given: Any) -> Work:
    values = {"images": 1, "networks": {"encoder": 10}, "averaged": 0, "gradients": [40], "peak_bytes": 0} | given
    return Work(kernels=kernels, **values)


def machine(**given: float) -> Machine:
    return Machine(**{"flops_per_second": 100.0, "bytes_per_second": 10.0, "seconds_per_kernel": 0.0,
                      "starts_ahead": False} | given)  # fmt: skip


def test_linear_layer_s_operations_and_bytes():
    layer, images = nn.Linear(30, 20), torch.rand(5, 30)
    with StepCounter() as counter:
        layer(images)
    read, written = 5 * 30 + 30 * 20 + 20, 5 * 20
    assert counter.kernels == {(2 * 5 * 30 * 20, FLOAT * (read + written)): 1}  # its weight's transpose is a view


def test_linear_layer_s_backward_has_the_operations_of_its_weight_alone():
    layer, images = nn.Linear(30, 20), torch.rand(5, 30)
    with StepCounter() as counter:
        layer(images).sum().backward()
    assert counter.flops == 2 * (2 * 5 * 30 * 20)  # the output, and the weight's gradient; none of the input's


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_s_operations_and_bytes(stride: int):
    layer, images = nn.Conv2d(3, 7, 4, stride, 1), torch.rand(2, 3, 16, 16)
    with StepCounter() as counter:
        out = layer(images)
    side = (16 + 2 - 4) // stride + 1
    assert out.shape == (2, 7, side, side)
    flops = 2 * out.numel() * 3 * 4 * 4
    elements = images.numel() + 7 * 3 * 4 * 4 + 7 + out.numel()
    assert counter.kernels == {(flops, FLOAT * elements): 1}


def test_gradient_of_a_gradient_is_counted():
    layer, images = nn.Linear(30, 1, bias=False), torch.rand(5, 30, requires_grad=True)
    with StepCounter() as counter:
        (gradient,) = torch.autograd.grad(layer(images).square().sum(), images, create_graph=True)
        gradient.square().sum().backward()
    assert counter.flops > 3 * 2 * 5 * 30


@pytest.mark.parametrize(
    ("run", "elements"),
    [
        (lambda a: a.view(10, 10).t(), 0),  # a view
        (lambda a: a.new_empty(100), 0),  # nothing is written yet
        (lambda a: a + a[:1], 100 + 1 + 100),
        (lambda a: a + a[:1].expand(100), 100 + 1 + 100),  # what is broadcast is read once
        (lambda a: a.add_(1), 200),  # read and written in its place
        (lambda a: torch._foreach_add_([a, a.clone()], 1), 200 + 400),  # the clone, and both in place
        (lambda a: a.view(10, 10)[torch.tensor([3, 0])], 2 * 20 + 4),  # two rows, and two indices of 8 bytes
    ],
)
def test_bytes_that_operations_move(run, elements: int):
    images = torch.rand(100)
    with StepCounter() as counter:
        run(images)
    assert sum(moved * times for (_, moved), times in counter.kernels.items()) == FLOAT * elements


def test_bytes_of_what_is_broadcast_are_those_of_one_copy():
    assert size_of(torch.zeros(3, 1).expand(3, 50)) == 3 * FLOAT
    assert size_of(torch.zeros(0, 5)) == 0


def test_peak_is_what_is_alive_at_once():
    with StepCounter() as counter:
        for _ in range(3):  # one after the other: the first of each is gone before the next
            first = torch.zeros(1000)
            second = first + 1
            del first, second
    assert counter.peak_bytes == 2 * 1000 * FLOAT


def test_ring_sends_what_passing_parts_on_does():
    for processes in (1, 2, 3, 8):
        size, sent = 24 * processes, 0
        part = size // processes
        for _ in range(2):  # sums are gathered on the way around, then passed around
            sent += (processes - 1) * part
        assert ring_bytes(size, processes) == pytest.approx(sent)


def test_kernel_takes_the_longer_of_arithmetic_and_traffic_and_kernels_follow_one_another():
    cost = cost_of(work({(300, 10): 2, (100, 50): 1}), machine())  # 3 s or 1 s, twice; 1 s or 5 s
    assert (cost.compute, cost.memory) == (6, 5)
    assert cost.seconds == 11 and cost.bound == "arithmetic"


def test_starts_are_hidden_only_where_they_are_ahead():
    kernels = {(100, 0): 4}  # 4 s
    assert cost_of(work(kernels), machine(seconds_per_kernel=0.5)).seconds == 6
    assert cost_of(work(kernels), machine(seconds_per_kernel=0.5, starts_ahead=True)).seconds == 4
    assert cost_of(work(kernels), machine(seconds_per_kernel=2, starts_ahead=True)).seconds == 8


def test_each_step_of_an_optimizer_sends_its_gradients():
    two = work({}, gradients=[40, 120])
    network = Network(processes=4, bytes_per_second=60.0, latency=0.5)
    assert two.bytes_sent(4) == 1.5 * 160
    assert cost_of(two, machine(), network).network == pytest.approx(2 * 0.5 + 1.5 * 160 / 60)
    assert cost_of(two, machine(), Network(1, 60.0, 0.5)).network == 0


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
def test_counted_without_being_computed_as_if_computed(name: str, network: str):
    cfg = composed(f"model={name}", f"network={network}", *SMALL, "data.batch_size=4")
    datamodule = TinyImages((1, 8, 8))
    datamodule.setup()
    counted = work_of(cfg, facts_of(datamodule), 4)
    assert counted.flops / counted.images == flops_per_image(cfg, datamodule)
    model = build_model(cfg.model, datamodule)
    step = bare_step(model.train(), "32-true")
    with StepCounter() as counter:
        for _ in range(2):
            counter.begin()
            step(Batch(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)))
    assert counted.kernels == counter.kernels
    assert sum(counted.networks.values()) == sum(p.numel() for n in model.networks.values() for p in n.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_work_of_every_model_grows_with_the_batch(name: str):
    cfg = composed(f"model={name}", "network=conv", *SMALL, "model/conditioning=label")
    datamodule = TinyImages((1, 8, 8))
    datamodule.setup()
    small, large = (work_of(cfg, facts_of(datamodule), batch) for batch in (4, 8))
    assert small.flops < large.flops <= 2 * small.flops
    assert small.bytes_moved < large.bytes_moved < 2 * small.bytes_moved  # weights do not grow
    assert small.peak_bytes < large.peak_bytes


def test_a_round_of_n_critic_steps_has_one_of_the_generator():
    facts = facts_of(TinyImages((1, 8, 8)))
    counted = work_of(composed("model=wgan", "network=mlp", *SMALL, "model.n_critic=3"), facts, 4)
    assert counted.images == 12 and len(counted.gradients) == 4


def test_every_gradient_is_sent_once():
    facts = facts_of(TinyImages((1, 8, 8)))
    counted = {name: work_of(composed(f"model={name}", "network=mlp", *SMALL), facts, 4) for name in ("vae", "gan")}
    generator, discriminator = counted["gan"].networks.values()
    assert counted["gan"].gradients == [FLOAT * discriminator, FLOAT * generator]
    assert counted["gan"].state_bytes == 4 * FLOAT * sum(counted["gan"].networks.values()) + FLOAT * generator
    assert counted["vae"].gradients == [FLOAT * (sum(counted["vae"].networks.values()) + 1)]  # the likelihood's scale
