# The service and the worker are one image: `htav serve` (default) or `htav worker`.

FROM python:3.11-slim-bookworm AS build
# Empty: PyPI's build. A CPU wheel index with matching torch, torchvision and torchaudio makes the image much smaller.
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/htav
COPY constraints.txt ./
# The heaviest layer comes first: it changes with constraints.txt alone.
RUN /opt/htav/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} --constraint constraints.txt \
    torch torchvision torchaudio
COPY pyproject.toml README.md LICENSE LICENSE-WEIGHTS NOTICE ./
COPY app app
COPY indexer indexer
COPY migrations migrations
COPY model model
RUN /opt/htav/bin/pip install --constraint constraints.txt ".[postgres]"

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 htav \
    && useradd --uid 10001 --gid htav --no-create-home --home-dir /tmp --shell /usr/sbin/nologin htav \
    && install --directory --owner htav --group htav /data /media
COPY --from=build /opt/htav /opt/htav
COPY LICENSE LICENSE-WEIGHTS NOTICE /usr/share/doc/htav/
# It listens on all of its addresses: nothing but the list of host names keeps other sites' pages out (DNS rebinding).
ENV PATH=/opt/htav/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HTAV_DATA_DIR=/data \
    HTAV_MEDIA_ROOTS=/media \
    HTAV_ALLOWED_HOSTS=localhost \
    HF_HUB_OFFLINE=1 \
    OMP_WAIT_POLICY=PASSIVE
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["htav"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
