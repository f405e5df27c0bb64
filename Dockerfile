# syntax=docker/dockerfile:1
# docker build --tag vae-vs-gan:cuda .                                     on NVIDIA's GPUs
# docker build --tag vae-vs-gan --build-arg TORCH_INDEX=<index> .          on the CPU: a fifth of the size
#
# docker run --rm -v "$PWD/data:/project/data" -v "$PWD/outputs:/project/outputs" vae-vs-gan train.py model=gan data=mnist
# docker run --rm --gpus all … vae-vs-gan:cuda train.py model=gan data=imagenette trainer.accelerator=gpu
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

# Where wheels of PyTorch without CUDA are: the index that its own page of instructions names for the CPU. Empty: what
# pip installs by itself, which brings NVIDIA's libraries along; the machine has to have the driver and the container toolkit.
ARG TORCH_INDEX=
# Extras of pyproject.toml, such as joblib,optuna; see README.md.
ARG EXTRAS=joblib,optuna

# Who owns what is written into mounted folders: docker build --build-arg USER_ID="$(id -u)".
ARG USER_ID=1000

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /project

# First what seldom changes: a change of the code then installs no PyTorch again.
RUN PIP_INDEX_URL="$TORCH_INDEX" pip install "torch>=2.11" "torchvision>=0.26"

COPY . .
RUN pip install -e ".[$EXTRAS]" \
    && useradd --create-home --uid "$USER_ID" researcher \
    && mkdir --parents data outputs multirun debug \
    && chown "$USER_ID" data outputs multirun debug

# All else belongs to root: a run writes nowhere but here, and these are what is to be kept.
USER $USER_ID
VOLUME ["/project/data", "/project/outputs", "/project/multirun"]

ENTRYPOINT ["python"]
CMD ["train.py", "--help"]
