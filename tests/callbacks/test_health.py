"""Sick trainings are noticed, warned of or stopped; healthy ones are left alone, and looking changes no weight."""

import json
import math
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import RICH, SMALL_PICTURES, TinyImages, composed
from small_models import SHAPE, build, fit
from torch import Tensor

from callbacks import health
from callbacks.collapse import CollapseCheck
from callbacks.divergence import DivergenceError
from callbacks.gradient_norms import without_finite_moments
from callbacks.health import Health, HealthError
from callbacks.sample_scores import SampleScores
from callbacks.symptoms import (
    BlindDiscriminator,
    ExplodingGradients,
    ExplodingTerms,
    NoGradient,
    SaturatedDiscriminator,
    Watch,
    infinite_moments,
)
from jobs.job import run_job
from jobs.kept_config import read_config
from jobs.restoring import restored_model
from lightning_modules.vaegan import VAEGAN
from run_folder import judgements
from run_folder.checkpoints import CheckpointError
from run_folder.judgements import identical_samples, missing_modes, no_active_latent
from scoring.scorer import Glance
from train import train

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]
NEVER = 10**6


def watch(action: str = "warn", **changed) -> Health:
    """Looks at every batch, and is sure of nothing before three looks or two checks."""
    settings = {
        "every_n_batches": 1, "patience": 3, "gradient_factor": 10.0, "gradient_share": 0.1, "judged_from": 0.0,
        "checks": 2, "num_images": 8, "batch_size": 8, "seed": 0,
    }  # fmt: skip
    return Health(action, **(settings | changed))


def found_at(symptoms: Watch, looks: list[dict[str, float]]) -> list[int]:
    """In which looks, counted from 0, something was certain."""
    return [index for index, scalars in enumerate(looks) if symptoms.look(scalars)]


# Symptoms: closed numbers


def norms(*values: float, network: str = "encoder") -> list[dict[str, float]]:
    return [{f"gradient_norm/{network}": value} for value in values]


def test_gradients_explode_above_a_multiple_of_their_median_for_long():
    exploding = ExplodingGradients(factor=10, patience=3)
    looks = norms(1, 3, 2, 21, 21, 21, 21, 20, 21)  # the median stays 2: what explodes is not usual
    assert found_at(exploding, looks) == [5, 6]
    symptom = ExplodingGradients(10, 1)
    assert symptom.look(looks[0]) is None
    said = symptom.look(norms(12)[0])
    assert (said.measured, said.threshold, said.kind) == (12, 10, "exploding gradients")
    assert said.text == "the norm of the encoder's gradient is 12, 12 times its median"


@pytest.mark.parametrize("values", [(1, 10, 10, 10, 10), (1, 20, 20, 1, 20, 20), (0, 5, 5, 5, 5), (5, 0, 0, 0, 0)])
def test_gradients_that_waver_do_not_explode(values: tuple[float, ...]):
    assert found_at(ExplodingGradients(factor=10, patience=3), norms(*values)) == []


def test_each_network_has_a_median_of_its_own():
    looks = [a | b for a, b in zip(norms(*[1] * 9), norms(*[100] * 9, network="head"), strict=True)]
    assert found_at(ExplodingGradients(factor=10, patience=1), looks) == []


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_norm_that_is_no_finite_number_is_certain_at_once(norm: float):
    symptom = ExplodingGradients(factor=10, patience=3).look(norms(norm)[0])
    assert symptom is not None and symptom.text == f"the norm of the encoder's gradient is {norm}"


def judged(real: float, fake: float, norm: float) -> dict[str, float]:
    return {"d_real": real, "d_fake": fake, "gradient_norm/generator": norm}


