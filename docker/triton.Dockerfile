# syntax=docker/dockerfile:1
# NVIDIA Triton with the packages that our models run on; the models themselves are mounted at /models.
#
# The packages want libraries of CUDA 12 (libcublas.so.12) and cuDNN 9. 25.06 is the last release whose notes name
# CUDA 12 (12.9.1); from 25.08 on it is 13. Its Python backend's stub is made for Python 3.12.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:25.06-py3
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
# gpu, or cpu
ARG DEVICE=gpu
# The last of its wheels on PyPI for CUDA 12: from 1.27 on they are for 13.
ARG ONNXRUNTIME_GPU=1.26.0
WORKDIR /build
COPY pyproject.toml constraints.txt ./
# grpcio is for the health check. ONNX Runtime for GPUs has the name of the other when it is imported: one of the two.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['models'], 'grpcio', sep='\n')" > models.txt \
    && python -m venv --without-pip venv \
    && pip --python venv install --only-binary=:all: -c constraints.txt -r models.txt \
    && if [ "$DEVICE" = gpu ]; then \
        pip --python venv uninstall --yes onnxruntime \
        && pip --python venv install --only-binary=:all: --no-deps "onnxruntime-gpu==$ONNXRUNTIME_GPU"; \
    fi \
    && mv venv/lib/python*/site-packages /packages

FROM ${TRITON_IMAGE}
COPY --from=packages /packages /opt/tritone/packages
COPY docker/triton_health.py /opt/tritone/health.py
# OMP_WAIT_POLICY: threads that wait must not spin on processors that others want.
ENV PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    HOME=/tmp
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The models' processes look at no variable of Python's, as PYTHONPATH or PYTHONDONTWRITEBYTECODE, but at the files that
# extend its path. Ours come before what the base has, and the folders of model versions stay as they were exported.
RUN echo 'import sys; sys.path.insert(0, "/opt/tritone/packages"); sys.dont_write_bytecode = True' \
    > "$(python3 -c "import site; print(site.getsitepackages()[0])")/tritone.pth"
# Where the base does not fit, with another Python or other CUDA libraries, the build ends here.
RUN python3 -c "import ctranslate2, faster_whisper, grpc, onnxruntime, presidio_analyzer" \
    && for library in /opt/tritone/packages/onnxruntime/capi/*providers_cuda.so; do \
        if [ -e "$library" ] && ldd "$library" | grep "not found"; then exit 1; fi; \
    done
USER 10001:10001
EXPOSE 8001 8002
HEALTHCHECK --interval=10s --timeout=10s --start-period=600s \
    CMD ["python3", "/opt/tritone/health.py", "--loaded", "*"]
ENTRYPOINT ["tritonserver"]
# The same as api/local/triton_server.py gives. There is no authentication: ports 8001 and 8002 are for the API and for
# Prometheus, in a network that nobody else is in.
CMD ["--model-repository=/models", \
    "--model-control-mode=explicit", \
    "--load-model=*", \
    "--disable-auto-complete-config", \
    "--strict-readiness=false", \
    "--exit-on-error=false", \
    "--exit-timeout-secs=5", \
    "--allow-http=false", \
    "--grpc-port=8001", \
    "--metrics-port=8002"]
