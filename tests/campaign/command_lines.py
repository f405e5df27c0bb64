"""Command lines that ask for nonsense: each has to end with an exit code other than 0 and one `error:`, no traceback.

Each is started in an empty folder, in which nothing may be left that keeps the same command, put right, from running.
"""

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
A_RUN = f"run={PROJECT / 'zoo' / 'vae_mnist_small'}"  # one that is finished
A_GAN = f"run={PROJECT / 'zoo' / 'gan_mnist_small'}"
OF_LATENTS = PROJECT / "tests" / "campaign" / "latents"  # files that hold none
A_WEIGHT_FILE = PROJECT / "zoo" / "vae_mnist_small" / "weights.safetensors"


@dataclass(frozen=True)
class CommandLine:
    """`python <program>.py <arguments>`."""

    arguments: tuple[str, ...]
    program: str = "train"

    def __str__(self) -> str:
        return " ".join([f"{self.program}.py", *self.arguments])


# One line each, its arguments parted by spaces.
TRAIN = """
seed=null
seed=nan
seed=18446744073709551616
seed=-1
seed=true
seed=[]
every_n_epochs=null
every_n_epochs=1e300
compile=null
compile=maybe
tf32=1
run_dir=''
run_dir=null
ckpt_path=''
ckpt_path=[]
ckpt_path=.
ckpt_path=<weights>
sweep=null
sweep=[]
sweep.resume=''
sweep.resume=nowhere
sweep.resume=3
recipe=null
recipe.trials=0
choices=null
choices.model=null
report=null
hydra.run.dir=''
hydra.run.dir=null
model=null
network=null
data=null
trainer=null
callbacks=null
logger=null
~model
~network
~data
~trainer
~callbacks
~logger
~scores
~seed
~recipe
~sweep
~choices
~run_dir
model=[]
model=3
scores=3
data={}
model/rate=null
model/prior=null
model/likelihood=null
model/objective=null
model/density=null
model/conditioning=null
model/schedule=null
model/clipping=null
model=gan model/loss=null
model=gan model/penalty=null
model=gan model/constraint=null
model=gan model/augmentation=null
model=vqvae model/codebook=null
model=vqvae model/code_density@model.density=null
~model/rate
~model.rate
~model.optimizer
~model.optimizer.lr
~model.latent_dim
~model._target_
model.rate=null
model.rate=[]
model.rate={}
model.optimizer=null
model.optimizer={}
model.encoder=null
model.encoder=3
model.decoder=null
model=gan model.generator=null
model=gan model.discriminator_optimizer=null
model=classifier model.augmentation=null
network.encoder=null
network.decoder=null
network.encoder.norm=null
network.activation=null
network/activation=null
network/norm@network.encoder.norm=null
network/norm@network.decoder.norm=null
~network.encoder
~network.encoder.width
model._partial_=false
model._partial_=null
model._convert_=nonsense
+model._recursive_=false
+model._args_=[1]
model._target_=null
model._target_=os.getcwd
model._target_=lightning_modules.vae
model._target_=lightning_modules.vae.nothing
model.optimizer._target_=torch.optim.Nothing
model.optimizer._target_=builtins.dict
model.optimizer.lr=nan
model.optimizer.lr=inf
model.optimizer.lr=null
model.optimizer.lr=1e300
model.optimizer.betas=[]
model.optimizer.betas=null
model.optimizer.betas=[nan,0.9]
model.optimizer.betas=[0.9]
model.optimizer.betas=0.9
model.optimizer.fused=maybe
+model.optimizer.weight_decay=nan
+model.optimizer.eps=inf
+model.optimizer.amsgrad=3
+model.optimizer.params=[]
model.ema_half_life=nan
model.ema_half_life=inf
model.ema_half_life=-1
model.ema_ramp_up=nan
model.rate.beta=nan
model.rate.beta=inf
model/rate=warm_up model.rate.images=18446744073709551616
model.latent_dim=1000000000
model.latent_dim=18446744073709551616
model.latent_dim=0
network=mlp network.encoder.width=10000000
network=mlp network.encoder.width=[]
network=mlp network.encoder.depth=1000000
network=mlp network.encoder.depth=-1
network.encoder.width=10000000
network.decoder.width=18446744073709551616
network.parameters=1e300
network.parameters=nan
network.parameters=1
network=mlp model/density=second_stage model.density.width=10000000
model/prior=mixture model.prior.num_components=1000000000
model/prior=flow model.prior.transforms=1000000
model/density=gaussian_mixture model.density.num_components=[]
model/density=gaussian_mixture model.density.seed=18446744073709551616
model=vqvae model.num_codes=1000000000
model=vqvae model.code_dim=1000000000
model/conditioning=label model.conditioning.embedding_dim=1000000000
model/objective=iwae model.objective.num_samples=1000000000
model=gan model.n_critic=0
model=gan model.truncation=nan
model=gan model.truncation=0
model=gan model.penalty.weight=nan
model=gan model.generator_optimizer.lr=nan
model/schedule=one_cycle model.schedule.first=nan
model/clipping=norm model.clipping.max_norm=inf
model=classifier model.label_smoothing=nan
model=classifier model.initial_weights=nowhere
model=classifier model.num_features=1000000000
data.batch_size=1000000000000
data.batch_size=null
data.batch_size=nan
data.seed=18446744073709551616
data.split_seed=18446744073709551616
data.device=moon
data.device=null
data.binarize=null
data._target_=builtins.list
data=folder
data=folder data.root=nowhere
data=folder data.root=null
data=folder data.root=''
data=folder data.root=. data.image_size=1000000
data=folder data.root=. data.memory_share=nan
data=folder data.root=. data.channels=2
data=folder data.root=. data.background=noise
data=folder data.root=. data.num_val=0
data=imagenette data.image_size=1000000
trainer.precision=64-true
trainer.precision=64
trainer.precision=16-true
trainer.precision=bf16-true
trainer.precision=transformer-engine
trainer.precision=null
trainer.max_epochs=null
trainer.max_epochs=nan
trainer.max_epochs=1e300
trainer.max_epochs=18446744073709551616
+trainer.max_steps=0
+trainer.max_steps=nan
+trainer.max_time=soon
+trainer.min_epochs=nan
trainer.devices=null
trainer.devices=[]
trainer.devices=-5
trainer.devices=1000000
trainer.devices=''
trainer.devices=x
trainer.accelerator=null
trainer.log_every_n_steps=0
trainer.num_sanity_val_steps=null
trainer.profiler=nonsense
trainer.profiler._target_=builtins.int
trainer.check_val_every_n_epoch=null
trainer._target_=builtins.dict
+trainer.logger=true
+trainer.logger=false
+trainer.callbacks=[]
+trainer.plugins=[]
+trainer.enable_progress_bar=false
+trainer.enable_checkpointing=false
+trainer.strategy=null
+trainer.limit_train_batches=nan
+trainer.limit_train_batches=0
+trainer.gradient_clip_val=1.0
model=gan +trainer.accumulate_grad_batches=2
+trainer.barebones=true
+trainer.overfit_batches=nan
+trainer.nothing=3
model=gan +trainer.gradient_clip_val=1.0
callbacks.last_checkpoint=null
callbacks.best_checkpoint.filename=last
callbacks.best_checkpoint.monitor=null
callbacks.best_checkpoint.monitor=val/fid_nothing
callbacks.best_checkpoint.monitor=val/nothing
callbacks=early_stopping callbacks.early_stopping.monitor=val/nothing
callbacks.best_checkpoint.monitor=val/elbo callbacks.curves=null
scores.name=other
callbacks.best_checkpoint.mode=best
callbacks.sample_grid.rows=1000000
callbacks.sample_grid.columns=18446744073709551616
callbacks.interpolation.steps=1000000000
callbacks.sample_grid.seed=18446744073709551616
callbacks.sample_grid=3
callbacks.sample_grid={}
callbacks.sample_grid=[]
callbacks.curves=true
+callbacks.mine=3
+callbacks.mine._target_=builtins.dict
callbacks.health.action=shout
callbacks.health.gradient_factor=nan
callbacks.health.gradient_factor=inf
callbacks.likelihood.num_samples=18446744073709551616
callbacks.likelihood.batch_size=null
callbacks.progress_bar.refresh_rate=null
callbacks=early_stopping callbacks.early_stopping.min_delta=nan
callbacks=early_stopping callbacks.early_stopping.monitor=null
callbacks=early_stopping scores=none
scores.name=null
scores.name=''
scores.name=a/b
scores.repeats=0
scores.batch_size=1000000000000
scores.seed=18446744073709551616
scores.num_fakes=1
scores.num_fakes=1000000000000
scores.extractor=null
scores.extractor.trained_on=nothing
scores.extractor.trained_on=mnist data=imagenette
scores.protocol=nothing
scores=inception scores.extractor.sha256_prefix=''
scores=inception scores.extractor.url=null
scores=inception scores.extractor.weights=nowhere
scores._target_=builtins.dict
logger.csv.path=null
logger.csv=3
logger.tensorboard.folder=null
logger.tensorboard.hyperparameters=3
logger.csv=null
logger=[tensorbord]
+experiment=nothing
experiment=nothing
experiment=[]
=
=3
seed
seed=
model.latent_dim=
model.latent_dim=[
++
--nothing
--config-name=nothing
--config-dir=nowhere
--cfg=nothing
seed=${nothing}
seed=${oc.env:NOTHING}
seed=${seed}
seed=???
"""
SWEEPS = """
seed=
seed=x,nan
seed=range(0,0)
seed=18446744073709551616,null
model=gann,vaee
model/rate=null,nothing
trainer=ddp seed=0,1
sweep=null
sweep.resume=nowhere
hydra.sweep.dir=''
hydra.sweep.dir=/dev/null/sweep
hydra.launcher=nothing
hydra.sweeper=nothing
model.optimizer.lr=nan,inf
trainer.max_epochs=null,nan
"""
EVALUATE = """

run=''
run=null
run=3
run=[]
run=.
run=nowhere
run=nowhere images=nowhere
images=nowhere
images=nowhere data=digits
images='' data=digits
images=3 data=digits
images=. data=digits
images=<weights> data=digits
images=<weights>
<run> seed=nan
<run> seed=18446744073709551616
<run> samples=nan
<run> samples=20
<run> labels=0 out=a.npz
<run> labels=[0,-1] out=a.npz
<run> labels=[] out=a.npz
<run> latents=nowhere.npy out=a.npz
<run> latents=<weights> out=a.npz
<run> latents=<weights>
<run> latents=. out=a.npz
<run> latents=<latents>/number.npy out=a.npz
<run> latents=<latents>/number.npz out=a.npz
<run> latents=<latents>/archive.npy out=a.npz
<run> latents=<latents>/cut.npy out=a.npz
<run> latents=<latents>/none.npy out=a.npz
<run> samples=0 out=a.npz
<run> samples=18446744073709551616 out=a.npz
<run> samples=1000000000000 out=a.npz
<run> out=''
<run> out=3
<run> out=samples.txt
<run> accelerator=null
<run> accelerator=abacus
<run> checkpoint=''
<run> checkpoint=3
<run> checkpoint=..
<run> checkpoint=other.ckpt
<run> data=null data.root=nowhere
<run> data.root=nan
<run> data.root=[]
<run> data=[]
<run> data=nothing
<run> scores=3
<run> scores=nothing
<run> scores.seed=3
<run> scores=reference scores.seed=18446744073709551616
<run> scores=reference scores.repeats=nan
<run> scores=reference scores.batch_size=1000000000000
<run> scores=reference scores.extractor=null
<run> model=null
<run> model=[]
<run> model=vae
<run> model.latent_dim=3
<run> +model.latent_dim=3
<run> model.truncation=1.0
<run> model/density=nothing
<run> model/density=second_stage model.density.width=1000000000 out=a.npz
<gan> model.truncation=nan
<gan> model.truncation=-1
<gan> model.truncation=[]
<gan> model/density=gaussian
<run> background=noise
<run> background=null
<run> folder=null
<run> name=[]
<run> callbacks=null
<run> choices=null
<run> +nothing=3
<run> hydra.run.dir=''
<run> ~run
<run> ~seed
<run> ~data
<run> ~model
"""
EXPORT = """

run=''
run=null
run=nowhere out=exported
run=. out=exported
run=3 out=exported
<run>
<run> out=''
<run> out=null
<run> out=.
<run> out=[]
<run> out=/dev/null/exported
<run> out=exported seed=3
<run> out=exported ~run
"""
REPORT = """

nowhere
.
''
/dev/null
--out
--nothing
nowhere --out nowhere
"""


def parsed(lines: str, program: str, *first: str) -> list[CommandLine]:
    meanings = {"<run>": A_RUN, "<gan>": A_GAN, "<weights>": str(A_WEIGHT_FILE), "<latents>": str(OF_LATENTS)}
    for name, value in meanings.items():
        lines = lines.replace(name, value)
    return [CommandLine((*first, *line.split()), program) for line in lines.split("\n")[1:-1]]


COMMAND_LINES: tuple[CommandLine, ...] = (
    *parsed(TRAIN, "train"),
    *parsed(SWEEPS, "train", "-m"),
    *parsed(EVALUATE, "evaluate"),
    *parsed(EXPORT, "export"),
    *parsed(REPORT, "report"),
)
