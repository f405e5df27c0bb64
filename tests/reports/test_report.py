"""The report: what its tables say of a folder of known runs, its statistics, and the page in a browser."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import yaml
from conftest import PROJECT, SMALL_PICTURES
from omegaconf import OmegaConf
from PIL import Image
from report_runs import PROTOCOLS, Page, make_run, record_of, scores_of
from scipy import stats

from callbacks.divergence import DivergenceError
from jobs.run_end import recording_end
from reports import ReportError, write_report
from reports.figures import average
from reports.formatting import number, plus_minus, size_of_difference
from reports.models import models_of
from reports.published import data_names
from reports.run_folders import find_runs
from reports.runs import Column, Run
from reports.statistics import compare, summarize
from reports.sweep_report import SweepReport
from run_folder.records import project_version

GAN, VAE = {0: 3.0, 1: 3.5, 2: 4.0}, {0: 9.0, 1: 9.25, 2: 10.25}
SCRIPT = "<script>alert(1)</script>"


def make_sweep(top: Path) -> Path:
    """Two data sets; a diverged, a killed, a damaged and a never begun run; four protocols; another's images."""
    for seed, fid in GAN.items():
        make_run(top / f"gan_{seed}", "gan", "digits", seed, fid)
    for seed, fid in VAE.items():
        make_run(top / f"vae_{seed}", "vae", "digits", seed, fid)
    diverged = make_run(top / "gan_3", "gan", "digits", 3, None)
    end = {"status": "diverged", "message": "train/loss is nan", "model": "gan", "data": "digits", "seed": 3}
    (diverged / "status.json").write_text(json.dumps(end))
    make_run(top / "vae_3_killed", "vae", "digits", 3, None)
    damaged = make_run(top / "vae_4_damaged", "vae", "digits", 4, 1.0)
    (damaged / "metrics.json").write_text((damaged / "metrics.json").read_text()[:200])
    refused = top / "gan_-1"
    refused.mkdir()
    (refused / "status.json").write_text(json.dumps(end | {"status": "failed", "message": "seed: at least 0"}))
    make_run(top / "mnist" / "gan", "gan", "mnist", 0, 6.0, "bbbb2222")
    vae = make_run(top / "mnist" / "vae", "vae", "mnist", 0, 8.0, "bbbb2222")
    evaluation = {"scores": scores_of(30.0, "dddd4444", "inception"), "protocols": {"dddd4444": PROTOCOLS["dddd4444"]},
                  "checkpoint": "checkpoints/best.ckpt", "checkpoint_epoch": 2}  # fmt: skip
    (vae / "evaluation").mkdir()
    (vae / "evaluation" / "metrics.json").write_text(json.dumps(evaluation))
    make_run(top / "mnist" / "vae_other", "vae", "mnist", 0, 7.0, "cccc3333", latent_dim=9)
    images = top / "mnist" / "images"
    images.mkdir()
    (images / "config.yaml").write_text(yaml.safe_dump({"images": "theirs.npz", "choices": {"data": "mnist"}}))
    record = record_of(SCRIPT, "mnist", 0, 2.0, "bbbb2222") | {"network": None, "seed": None}
    for cost in ("images_seen", "epochs", "seconds", "peak_memory_bytes", "parameters"):
        del record[cost]
    (images / "metrics.json").write_text(json.dumps(record))
    other = top / "another_program"
    other.mkdir()
    (other / "config.yaml").write_text("learning_rate: 1\n")
    return top


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder of runs to spoil."""
    return make_sweep(tmp_path / "sweep")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with its report, to look at."""
    top = make_sweep(tmp_path_factory.mktemp("reported") / "sweep")
    write_report([top])
    return top


@pytest.fixture(scope="module")
def page(reported: Path) -> Page:
    return Page((reported / "report" / "index.html").read_text())