def test_a_discriminator_is_saturated_if_it_tells_all_apart_and_the_generator_learns_nothing_for_long():
    looks = [judged(0.6, 0.4, 2.0)] * 3 + [judged(0.999, 0.001, 0.2)] * 4 + [judged(0.999, 0.001, 0.21)]
    assert found_at(SaturatedDiscriminator(share=0.1, patience=3), looks) == [5, 6]
    apart = [judged(0.6, 0.4, 2.0)] + [judged(0.999, 0.001, 1.0)] * 9
    assert found_at(SaturatedDiscriminator(share=0.1, patience=3), apart) == []  # a gradient to learn from
    gone = [judged(0.6, 0.4, 2.0)] + [judged(0.9, 0.1, 0.01)] * 9
    assert found_at(SaturatedDiscriminator(share=0.1, patience=3), gone) == []  # at an equilibrium
    dead = [judged(0.5, 0.5, 2.0), *[judged(0.5, 0.5, 1e-6)] * 9, judged(0.999, 0.001, 1e-6)]
    assert found_at(SaturatedDiscriminator(share=0.1, patience=1), dead) == [10]  # it began with a gradient
    assert found_at(SaturatedDiscriminator(0.1, 1), [{"loss": 1.0}, {"d_real": 1.0, "d_fake": 0.0}]) == []


def test_a_discriminator_of_a_vae_gan_is_saturated_if_the_decoder_learns_from_the_likelihood_alone():
    def look(real: float, fake: float, adversarial: float) -> dict[str, float]:
        return {"d_real": real, "d_fake": fake, "gradient_norm/decoder": 5.0, "adversarial_gradient": adversarial}

    looks = [look(0.6, 0.4, 2.0)] * 3 + [look(0.999, 0.001, 0.1)] * 4
    watch = SaturatedDiscriminator(share=0.1, patience=3)
    assert found_at(watch, looks) == [5, 6]
    said = watch.look(looks[-1])
    assert said is not None and said.text.endswith("the norm of the adversarial gradient 0.1, before 2")


def test_the_adversarial_gradient_of_a_vae_gan_is_gone_where_its_discriminator_is_deaf(train_in, monkeypatch):
    found = []
    step, norm = VAEGAN.decoder_step, VAEGAN.unscaled_norm

    def noted(self, gradient):
        found.append(float(norm(self, gradient)))
        return norm(self, gradient)

    def deaf(self, real, z):
        step(self, real, z)
        head = [module for module in self.discriminator.modules() if isinstance(module, torch.nn.Linear)][-1]
        head.weight.data.zero_()
        return step(self, real, z)

    monkeypatch.setattr(VAEGAN, "unscaled_norm", noted)
    monkeypatch.setattr(VAEGAN, "decoder_step", deaf)
    train_in("run", "model=vaegan", "network=mlp", "network.encoder.width=16", "network.decoder.width=16",
             "scores=none", "trainer.max_epochs=1", "+trainer.limit_train_batches=1")  # fmt: skip
    assert found[0] > 0 and found[-1] == 0  # of the first step and of the second


def test_a_discriminator_is_blind_if_it_never_takes_real_images_for_more_real():
    looks = [judged(0.51, 0.5, 1), *[judged(0.5, 0.5, 1)] * 3, judged(0.4, 0.6, 1), judged(0.501, 0.5, 1)]
    assert found_at(BlindDiscriminator(patience=3), looks) == [3, 4]
    wavering = [judged(0.5, 0.5, 1), judged(0.49, 0.5, 1), judged(0.50001, 0.5, 1)] * 5
    assert found_at(BlindDiscriminator(patience=3), wavering) == []


def test_a_critic_whose_verdicts_are_beyond_what_a_probability_shows_is_not_called_blind():
    for logits in (40.0, -40.0):  # float32's sigmoid of both is the same
        probability = float(torch.tensor(logits).sigmoid())
        assert found_at(BlindDiscriminator(patience=1), [judged(probability, probability, 1.0)]) == []


