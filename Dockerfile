# The wheel and everything it needs, from the hashed locks, in one virtual environment. No compiler, no network at run time.
# A release is built with PYTHON=TAG@DIGEST, which scripts/release base writes.
ARG PYTHON=3.11-slim-bookworm
FROM python:${PYTHON} AS build
# runtime: every role. auth: without AWS, SQL and all that only the admin role runs, for replicas that run "serve --role auth".
ARG LOCK=runtime
WORKDIR /src
COPY requirements/installer.txt requirements/build.txt requirements/${LOCK}.txt requirements/
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/installer.txt \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
# No pip is left in it: that of /opt/build installs from outside.
RUN python -m venv --without-pip /opt/gateway \
 && /opt/build/bin/pip --python /opt/gateway/bin/python install --no-cache-dir --require-hashes -r requirements/${LOCK}.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN /opt/build/bin/python -m hatchling build -t wheel \
 && /opt/build/bin/pip --python /opt/gateway/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl
RUN [ "${LOCK}" != auth ] || (cd /opt/gateway/lib/python3*/site-packages/gateway \
 && rm -r admin audit_export console database domains expiry hooks mail portal provisioning revocation setup)

FROM python:${PYTHON}
ARG PYTHON
ARG VERSION=0.9.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title=cognito-gateway \
      org.opencontainers.image.description="Forward-auth gateway for multi-tenant SaaS on AWS Cognito" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.base.name=docker.io/library/python:${PYTHON}
# Nobody's home: the only place it may write is the volume. Run it with a read-only root file system.
# Any other uid may run it too, if its group is 0 (OpenShift): such a uid has no name, so HOME is told.
RUN useradd --system --uid 10001 --gid 0 --home-dir /var/lib/gateway --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g 0 -m 0770 /var/lib/gateway
# Nothing that installs packages: neither pip, nor what makes one.
RUN python -c 'import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])' \
 && python -m pip uninstall --yes --quiet --root-user-action ignore setuptools wheel pip
COPY --from=build /opt/gateway /opt/gateway
ENV HOME=/var/lib/gateway PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    GATEWAY_CONFIG=/etc/gateway/gateway.yaml GATEWAY_STATE_DIR=/var/lib/gateway \
    GATEWAY_LISTEN__CHECK=0.0.0.0:8081 GATEWAY_LISTEN__PUBLIC=0.0.0.0:8080 GATEWAY_LISTEN__HOOKS=0.0.0.0:8083 GATEWAY_LISTEN__ADMIN=0.0.0.0:8082
USER 10001
WORKDIR /var/lib/gateway
VOLUME /var/lib/gateway
EXPOSE 8080 8081 8082 8083 8084
STOPSIGNAL SIGTERM
# An address, not a configuration: a file that was broken after the start must not make a serving gateway look dead.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["gateway", "health", "http://127.0.0.1:8082"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
