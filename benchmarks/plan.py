"""What a training on many GPUs would cost, on paper: by the model of cost (cost.py) and a machine as stated.

python benchmarks/plan.py                                  # a GAN of residual networks on ImageNet, 256x256, 8 x 8 GPUs
python benchmarks/plan.py --network conv --storage 500     # a smaller one, on slower storage

Nothing is measured here: operations and bytes are counted without being computed. What was measured, and what is
assumed, stand apart in what is printed.
"""

import argparse
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from benchmarks.cost import Cost, Machine, Network, Work, cost_of, work_of
from jobs.composition import composed
from scoring.fidelity import KERNEL_ROWS, RADII_ROWS

SHARDED_FROM = 0.25  # of a GPU's memory taken by weights, gradients and moments: a rule of thumb
LABEL_BYTES = 8  # of an image in a shard
BATCHES = (4, 8, 16, 32, 64)  # of a GPU, beside the one that is asked for
FEATURES = 2048  # of Inception
INCEPTION = 11.4e9  # operations that it takes for an image of 299x299
DRAWN = 50_000  # training images that data=stream holds for neighbours and floors
LARGEST_BATCH = 2048  # of BigGAN on ImageNet (Brock et al. 2019, arXiv:1809.11096)
READ_BYTES = 323e6  # a second of a CPU core, from shards: docs/scale.md, 26,293 images of 64x64 a CPU second
MEASURED = [  # docs/speed.md, one H200: model, batch, precision, images a second
    ("vae", 64, "32-true", 5_982),
    ("gan", 64, "32-true", 4_094),
    ("vae", 512, "bf16-mixed", 39_531),
]

Cell = tuple[str, int, str, int, int, float]  # those, the number of kernels, and seconds of a step for each of them


@dataclass(frozen=True)
class Part:
    """A resource of a step: how much of it, and how long that takes."""

    name: str
    amount: str
    seconds: float


def main() -> None:
    given = parse()
    cfg, facts = config(given), facts_of_images(given.size, given.classes)
    work = work_of(cfg, facts, given.batch, "bf16-mixed")
    cells = list(measured_starts())
    starts = given.start or 1e6 * statistics.median(seconds for *_, seconds in cells)
    machine = Machine(1e12 * given.tflops * given.achieved, 1e9 * given.hbm, starts / 1e6, starts_ahead=True)
    for lines in (
        measured(cells), assumed(given, starts), step(given, work, machine),
        by_batch(given, cfg, machine), whole_run(given, work, machine), memory(given, cfg, work),
        what_breaks(given, work, machine),
    ):  # fmt: skip
        print("\n".join(lines) + "\n")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training = parser.add_argument_group("the training")
    training.add_argument("--model", default="gan")
    training.add_argument("--network", default="resnet")
    training.add_argument("--width", type=int, default=64, help="channels after the first halving")
    training.add_argument("--overrides", nargs="*", default=[], help="further choices, as train.py takes them")
    training.add_argument("--size", type=int, default=256, help="pixels of an image's side")
    training.add_argument("--images", type=int, default=1_281_167, help="of an epoch; ImageNet's")
    training.add_argument("--held-out", type=int, default=100_000, help="images of val and test; ImageNet's")
    training.add_argument("--classes", type=int, default=1000)
    training.add_argument("--batch", type=int, default=32, help="images of a GPU's step")
    training.add_argument("--epochs", type=int, default=200)
    machine = parser.add_argument_group("the machine; each number is an assumption")
    machine.add_argument("--nodes", type=int, default=8)
    machine.add_argument("--gpus", type=int, default=8, help="of a node")
    machine.add_argument("--tflops", type=float, default=989, help="bfloat16, dense; of an H100 by its data sheet")
    machine.add_argument("--achieved", type=float, default=0.35, help="share of these that convolutions reach")
    machine.add_argument("--hbm", type=float, default=2500, help="GB/s of a GPU's memory, three quarters of 3,350")
    machine.add_argument("--gpu-memory", type=float, default=80, help="GB")
    machine.add_argument("--start", type=float, help="µs until a kernel is started; default: as was measured")
    machine.add_argument("--nvlink", type=float, default=360, help="GB/s that a GPU sends within a node")
    machine.add_argument("--between", type=float, default=2500, help="Gb/s that a node sends, of 8 x 400")
    machine.add_argument("--latency", type=float, default=100, help="µs of an all-reduce that carries nothing")
    machine.add_argument("--storage", type=float, default=1000, help="MB/s that a node reads")
    machine.add_argument("--scoring-tflops", type=float, default=30, help="float32 without TF32, which scores are of")
    return parser.parse_args(words)


