"""What a report says of models: who leads, who beats, who collapsed, what was held equal, and what is not praised."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import composed
from omegaconf import OmegaConf
from report_runs import Page, make_run

from jobs.run_start import save_config
from reports import write_report
from reports.data_sets import DataSet, data_sets_of
from reports.flags import fall_at_the_end, flags_of
from reports.models import learning_settings, models_of
from reports.page import markdown_row
from reports.ranking import direction
from reports.run_folders import find_runs
from reports.tables import Cell

FIDS = {"gan": [3.0, 3.5, 4.0], "vae": [9.0, 9.25, 10.25]}


def sweep(top: Path, fids: dict[str, list[float]] = FIDS) -> None:
    for model, values in fids.items():
        for seed, fid in enumerate(values):
            make_run(top / f"{model}_{seed}", model, "digits", seed, fid)


def change(run: Path, scores: dict[str, dict] | None = None, **details) -> None:
    """Change a run's record, and fields of its scores."""
    path = run / "metrics.json"
    record = json.loads(path.read_text()) | details
    for name, fields in (scores or {}).items():
        first = next(iter(record["scores"].values()))
        record["scores"][f"test/{name}"] = first | record["scores"].get(f"test/{name}", {}) | fields
    path.write_text(json.dumps(record))


def lose(top: Path, model: str, seed: int, status: str) -> None:
    run = make_run(top / f"{model}_{seed}", model, "digits", seed, None)
    (run / "status.json").write_text(json.dumps({"status": status, "message": "?", "model": model, "seed": seed}))


def reported(top: Path) -> DataSet:
    (data_set,) = data_sets_of(find_runs([top]))
    return data_set


def cells(data_set: DataSet, title: str, heading: str) -> dict[str, tuple[str, str, bool]]:
    """By model, a column's cells: text, detail and whether it is crowned."""
    table = next(table for table in data_set.tables if table.title == title)
    place = next(index for index, one in enumerate(table.headings) if one.text.startswith(heading))
    return {row[0].text: (row[place].text, row[place].detail, row[place].best) for row in table.rows}


def test_a_model_beats_another_over_all_seeds_that_were_begun(tmp_path: Path):
    sweep(tmp_path)
    headline = reported(tmp_path).headline
    assert headline.certainty == "sure" and headline.text.startswith("gan (mlp) beats vae (mlp) on digits")
    assert "(3 seeds) against" in headline.text


@pytest.mark.parametrize(("model", "status"), [("gan", "diverged"), ("vae", "failed")])
def test_over_survivors_a_model_only_leads(model: str, status: str, tmp_path: Path):
    sweep(tmp_path)
    for seed in (3, 4):
        lose(tmp_path, model, seed, status)
    headline = reported(tmp_path).headline
    assert headline.certainty == "survivors" and headline.text.startswith("gan (mlp) leads vae (mlp) on digits")
    assert f"(3 of 5 seeds; 2 {status})" in headline.text
    assert f"over surviving seeds only, for {model} (mlp) lost some" in headline.text


def test_a_seed_that_was_run_again_is_not_lost(tmp_path: Path):
    sweep(tmp_path)
    lose(tmp_path / "first_try", "gan", 0, "failed")
    assert reported(tmp_path).headline.text.startswith("gan (mlp) beats")


def test_a_model_without_one_survivor_is_named(tmp_path: Path):
    sweep(tmp_path, {"vae": FIDS["vae"]})
    for seed in range(3):
        lose(tmp_path, "gan", seed, "diverged")
    text = reported(tmp_path).headline.text
    assert text.endswith("Not compared, for want of this score under protocol aaaa1111: "
                         "gan (mlp) (0 of 3 seeds; 3 diverged).")  # fmt: skip


