# The local runner in a container: the whole service in one process, with its data in /data.
#
#   docker build -t postrider . && docker run -p 127.0.0.1:8071:8071 -v postrider:/data postrider
#
# A release builds it around the binary that it has anyway: `.ci/image BINARY`.

# A C library and certificates, no shell, an unprivileged user. Its C library is newer than those that binaries are
# built with: Debian 12's below, Ubuntu 24.04's for a release.
FROM gcr.io/distroless/cc-debian13:nonroot AS runtime
VOLUME /data
EXPOSE 8071
ENTRYPOINT ["postrider"]
CMD ["dev", "--data", "/data", "--listen", "0.0.0.0:8071", "--receiver"]

# A folder with the binary and an empty folder `data`: a volume begins with its owner.
FROM runtime AS released
COPY --chown=65532:65532 data /data
COPY postrider /usr/local/bin/postrider

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p local && mkdir /data

FROM runtime
COPY --from=build --chown=65532:65532 /data /data
COPY --from=build /src/target/release/postrider /usr/local/bin/postrider