def config(given: argparse.Namespace) -> DictConfig:
    widths = [f"network.{role}.width={given.width}" for role in ("encoder", "decoder")]
    return composed(f"model={given.model}", f"network={given.network}", *widths, *given.overrides)


def facts_of_images(size: int, classes: int) -> dict[str, object]:
    names = tuple(map(str, range(classes)))
    return {"image_shape": (3, size, size), "num_classes": classes, "class_names": names, "training_images": None}


def measured_starts() -> Iterator[Cell]:
    """The cells that were measured, with their kernels."""
    for model, batch, precision, rate in MEASURED:
        work = work_of(composed(f"model={model}", "network=conv"), facts_of_images(64, 10), batch, precision)
        yield model, batch, precision, rate, work.starts, batch / rate / work.starts


def measured(cells: Iterable[Cell]) -> list[str]:
    rows = [
        f"| {model} conv, 64x64 | {batch}, {precision} | {rate:,} | {1e3 * batch / rate:.1f} ms | {starts:,} "
        f"| {1e6 * seconds:.1f} µs |"
        for model, batch, precision, rate, starts, seconds in cells
    ]
    return [
        "**Measured**: one H200 (docs/speed.md), at 4 to 6 % of its limit",
        "", "| cell | batch, precision | images/s | step | kernels | for each |", "|---|---|---|---|---|---|", *rows,
        "",
        f"A CPU core reads {READ_BYTES / 1e6:,.0f} MB/s of shards (docs/scale.md).",
    ]  # fmt: skip


def assumed(given: argparse.Namespace, starts: float) -> list[str]:
    return [
        "**Assumed**, measured nowhere:", "",
        f"* {given.nodes} nodes of {given.gpus} GPUs; a GPU: {given.tflops:g} TFLOP/s in bfloat16, of which "
        f"{given.achieved:.0%} are achieved, {given.hbm:,g} GB/s and {given.gpu_memory:g} GB of memory",
        f"* {starts:.1f} µs to start a kernel, {'as given' if given.start else 'the median of those above'}, "
        "with what Python does around it: as if those steps had waited for nothing else; the GPU works meanwhile",
        f"* a GPU sends {given.nvlink:g} GB/s within a node; a node sends {given.between:,g} Gb/s and reads "
        f"{given.storage:,g} MB/s from storage; an all-reduce of nothing takes {given.latency:g} µs",
        "* gradients are sent when all of a backward pass is done; reading goes on beside the step",
    ]  # fmt: skip


def network_of(given: argparse.Namespace) -> Network:
    """A ring through all GPUs: within a node by NVLink, between nodes by all of a node's cables at once."""
    between = 1e9 * given.between / 8
    rate = min(1e9 * given.nvlink, between) if given.nodes > 1 else 1e9 * given.nvlink
    return Network(given.nodes * given.gpus, rate, given.latency / 1e6)


def image_bytes(given: argparse.Namespace) -> int:
    return int(3 * given.size**2) + LABEL_BYTES


def reading_seconds(given: argparse.Namespace, work: Work) -> float:
    """Until a node has the images of a step of its GPUs."""
    return given.gpus * work.images * image_bytes(given) / (1e6 * given.storage)


def step_seconds(given: argparse.Namespace, work: Work, machine: Machine) -> float:
    return max(cost_of(work, machine, network_of(given)).seconds, reading_seconds(given, work))


def step_parts(given: argparse.Namespace, work: Work, machine: Machine) -> list[Part]:
    cost, network = cost_of(work, machine, network_of(given)), network_of(given)
    read = given.gpus * work.images * image_bytes(given)
    sizes = " + ".join(f"{size / 1e6:,.0f}" for size in work.gradients)
    return [
        Part("arithmetic-bound kernels", f"{work.flops / 1e12:,.2f} TFLOP in all kernels", cost.compute),
        Part("memory-bound kernels", f"{work.bytes_moved / 1e9:,.1f} GB moved by all kernels", cost.memory),
        Part("starts that nothing hides", f"{work.starts:,} kernels", cost.starting),
        Part(
            "gradients",
            f"{work.bytes_sent(network.processes) / 1e6:,.0f} MB sent by each GPU: ({sizes}) MB x 2(n-1)/n",
            cost.network,
        ),
        Part("reading, beside the rest", f"{read / 1e6:,.1f} MB by each node", reading_seconds(given, work)),
    ]


