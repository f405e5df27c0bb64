"""What a report says of recipes: out of how many settings each was chosen, and what separates two of one family."""

import json
from pathlib import Path

import pytest
import yaml
from report_runs import make_run

from reports import write_report
from reports.data_sets import DataSet, data_sets_of
from reports.run_folders import find_runs
from reports.tables import Table

FOUND, SEPARATES = "How each recipe was found", "What separates the recipes of VAE"
LIKELIHOOD = {"bernoulli": "BernoulliLikelihood", "discretized_logistic": "DiscretizedLogisticLikelihood"}
PAPER = {"likelihood": "bernoulli", "latent_dim": 64, "optimizer": {"lr": 0.001}}
FAIR = {"likelihood": "discretized_logistic", "latent_dim": 32, "optimizer": {"lr": 0.002}}


def make(
    folder: Path,
    model: str,
    fid: float,
    experiment: str | None = None,
    *,
    choice: str | None = None,
    recipe: dict | None = None,
    network: str = "mlp",
    width: int = 8,
    likelihood: str = "",
    **settings,
) -> None:
    """Three seeds of one recipe. Without `recipe` a run's config is an old one, that has none."""
    if likelihood:
        settings["likelihood"] = {"_target_": f"likelihoods.{LIKELIHOOD[likelihood]}", "_partial_": True}
    for seed in range(3):
        run = make_run(folder / f"{model}_{choice}_{settings.get('latent_dim')}_{seed}", model, "digits", seed,
                       fid + 0.1 * seed, **settings)  # fmt: skip
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["choices"] |= {"experiment": experiment, "model": choice or model, "network": network}
        config["choices"] |= {"model/likelihood": likelihood} if likelihood else {}
        config["network"]["encoder"]["width"] = width
        del config["recipe"]
        (run / "config.yaml").write_text(yaml.safe_dump(config | ({"recipe": recipe} if recipe else {})))
        change(run, experiment=experiment, model=choice or model, network=network)


def change(run: Path, **fields: object) -> None:
    """Change a run's record."""
    path = run / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def reported(*folders: Path) -> DataSet:
    (data_set,) = data_sets_of(find_runs(folders))
    return data_set


def table_of(data_set: DataSet, title: str) -> Table | None:
    return next((table for table in data_set.tables if table.title == title), None)


def rows_of(data_set: DataSet, title: str) -> dict[str, list[str]]:
    table = table_of(data_set, title)
    assert table is not None, [table.title for table in data_set.tables]
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def searched(trials: int, search: str) -> dict:
    return {"trials": trials, "search": search}


def paper_and_fair(top: Path) -> DataSet:
    """Two sweeps, in which a GAN is the same; the VAE of the second is the better one."""
    make(top / "paper", "vae", 9.0, "paper", choice="vanilla_vae", **PAPER)
    make(top / "fair", "vae", 2.0, "fair", **FAIR)
    for sweep in ("paper", "fair"):
        make(top / sweep, "gan", 4.0, sweep)
    return reported(top / "paper", top / "fair")


def test_words_say_what_separates_two_recipes_of_a_family(tmp_path: Path):
    data_set = paper_and_fair(tmp_path)
    table = table_of(data_set, SEPARATES)
    assert [(heading.text, heading.detail) for heading in table.headings[1:]] == [
        ("paper", "vanilla_vae"),
        ("fair", "vae"),
    ]
    assert table.note.startswith(
        "fair differs from paper in: latent dim (32 against 64), likelihood (discretized_logistic against bernoulli) "
        "and learning rate (0.002 against 0.001). "
    )
    assert rows_of(data_set, SEPARATES) == {
        "latent dim": ["64", "32"], "likelihood": ["bernoulli", "discretized_logistic"],
        "learning rate": ["0.001", "0.002"],
    }  # fmt: skip


def test_recipes_that_are_the_same_are_one(tmp_path: Path):
    data_set = paper_and_fair(tmp_path)
    assert table_of(data_set, "What separates the recipes of GAN") is None
    assert rows_of(data_set, FOUND)["gan (mlp)"][:2] == ["GAN", "paper and fair"]


def test_first_folder_is_what_others_are_compared_with(tmp_path: Path):
    paper_and_fair(tmp_path)
    table = table_of(reported(tmp_path / "fair", tmp_path / "paper"), SEPARATES)
    assert table.note.startswith("paper differs from fair in: latent dim (64 against 32)")


def test_page_and_markdown_have_the_words(tmp_path: Path):
    paper_and_fair(tmp_path)
    page = write_report([tmp_path / "paper", tmp_path / "fair"], tmp_path / "out")
    for path in (page, page.with_name("report.md")):
        assert "fair differs from paper in: latent dim (32 against 64), " in path.read_text()


def test_another_network_is_named_by_its_choice_and_size_without_details(tmp_path: Path):
    make(tmp_path / "a", "vae", 9.0, "paper")
    make(tmp_path / "b", "vae", 2.0, "fair", network="conv", width=99)
    assert rows_of(reported(tmp_path / "a", tmp_path / "b"), SEPARATES) == {"network": ["mlp", "conv"]}
    for run in (tmp_path / "b").iterdir():
        change(run, parameters={"total": 2000})
    rows = rows_of(reported(tmp_path / "a", tmp_path / "b"), SEPARATES)
    assert rows == {"parameters": ["1,000", "2,000"], "network": ["mlp", "conv"]}


