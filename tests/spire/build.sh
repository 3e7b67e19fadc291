#!/usr/bin/env bash
# Builds the server and the agent of SPIRE into the given folder, from the versions that go.mod and go.sum beside this name.
# Without Go, it says so and builds nothing. From nothing this takes about 13 minutes of one processor.
set -euo pipefail
bin=$(realpath -m "$1")
if ! command -v go >/dev/null; then
  echo "SKIPPED building SPIRE: no Go on the PATH (tests/spire/go.mod names the version)"
  exit 0
fi
mkdir -p "$bin"
cd "$(dirname "${BASH_SOURCE[0]}")"
# Go renames nothing into place where it fails, so a binary that is there is whole. The debugger's tables would take half of them.
go build -mod=readonly -buildvcs=false -trimpath -ldflags="-s -w" -o "$bin/" \
  github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/cmd/spire-agent
