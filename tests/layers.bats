# scripts/check-layers holds on this tree, and fails on a tree that breaks a rule.

load helpers

setup() {
	T=$(mktemp -d --suffix=.memofs-bats)
	cp -r "$ROOT/src" "$ROOT/include" "$T"
}
teardown() {
	rm -rf "$T"
}

# breaks FILE LINE TEXT: with LINE added to FILE the check fails and names TEXT.
breaks() {
	cp "$T/$1" "$T/.kept"
	printf '%s\n' "$2" >>"$T/$1"
	run -1 "$ROOT/scripts/check-layers" "$T"
	has "$output" "$1:"
	has "$output" "$3"
	mv "$T/.kept" "$T/$1"
}

@test "the tree keeps to its layers" {
	run -0 "$ROOT/scripts/check-layers"
	has "$output" "files, 0 violations"
	run -0 "$ROOT/scripts/check-layers" "$T"
}

@test "an include that points up is a violation" {
	breaks src/base/buf.c '#include "core/task.h"' core/task.h
	breaks src/core/task.h '#include "store/store.h"' store/store.h
	breaks src/store/store.h '#include "runner/runner.h"' runner/runner.h
	breaks src/runner/runner.h '#include "filesystem/filesystem.h"' filesystem/filesystem.h
}

@test "an include that points sideways is a violation" {
	breaks src/worker/main.c '#include "store/store.h"' store/store.h
	breaks src/cli/main.c '#include "runner/runner.h"' runner/runner.h
	breaks src/control/client.h '#include "control/server.h"' control/server.h
	breaks src/control/protocol.h '#include "store/store.h"' store/store.h
}

@test "a private header is not for other folders" {
	breaks src/runner/runner.h '#include "store/manifest.h"' store/manifest.h
	breaks src/filesystem/filesystem.h '#include "runner/executor.h"' runner/executor.h
}

@test "foreign libraries stay where they belong" {
	breaks src/store/store.h '#include <rocksdb/c.h>' rocksdb/c.h
	breaks src/runner/runner.h '#include <fuse3/fuse_lowlevel.h>' fuse3/fuse_lowlevel.h
	breaks src/runner/runner.h '#include <openssl/evp.h>' openssl/evp.h
	breaks include/memofs.h '#include <jansson.h>' jansson.h
	breaks src/core/task.h '#include <sqlite3.h>' sqlite3.h
}

@test "a path that climbs, or that does not exist, is a violation" {
	breaks src/core/task.h '#include "../store/store.h"' ../store/store.h
	breaks src/core/task.h '#include "base/nosuch.h"' base/nosuch.h
}

@test "a tree without sources is not a clean tree" {
	rm -rf "$T/src" "$T/include"
	run -1 "$ROOT/scripts/check-layers" "$T"
}

@test "a folder or file that the layout does not have is a violation" {
	mkdir "$T/docs"
	run -1 "$ROOT/scripts/check-layers" "$T"
	has "$output" "docs: has no place at the top"
}