def test_a_network_without_a_gradient_is_certain_at_the_second_look_in_a_row():
    dead = norms(1, 0, 1, 0, 0, 0, 1, network="generator")
    assert found_at(NoGradient(), dead) == [4, 5]
    assert found_at(NoGradient(), norms(*[1e-30] * 9, math.nan, math.inf, network="generator")) == []
    assert found_at(NoGradient(), norms(*[0] * 9, network="discriminator")) == []  # a hinge's margin is kept
    assert found_at(NoGradient(), norms(*[0] * 9, network="prior")) == []  # the KL is within its free bits
    between = [scalars for look in norms(0, 0, network="generator") for scalars in (look, {"loss": 1.0})]
    assert found_at(NoGradient(), between) == [2]  # it steps in one of several batches
    both = [a | b for a, b in zip(norms(0, 1, 0), norms(1, 0, 1, network="decoder"), strict=True)]
    assert found_at(NoGradient(), both) == []


@pytest.mark.parametrize(("value", "is_exploding"), [(1.7e19, False), (-1.9e19, True), (math.nan, True), (0.0, False)])
def test_a_term_explodes_where_its_square_is_no_number_of_float32(value: float, is_exploding: bool):
    assert is_exploding == (not math.isfinite(float(torch.tensor(value).square())))
    symptom = ExplodingTerms().look({"loss": 1.0, "kl": value, "gradient_norm/encoder": math.inf})
    assert (symptom is not None) == is_exploding
    assert symptom is None or symptom.text == f"kl is {value:.3g}"


def test_a_gradient_that_overflowed_between_two_looks_is_found_in_the_optimizer():
    model = build("model=gan")
    generator, discriminator = model.configure_optimizers()
    for optimizer, scale in ((generator, 1.0), (discriminator, 1e25)):  # whose square is infinite
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, scale)
        optimizer.step()
    assert without_finite_moments([generator], model) == []
    assert without_finite_moments([generator, discriminator], model) == ["discriminator"]
    assert "discriminator" in infinite_moments(["discriminator"], 10.0).text and infinite_moments([], 10.0) is None


# Judgements: closed numbers


def test_judgements_have_their_limits_where_they_say():
    assert identical_samples(0.05) is identical_samples(None) is None
    assert identical_samples(0.049).measured == 0.049 and identical_samples(0.0).is_collapse
    assert no_active_latent([0.0, 0.1]) is no_active_latent([]) is no_active_latent(None) is None
    assert no_active_latent([0.0, 0.099]).measured == 0.099
    assert no_active_latent([-0.3]).is_collapse  # a total that is estimated from draws can be below 0
    assert missing_modes(0.0) is missing_modes(None) is None
    assert [missing_modes(share).is_collapse for share in (0.1, 0.49, 0.5, 1.0)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("distances", "learning"),
    [
        ([10.0, 8.9, 8.1, 7.2], [True, True, False, True]),
        ([10.0, 20.0, 9.5, 8.0], [True, False, False, True]),  # a fall from a worse score is none below the best
        ([-0.01, -0.0105, -0.012], [True, False, True]),  # KID has no bias, and so can be below 0
    ],
)
def test_a_model_is_learning_while_val_falls_a_tenth_below_its_best(distances: list[float], learning: list[bool]):
    scores, check = object.__new__(SampleScores), CollapseCheck(8, 8, 0)
    trainer, found = SimpleNamespace(callbacks=[scores]), []
    for distance in distances:
        scores.glance = Glance(distance, sample_diversity=1.0, missing_modes=0.9)
        found.append(check.is_learning(trainer))
    assert found == learning


def test_a_model_that_learns_is_not_held_to_its_missing_classes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judgements, "EARLY_UNTIL", 0)
    for factor, kinds in ((0.8, []), (0.95, ["samples are all but identical", "missing modes"])):
        callback, scores = watch(patience=NEVER), object.__new__(SampleScores)
        trainer = SimpleNamespace(callbacks=[scores], max_epochs=5)
        for epoch in range(4):
            scores.glance = Glance(factor**epoch, sample_diversity=0.01, missing_modes=0.9)
            trainer.current_epoch = epoch
            callback._judge(trainer, build("model=gan"))
        assert [entry.kind for entry in callback.found] == kinds
        assert all(entry.epoch == 3 for entry in callback.found)  # the second of two checks after the first score