def test_jobs_that_were_never_begun_are_no_model_of_the_headline(tmp_path: Path):
    """They have no config, and so stand apart from the finished runs of the same choices."""
    sweep(tmp_path)
    for number, model in enumerate(FIDS):
        waiting_record = {"status": "never begun", "message": "not begun yet", "model": model, "network": "mlp",
                          "data": "digits", "seed": 3}  # fmt: skip
        (tmp_path / "waiting" / str(number)).mkdir(parents=True)
        (tmp_path / "waiting" / str(number) / "status.json").write_text(json.dumps(waiting_record))
    data_set = reported(tmp_path)
    assert data_set.headline.text.startswith("gan (mlp) beats vae (mlp)")
    assert "Not compared" not in data_set.headline.text and "never begun" not in data_set.headline.text
    look = next(table for table in data_set.tables if table.title == "Runs that need a look")
    assert [(row[1].text, row[2].text, row[3].text) for row in look.rows] == [
        ("gan (mlp)", "3", "never begun"),
        ("vae (mlp)", "3", "never begun"),
    ]


def test_a_tie_is_equal(tmp_path: Path):
    sweep(tmp_path, {"gan": [3.0, 4.0, 5.0], "vae": [5.0, 4.0, 3.0]})
    data_set = reported(tmp_path)
    assert (
        data_set.headline.text.startswith("gan (mlp) equals vae (mlp) on digits")
        and "leads" not in data_set.headline.text
    )
    assert data_set.headline.certainty == "unknown"
    assert cells(data_set, "Is the difference more than noise?", "in words")["vae (mlp)"][0] == "they are equal"
    assert all(best for *_, best in cells(data_set, "All scores", "fid").values())


def test_the_second_line_says_what_was_held_equal_and_what_not(tmp_path: Path):
    sweep(tmp_path)
    make_run(tmp_path / "wide", "gan", "digits", 0, 20.0, latent_dim=9)  # a second setting of the GAN
    for seed in range(3):
        change(tmp_path / f"vae_{seed}", {"fid_reference": {"weights": "raw", "latents": "gaussian_mixture"}},
               images_seen=7000, parameters={"total": 1000})  # fmt: skip
    fairness = reported(tmp_path).headline.fairness
    assert fairness == (
        "Held equal: parameters (1,000), seconds of training (90.0) and settings tried on val for each recipe (1). "
        "Not equal: images seen (6,000 against 7,000), weights scored (averaged (EMA) against raw), "
        "latents drawn from (prior against gaussian_mixture) and "
        "settings tried of each family, in this report (2 against 1). "
        "fid_reference is by an extractor of unknown accuracy."
    )
    weights = cells(reported(tmp_path), "All scores", "weights")
    assert weights["vae (mlp)"][:2] == ("raw and averaged (EMA)", "latents: gaussian_mixture and prior")
    assert cells(reported(tmp_path), "Is the difference more than noise?", "weights")["vae (mlp)"][0] == "raw"


def test_what_an_old_record_lacks_is_not_known(tmp_path: Path):
    sweep(tmp_path)
    change(tmp_path / "gan_0", {"fid_reference": {"weights": None, "latents": None}}, seconds=None)
    for seed in range(3):
        change(tmp_path / f"gan_{seed}", parameters={})
    fairness = reported(tmp_path).headline.fairness
    assert "Not known: parameters" in fairness and "averaged (EMA) and unknown" not in fairness.split("Not known")[1]


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        ({"reference": 0.287}, "extractor right about only 28.7 % of the real test images"),
        ({"reference": None}, "extractor of unknown accuracy"),
        ({"reference": 0.98}, ""),
    ],
)
def test_a_poor_extractor_stands_beside_every_score_of_it(accuracy, said: str, tmp_path: Path):
    sweep(tmp_path)
    for run in tmp_path.iterdir():
        change(run, extractor_accuracy=accuracy)
    data_set = reported(tmp_path)
    scores = next(table for table in data_set.tables if table.title == "All scores")
    groups = {heading.text: heading.group for heading in scores.headings[3:]}
    wanted = " · ".join(filter(None, ["reference", "aaaa1111", said]))
    assert groups == {"fid ↓": wanted, "recall ↑": wanted}
    measured = " by reference, protocol aaaa1111" + (f"; {said}. " if said else ". ")
    assert measured in next(table for table in data_set.tables if table.title == "Results").note
    assert data_set.headline.fairness.endswith(f"fid_reference is by an {said}." if said else "(1).")


