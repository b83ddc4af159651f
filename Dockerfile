# The local runner in a container: the whole service in one process, with its data in /data.
#
#   docker build -t postrider . && docker run -p 127.0.0.1:8071:8071 -v postrider:/data postrider
#
# Releases do not carry an image yet, and no check builds this file: it needs base images from a registry.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p local

# A C library and certificates, no shell, an unprivileged user.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/postrider /usr/local/bin/postrider
VOLUME /data
EXPOSE 8071
ENTRYPOINT ["postrider"]
CMD ["dev", "--data", "/data", "--listen", "0.0.0.0:8071"]
