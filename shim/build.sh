#!/bin/sh
# Builds the static helper into the place the runtime embeds it from.
# Needs a C compiler and libseccomp with its header (Debian: gcc libseccomp-dev).
set -eu
cd "$(dirname "$0")"
out=${1:-../internal/runtime/shimbin/bin/shim}
if ! command -v "${CC:-gcc}" >/dev/null; then
	echo "shim: ${CC:-gcc} is missing: install a C compiler (Debian: apt-get install gcc libc6-dev)" >&2
	exit 1
fi
if ! echo '#include <seccomp.h>' | "${CC:-gcc}" -E -x c - >/dev/null 2>&1; then
	echo "shim: seccomp.h is missing: install libseccomp's development files (Debian: apt-get install libseccomp-dev)" >&2
	exit 1
fi
mkdir -p "$(dirname "$out")"
CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags "seccomp netgo osusergo" \
	-ldflags '-s -w -linkmode external -extldflags -static' -o "$out.tmp" .
mv "$out.tmp" "$out"