def test_scores_table_has_means_intervals_best_seeds_and_floor(page: Page):
    table = page.table("fid ↓|reference · aaaa1111")
    unknown = "reference · aaaa1111 · extractor of unknown accuracy"
    assert table[0] == ["model", "seeds", "weights", f"fid ↓|{unknown}", f"recall ↑|{unknown}"]
    for row, name, fids, lost in (
        (1, "gan (mlp)", GAN, "1 diverged"),
        (2, "vae (mlp)", VAE, "1 unfinished; 1 damaged"),
    ):
        mean, std = fmean(fids.values()), stdev(fids.values())
        factor = math.exp(4.302652729911275 * std / math.sqrt(3) / mean)  # Student's t, two degrees of freedom; log
        total = 3 + lost.count("1")
        assert table[row][:4] == [
            name, f"3 of {total}|{lost}", "averaged (EMA)|latents: prior",
            f"{mean:.2f} ± {std:.2f}|[{number(mean / factor)}, {number(mean * factor)}] · best {fids[0]:.2f} (seed 0)",
        ]  # fmt: skip
    assert table[3] == ["floor: real training images", "", "", "0.500", ""]
    assert len(table) == 4


def test_one_seed_has_no_error_bar_and_protocols_share_no_column(page: Page):
    table = page.table("fid ↓|reference · bbbb2222")
    assert [heading.removesuffix(" · extractor of unknown accuracy") for heading in table[0][3:]] == [
        "fid ↓|reference · bbbb2222", "recall ↑|reference · bbbb2222",
        "fid ↓|inception · dddd4444", "recall ↑|inception · dddd4444",
        "fid ↓|reference · cccc3333", "recall ↑|reference · cccc3333",
    ]  # fmt: skip
    rows = {row[0]: [row[1], *row[3:]] for row in table[1:]}
    assert rows[SCRIPT] == ["1", "2.00", "0.500", "—", "—", "—", "—"]
    assert rows["gan (mlp)"] == ["1", "6.00", "0.167", "—", "—", "—", "—"]
    assert rows["vae (mlp), latent_dim=4"] == ["1", "8.00", "0.125", "30.0", "0.0333", "—", "—"]
    assert rows["vae (mlp), latent_dim=9"] == ["1", "—", "—", "—", "—", "7.00", "0.143"]
    wgan = next(row for name, row in rows.items() if name.startswith("published: WGAN|"))
    assert wgan == ["", "", "", "6.7 ± 0.4", "", "", ""]


def test_no_run_is_dropped(page: Page, reported: Path):
    rows = {row[0]: row[1:] for row in page.table("status")[1:]}
    damage = re.match("metrics.json can't be read: (.+)", rows["vae_4_damaged"][-1])
    assert rows == {
        "gan_3": ["gan (mlp)", "3", "diverged", "6,000", "train/loss is nan"],
        "vae_3_killed": ["vae (mlp)", "3", "unfinished", "6,000",
                         "no metrics.json: still running, or ended without a word"],
        "vae_4_damaged": ["vae (mlp)", "4", "damaged", "—", f"metrics.json can't be read: {damage[1]}"],
        "gan_-1": ["gan", "3", "failed", "—", "seed: at least 0"],
    }  # fmt: skip
    with open(reported / "report" / "results.csv", newline="") as file:
        found = {row["run"] for row in csv.DictReader(file)}
    assert found == {
        *(f"gan_{seed}" for seed in (-1, 0, 1, 2, 3)), *(f"vae_{seed}" for seed in (0, 1, 2)), "vae_3_killed",
        "vae_4_damaged", "mnist/gan", "mnist/vae", "mnist/vae_other", "mnist/images",
    }  # fmt: skip


