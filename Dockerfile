# One image for every process; docker-compose.yml says which process a container runs, and as whom.
# The steps are those of `make install` on a bare Debian machine.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates make python3 python3-venv softhsm2 \
    && rm -rf /var/lib/apt/lists/*

# The same users as `portcullis up` makes when it runs as root.
RUN groupadd --system portcullis \
    && for process in api authority containment keys schedule; do \
         useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --user-group \
           --groups portcullis "portcullis-$process" || exit 1; \
       done \
    && install -d -m 0711 /var/lib/portcullis

WORKDIR /opt/portcullis
COPY . .
RUN make install && rm -rf /root/.cache /var/lib/apt/lists/*

ENV PATH=/opt/portcullis/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PORTCULLIS_HOME=/var/lib/portcullis
VOLUME /var/lib/portcullis
USER portcullis-api
EXPOSE 8420
STOPSIGNAL SIGTERM
ENTRYPOINT ["portcullis"]
CMD ["--help"]