# In training


class Looks(Health):
    """Notes the scalars of every look."""

    def __init__(self, every_n_batches: int) -> None:
        super().__init__("warn", every_n_batches, NEVER, 1e9, 0.0, 1.0, NEVER, 8, 8, 0)
        self.seen: list[tuple[int, list[str]]] = []

        class Noting(Watch):
            def look(noting, scalars):
                self.seen.append((round(scalars.pop("images_seen")), sorted(scalars)))

        self._watches = [Noting()]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        seen = {"images_seen": torch.tensor(float(pl_module.images_seen))}
        super().on_train_batch_end(trainer, pl_module, outputs | seen, batch, batch_idx)


@pytest.mark.parametrize(("n_critic", "expected"), [(1, [4, 16, 28]), (2, [8, 20, 32])])
def test_looks_begin_with_the_first_step_of_every_optimizer(n_critic: int, expected: list[int]):
    looks = Looks(every_n_batches=3)
    fit(build("model=gan", f"model.n_critic={n_critic}"), TinyImages(SHAPE, num_learn=40), looks)
    terms = ["d_fake", "d_real", "gradient_norm/discriminator", "gradient_norm/generator", "loss_discriminator"]
    assert [images for images, _ in looks.seen] == expected
    assert all(set(terms) <= set(names) for _, names in looks.seen)