def test_results_have_a_row_a_run_with_scores_costs_and_differences(reported: Path):
    with open(reported / "report" / "results.csv", newline="") as file:
        rows = {row["run"]: {name: text for name, text in row.items() if text} for row in csv.DictReader(file)}
    words = {
        "data": "digits", "group": "gan (mlp)", "model": "gan", "network": "mlp", "status": "finished",
        "run": "gan_1", "config/model": "GAN",
        **{f"test/{score}_reference@aaaa1111/{what}": value for score in ("fid", "recall")
           for what, value in (("weights", "averaged (EMA)"), ("latents", "prior"))},
    }  # fmt: skip
    assert {name: text for name, text in rows["gan_1"].items() if name in words} == words
    numbers = {name: float(text) for name, text in rows["gan_1"].items() if name not in words}
    assert numbers == pytest.approx({
        "seed": 1, "cost/images_seen": 6000, "cost/epochs": 2, "cost/seconds": 90, "cost/peak_memory_bytes": 2**30,
        "cost/parameters": 1000, "cost/images_per_second": 6000 / 90, "test/fid_reference@aaaa1111": 3.5,
        "test/fid_reference@aaaa1111/std": 0.25, "test/fid_reference@aaaa1111/floor": 0.5,
        "test/recall_reference@aaaa1111": 1 / 3.5,
    })  # fmt: skip
    assert rows["gan_1"]["seed"] == "1"  # no 1.0, though others have none
    assert float(rows["mnist/vae"]["test/fid_inception@dddd4444"]) == 30
    assert int(rows["mnist/vae_other"]["config/model.latent_dim"]) == 9
    assert "seed" not in rows["mnist/images"]


def test_headlines_say_who_won_by_how_much_and_how_sure(reported: Path):
    text = (reported / "report" / "report.md").read_text()
    welch = stats.ttest_ind(list(VAE.values()), list(GAN.values()), equal_var=False)
    interval = welch.confidence_interval()
    assert (
        "gan (mlp) leads vae (mlp) on digits: fid_reference 3.50 ± 0.50 (3 of 4 seeds; 1 diverged) against "
        "9.50 ± 0.66 (3 of 5 seeds; 1 unfinished; 1 damaged), "
        f"smaller is better. The difference of 6.00 [{interval.low:.2f}, {interval.high:.2f}] is far more than noise "
        f"(Welch's t-test over seeds, p = {welch.pvalue:.2g}; 100 % of all pairs of seeds agree). "
        "This is over surviving seeds only, for gan (mlp) and vae (mlp) lost some: a lead, no more."
    ) in text
    assert (
        "Held equal: images seen (6,000), parameters (1,000), seconds of training (90.0), weights scored "
        "(averaged (EMA)), latents drawn from (prior), settings tried of each family, in this report (1) and "
        "settings tried on val for each recipe (1). "
        "fid_reference is by an extractor of unknown accuracy."
    ) in text
    assert "One seed each: no statement on noise is possible. Not compared, for want of this score" in text
    assert f"{SCRIPT.replace('<', '&lt;')} leads gan (mlp) on mnist" in text and "<script" not in text
    assert "14 runs: 10 finished, 1 failed, 1 diverged, 1 unfinished, 1 damaged." in text
    first_screen = (reported / "report" / "index.html").read_text().split("<section")[0]
    assert "on digits: fid_reference 3.50 ± 0.50" in first_screen and "leads gan (mlp) on mnist" in first_screen


def test_comparison_table_has_each_model_minus_the_best_with_its_interval_and_test(page: Page):
    welch = stats.ttest_ind(list(VAE.values()), list(GAN.values()), equal_var=False)
    low, high = welch.confidence_interval()
    assert page.table("in words")[0] == [
        "model", "weights", "difference", "p", "test", "pairs won|by the best", "in words"
    ]  # fmt: skip
    assert page.table("in words")[1:] == [
        ["vae (mlp)", "averaged (EMA)|latents: prior", f"+6.00|[{low:.2f}, {high:.2f}]", f"{welch.pvalue:.2g}",
         "Welch's t-test|(3 and 3 seeds)", "100 %",
         "the difference is far more than noise, over survivors: 3 of 5 seeds; 1 unfinished; 1 damaged"],
    ]  # fmt: skip


