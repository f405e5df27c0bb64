"""A trained model's networks as files that run without this project: ONNX, and programs of torch.export.

Each holds the weights that images are made with, takes any number of rows, and is compared with the model, row by row,
before it is in its place.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from foundation.atomic import write_atomically
from foundation.errors import UserError, first_line
from foundation.extras import require
from lightning_modules.generative_model import Encodes, GenerativeModel
from lightning_modules.values import Batch, Latents
from run_folder.layout import DECODER, ENCODER, ONNX, PT2
from run_folder.records import RunRecord

from .trained_model import TrainedModel

TOLERANCE = 1e-5  # of a pixel in [0, 1]; of latents beyond 1, relative
EQUAL_CODES = 0.99  # of codes, which are whole numbers: two vectors may be nearest to within a rounding
BATCHES = (1, 2, 5)  # rows with which a file is compared with the model
OPSET = 18  # of ONNX: what exporters and runtimes have understood since 2023
FACTS = "facts.json"  # in a file of torch.export: what an ONNX file has as metadata
LARGEST_ONNX = 2**31  # bytes of one file, beyond which weights would lie in another


class GraphError(UserError):
    """A network can't be exported, or what was exported does not do the same; the message says which and how."""


class Decoding(nn.Module):
    """Latents to images, as plain tensors."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.model.decode(Latents(z, labels))


class Encoding(nn.Module):
    """Images to the latents that the model finds likeliest, as plain tensors."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        assert isinstance(self.model, Encodes)
        return self.model.encode(Batch(images, labels)).z


@dataclass(frozen=True)
class Graph:
    """One way through a model, with inputs to try it by."""

    name: str
    module: Decoding | Encoding
    inputs: dict[str, Tensor]  # of max(BATCHES) rows, in the order in which the module takes them
    output: str

    def rows(self, count: int) -> dict[str, Tensor]:
        return {name: tensor[:count] for name, tensor in self.inputs.items()}


def graphs_of(model: TrainedModel) -> list[Graph]:
    """The decoder of a model on the CPU and, where it encodes, its encoder. Raises UserError if it draws no latents."""
    latents = model.draw(max(BATCHES), seed=0)
    labels = {} if latents.labels is None else {"labels": latents.labels}
    graphs = [Graph(DECODER, Decoding(model.module).eval(), {"z": latents.z, **labels}, "images")]
    if isinstance(model.module, Encodes):
        images = model.decode(latents)
        graphs.append(Graph(ENCODER, Encoding(model.module).eval(), {"images": images, **labels}, "z"))
    return graphs


