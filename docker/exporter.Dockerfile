# syntax=docker/dockerfile:1
# Checkpoint → model version: `tritone export …`, with PyTorch, into a model repository that is mounted at /models; and
# `tritone models …`, which says what of it is served.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE}
# Left to itself, pip takes the PyTorch with several gigabytes of CUDA, which converting does not need.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --index-url "$TORCH_INDEX_URL" -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY export_scripts export_scripts
COPY model_repository model_repository
COPY examples examples
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[export,operate,recipe]' \
    && useradd --uid 10001 --create-home tritone \
    && install -d -o 10001 -g 10001 /models
ENV OMP_WAIT_POLICY=PASSIVE \
    PYTHONDONTWRITEBYTECODE=1 \
    TRITONE_MODEL_REPOSITORY=/models \
    PYTHONUNBUFFERED=1
WORKDIR /home/tritone
USER 10001:10001
ENTRYPOINT ["tritone"]
CMD ["--help"]