def test_several_tests_are_corrected_and_the_words_go_by_that(tmp_path: Path):
    fids = {4: [3.0, 3.5, 4.0], 8: [4.4, 5.2, 5.8], 16: [4.5, 5.3, 5.9]}
    for latent_dim, values in fids.items():
        for seed, fid in enumerate(values):
            make_run(tmp_path / f"{latent_dim}_{seed}", "gan", "digits", seed, fid, latent_dim=latent_dim)
    ps = {dim: stats.ttest_ind(fids[dim], fids[4], equal_var=False).pvalue for dim in (8, 16)}
    assert ps[16] < 0.05 < 1 - (1 - ps[16]) ** 3  # significant alone, but not as one of three pairs
    table = Page(write_report([tmp_path]).read_text()).table("in words")
    columns = [table[0].index(name) for name in ("model", "p", "p, corrected|for picking", "in words")]
    assert [[row[column] for column in columns] for row in table[1:]] == [
        [
            f"gan (mlp), latent_dim={dim}",
            f"{ps[dim]:.2g}",
            f"{1 - (1 - ps[dim]) ** 3:.2g}",
            "the difference may well be noise",
        ]
        for dim in (8, 16)
    ]


def test_costs_are_means_over_runs_in_the_units_of_their_headings(page: Page):
    table = page.table("peak memory|MiB")
    assert table[0][1:] == ["parameters", "images seen", "epochs", "wall time|minutes", "start and end|% of wall time",
                            "images per second", "peak memory|MiB"]  # fmt: skip
    rates = [6000 / 60, 6000 / 90, 6000 / 120]
    rate = f"{fmean(rates):.0f} ± {stdev(rates):.0f}"
    around = [0, 100 * 30 / 90, 100 * 60 / 120]  # a thousand images take 10 s in the curves: 6,000 take 60 s
    share = f"{fmean(around):.0f} ± {stdev(around):.0f}"
    assert table[1] == ["gan (mlp)", "1,000", "6,000", "2", "1.50 ± 0.50", share, rate, "1,024"]


def test_seconds_of_short_runs_are_said_to_hold_start_and_end(reported: Path, tmp_path: Path):
    text = (reported / "report" / "report.md").read_text()
    assert "and with its start and end: 28 % of them" in text.split("## mnist")[0]
    make_run(tmp_path / "run", "gan", "digits", 0, 3.0)  # 60 s, and its curves know of no others
    write_report([tmp_path])
    assert "start and end: " not in (tmp_path / "report" / "report.md").read_text().split("### All scores")[0]


def test_settings_table_has_what_differs_and_nothing_that_is_shared(page: Page):
    settings = [row[0] for row in page.table("setting", 0)[1:]]
    assert settings == ["model"]
    differing = {row[0] for row in page.table("setting", 1)[1:]}
    assert "model.latent_dim" in differing and "images" not in differing  # of images no settings are known


def test_page_is_well_formed_needs_nothing_else_and_escapes_names(page: Page, reported: Path):
    text = (reported / "report" / "index.html").read_text()
    assert page.problems == [] and page.open == []
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes[name])
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    seeds = 2 * 3 + 3  # whose samples are looked through; besides them one is the enlarged
    assert len(images) == 1 + 2 * (2 + 3) + seeds and all("alt" in attributes for attributes in images)
    own = re.sub(r'<script id="vega">.*?</script>', "", text, flags=re.DOTALL)
    assert "@import" not in own and not re.search(r"url\((?!#)", own)
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert SCRIPT not in text and "&lt;script&gt;alert(1)" in text
    pictures = [attributes["alt"] for tag, attributes in page.tags if tag == "img" and attributes.get("src")]
    assert "Samples from the same latents' seed: gan (mlp), seed 0" in pictures
    assert sum("Samples from" in alt for alt in pictures) == 2 + 3
    labels = {attributes["aria-label"] for _, attributes in page.tags if attributes.get("class") == "chart"}
    assert any(
        label.startswith("val/fid_reference against wall time in minutes: gan (mlp), vae (mlp)") for label in labels
    )
    assert any(label.startswith("loss_generator against images seen: gan (mlp);") for label in labels)


def test_reports_are_the_same_each_time(reported: Path, tmp_path: Path):
    assert write_report([reported], tmp_path).read_bytes() == (reported / "report" / "index.html").read_bytes()


def test_folders_are_joined_and_a_run_counts_once(reported: Path):
    assert len(find_runs([reported / "gan_0", reported])) == len(find_runs([reported])) == 14
    assert [run.name for run in find_runs([reported / "gan_0"])] == ["gan_0"]


