"""The card of an exported run: what the Hugging Face hub reads of it, and what people do."""

import json
import re

import pytest
import yaml
from conftest import PROJECT
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import ModelCardData, eval_results_to_model_index
from omegaconf import OmegaConf

from jobs.kept_config import read_config
from jobs.model_card import card, debugged, measured_by, metadata
from jobs.run_data import read_data
from run_folder.layout import METRICS
from run_folder.records import HealthRecord, ProvenanceRecord, RunRecord, Score, read_record

ZOO = sorted(path.parent for path in (PROJECT / "zoo").glob("*/README.md"))


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_a_card_of_the_zoo_is_the_one_that_is_written_today(folder):
    record, config, data = read_record(folder / METRICS, RunRecord), read_config(folder), read_data(folder)
    files = [path.name for path in folder.iterdir()]
    today = card(folder.name, record, config, data, files, "mit", "path/to/this/folder")
    assert (folder / "README.md").read_text() == today


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_the_hub_reads_the_front_matter_as_it_would_write_it(folder):
    text = (folder / "README.md").read_text()
    read = ModelCard(text).data
    record = read_record(folder / METRICS, RunRecord)
    assert isinstance(read, ModelCardData)
    assert read.license == "mit" and read.library_name == "vae-vs-gan" and record.data in read.tags
    assert len(read.eval_results) == len(record.scores) and read.model_name == folder.name
    for result in read.eval_results:
        score = record.scores[f"test/{result.metric_type}"]
        assert result.metric_value == pytest.approx(score.value, rel=1e-5)
        assert score.protocol in result.metric_name and result.metric_args["protocol"] == score.protocol
        assert result.dataset_split == "test"
    written = yaml.safe_load(text.split("---")[1])
    assert eval_results_to_model_index(folder.name, read.eval_results) == written["model-index"]
    assert yaml.safe_load(read.to_yaml()) == written and list(yaml.safe_load(read.to_yaml())) == list(written)


def test_no_fid_is_taken_for_inceptions():
    own = metadata("a", record(), conditional=False, license="mit")["model-index"][0]["results"][0]["metrics"][0]
    assert own["type"] == "fid_reference"
    assert own["name"] == "fid_reference (features of reference/digits, not Inception's; protocol 12ab)"
    assert "not Inception's" not in measured_by({"extractor": "inception-v3-compat"})


def record(**fields) -> RunRecord:
    scores = {
        "test/fid_reference": Score(value=2.0, std=0.1, protocol="12ab", latents="prior"),
        "test/nll": Score(value=float("inf"), protocol="34cd"),
    }
    protocols = {"12ab": {"extractor": "reference/digits", "split": "test", "data": "Digits"}}
    return RunRecord(**({"scores": scores, "protocols": protocols, "model": "gan", "data": "digits", "epochs": 3,
                         "seed": 0, "images_seen": 10, "seconds": 4.0, "version": "0.2.0"} | fields))  # fmt: skip


def written(license: str = "mit", place: str = "path/to/this/folder", files=(), **fields) -> str:
    folder = PROJECT / "zoo" / "gan_digits"
    return card("mine", record(**fields), read_config(folder), read_data(folder), files, license, place)


def test_a_number_that_is_none_is_in_the_table_and_not_in_the_front_matter():
    text = written()
    assert "| nll | inf |" in text and "nll" not in text.split("---")[1]


def test_a_card_says_how_it_was_made_and_what_was_noticed():
    noticed = HealthRecord(
        kind="saturated", text="all pixels\nare white", images_seen=1, epoch=1, measured=1, threshold=1
    )
    made_by = ProvenanceRecord(commit="0123456789abcdef", changed=True, device="Nvidia H1", libraries={"torch": "2.14"})
    text = written(health=[noticed], provenance=made_by, command="python train.py model=gan", notes={"a": ["odd"]})
    assert "python train.py model=gan\n```" in text
    assert "by version 0.2.0, commit 0123456789ab with changes, on Nvidia H1, torch 2.14." in text
    assert "* odd\n" in text and "* Noticed while it was trained: all pixels are white.\n" in text
    assert "Images: 1,197 train, 300 val, 300 test." in text


def test_a_licence_that_nobody_stated_is_not_stated():
    assert "license: unknown" in written("unknown") and "## Licence\n\nNot stated." in written("unknown")
    assert "license: apache-2.0" in written("apache-2.0") and "`apache-2.0`, of the weights" in written("apache-2.0")


def test_what_lies_beside_a_card_is_said_and_nothing_else():
    assert "decoder" not in written() and "![" not in written()
    text = written(files=["decoder.onnx", "encoder.pt2", "samples.png"])
    assert "* `decoder.onnx`: `z` to `images`, of any number of rows: ONNX\n" in text
    assert "* `encoder.pt2`: `images` to `z`" in text and "decoder.pt2" not in text and "](samples.png)" in text


def test_texts_of_a_record_break_no_front_matter():
    hostile = "a\n---\nlicense: stolen"
    facts = yaml.safe_load(re.split(r"^---$", written(data=hostile), flags=re.MULTILINE)[1])
    assert facts["license"] == "mit" and facts["tags"][1] == hostile and json.dumps(facts)


def test_texts_of_a_record_are_text_in_the_card():
    fence = "```"
    text = written(command=f"python train.py a='{fence} <b> `````'", model="*vae*", data="a|b](http://c)")
    assert f"``````bash\npython train.py a='{fence} <b> `````'\n``````\n" in text
    assert r"\*vae* (" in text and r"on a\|b\](http://c) (" in text


def test_a_card_says_first_that_a_debug_run_is_no_result():
    config = read_config(PROJECT / "zoo" / "gan_digits")
    assert debugged(config) == []
    OmegaConf.update(config, "choices.debug", "fast", force_add=True)
    (notice,) = debugged(config)
    assert "`debug=fast`" in notice and "no result" in notice
    text = card("mine", record(), config, None, [], "mit", "here")
    assert text.index("A debug run") < text.index("## Use")