class ConstantGenerator(torch.nn.Module):
    """The same image of every z, in tanh's terms; its one parameter is its brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.brightness = torch.nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros(len(z), *SHAPE) + self.brightness


def constant_gan():
    model = build("model=gan", "model.ema_half_life=0")
    model.generator = ConstantGenerator()
    return model


def test_a_generator_of_one_image_is_noticed_at_the_second_check(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(judgements, "EARLY_UNTIL", 0)
    callback = watch(patience=NEVER)
    fit(constant_gan(), TinyImages(SHAPE), callback, max_epochs=4)
    (entry,) = callback.found
    assert (entry.kind, entry.epoch, entry.images_seen) == ("samples are all but identical", 2, 16)
    assert (entry.measured, entry.threshold) == (0, 0.05)
    assert capsys.readouterr().out.count("health:") == 1  # once a kind, not each epoch


@pytest.mark.parametrize(("early_until", "judged_from"), [(10**6, 0.0), (0, 0.9)])
def test_nothing_is_held_against_a_model_too_early(
    early_until: int, judged_from: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(judgements, "EARLY_UNTIL", early_until)
    callback = watch(patience=NEVER, judged_from=judged_from)
    fit(constant_gan(), TinyImages(SHAPE), callback, max_epochs=4)  # the last epoch alone is late enough
    assert callback.found == []


def test_a_vae_without_an_active_latent_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judgements, "EARLY_UNTIL", 0)
    found = {}
    for beta in (0.0, 1e4):
        callback = watch(patience=NEVER)
        model = build(
            "model=vanilla_vae", f"model.rate.beta={beta}", "model.optimizer.lr=0.01", "model.ema_half_life=0"
        )
        fit(model, TinyImages(SHAPE), callback, max_epochs=30)
        found[beta] = [entry.kind for entry in callback.found]
    assert "no active latent" not in found[0.0] and "no active latent" in found[1e4]


@pytest.mark.parametrize(("total", "expected"), [(0.05, [0.05]), (None, None)])
def test_a_kl_that_does_not_part_by_latents_is_judged_by_its_total(total: float | None, expected: list[float] | None):
    data = TinyImages(SHAPE)
    data.setup()
    metrics = {} if total is None else {"val/kl": torch.tensor(total, dtype=torch.float64)}
    trainer = SimpleNamespace(datamodule=data, callback_metrics=metrics)
    model = build("model=vanilla_vae", "model/prior=mixture")
    assert CollapseCheck(8, 8, 0).kl_by_dimension(trainer, model) == expected
    parted = CollapseCheck(8, 8, 0).kl_by_dimension(trainer, build("model=vanilla_vae"))
    assert parted is not None and len(parted) == 64


def test_a_discriminator_that_does_not_learn_is_noticed():
    callback = watch()
    model = build("model=gan", "model.discriminator_optimizer.lr=1e-12", "model.generator_optimizer.lr=0.01")
    fit(model, TinyImages(SHAPE), callback, max_epochs=30)
    assert "discriminator tells nothing apart" in [entry.kind for entry in callback.found]


def test_an_infinite_gradient_is_noticed_where_it_does_not_skip_its_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "gradient_norms", lambda *_: {"gradient_norm/encoder": torch.tensor(math.inf)})
    callback = watch()
    fit(build("model=vanilla_vae"), TinyImages(SHAPE), callback)
    assert [(entry.kind, entry.images_seen, entry.measured) for entry in callback.found] == [
        ("exploding gradients", 4, math.inf)
    ]
    scaled = watch()

    class WithScaler(Health):
        def on_fit_start(self, trainer, pl_module):
            trainer.precision_plugin.scaler = SimpleNamespace(unscale_=lambda optimizer: None)

    scaled.__class__ = WithScaler
    fit(build("model=vanilla_vae"), TinyImages(SHAPE), scaled)
    assert scaled.found == []


LOOKS_OFTEN = ["callbacks.health.every_n_batches=1", "callbacks.health.judged_from=0", "callbacks.health.checks=1"]


@pytest.mark.parametrize("rich", [*RICH.values(), ["model=classifier"]], ids=[*RICH, "classifier"])
def test_being_looked_at_changes_no_weight(rich: list[str], train_in, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judgements, "EARLY_UNTIL", 0)
    looked_at, alone = (
        torch.load(train_in(name, *rich, *MLP, *how) / "checkpoints" / "last.ckpt", weights_only=True)
        for name, how in (("looked_at", LOOKS_OFTEN), ("alone", ["callbacks.health=null"]))
    )
    for state in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(looked_at[state], alone[state], rtol=0, atol=0, equal_nan=True)


# Far too high learning rates

WILD = {
    "vae": ["model=vae", "model/density=prior", "model.optimizer.lr=1e6"],
    "gan": ["model=gan", "model/penalty=none", "model.generator_optimizer.lr=1e6",
            "model.discriminator_optimizer.lr=1e6"],
    "vaegan": ["model=vaegan", "model/penalty=none", "model/density=prior", "model.decoder_optimizer.lr=1e6"],
    "classifier": ["model=classifier", "model.optimizer.lr=1e6"],
}  # fmt: skip


@pytest.mark.parametrize("wild", WILD.values(), ids=WILD)
def test_training_that_explodes_does_not_pass_as_training(wild: list[str], train_in, tmp_path: Path):
    """By the default settings, of which one look in ten batches is one: it diverges, or its record says what was."""
    with suppress(DivergenceError):
        run = train_in("run", *wild, *MLP)
        assert any("exploding" in entry["kind"] for entry in json.loads((run / "metrics.json").read_text())["health"])
        return
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("variant", ["gan", "wgan_gp"])
def test_a_generator_alone_that_is_thrown_out_is_noticed(variant: str, train_in, capsys):
    """Nothing overflows, and the discriminator is in good health: by the default settings, in two epochs of digits."""
    slow = ["model.n_critic=2", "callbacks.health.every_n_batches=5"] if variant == "wgan_gp" else []
    run = train_in("run", f"model={variant}", "model.generator_optimizer.lr=1e6", *MLP, *slow)
    kinds = {entry["kind"]: entry for entry in json.loads((run / "metrics.json").read_text())["health"]}
    assert kinds["no gradient"]["epoch"] <= 2 and "exploding gradients" not in kinds
    assert "the norm of the generator's gradient is 0: it learns nothing more. Try a lower" in capsys.readouterr().out


@pytest.mark.parametrize("family", ["vae", "classifier"])
def test_weights_that_are_no_numbers_are_never_scored(family: str, train_in, tmp_path: Path):
    """Neither by the run, though nothing stopped its training, nor by what is given the run afterwards."""
    with pytest.raises(DivergenceError, match="no longer finite, so there is nothing to score"):
        train_in("run", *WILD[family], *MLP, "callbacks.stop_on_divergence=null")
    run = tmp_path / "run"
    assert not (run / "metrics.json").exists() and (run / "checkpoints" / "last.ckpt").is_file()
    with pytest.raises(CheckpointError, match=r"is of a training that diverged: .* is not finite"):
        restored_model(read_config(run), run)


# Warning and stopping

SICK = [*MLP, "model=vanilla_vae", "model.optimizer.lr=100", "callbacks.health.every_n_batches=1"]


def test_a_warned_run_ends_as_any_other_and_its_record_says_what_was_noticed(train_in, capsys):
    run = train_in("run", *SICK)
    entry, other = json.loads((run / "metrics.json").read_text())["health"]
    assert other["kind"] == "exploding terms"
    assert entry["kind"] == "exploding gradients" and entry["epoch"] == 1 and entry["images_seen"] in (200, 300)
    assert entry["measured"] == math.inf and entry["threshold"] == 1000
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("health:")]
    assert len(lines) == 2 and "exploding gradients in epoch 1, after" in lines[0]  # once a kind
    assert lines[0].endswith("Try a lower learning rate, or a penalty (model/penalty=r1)")


def test_an_earlier_checkpoint_that_is_tested_does_not_forget_what_was_noticed_later(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "gradient_norms", lambda *_: {"gradient_norm/encoder": torch.tensor(math.inf)})
    callback, resumed = watch(), watch()
    earlier = callback.state_dict()
    fit(build("model=vanilla_vae"), TinyImages(SHAPE), callback)
    resumed.load_state_dict(callback.state_dict())
    callback.load_state_dict(earlier)
    for either in (callback, resumed):
        assert [entry.kind for entry in either.details["health"]] == ["exploding gradients"]


def test_a_healthy_run_records_that_nothing_was_noticed(train_in):
    assert json.loads((train_in("run", *MLP) / "metrics.json").read_text())["health"] == []
    assert "health" not in json.loads((train_in("unseen", *MLP, "callbacks.health=null") / "metrics.json").read_text())


def test_a_stopped_run_keeps_its_checkpoints_says_why_and_can_go_on(tmp_path: Path):
    run = tmp_path / "run"
    short = ["data=digits", "trainer.accelerator=cpu", "every_n_epochs=1", *SMALL_PICTURES, *SICK]
    last = run / "checkpoints" / "last.ckpt"

    def start(action: str, ckpt_path: Path | None, epochs: int = 3) -> None:
        overrides = [f"callbacks.health.action={action}", f"trainer.max_epochs={epochs}"]
        overrides += [f"ckpt_path={ckpt_path}"] if ckpt_path else []
        run_job(train, composed(*short, *overrides, run_dir=run))

    for ckpt_path in (None, last):  # resumed, it is stopped again, before it trains
        with pytest.raises(HealthError, match="stopped by health: exploding gradients in epoch 1"):
            start("stop", ckpt_path)
        end = json.loads((run / "status.json").read_text())
        assert end["status"] == "stopped by health" and f"ckpt_path={last}" in end["message"]
        assert [entry["kind"] for entry in end["health"]] == ["exploding gradients", "exploding terms"]
        assert not (run / "metrics.json").exists()
        assert torch.load(last, weights_only=True)["epoch"] == 0 and (run / "checkpoints" / "best.ckpt").is_file()
    start("warn", last)
    assert not (run / "status.json").exists()
    record = json.loads((run / "metrics.json").read_text())
    assert record["epochs"] == 3 and [entry["epoch"] for entry in record["health"]] == [1, 1]