def run_report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROJECT / "report.py", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["missing", "empty", "another program's"])
def test_nothing_to_report_is_one_line(kind: str, tmp_path: Path):
    folder = tmp_path / "folder"
    if kind != "missing":
        folder.mkdir()
    if kind == "another program's":
        (folder / "config.yaml").write_text("a: 1\n")
    with pytest.raises(ReportError, match="no such folder" if kind == "missing" else r"no run of train\.py"):
        write_report([folder])
    assert not (folder / "report").exists()


def test_command_says_where_the_report_is_or_what_is_wrong(tmp_path: Path):
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    done = run_report(run, "--out", tmp_path / "out")
    assert done.returncode == 0 and done.stdout == f"report: {tmp_path / 'out' / 'index.html'}\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "report.md", "results.csv"}
    refused = run_report(run, tmp_path / "none")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr == (
        f"error: {tmp_path / 'none'}: there is no such folder. Give folders that hold runs of train.py\n"
    )


def test_reading_needs_neither_torch_nor_lightning(tmp_path: Path):
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    probe = (
        "import sys; from pathlib import Path; from reports import write_report; "
        f"write_report([Path({str(run)!r})]); print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROJECT)}
    )
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "can't be read: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "is no record"),
        ("{}", "is incomplete: no scores"),
        ('{"scores": {"test/fid": {"value": 1}}, "protocols": {}}', "is incomplete: no scores.test/fid.protocol"),
        ('{"scores": {"test/fid": {"value": 1, "protocol": "p"}}, "protocols": {}}', "is incomplete: no p"),
        ('{"scores": 1}', "is incomplete: scores: Input should be a valid dictionary"),
        ('{"scores": {"test/fid": {"value": "x", "protocol": "p"}}, "protocols": {"p": {}}}',
         "is incomplete: scores.test/fid.value: expected a number, got 'x'"),
    ],
)  # fmt: skip
def test_damaged_records_are_named_with_what_is_wrong(content: str, problem: str, tmp_path: Path):
    folder = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    (folder / "metrics.json").write_text(content)
    (run,) = find_runs([tmp_path])
    assert (run.status, run.message) == ("damaged", f"metrics.json {problem}") and not run.scores
    assert (run.model, run.data, run.seed) == ("gan", "digits", 0)


def test_a_score_that_is_no_number_is_left_out_and_remarked(tmp_path: Path):
    folder = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    record = json.loads((folder / "metrics.json").read_text())
    record["scores"]["test/fid_reference"]["value"] = math.inf
    (folder / "metrics.json").write_text(json.dumps(record))
    (run,) = find_runs([tmp_path])
    assert run.status == "finished" and run.remarks == ["test/fid_reference is inf: left out of the tables"]
    assert {column.score: score.value for column, score in run.scores.items()} == {"test/recall_reference": 1 / 3}


def test_any_seed_and_cost_can_be_told_of(tmp_path: Path, sweep: Path):
    status = json.loads((sweep / "gan_0" / "metrics.json").read_text()) | {"status": "failed", "message": "seed: ?"}
    (sweep / "gan_0" / "status.json").write_text(json.dumps(status | {"seed": "abc"}))
    record = json.loads((sweep / "gan_1" / "metrics.json").read_text())
    (sweep / "gan_1" / "metrics.json").write_text(json.dumps(record | {"seconds": float("nan")}))
    (sweep / "vae_0" / "config.yaml").write_text("")  # a disk was full
    page = Page(write_report([sweep]).read_text())
    rows = {row[0]: row[3] for table in page.tables if "status" in table[0] for row in table[1:]}
    assert rows["gan_0"] == "failed" and "gan_1" not in rows and rows["vae_0"] == "damaged"


