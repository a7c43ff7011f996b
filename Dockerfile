# The whole system on one machine, as `npm start` runs it. Every server listens on 127.0.0.1, so run it with the network of
# the host:
#
#   docker build --tag w3filecoin .
#   docker run --rm --network host --volume w3filecoin:/data w3filecoin
FROM debian:trixie-slim

RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates nodejs npm \
  && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home w3filecoin \
  && install --directory --owner=w3filecoin --mode=700 /app /data

USER w3filecoin
WORKDIR /app
COPY --chown=w3filecoin . .
# Installs the packages, Node 24 among them.
RUN node scripts/run.mjs

VOLUME /data
ENTRYPOINT ["sh", "packages/cli/bin/w3fil", "dev", "--data", "/data"]