def facts_of(model: TrainedModel, record: RunRecord) -> dict[str, str]:
    """What a user of a file has to know of the model, by name."""
    channels, height, width = model.image_shape
    codes = model.module.num_codes
    latents = ", ".join(map(str, model.latent_shape))
    facts = {
        "made_by": f"vae-vs-gan {record.version or ''}".strip(),
        "model": record.model,
        "network": record.network,
        "data": record.data,
        "images": f"float32 (batch, {channels}, {height}, {width}) in [0, 1]",
        "z": f"int64 (batch, {latents}), codes below {codes}" if codes else f"float32 (batch, {latents})",
        "latents_from": model.module.latents_from,
        "labels": json.dumps(model.class_names) if model.class_names else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def write_pt2(graph: Graph, program: ExportedProgram, facts: Mapping[str, str], folder: Path) -> None:
    """Write a network's program as a file of torch.export, `<its name>.pt2`. Raises OSError and GraphError."""
    path = folder / f"{graph.name}{PT2}"

    def write(partial: Path) -> None:
        with quiet():
            torch.export.save(program, partial, extra_files={FACTS: json.dumps(dict(facts))})
        loaded = torch.export.load(partial).module()
        compare(graph, path.name, lambda given: loaded(*given.values()))

    write_atomically(path, write)


def require_onnx() -> None:
    require("onnx", "onnx", "onnx", "onnxscript", "onnxruntime")


def write_onnx(graph: Graph, program: ExportedProgram, facts: Mapping[str, str], folder: Path) -> None:
    """Write a network's program in the ONNX format, `<its name>.onnx`. Raises OSError and GraphError."""
    path = folder / f"{graph.name}{ONNX}"
    onnx = onnx_of(graph, program)
    onnx.model.metadata_props.update(facts)

    def write(partial: Path) -> None:
        onnx.save(partial, external_data=False)
        compare(graph, path.name, runtime(partial, graph.output))

    write_atomically(path, write)


def program_of(graph: Graph) -> ExportedProgram:
    """A network with the weights that it uses and no others, for any number of rows. Raises GraphError."""
    try:
        module = deepcopy(graph.module)
        module.model.keep_only_averages()  # torch.export does not always follow the choice between the two
        keep_only_weights_of(exported(module, graph.inputs), module)
        return without_traces(exported(module, graph.inputs))
    except Exception as error:  # what a network can do that torch.export can't follow is not to be listed
        raise GraphError(
            f"{graph.name}: torch.export can't follow this network: {first_line(error)}. Leave onnx= and pt2= away"
        ) from error


def exported(module: nn.Module, inputs: Mapping[str, Tensor]) -> ExportedProgram:
    with torch.no_grad(), quiet():
        return torch.export.export(module, tuple(inputs.values()), dynamic_shapes=any_rows(inputs), strict=False)


def any_rows(inputs: Mapping[str, Tensor]) -> tuple[dict[int, Any], ...]:
    """What torch.export and ONNX are told of the inputs' shapes: the first dimension of all is one number, any."""
    batch = Dim("batch", min=1)
    return tuple({0: batch} for _ in inputs)


@contextmanager
def quiet() -> Iterator[None]:
    """What exporters say of each step that they take is not printed, nor what they warn of: results are compared."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def keep_only_weights_of(program: ExportedProgram, module: nn.Module) -> None:
    """Take from a module what its program does not use, as a discriminator's weights: the program would hold them."""
    used_inputs = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    used_names = {spec.target for spec in program.graph_signature.input_specs if spec.arg.name in used_inputs}
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    used = {id(tensor) for name, tensor in tensors.items() if name in used_names}
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name in [name for name, tensor in held.items() if id(tensor) not in used]:
                del held[name]


def without_traces(program: ExportedProgram) -> ExportedProgram:
    """A program that does not say on which lines of which files, by their paths here, it was written."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def onnx_of(graph: Graph, program: ExportedProgram) -> Any:
    """A program in ONNX's operators: torch's ONNXProgram. Raises GraphError."""
    if sum(tensor.nbytes for tensor in program.state_dict.values()) >= LARGEST_ONNX:
        raise GraphError(f"{graph.name}.onnx: its weights are more than a file of ONNX holds, 2 GiB; pt2=true may do")
    try:
        with quiet():
            onnx = torch.onnx.export(
                program,
                input_names=list(graph.inputs),
                output_names=[graph.output],
                dynamic_shapes=any_rows(graph.inputs),  # by whose names the axes are called
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of all of torch's operators, which have none in ONNX is not to be listed
        raise GraphError(
            f"{graph.name}.onnx: this network can't be said in ONNX: {first_line(error)}. pt2=true may do"
        ) from error
    assert onnx is not None
    for node in onnx.model.graph.all_nodes():
        node.metadata_props.clear()  # how PyTorch came to it
    return onnx


def runtime(path: Path, output: str) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """What onnxruntime makes of a file, on the CPU: a function from inputs by name to the output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(given: Mapping[str, Tensor]) -> Tensor:
        (found,) = session.run([output], {name: tensor.numpy() for name, tensor in given.items()})
        return torch.from_numpy(found)

    return run


def compare(graph: Graph, file: str, run: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
    """Raise GraphError unless a file does, of several numbers of rows, what the model does."""
    for count in BATCHES:
        given = graph.rows(count)
        with torch.no_grad():
            expected, found = graph.module(*given.values()), run(given)
        if fault := difference(expected, found):
            raise GraphError(
                f"{file}: of {count} rows it does not make what the model makes: {fault}. It was not written; please "
                f"report this, with the versions of torch ({torch.__version__}), onnxscript and onnxruntime"
            )


def difference(expected: Tensor, found: Tensor) -> str | None:
    """In what two results differ, in words; None: in nothing that counts."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return f"{found.dtype} {tuple(found.shape)} for {expected.dtype} {tuple(expected.shape)}"
    if not expected.is_floating_point():
        equal = (expected == found).float().mean().item()
        return None if equal >= EQUAL_CODES else f"only {equal:.0%} of the codes are equal"
    off = (expected - found).abs() / expected.abs().clamp(min=1)
    worst = off.max().item()  # NaN, which is not below anything either
    return None if worst <= TOLERANCE else f"they differ by {worst:.2g}, where {TOLERANCE:g} is allowed"