def test_what_is_damaged_is_told_and_the_rest_is_reported(sweep: Path):
    (sweep / "gan_0" / "metrics.json").write_text("")
    (sweep / "gan_1" / "metrics.csv").write_bytes(b"step,a\nx,\xff\n")
    (sweep / "gan_1" / "pictures" / "samples_fixed_final.png").write_bytes(b"no picture")  # the one to be shown
    (sweep / "vae_0" / "config.yaml").write_text("a: [")
    (sweep / "mnist" / "vae" / "evaluation" / "metrics.json").write_text("{")
    page = Page(write_report([sweep]).read_text())
    rows = {row[0]: row[3:] for table in page.tables if "status" in table[0] for row in table[1:]}
    assert rows["gan_0"][0] == "damaged" and "metrics.json" in rows["gan_0"][2]
    assert rows["vae_0"][0] == "damaged" and "config.yaml" in rows["vae_0"][2]
    assert rows["mnist/vae"][0] == "finished"
    assert rows["mnist/vae"][2].startswith("evaluation/ left out: metrics.json can't be read: ")
    assert page.table("fid ↓|reference · aaaa1111")[1][:2] == ["gan (mlp)", "2 of 4|1 damaged; 1 diverged"]


def test_evaluation_of_other_weights_is_left_out(sweep: Path):
    path = sweep / "mnist" / "vae" / "evaluation" / "metrics.json"
    path.write_text(path.read_text().replace("best.ckpt", "last.ckpt"))
    run = next(run for run in find_runs([sweep]) if run.name == "mnist/vae")
    assert {column.protocol for column in run.scores} == {"bbbb2222"}
    assert run.remarks == ["evaluation/ is of checkpoints/last.ckpt, not of the tested weights: left out"]


def test_a_seed_that_was_run_twice_counts_once(tmp_path: Path):
    for name, seed, fid in (("a", 0, 3.0), ("b", 0, 5.0), ("c", 1, 6.0)):
        make_run(tmp_path / name, "gan", "digits", seed, fid)
    (model,) = models_of(find_runs([tmp_path]))
    assert model.values(Column("test/fid_reference", "aaaa1111")) == {0: 4.0, 1: 6.0}


def test_models_are_named_by_what_differs(tmp_path: Path):
    hinge = {"_target_": "losses.Hinge", "margin": 1}
    for index, settings in enumerate([{}, {"latent_dim": 8}, {"latent_dim": 8, "loss": hinge}]):
        make_run(tmp_path / str(index), "gan", "digits", 0, 3.0, **settings)
    names = [model.name for model in models_of(find_runs([tmp_path]))]
    assert names == ["gan (mlp), latent_dim=4", "gan (mlp), latent_dim=8", "gan (mlp), latent_dim=8, loss=Hinge"]


def test_bands_average_over_seeds_on_a_common_grid():
    x = np.array([0.0, 1.0, 2.0])
    grid, mean, std = average([(x, x), (x, x + 2)])
    assert grid.tolist() == x.tolist() and mean.tolist() == [1, 2, 3] and std == pytest.approx([math.sqrt(2)] * 3)
    grid, mean, std = average([(x, 2 * x), (x + 0.5, 2 * x + 1)])  # the same line, seen at other points
    assert (grid[0], grid[-1]) == (0.5, 2.0) and mean == pytest.approx(2 * grid) and std == pytest.approx(0 * grid)
    assert average([(x, x)])[2] is None


def test_numbers_are_written_to_what_their_spread_allows():
    assert plus_minus(summarize([6.5, 6.66, 6.9])) == "6.69 ± 0.20"
    assert plus_minus(summarize([1000.0, 2000.0])) == "1,500 ± 707"
    assert plus_minus(summarize([0.1234])) == "0.123"
    values = (0, 3, 0.0456, 99.96, 12345.6, -0.00788)
    assert [number(value) for value in values] == ["0.00", "3.00", "0.0456", "100", "12,346", "-0.00788"]