def test_widths_that_a_budget_of_parameters_replaces_are_not_told(tmp_path: Path):
    make(tmp_path / "a", "vae", 9.0, "paper")
    make(tmp_path / "b", "vae", 2.0, "fair", width=99)
    for run in (tmp_path / "b").iterdir():
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["network"]["parameters"] = 1.49e6
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    rows = rows_of(reported(tmp_path / "a", tmp_path / "b"), SEPARATES)
    assert rows["parameters allowed"] == ["—", "1,490,000 a network"]
    assert rows["width"] == ["8", "as the parameters allow"] and "99" not in str(rows)


def test_what_a_sweep_varies_within_an_experiment_is_in_one_column(tmp_path: Path):
    for latent_dim in (8, 16):
        make(tmp_path / "search", "vae", 9.0, "search/digits", latent_dim=latent_dim)
    assert table_of(reported(tmp_path / "search"), SEPARATES) is None
    make(tmp_path / "best", "vae", 2.0, "best/vae_digits", latent_dim=32)
    data_set = reported(tmp_path / "search", tmp_path / "best")
    assert rows_of(data_set, SEPARATES) == {"latent dim": ["16 and 8", "32"]}


def test_variants_without_experiments_are_recipes_by_their_names(tmp_path: Path):
    make(tmp_path, "vae", 9.0, choice="vanilla_vae", latent_dim=8)
    make(tmp_path, "vae", 2.0, choice="beta_vae", latent_dim=16)
    table = table_of(reported(tmp_path), SEPARATES)
    assert table.note.startswith("vanilla_vae differs from beta_vae in: latent dim (8 against 16).")


def test_two_variants_of_one_experiment_are_told_apart(tmp_path: Path):
    make(tmp_path, "vae", 9.0, "quick", choice="vanilla_vae", latent_dim=8)
    make(tmp_path, "vae", 2.0, "quick", choice="beta_vae", latent_dim=16)
    assert table_of(reported(tmp_path), SEPARATES).note.startswith(
        "vanilla_vae of quick differs from beta_vae of quick"
    )


def test_models_of_one_choice_are_named_by_their_experiments(tmp_path: Path):
    for name, settings in (("paper", PAPER), ("fair", FAIR)):
        make(tmp_path / name, "vae", 9.0, name, **settings)
    data_set = reported(tmp_path)
    assert sorted(model.name for model in data_set.models) == ["vae (mlp) of fair", "vae (mlp) of paper"]


@pytest.mark.parametrize(
    ("gan", "title", "values", "verdict", "cells"),
    [
        (searched(30, "search/gan"), "Held equal", " (30 by search/vae and 30 by search/gan)",
         "chosen out of as many as the others' (30).", ["30", "search/gan"]),
        (searched(12, "search/gan"), "Not equal", " (30 by search/vae against 12 by search/gan)",
         "Not equal between families: VAE 30, GAN 12.", ["12", "search/gan"]),
        ({"trials": 1, "search": None}, "Not equal", " (30 by search/vae against 1)",
         "Not equal between families: VAE 30, GAN 1.", ["1", "—"]),
        *((unknown, "Not known", "", "Not known of GAN.", ["unknown", "—"])
          for unknown in (None, {"trials": "many"}, {"trials": True}, {"trials": 0})),
    ],
)  # fmt: skip
def test_trials_of_each_family_are_stated_and_unequal_ones_said(
    gan: dict | None, title: str, values: str, verdict: str, cells: list[str], tmp_path: Path
):
    make(tmp_path, "vae", 2.0, recipe=searched(30, "search/vae"))
    make(tmp_path, "gan", 4.0, recipe=gan)
    data_set = reported(tmp_path)
    sentences = data_set.headline.fairness.split(". ")
    (told,) = [sentence for sentence in sentences if "settings tried on val for each recipe" in sentence]
    assert told.startswith(f"{title}: ") and f"settings tried on val for each recipe{values}" in told
    assert verdict in table_of(data_set, FOUND).note
    rows = rows_of(data_set, FOUND)
    assert rows == {"vae (mlp)": ["VAE", "—", "30", "search/vae"], "gan (mlp)": ["GAN", "—", *cells]}


def test_runs_of_one_model_that_state_other_numbers_are_not_taken_for_one(tmp_path: Path):
    make(tmp_path / "a", "vae", 2.0, recipe=searched(30, "search/a"))
    make(tmp_path / "b", "vae", 2.0, recipe=searched(10, "search/b"))
    assert rows_of(reported(tmp_path), FOUND)["vae (mlp)"][2:] == ["10 and 30", "search/a and search/b"]
    make(tmp_path / "c", "vae", 2.0)
    assert rows_of(reported(tmp_path), FOUND)["vae (mlp)"][2] == "unknown"


def test_runs_without_experiment_or_search_have_no_table_of_recipes(tmp_path: Path):
    make(tmp_path, "vae", 2.0, recipe={"trials": 1, "search": None})
    make(tmp_path, "gan", 4.0)
    assert table_of(reported(tmp_path), FOUND) is None


def test_variants_of_a_family_count_as_settings_of_that_family(tmp_path: Path):
    for latent_dim, choice in ((8, "vanilla_vae"), (16, "beta_vae")):
        make(tmp_path, "vae", 2.0 + latent_dim, choice=choice, latent_dim=latent_dim)
    make(tmp_path, "gan", 3.0)
    assert "settings tried of each family, in this report (1 against 2)" in reported(tmp_path).headline.fairness
