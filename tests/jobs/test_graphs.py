"""Networks as ONNX and as programs of torch.export: of every family, network and part, they do what the model does."""

import json
import zipfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from conftest import PROJECT, TinyImages
from test_combinations import BACKBONES, FAMILIES, GENERATIVE, choices, model_config, part_choices, prepared

from jobs import graphs
from jobs.building import build_model
from jobs.graphs import GraphError, difference, facts_of, graphs_of, program_of, runtime, write_onnx, write_pt2
from jobs.trained_model import TrainedModel
from lightning_modules.values import Batch
from run_folder.records import RunRecord

ODD = (3, 18, 21)  # halved, its sides have remainders
OF_GRAPHS = ("conditioning", "likelihood", "codebook", "encoder.norm", "decoder.norm", "activation")  # parts in them


def model_of(*overrides: str, shape: tuple[int, int, int] = ODD) -> TrainedModel:
    """A model with small networks, none of whose weights is as it began, and whose latents are fitted."""
    datamodule = prepared(shape)
    torch.manual_seed(0)
    model: Any = build_model(model_config(*overrides), datamodule).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        batch = Batch(*datamodule.training_images(8))
        model.fit_latents([batch], [batch])
    return TrainedModel(model, TinyImages.class_names)


def walked(families: list[str]) -> Iterator[list[str]]:
    """Overrides in which every family stands with every network, and every choice of every part that is in a graph.

    Choices that families share stand with the first of them at least.
    """
    seen: set[tuple[str, str]] = set()
    for family in families:
        parts: dict[str, list[str]] = {"network": list(BACKBONES)}
        for room, override in (("model", f"model={family}"), ("network", "network=conv")):
            for key, choice in part_choices(room, override):
                if key.rpartition("@")[2].replace("/", ".").removeprefix(f"{room}.") in OF_GRAPHS:
                    parts.setdefault(key, []).append(choice)
        rows = max(sum((key, name) not in seen for name in names) for key, names in parts.items())
        rows = max(rows, len(BACKBONES))
        seen |= {(key, name) for key, names in parts.items() for name in names}
        for row in zip(*(islice(cycle(names), rows) for names in parts.values()), strict=True):
            yield [f"model={family}", *(f"{key}={choice}" for key, choice in zip(parts, row, strict=True))]


WALKED = list(walked(["vae", *(family for family in FAMILIES if family in GENERATIVE and family != "vae")]))


def test_the_walk_leaves_no_network_and_no_part_out():
    stated = {override for overrides in WALKED for override in overrides}
    assert {f"network={name}" for name in BACKBONES} <= stated
    for group in ("likelihood", "conditioning", "codebook"):
        assert {f"model/{group}={name}" for name in choices(f"model/{group}")} <= stated
    for part in ("activation", "norm@network.decoder.norm", "norm@network.encoder.norm"):
        assert {f"network/{part}={name}" for name in choices(f"network/{part.partition('@')[0]}")} <= stated


@pytest.mark.slow
@pytest.mark.parametrize("overrides", WALKED, ids=lambda overrides: "-".join(o.split("=")[1] for o in overrides[:4]))
def test_every_choice_has_graphs_that_do_what_the_model_does(overrides: list[str], tmp_path: Path):
    model = model_of(*overrides)
    facts = facts_of(model, RunRecord(scores={}))
    for graph in graphs_of(model):
        traced = program_of(graph)
        write_pt2(graph, traced, facts, tmp_path)
        write_onnx(graph, traced, facts, tmp_path)


@pytest.fixture(scope="module")
def vae() -> TrainedModel:
    return model_of("model=vae", "network=mlp", "model/conditioning=label", shape=(1, 8, 8))


def files_of(model: TrainedModel, folder: Path) -> None:
    facts = facts_of(model, RunRecord(scores={}, model="vae", version="0.2.0"))
    for graph in graphs_of(model):
        traced = program_of(graph)
        write_pt2(graph, traced, facts, folder)
        write_onnx(graph, traced, facts, folder)