@pytest.mark.parametrize(
    ("difference", "low", "high", "text"),
    [
        (6.0, 5.0, 7.0, "6.00 [5.00, 7.00]"),
        (-6.0, -7.0, -5.0, "6.00 [5.00, 7.00]"),
        (1.0, -2.0, 4.0, "1.00 [-2.00, 4.00]"),
        (-1.0, -4.0, 2.0, "1.00 [-2.00, 4.00]"),
    ],
)
def test_a_difference_has_the_same_size_and_interval_either_way_round(
    difference: float, low: float, high: float, text: str
):
    comparison = compare({0: 1.0, 1: 2.0}, {0: 0.0, 1: 3.0})._replace(difference=difference, low=low, high=high)
    assert size_of_difference(comparison) == text


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no"), "failed", "no"),
        (ValueError(), "failed", "ValueError"),
        (DivergenceError("nan"), "diverged", "nan"),
        (KeyboardInterrupt(), "stopped", "stopped from outside (KeyboardInterrupt)"),
    ],
)
def test_failing_runs_record_how_they_ended(error: BaseException, status: str, message: str, tmp_path: Path):
    with pytest.raises(type(error)), recording_end(tmp_path, {"model": "gan", "scores": "reference", "seed": 1}, False):
        raise error
    end = json.loads((tmp_path / "status.json").read_text())
    version = project_version()
    assert end.pop("checksum").startswith("crc32:")
    assert end == {
        "status": status, "message": message, "model": "gan", "scores": "reference", "seed": 1, "version": version
    }  # fmt: skip


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("a: 1")
    with pytest.raises(ValueError), recording_end(tmp_path, {}, False):
        raise ValueError
    assert not (tmp_path / "status.json").exists()


def test_a_sweep_is_not_failed_by_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    callback = SweepReport()
    callback.on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    callback.on_multirun_end(OmegaConf.create({}))
    assert capsys.readouterr().out == ""  # no job was ever started
    (tmp_path / "job").mkdir()
    callback.on_multirun_end(OmegaConf.create({}))
    printed = capsys.readouterr().out
    assert printed.startswith(f"no report: {tmp_path}: no run of train.py in here or below")
    assert printed.endswith(f"Try again with: python report.py {tmp_path}\n") and printed.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["/bin/vae-gan-train"])
    callback.on_multirun_end(OmegaConf.create({}))
    assert capsys.readouterr().out.endswith(f"Try again with: vae-gan-report {tmp_path}\n")


