# syntax=docker/dockerfile:1

FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# The dependencies first: they change seldom, and this layer is kept while they do not.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project
# What .dockerignore lets through, and nothing else.
COPY . .
RUN python -m compileall -q -x '\.venv' .

FROM python:3.13-slim
# /data and /secrets belong to the service's user, and so will the volumes that are mounted there first.
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin unichat \
    && install -d -o unichat -g unichat /data /secrets
COPY --from=build /app /app
WORKDIR /app
USER 10001
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=3000 \
    LOG_FORMAT=json
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --start-interval=1s \
    CMD ["python", "-m", "scripts.check_ready"]
CMD ["python", "app.py"]
