# syntax=docker/dockerfile:1
# docker build --tag vae-vs-gan .                                  on the CPU
# docker build --tag vae-vs-gan:cuda --build-arg TORCH=cuda .      on NVIDIA's GPUs: the image is five times as large
#
# docker run --rm -v "$PWD/data:/work/data" -v "$PWD/outputs:/work/outputs" vae-vs-gan train.py model=gan data=mnist
# docker run --rm --gpus all … vae-vs-gan:cuda train.py model=gan data=imagenette trainer.accelerator=gpu
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

# cpu: PyTorch's builds without CUDA. cuda: what pip installs by itself, which brings NVIDIA's libraries along; the
# machine has to have the driver and the NVIDIA container toolkit.
ARG TORCH=cpu
# Extras of pyproject.toml, such as joblib,optuna; see README.md.
ARG EXTRAS=joblib,optuna
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# Who owns what is written into mounted folders: docker build --build-arg USER_ID="$(id -u)".
ARG USER_ID=1000

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /work

# First what seldom changes: a change of the code then installs no PyTorch again.
RUN case "$TORCH" in \
        cpu) pip install "torch>=2.11" "torchvision>=0.26" --index-url "$TORCH_INDEX" ;; \
        cuda) pip install "torch>=2.11" "torchvision>=0.26" ;; \
        *) echo "TORCH: expected cpu or cuda, got $TORCH" >&2; exit 1 ;; \
    esac

COPY . .
RUN pip install -e ".[$EXTRAS]" \
    && useradd --create-home --uid "$USER_ID" researcher \
    && mkdir --parents data outputs multirun debug \
    && chown "$USER_ID" data outputs multirun debug

# All else belongs to root: a run writes nowhere but here, and these are what is to be kept.
USER $USER_ID
VOLUME ["/work/data", "/work/outputs", "/work/multirun"]

ENTRYPOINT ["python"]
CMD ["train.py", "--help"]