def test_a_sweep_with_a_failed_job_has_its_report_once(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, PROJECT / "train.py", "-m", "seed=0,-1", "network=mlp", "trainer.max_epochs=1",
         "trainer.accelerator=cpu", "every_n_epochs=1", *SMALL_PICTURES, "hydra.sweep.dir=sweep"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert result.returncode == 1 and "error: seed: expected at least 0" in result.stderr
    report = tmp_path / "sweep" / "report" / "index.html"
    assert result.stdout.count(f"report: {report}") == 1
    (row,) = Page(report.read_text()).table("status")[1:]
    assert row[2:4] == ["-1", "failed"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt-get install chromium)")


def browse(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip


def with_script(text: str, script: str) -> str:
    """A page with a script at its end; what draws the charts has "</body>" in its own text."""
    before, _, after = text.rpartition("</body>")
    return f"{before}{script}</body>{after}"


@needs_browser
def test_browser_sorts_tables_and_enlarges_pictures(reported: Path, tmp_path: Path):
    text = (reported / "report" / "index.html").read_text()
    clicks = """<script>
        const buttons = document.querySelectorAll("table")[0].tHead.querySelectorAll("button");
        buttons[1].click(); buttons[1].click();
        document.querySelector(".open").click();
        </script>"""
    clicked = tmp_path / "clicked.html"
    clicked.write_text(with_script(text, clicks))
    dom = browse(clicked, "--dump-dom")
    table = Page(dom).tables[0]
    assert [row[0] for row in table[1:]] == ["vae (mlp)", "gan (mlp)", "floor: real training images"]
    assert [attributes["aria-sort"] for _, attributes in Page(dom).tags if "aria-sort" in attributes] == ["descending"]
    assert re.search(r"<dialog[^>]* open=", dom)
    assert 'alt="Samples from the same latents\' seed: gan (mlp), seed 0"' in dom.split("<dialog")[1]


def test_how_runs_were_made_is_said_of_their_training(tmp_path: Path):
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    record = json.loads((run / "metrics.json").read_text()) | {"command": "python train.py"}
    (run / "metrics.json").write_text(json.dumps(record))
    write_report([tmp_path])
    table = Page((tmp_path / "report" / "index.html").read_text()).table("command")
    assert table[1:] == [["run", "training", "python train.py"]]


def test_an_evaluation_has_a_provenance_of_its_own(tmp_path: Path):
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    record = json.loads((run / "metrics.json").read_text()) | {"provenance": {"date": "2026-01-01", "commit": "aaa"}}
    (run / "metrics.json").write_text(json.dumps(record))
    evaluation = {"scores": scores_of(30.0, "dddd4444", "inception"), "protocols": {"dddd4444": PROTOCOLS["dddd4444"]},
                  "checkpoint": "checkpoints/best.ckpt", "checkpoint_epoch": 2,
                  "provenance": {"date": "2026-02-02", "commit": "bbb", "changed": True}}  # fmt: skip
    (run / "evaluation").mkdir()
    (run / "evaluation" / "metrics.json").write_text(json.dumps(evaluation))
    table = Page(write_report([tmp_path]).read_text()).table("commit")
    assert table == [
        ["run", "of its", "date", "commit"],
        ["run", "training", "2026-01-01", "aaa"],
        ["run", "evaluation", "2026-02-02", "bbb, changed"],
    ]


def test_published_numbers_that_compare_with_none_are_shown_apart(page: Page, reported: Path):
    table = page.table("source")
    assert table[0] == ["model", "data", "score", "value", "source"] and len(page.tables) > 1
    rows = {row[0]: row[1:4] for row in table[1:]}
    assert rows["2-Stage VAE"] == ["MNIST", "fid_inception", "12.6 ± 1.5"]
    assert rows["VampPrior"] == ["MNIST, binarized", "nll", "82.38"]
    assert "DCGAN" not in rows and "WGAN" not in rows  # of other data; of a protocol that can be followed
    text = (reported / "report" / "report.md").read_text()
    assert text.count("### Published numbers, not comparable") == 1  # none is of digits


@pytest.mark.parametrize(
    ("data", "experiment", "names"),
    [
        ("folder", "published/sngan_cifar10", {"folder", "sngan", "cifar10"}),
        ("fashion_mnist", "best/vae_mnist", {"fashionmnist"}),
        ("mnist", None, {"mnist"}),
    ],
)
def test_data_is_known_by_its_choice_and_of_a_folder_by_its_experiment(
    data: str, experiment: str | None, names: set[str]
):
    assert data_names(Run(Path(), "", "finished", data=data, experiment=experiment)) == names


@needs_browser
def test_a_chart_that_can_not_be_drawn_says_so(reported: Path, tmp_path: Path):
    text = (reported / "report" / "index.html").read_text()
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(text.replace('"layer": [', '"layer": [{"mark": "no such mark"}, ', 1))
    dom = browse(spoilt, "--dump-dom", "--virtual-time-budget=9000")
    assert dom.split('<script id="vega">')[0].count(">This chart can't be drawn: ") == 1


@needs_browser
@pytest.mark.parametrize("width", [390, 1400])
def test_page_fits_its_window(width: int, reported: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    probe = """<script>addEventListener("load", () => setTimeout(() => {
        const wide = document.documentElement.scrollWidth - innerWidth;
        document.title = `${wide} ${document.querySelectorAll(".chart svg").length}`;
        }, 3000))</script>"""
    page.write_text(with_script((reported / "report" / "index.html").read_text(), probe))
    picture = tmp_path / "page.png"
    dom = browse(
        page, f"--window-size={width},900", f"--screenshot={picture}", "--dump-dom", "--virtual-time-budget=9000"
    )
    wide, drawn = map(int, re.search(r"<title>(-?\d+) (\d+)</title>", dom).groups())
    assert wide <= 0 and drawn == page.read_text().count('<div class="chart"') > 0
    with Image.open(picture) as shot:
        assert shot.width == width and len(shot.convert("RGB").getcolors(1 << 24)) > 50