COLLAPSES = {
    "samples are all but identical": ({}, {"sample_diversity": 0.04}),
    "samples hardly vary": (
        {"precision_reference": {"value": 0.97, "floor": 0.88}, "recall_reference": {"value": 0.001, "floor": 0.87},
         "coverage_reference": {"value": 0.03, "floor": 0.95}}, {}),
    "no active latent": ({}, {"kl_by_dimension": [0.0, 0.09, 0.01]}),
    "missing modes": ({"missing_modes_reference": {"value": 0.8}}, {}),
}  # fmt: skip
HEALTHY = {
    "as varied as real images": ({}, {"sample_diversity": 0.06}),
    "some recall": (
        {"precision_reference": {"value": 0.97, "floor": 0.88}, "recall_reference": {"value": 0.3, "floor": 0.87},
         "coverage_reference": {"value": 0.03, "floor": 0.95}}, {}),
    "noise, of which precision is low as well": (
        {"precision_reference": {"value": 0.01, "floor": 0.88}, "recall_reference": {"value": 0.0, "floor": 0.87},
         "coverage_reference": {"value": 0.0, "floor": 0.95}}, {}),
    "one active latent": ({}, {"kl_by_dimension": [0.0, 0.11]}),
    "no missing mode": ({"missing_modes_reference": {"value": 0.0}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLLAPSES)
def test_collapsed_runs_are_flagged_and_counted(kind: str, tmp_path: Path):
    sweep(tmp_path)
    scores, details = COLLAPSES[kind]
    change(tmp_path / "vae_1", scores, **details, images_seen=20_000)
    data_set = reported(tmp_path)
    table = next(table for table in data_set.tables if table.title == "To be careful with")
    assert [[cell.text for cell in row[:3]] for row in table.rows] == [["vae (mlp)", kind, "1"]]
    assert table.rows[0][1].detail == "collapsed" and table.rows[0][2].detail == "1 of 3 seeds"
    assert "(3 seeds; 1 collapsed)" in data_set.headline.text
    assert "Collapsed seeds count in the means." in data_set.headline.text
    assert cells(data_set, "All scores", "seeds")["vae (mlp)"][:2] == ("3", "1 collapsed")


def test_a_headline_over_trainings_that_are_too_short_says_so(tmp_path: Path):
    sweep(tmp_path)
    assert "Too short" not in reported(tmp_path).headline.text
    change(tmp_path / "gan_0", COLLAPSES["missing modes"][0], images_seen=1_000)
    assert "Too short to judge: gan (mlp). What a longer" in reported(tmp_path).headline.text


@pytest.mark.parametrize("kind", HEALTHY)
def test_healthy_runs_are_not_flagged(kind: str, tmp_path: Path):
    scores, details = HEALTHY[kind]
    change(make_run(tmp_path, "vae", "digits", 0, 3.0), scores, **details)
    (run,) = find_runs([tmp_path])
    assert flags_of(run) == []


def test_a_few_missing_modes_and_notes_are_flagged_without_being_a_collapse(tmp_path: Path):
    change(make_run(tmp_path, "vae", "digits", 0, 3.0), {"missing_modes_reference": {"value": 0.1}},
           notes={"reference": ["no nearest_train: duplicates"]})  # fmt: skip
    (run,) = find_runs([tmp_path])
    assert [(flag.kind, flag.text, flag.is_collapse) for flag in flags_of(run)] == [
        ("missing modes", "10 % of the classes are all but absent", False),
        ("a score says little, or is left out", "no nearest_train: duplicates (reference)", False),
    ]


@pytest.mark.parametrize(
    ("seen", "curves", "flagged"),
    [
        (19_999, "step,val/loss\n9,2\n", ["too short to judge"]),
        (20_000, "step,val/loss\n9,2\n", ["samples are all but identical", "no active latent"]),
        (60_000, "step,train/loss\n9,2\n", ["too short to judge"]),  # val was never scored
    ],
)
def test_a_run_that_is_too_short_is_called_that_rather_than_collapsed(
    seen: int, curves: str, flagged: list[str], tmp_path: Path
):
    run = make_run(tmp_path / "run", "vae", "digits", 0, 3.0)
    change(run, sample_diversity=0.01, kl_by_dimension=[0.0, 0.0], images_seen=seen)
    (run / "metrics.csv").write_text(curves)
    data_set = reported(tmp_path)
    flags = flags_of(data_set.models[0].runs[0])
    assert [flag.kind for flag in flags] == flagged
    assert bool(data_set.models[0].collapsed) == ("too short to judge" not in flagged)
    if seen == 19_999:
        assert flags[0].text == (
            "after 19,999 images samples are all but identical (their pixels' spread is 0.01 of the real images'), "
            "no active latent (none carries 0.1 nat, the most 0: reconstructions know nothing of their images)"
        )


NOTICED = {"text": "seen", "images_seen": 9000, "epoch": 3, "measured": 0.6, "threshold": 0.5}


def test_what_was_noticed_while_training_is_shown_once(tmp_path: Path):
    run = make_run(tmp_path, "vae", "digits", 0, 3.0)
    health = [NOTICED | {"kind": kind} for kind in ("missing modes", "exploding gradients")]
    change(run, {"missing_modes_reference": {"value": 0.8}}, health=health, images_seen=30_000)
    (found,) = find_runs([tmp_path])
    assert [(flag.kind, flag.text, flag.is_collapse) for flag in flags_of(found)] == [
        ("missing modes", "80 % of the classes are all but absent; noticed in epoch 3, after 9,000 images", True),
        ("exploding gradients", "in epoch 3, after 9,000 images: seen", False),
    ]
    change(run, {"missing_modes_reference": {"value": 0.0}})  # it has recovered
    (found,) = find_runs([tmp_path])
    assert [(flag.text, flag.is_collapse) for flag in flags_of(found)] == [
        ("in epoch 3, after 9,000 images: seen", False)
    ] * 2


def test_a_run_that_health_stopped_is_lost_and_says_why(tmp_path: Path):
    sweep(tmp_path)
    run = make_run(tmp_path / "vae_3", "vae", "digits", 3, None)
    end = {"status": "stopped by health", "message": "missing modes in epoch 3", "model": "vae", "seed": 3}
    (run / "status.json").write_text(json.dumps(end | {"health": [NOTICED | {"kind": "missing modes"}]}))
    data_set = reported(tmp_path)
    assert "(3 of 4 seeds; 1 stopped by health)" in data_set.headline.text
    table = next(table for table in data_set.tables if table.title == "Runs that need a look")
    assert [cell.text for cell in table.rows[0]][3::2] == ["stopped by health", "missing modes in epoch 3"]


def test_a_seed_with_two_flags_of_one_kind_is_counted_once(tmp_path: Path):
    change(make_run(tmp_path, "vae", "digits", 0, 3.0), notes={"reference": ["one", "two"]})
    data_set = reported(tmp_path)
    table = next(table for table in data_set.tables if table.title == "To be careful with")
    assert (table.rows[0][2].text, table.rows[0][2].detail) == ("0", "1 of 1 seeds")


@pytest.mark.parametrize(("values", "crowned"), [((0.0, 0.0), False), ((0.0, 0.2), True), ((0.2, 0.2), True)])
def test_the_worst_that_a_score_can_be_is_not_crowned(values: tuple[float, float], crowned: bool, tmp_path: Path):
    for model, value in zip(("gan", "vae"), values, strict=True):
        scores = {"coverage_reference": {"value": value}, "missing_modes_reference": {"value": 1 - value}}
        change(make_run(tmp_path / model, model, "digits", 0, 3.0), scores)
    for score in ("coverage", "missing_modes"):
        assert any(best for *_, best in cells(reported(tmp_path), "All scores", score).values()) == crowned


def test_a_markdown_cell_keeps_its_lines_apart():
    cells = [Cell("2", "2 collapsed; 1 | a"), Cell("0.5", best=True), Cell("<b>")]
    assert markdown_row(cells) == "| 2<br>2 collapsed; 1 \\| a | **0.5** | &lt;b> |"


def test_a_curve_falls_steeply_at_the_end_by_what_its_last_fifth_loses():
    line = [(seen, None, 110.0 - seen) for seen in range(0, 101, 10)]  # 30 at 80, 10 at 100
    assert fall_at_the_end(line) == pytest.approx(2 / 3)
    assert fall_at_the_end(line[::-1]) == pytest.approx(2 / 3)  # whatever the order of rows
    assert fall_at_the_end([(0, None, 9.0), (50, None, 4.0), (100, None, 4.0)]) == 0
    assert fall_at_the_end([(0, None, 9.0), (50, None, 4.0), (100, None, 5.0)]) == pytest.approx(-0.4 / 4.6)
    assert fall_at_the_end([(0, None, 9.0), (50, None, 4.0)]) is None


@pytest.mark.parametrize(("end", "flagged"), [(9.1, False), (8.9, True)])
def test_a_run_is_not_converged_if_val_loses_a_tenth_in_the_last_fifth(end: float, flagged: bool, tmp_path: Path):
    run = make_run(tmp_path, "gan", "digits", 0, 3.0)
    (run / "metrics.csv").write_text(f"step,val/fid_reference\n1000,20\n8000,10\n10000,{end}\n")
    (found,) = find_runs([tmp_path])
    said = f"val/fid_reference fell by {round(100 * (1 - end / 10))} % in the last fifth of training"
    assert [flag.text for flag in flags_of(found)] == ([said] if flagged else [])


def test_no_precision_is_crowned_without_a_tenth_of_the_floors_recall(tmp_path: Path):
    sweep(tmp_path)
    for name, precision, recall in (("gan", 0.8, 0.6), ("vae", 0.99, 0.05)):
        for seed in range(3):
            change(tmp_path / f"{name}_{seed}", {
                "recall_reference": {"value": recall, "floor": 0.87},
                "precision_reference": {"value": precision, "floor": 0.88},
                "density_reference": {"value": precision, "floor": 0.98},
            })  # fmt: skip
    data_set = reported(tmp_path)
    for score in ("precision", "density"):
        assert not any(best for *_, best in cells(data_set, "All scores", score).values())
        assert "recall near 0" in cells(data_set, "All scores", score)["vae (mlp)"][1]
    for title in ("Results", "All scores"):
        note = next(table for table in data_set.tables if table.title == title).note
        assert "whose recall is below a tenth of the floor's (vae (mlp))" in note
    assert cells(data_set, "All scores", "recall")["gan (mlp)"][2]
    for seed in range(3):
        change(tmp_path / f"vae_{seed}", {"recall_reference": {"value": 0.09}})
    assert cells(reported(tmp_path), "All scores", "precision")["vae (mlp)"][2]


def test_confidence_is_neither_better_larger_nor_smaller():
    assert direction("test/confidence_reference") == 0
    known = {"fid": -1, "kid": -1, "kid_subset_std": 0, "recall": 1, "nearest_train": 0, "active_units": 0}
    assert {name: direction(f"test/{name}_x") for name in known} == known


def with_likelihood(folder: Path, typed: str | None, target: str, **settings) -> None:
    make_run(folder, "vae", "digits", 0, 3.0, likelihood={"_target_": f"likelihoods.{target}", **settings})
    if typed is not None:
        path = folder / "config.yaml"
        config = yaml.safe_load(path.read_text())
        config["choices"] |= {
            "model/likelihood": typed,
            "trainer": "default",
            "network/norm@network.encoder.norm": "none",
        }
        path.write_text(yaml.safe_dump(config))


def test_choices_are_named_as_they_were_typed(tmp_path: Path):
    with_likelihood(tmp_path / "0", "bernoulli", "BernoulliLikelihood")
    with_likelihood(tmp_path / "1", "gaussian", "GaussianLikelihood", scale=0.1, learn_scale=False)
    with_likelihood(tmp_path / "2", "gaussian_learned", "GaussianLikelihood", scale=0.1, learn_scale=True)
    with_likelihood(tmp_path / "3", "gaussian", "GaussianLikelihood", scale=0.5, learn_scale=False)
    assert [model.name for model in models_of(find_runs([tmp_path]))] == [
        "vae (mlp), likelihood=bernoulli",
        "vae (mlp), likelihood=gaussian, scale=0.1",
        "vae (mlp), likelihood=gaussian_learned",
        "vae (mlp), likelihood=gaussian, scale=0.5",
    ]


def test_runs_whose_choices_are_unknown_are_named_by_their_classes(tmp_path: Path):
    with_likelihood(tmp_path / "0", None, "BernoulliLikelihood")
    with_likelihood(tmp_path / "1", None, "GaussianLikelihood", learn_scale=False)
    with_likelihood(tmp_path / "2", "gaussian_learned", "GaussianLikelihood", learn_scale=True)
    assert [model.name for model in models_of(find_runs([tmp_path]))] == [
        "vae (mlp), likelihood=BernoulliLikelihood",
        "vae (mlp), likelihood=GaussianLikelihood, learn_scale=False",
        "vae (mlp), likelihood=GaussianLikelihood, learn_scale=True",
    ]


def test_budget_of_parameters_is_one_setting_unless_a_model_has_its_own():
    of_network = {"network.parameters": 1e6}
    assert learning_settings(of_network | {"model.parameters": 1e6}) == of_network
    assert learning_settings(of_network | {"model.parameters": 2e6}) == of_network | {"model.parameters": 2e6}


def test_a_run_keeps_every_choice_as_it_was_typed(tmp_path: Path):
    save_config(
        composed("model=vae", "model/likelihood=gaussian_learned", "network=resnet", run_dir=tmp_path), tmp_path
    )
    choices = OmegaConf.load(tmp_path / "config.yaml").choices
    assert choices.model == "vae" and choices["model/likelihood"] == "gaussian_learned"
    assert choices["network/norm@network.encoder.norm"] == "none" and choices.experiment is None
    assert not any(group.startswith("hydra/") for group in choices)


def test_every_seed_is_a_dot(tmp_path: Path):
    sweep(tmp_path)
    change(tmp_path / "vae_1", sample_diversity=0.0, images_seen=20_000)
    text = write_report([tmp_path]).read_text()
    charts = {attributes.get("aria-label"): tag for tag, attributes in Page(text).tags}
    label = "fid_reference ↓ of every seed. gan (mlp): 3.00, 3.50, 4.00; vae (mlp): 9.00, 9.25, 10.2"
    assert charts[label] == "div"
    spec = json.loads(text.split(label)[1].split('<script type="application/json">')[1].split("</script>")[0])
    rows = [row for layer in spec["layer"] for row in layer.get("data", {}).get("values", []) if "seed" in row]
    dots = {(row["model"], row["seed"]): (row["x"], row["state"]) for row in rows}
    assert len(dots) == 6 and dots["gan (mlp)", "2"] == (4.0, "")
    assert [seed for seed, (_, state) in dots.items() if state] == [("vae (mlp)", "1")]
