# syntax=docker/dockerfile:1
# docker build -t legate . && docker run -p 8080:8080 -p 8443:8443 -p 8877:8877 legate dev
ARG GO_VERSION=1.26

# The compiler runs on the builder's own processor and writes for the image's.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=unknown
# The same source and compiler give the same bytes: no path, no time, no state of a repository.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/legate ./cmd/legate

# No shell, no libraries: authorities' certificates, a user without privileges, and the binary.
FROM gcr.io/distroless/static:nonroot
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Legate" \
      org.opencontainers.image.description="Edge gateway that reads Ambassador's manifests" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.base.name="gcr.io/distroless/static:nonroot"
COPY --from=build /out/legate /usr/local/bin/legate
# What is published from a container is published on purpose. The admin port is open to
# whoever reaches the container: publish it to those only who may see it.
ENV LEGATE_BIND=* LEGATE_ADMIN=:8877
USER 65532:65532
EXPOSE 8080 8443 8877
ENTRYPOINT ["/usr/local/bin/legate"]
CMD ["run", "--kubernetes"]
