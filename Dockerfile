# An image of this checkout for Kubernetes: the search, and the service of clusters/rayservice.yaml.
#   docker build -t registry.example/imer-ray:0.1.0 .                            for CPUs
#   docker build -t registry.example/imer-ray:0.1.0 --build-arg DEVICE=cuda .    for NVIDIA's GPUs, several gigabytes larger
ARG DEVICE=cpu

FROM python:3.11-slim AS base
# wget: KubeRay asks with it whether Ray's processes are well
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 ray
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0

FROM base AS cpu
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006
FROM ${DEVICE}
WORKDIR /opt/imer_ray
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-compile "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY imer_ray imer_ray
COPY search_spaces search_spaces
COPY clusters clusters
RUN pip install --no-cache-dir --no-compile -c constraints.txt ".[aws,serve]"
USER 1000
WORKDIR /home/ray
CMD ["python", "-m", "imer_ray.search", "--help"]
