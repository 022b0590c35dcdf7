# syntax=docker/dockerfile:1
# `cannabis_ml serve` over a folder of deployments, with the page; docs/deploying.md has its size.
#
#     docker build -t cannabis_ml .
#     docker run --read-only --tmpfs /tmp -p 8000:8000 -v "$PWD/deployments:/deployments:ro" cannabis_ml

FROM node:24-slim AS page
WORKDIR /src
COPY src/cannabis_ml/inference/texts src/cannabis_ml/inference/texts
COPY src/cannabis_ml/serving/page src/cannabis_ml/serving/page
RUN cd src/cannabis_ml/serving/page && npm ci --ignore-scripts --no-audit --no-fund && npm run build

FROM python:3.13-slim AS packages
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src src
COPY --from=page /src/src/cannabis_ml/serving/page/built src/cannabis_ml/serving/page/built
RUN python -m venv --without-pip /venv
# inference,service alone makes an image that keeps no feedback, of two thirds the size
ARG EXTRAS=inference,service,feedback
RUN python -m pip --python /venv/bin/python install --no-cache-dir --constraint requirements.lock ".[$EXTRAS]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="cannabis_ml" org.opencontainers.image.licenses="Apache-2.0"
# One thread per answer: `--workers` is how many photos are answered at once.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
COPY --from=packages /venv /venv
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ready once the golden photos get their answers on this machine.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["cannabis_ml"]
CMD ["serve", "/deployments", "--host", "0.0.0.0"]