@pytest.fixture(scope="module")
def folder(vae: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    files_of(vae, folder)
    return folder


def test_onnx_says_what_goes_in_and_comes_out(folder: Path, vae: TrainedModel):
    for name, inputs, output in (
        ("decoder", {"z": ["batch", 4], "labels": ["batch"]}, ("images", ["batch", 1, 8, 8])),
        ("encoder", {"images": ["batch", 1, 8, 8], "labels": ["batch"]}, ("z", ["batch", 4])),
    ):
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        assert {given.name: given.shape for given in session.get_inputs()} == inputs
        assert [(found.name, found.shape) for found in session.get_outputs()] == [output]
        facts = session.get_modelmeta().custom_metadata_map
        assert facts["model"] == "vae" and facts["made_by"] == "vae-vs-gan 0.2.0" and "network" not in facts
        assert facts["images"] == "float32 (batch, 1, 8, 8) in [0, 1]" and json.loads(facts["labels"]) == [
            "a",
            "b",
            "c",
        ]
        assert facts["latents_from"] == vae.module.latents_from
        assert onnx.load(folder / f"{name}.onnx").opset_import[0].version == graphs.OPSET


def test_files_do_the_same_of_rows_that_they_were_not_compared_by(folder: Path, vae: TrainedModel):
    for rows in (1, 3, 17):
        z, labels = torch.randn(rows, 4), torch.arange(rows) % 3
        expected = vae(z, labels)
        found = runtime(folder / "decoder.onnx", "images")({"z": z, "labels": labels})
        assert (found - expected).abs().max() < 1e-5 < expected.std()
        program = torch.export.load(folder / "decoder.pt2").module()
        assert torch.equal(program(z, labels), expected) or (program(z, labels) - expected).abs().max() < 1e-5
    other = runtime(folder / "decoder.onnx", "images")({"z": z, "labels": (labels + 1) % 3})
    assert (other - expected).abs().max() > 1e-3  # labels are looked at


def test_a_program_says_what_it_is(folder: Path):
    extra = {"facts.json": ""}
    torch.export.load(folder / "decoder.pt2", extra_files=extra)
    assert json.loads(extra["facts.json"])["z"] == "float32 (batch, 4)"


def test_files_hold_no_path_and_no_more_weights_than_they_need(folder: Path, vae: TrainedModel):
    paths = [str(path).encode() for path in (PROJECT, Path.home(), Path(torch.__file__).parents[1], folder)]
    for path in folder.iterdir():
        parts = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                parts += [archive.read(name) for name in archive.namelist()]
        assert not [(path, bad) for bad in paths for part in parts if bad in part]
        network = vae.module.decoder if "decoder" in path.name else vae.module.encoder
        needed = sum(parameter.nbytes for parameter in network.parameters())
        initializers = {w.name: w for w in onnx.load(path).graph.initializer} if path.suffix == ".onnx" else None
        program = None if initializers is not None else torch.export.load(path)
        held = (
            sum(onnx.numpy_helper.to_array(w).nbytes for w in initializers.values())
            if initializers is not None
            else sum(tensor.nbytes for tensor in program.state_dict.values())
        )
        assert needed <= held < needed + 200


def test_a_file_that_does_something_else_is_not_left(vae: TrainedModel, tmp_path: Path, monkeypatch):
    (graph, _) = graphs_of(vae)
    traced = program_of(graph)
    with torch.no_grad():
        next(iter(traced.state_dict.values())).add_(1e-2)
    for write in (write_pt2, write_onnx):
        with pytest.raises(GraphError, match=r"decoder\..*of 1 rows it does not make what the model makes.*differ by"):
            write(graph, traced, {}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_differences_that_count():
    images = torch.rand(2, 1, 4, 4)
    assert difference(images, images + 9e-6) is None and difference(images, images + 2e-5) is not None
    large = 1000 * images + 500
    assert difference(large, large * (1 + 9e-6)) is None and difference(large, large * (1 + 2e-5)) is not None
    assert (
        difference(images, images * torch.nan) and difference(images, images[:1]) and difference(images, images.int())
    )
    codes = torch.arange(200)
    assert difference(codes, codes.clone().index_fill_(0, torch.tensor([7, 8]), 0)) is None
    assert "only 98% of the codes" in str(
        difference(codes, codes.clone().index_fill_(0, torch.tensor([5, 7, 8, 9]), 0))
    )


def test_what_has_no_graph_is_said(vae: TrainedModel):
    class Odd(graphs.Decoding):
        def forward(self, z, labels=None):
            return super().forward(z, labels) if z.sum().item() > 0 else z

    (graph, _) = graphs_of(vae)
    with pytest.raises(
        GraphError, match=r"decoder: torch\.export can't follow this network.*Leave onnx= and pt2= away"
    ):
        program_of(graphs.Graph("decoder", Odd(vae.module).eval(), graph.inputs, "images"))
