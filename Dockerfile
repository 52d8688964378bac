# syntax=docker/dockerfile:1
# One image for machines with and without a GPU: the GPU packages run on a CPU as well. They are several GB; a machine that
# never sees a GPU builds with ACCELERATOR=cpu, and with PIP_EXTRA_INDEX_URL naming an index that has torch's CPU build
# (without it pip takes the public build of torch, which brings the CUDA packages along and works, only larger).
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG ACCELERATOR=gpu
ARG PIP_EXTRA_INDEX_URL=""
# Anything: also what COGCORE_MILVUS_URL needs.
ARG MILVUS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1
SHELL ["/bin/sh", "-euc"]
WORKDIR /src
RUN python -m venv /opt/cogcore
ENV PATH=/opt/cogcore/bin:$PATH
# The packages change seldom and the source often: packages first, so that the layer is kept.
COPY requirements/ requirements/
RUN pip install --no-deps --require-hashes --only-binary=:all: --requirement "requirements/${ACCELERATOR}.txt"; \
    pip install --no-deps --require-hashes --only-binary=:all: --requirement requirements/postgres.txt; \
    pip install --no-deps --require-hashes --only-binary=:all: --requirement requirements/otel.txt; \
    if [ "${ACCELERATOR}" = cpu ]; then pip install --only-binary=:all: --requirement requirements/torch.txt; fi; \
    if [ -n "${MILVUS}" ]; then \
        pip install --no-deps --require-hashes --only-binary=:all: --requirement requirements/milvus.txt; fi
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app/ app/
COPY index/ index/
RUN pip install --no-deps --no-build-isolation .; \
    pip check

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Cogcore" \
      org.opencontainers.image.description="Retrieval-augmented answers from a small model, with quotes that can be checked" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 cogcore \
    && useradd --system --uid 10001 --gid cogcore --home-dir /data --shell /usr/sbin/nologin cogcore \
    && install -d -o cogcore -g cogcore /data
COPY --from=build /opt/cogcore /opt/cogcore
COPY docker/entrypoint.sh /usr/local/bin/entrypoint.sh
# HF_HOME: a core or an embedder named by hub id is downloaded once, into the volume. The built-in ones need no download.
ENV PATH=/opt/cogcore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COGCORE_HOST=0.0.0.0 \
    COGCORE_PORT=8000 \
    COGCORE_DATA_DIR=/data/memory \
    HF_HOME=/data/hub
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['COGCORE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
CMD ["serve"]