def bound(given: argparse.Namespace, work: Work, cost: Cost) -> str:
    if reading_seconds(given, work) > cost.seconds:
        return "storage"
    starts_count = cost.starting > 0 and cost.network < cost.seconds / 2  # kernels wait for their starts
    return "starts" if starts_count else cost.bound


def step(given: argparse.Namespace, work: Work, machine: Machine) -> list[str]:
    rows = [f"| {part.name} | {part.amount} | {1e3 * part.seconds:.1f} |" for part in step_parts(given, work, machine)]
    network = network_of(given)
    seconds = step_seconds(given, work, machine)
    return [
        f"**A step** of {network.processes} x {work.images} images: {given.model}, {given.network} of width "
        f"{given.width}, {given.size}x{given.size}, bf16-mixed", "",
        "| what | how much | ms |", "|---|---|---|", *rows,
        f"| the step | {network.processes * work.images / seconds:,.0f} images/s, "
        f"bound by {bound(given, work, cost_of(work, machine, network))} | {1e3 * seconds:.1f} |",
    ]  # fmt: skip


def by_batch(given: argparse.Namespace, cfg: DictConfig, machine: Machine) -> list[str]:
    network = network_of(given)
    lines = [
        "**By the batch of a GPU**", "",
        "| images of a GPU | of all | step, ms | images/s | of arithmetic's rate | bound by | tensors, GB |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for batch in sorted({*BATCHES, given.batch}):
        work = work_of(cfg, facts_of_images(given.size, given.classes), batch, "bf16-mixed")
        seconds, cost = step_seconds(given, work, machine), cost_of(work, machine, network)
        share = work.flops / machine.flops_per_second / seconds
        lines.append(
            f"| {batch} | {batch * network.processes:,} | {1e3 * seconds:.1f} "
            f"| {work.images * network.processes / seconds:,.0f} | {share:.2f} | {bound(given, work, cost)} "
            f"| {work.peak_bytes / 1e9:.1f} |"
        )
    return lines


def whole_run(given: argparse.Namespace, work: Work, machine: Machine) -> list[str]:
    gpus = given.nodes * given.gpus
    rate = gpus * work.images / step_seconds(given, work, machine)
    epoch = given.images / rate
    hours = given.epochs * epoch / 3600
    return [
        f"**The run**: an epoch of {given.images:,} images takes {epoch:,.0f} s, {epoch * gpus / 3600:.1f} GPU-hours; "
        f"{given.epochs} epochs {hours:.1f} hours and {hours * gpus:,.0f} GPU-hours, without scores. One of these "
        f"GPUs alone, which sends nothing: {hours * gpus * alone(given, work, machine):,.0f} hours."
    ]


def alone(given: argparse.Namespace, work: Work, machine: Machine) -> float:
    """Time of a step without others, as a share of one with them."""
    return cost_of(work, machine).seconds / step_seconds(given, work, machine)


def largest_batch(given: argparse.Namespace, cfg: DictConfig, work: Work) -> int:
    """How many images a GPU's memory holds, nine tenths of it used; tensors grow in proportion."""
    twice = work_of(cfg, facts_of_images(given.size, given.classes), 2 * given.batch, "bf16-mixed")
    each = (twice.peak_bytes - work.peak_bytes) / given.batch
    return int((0.9e9 * given.gpu_memory - (work.peak_bytes - each * given.batch)) // each)


def memory(given: argparse.Namespace, cfg: DictConfig, work: Work) -> list[str]:
    gpus = given.nodes * given.gpus
    weights = ", ".join(f"{role} {count / 1e6:.1f} M" for role, count in work.networks.items())
    sent = 4 * sum(work.networks.values())  # the copy of gradients that trainer=ddp sends
    state = (work.state_bytes + sent) / 1e9
    needs_sharding = state > SHARDED_FROM * given.gpu_memory
    strategy = "FSDP: state takes much of the memory" if needs_sharding else "DDP: sharding saves nothing"
    copies = 4 * (sum(work.networks.values()) + work.averaged)  # whole weights and averages, which every GPU keeps
    shared_out = copies / 1e9 + (work.state_bytes - 4 * work.averaged) / gpus / 1e9
    return [
        f"**Memory, and which strategy**: weights ({weights}), gradients, a copy of them to send, Adam's moments and "
        f"the average are {state:.2f} GB of {given.gpu_memory:g}, the same on every GPU; all tensors at a batch of "
        f"{given.batch} {work.peak_bytes / 1e9:.1f} GB; {largest_batch(given, cfg, work)} images fit. trainer=fsdp "
        f"would leave {shared_out:.2f} GB of state, and send as much to scatter gradients and gather weights. "
        f"{strategy}."
    ]


def what_breaks(given: argparse.Namespace, work: Work, machine: Machine) -> list[str]:
    """Limits, how near this run is to each, the nearest first."""
    rate = given.nodes * given.gpus * work.images / step_seconds(given, work, machine)
    limits = [*limits_of_steps(given, work, machine), *limits_around_steps(given, work, rate)]
    ordered = sorted(limits, key=lambda limit: -limit[0])
    return ["**What breaks first**: how near each limit is", ""] + [
        f"{number}. {share:.2f}. {text}." for number, (share, text) in enumerate(ordered, start=1)
    ]


def limits_of_steps(given: argparse.Namespace, work: Work, machine: Machine) -> Iterator[tuple[float, str]]:
    gpus, seconds = given.nodes * given.gpus, step_seconds(given, work, machine)
    batch, rate = gpus * work.images, work.images / seconds
    yield (
        batch / LARGEST_BATCH,
        f"The batch: {batch:,} images, of {LARGEST_BATCH:,} that BigGAN was trained with. More GPUs mean a larger one, "
        "for which no recipe was found here, or a smaller share for each",
    )
    starts = work.starts * machine.seconds_per_kernel
    yield (
        starts / seconds,
        f"Starts of kernels: {1e3 * starts:.0f} ms of a step of {1e3 * seconds:.0f}. Smaller shares of the batch "
        "make no step shorter than that, unless compile=true makes fewer kernels",
    )
    read = given.gpus * rate * image_bytes(given) / 1e6
    yield read / given.storage, f"Storage: a node reads {read:,.0f} MB/s of {given.storage:,g}"
    cores = rate * image_bytes(given) / READ_BYTES
    yield cores, f"Reading ahead: {cores:.2f} CPU cores for each GPU, of one with data.num_workers=1"
    sending = cost_of(work, machine, network_of(given)).network / seconds
    yield (
        sending,
        "The network: the share of a step that gradients take",
    )
    yield (
        8 / work.images,
        f"Batch norm: of the {work.images} images of one GPU; of fewer than 8 its statistics are noise",
    )


def limits_around_steps(given: argparse.Namespace, work: Work, rate: float) -> Iterator[tuple[float, str]]:
    peak = work.peak_bytes / 1e9
    yield peak / given.gpu_memory, f"GPU memory: tensors of {peak:.0f} GB, of {given.gpu_memory:g}"
    read = (given.images + given.held_out) * image_bytes(given) / 1e6
    reading = read / given.storage
    kept = (given.held_out + DRAWN) * image_bytes(given) / 1e9
    yield (
        reading / (given.epochs * given.images / rate),
        f"Before the first step: each node reads {read / 1e3:,.0f} GB for checksums, {reading / 60:.0f} minutes, and "
        f"writes {kept:.0f} GB of held images. Others wait for that without end; for anything else half an hour",
    )
    real = given.held_out / 2  # of test, as many fakes
    features = 3 * real * FEATURES * (4 + 8)  # of real images, fakes and training images
    blocks = RADII_ROWS["other"] * real * 4 + KERNEL_ROWS * real * 8
    held = (features + blocks) / 1e9
    looked_at = INCEPTION * (2 * real + 10_000) / (1e12 * given.scoring_tflops * given.nodes * given.gpus)
    yield (
        held / given.gpu_memory,
        f"Scores on {real:,.0f} images: features in single and double precision and distances by blocks, {held:.1f} GB "
        f"on each GPU. Inception takes {looked_at:.0f} s, shared out; distances each GPU computes whole",
    )


if __name__ == "__main__":
    main()
