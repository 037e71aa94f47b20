# syntax=docker/dockerfile:1
# The API alone: no model runs in it, and no machine-learning package is installed.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY examples examples
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/tritone \
    && pip --python /opt/tritone install -c constraints.txt .

FROM ${PYTHON_IMAGE}
# What it writes: uploads while they are worked on, and, without another DATABASE_URL, its database.
RUN install -d -o 10001 -g 10001 /var/lib/tritone /var/spool/tritone
COPY --from=build /opt/tritone /opt/tritone
ENV PATH=/opt/tritone/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/tritone \
    HOST=0.0.0.0 \
    PORT=8000 \
    TRITONE_HOME=/var/lib/tritone \
    TRITONE_SPOOL_DIR=/var/spool/tritone
WORKDIR /var/lib/tritone
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), 4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["tritone"]
CMD ["serve"]
