"""What an override that Hydra can't apply is answered with: the nearest thing that can, never to add it with a `+`."""

import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from hydra.core.global_hydra import GlobalHydra

import evaluate
import explore
import export
import report
import train
from jobs.command_line import run
from jobs.composition import load
from jobs.spelling import ways_to_choose, what_is_wrong

EXPERIMENTS = PROJECT / "conf" / "experiment"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("modle=gan", "modle: there is no such setting; did you mean model?"),
        ("model.latent_dimm=3", "did you mean model.latent_dim?"),
        ("latent_dim=3", "did you mean model.latent_dim?"),
        ("model.lr=1", "did you mean model.optimizer.lr?"),
        ("epochs=3", "did you mean trainer.max_epochs?"),
        ("trainer.epochs=3", "did you mean trainer.max_epochs?"),
        ("callbacks.health.acton=stop", "did you mean callbacks.health.action?"),
        ("~modle", "did you mean model?"),
        ("hydra.run.dri=there", "did you mean hydra.run.dir?"),
        ("seed=3 modle.latent_dim=3 model=gan", "did you mean model.latent_dim?"),
        ("data.root=there", "data.root: data=digits has no such setting; leave it away, or give one of these data=, "
                            "which have it: fashion_mnist, folder, imagenette, kmnist, mnist"),
        ("data.root=there data=digits", "data=digits has no such setting"),
        ("model.penalty.weight=1", "model=vae has no such setting; leave it away, or give one of these model=, which "
                                   "have it: gan, r3gan"),
        ("model/likelihood=bernoulli model.likelihood.scale=1", "model/likelihood=bernoulli has no such setting"),
        ("trainer.limit_train_batches=3", "+trainer.limit_train_batches=3 sets it"),
        ("model/loss=hinge", "model/loss: model=vae has no such choice; leave it away, or give one of these model=, "
                             "which have it: gan, r3gan"),
        ("network/norm=batch", "did you mean network/norm@network.decoder.norm"),
        ("modle/loss=hinge", "modle/loss: there is no such group; did you mean model/loss"),
        ("model=gann", "model=gann: there is no such choice; did you mean model=gan? model has: beta_vae, "),
        ("data=cifar", "data=cifar: there is no such choice; data has: digits, fashion_mnist"),
        ("experiment=vae_mnist", "did you mean experiment=best/vae_mnist or experiment=paper/vae_mnist? "
            "experiment has: fair, paper, quick, "),
        ("experiment=vae_mnits", "did you mean experiment=best/vae_mnist or experiment=paper/vae_mnist"),
        ("model=hinge", "did you mean model/loss=hinge?"),
        ("model=mnist", "did you mean data=mnist or experiment=reference/mnist?"),
    ],
)  # fmt: skip
def test_nearest_thing_is_offered(overrides: str, told: str):
    found = what_is_wrong(overrides.split(), load)
    assert found is not None and told in found


def test_every_choice_in_a_folder_of_its_group_is_found_by_its_last_name():
    for path in EXPERIMENTS.glob("*/*.yaml"):
        found = what_is_wrong([f"experiment={path.stem}"], load)
        if not (EXPERIMENTS / path.name).exists():
            assert found is not None and f"experiment={path.parent.name}/{path.stem}" in found


def test_what_is_offered_composes():
    ways = dict(ways_to_choose())
    assert ways["experiment/paper/vae_mnist"] == "experiment=paper/vae_mnist"
    assert ways["model/loss/hinge"] == "model/loss=hinge" and ways["data/mnist"] == "data=mnist"
    assert "experiment/search/mnist_gan/cosine" not in ways  # its sweep chooses it
    for name in ("experiment/search/mnist_gan", "model/rate/free_bits", "model/density/gaussian"):
        assert load([ways[name]])


def test_what_can_be_applied_is_not_complained_about():
    assert what_is_wrong(["model=gan", "model/loss=hinge", "+trainer.limit_train_batches=3", "seed=1"], load) is None
    assert what_is_wrong(["model=[vae"], load) is None  # Hydra's words say more


@pytest.mark.parametrize(
    ("program", "arguments", "told"),
    [
        (train, "modle=gan", "modle: there is no such setting; did you mean model?"),
        (train, "-m seed=0,1 modle=gan", "modle: there is no such setting; did you mean model?"),
        (train, "-m modle=gan,vae", "modle: there is no such setting; did you mean model?"),
        (train, "--cfg job modle=gan", "modle: there is no such setting; did you mean model?"),
        (train, "data=folder", "data.root: it has to be given, data.root=…"),
        (evaluate, "rum=there", "rum: there is no such setting; did you mean run?"),
        (evaluate, "run=there scores.repeats=3", "scores=null has no such setting"),
        (export, "ot=there", "ot: there is no such setting; did you mean out?"),
        (explore, "rum=there", "rum: there is no such setting; did you mean run?"),
        (report, "there --outt here", "--outt: there is no such option; did you mean --out?"),
        (report, "there out=here", "out=here: there is no such option; did you mean --out here?"),
    ],
)
def test_each_program_offers_the_nearest_thing(
    program, arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{program.__name__}.py", *arguments.split()])
    GlobalHydra.instance().clear()
    config = {train: "config", evaluate: "evaluate", explore: "explore", export: "export"}.get(program)
    with pytest.raises(SystemExit) as end:
        program.main() if config is None else run(program.main, config)
    message = capsys.readouterr().err
    assert end.value.code != 0 and told in message and "append" not in message and "Traceback" not in message


def test_advice_names_the_program_as_it_was_begun(monkeypatch: pytest.MonkeyPatch):
    begun = {"train.py": "python train.py", "prepare.py": "python prepare.py", "/bin/vae-gan-train": "vae-gan-train"}
    for called, words in begun.items():
        monkeypatch.setattr(sys, "argv", [called])
        told = what_is_wrong(["qqq=1"], load)
        assert told == f"qqq: there is no such setting; {words} --cfg job prints all that there are"
