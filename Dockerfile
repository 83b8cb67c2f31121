# The server's image.
#
#   docker build -t script-executor .
#
# Build arguments:
#   BASE                     Debian bookworm or newer; without a registry: deploy/base-images.sh makes one
#   DOCKER_GID               the group of the host's Docker socket
#   DOCKER_CLI=1             the docker command inside, which is for looking around, also for intruders
#   PIP_INDEX_URL            where the Python packages come from
#
# Authorities that the build is to trust beside Debian's go to deploy/ca-certificates/.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
ARG PIP_INDEX_URL=
COPY deploy/ca-certificates /usr/local/share/ca-certificates
RUN apt-get update \
    && case $(dpkg --print-architecture) in \
        arm64) other="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
        *) other="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
    esac \
    && apt-get install -y --no-install-recommends ca-certificates python3-venv musl-tools binutils linux-libc-dev $other \
    && update-ca-certificates
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements.txt .
# First what seldom changes; setuptools is what the server is built with.
RUN python3 -m venv /opt/script-executor \
    && grep -v '^-e' requirements.txt >versions.txt \
    && /opt/script-executor/bin/pip install -r versions.txt 'setuptools>=77'
COPY . .
# Neither tests nor what installs; and twistd's plugin cache, which nobody can write later. It must be newer than what
# it is about, and a layer knows whole seconds only.
RUN /opt/script-executor/bin/pip install --no-deps --no-build-isolation . \
    && /opt/script-executor/bin/pip uninstall -y setuptools pip \
    && find /opt/script-executor -type d \( -name test -o -name tests \) -prune -exec rm -r {} + \
    && /opt/script-executor/bin/twistd --help >/dev/null \
    && touch -d '1 minute' /opt/script-executor/lib/python3*/site-packages/twisted/plugins/dropin.cache

FROM ${BASE}
ARG DOCKER_CLI=
# Before trixie the command is in the engine's package only, of which nothing else is wanted here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && { [ -z "$DOCKER_CLI" ] || apt-get install -y --no-install-recommends docker-cli \
        || { cd /tmp && apt-get download docker.io \
            && dpkg-deb --fsys-tarfile docker.io_*.deb | tar -xC / ./usr/bin/docker && rm docker.io_*.deb; }; } \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
ARG DOCKER_GID=999
# The name of a group that has this number already is taken as it is.
RUN { getent group "$DOCKER_GID" || groupadd --gid "$DOCKER_GID" docker; } \
    && useradd --uid 10001 --user-group --create-home --groups "$DOCKER_GID" appuser
COPY --from=build /opt/script-executor /opt/script-executor
ENV PATH=/opt/script-executor/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER appuser
WORKDIR /home/appuser
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["script-executor-health"]
ENTRYPOINT ["twistd", "-n", "--pidfile=", "script-executor"]
CMD ["--host", "0.0.0.0", "--port", "8080"]
