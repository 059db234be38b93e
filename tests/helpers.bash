# What every suite uses: a place of its own (store, mount, task files, counters), made and removed again.
#
#	setup_file()    { place_open; mount_up; }
#	teardown_file() { place_close; }
#
# $D the place, $STORE, $MNT, $TASKS (task folders), $COUNT (side effects of tasks: a line for each execution).
# MEMOFS_BUILD names the build directory whose programs are tested (default: build/ at the top).

bats_require_minimum_version 1.5.0

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
BUILD=${MEMOFS_BUILD:-$ROOT/build}
MEMOFS=$BUILD/src/cli/memofs
TOOLS=$BUILD/tests/tools
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-120}
SLOW=${MEMOFS_SLOW:-1} # how much slower than usual this build may be (sanitizers)

# ---- the place -----------------------------------------------------------------------------------

# Why nothing can be mounted here; nothing when it can.
fuse_missing() {
	if [ ! -c /dev/fuse ]; then
		echo "no /dev/fuse here"
	elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
		echo "/dev/fuse may not be used by this user"
	elif [ "$(id -u)" -ne 0 ] && ! command -v fusermount3 >/dev/null; then
		echo "fusermount3 is missing"
	fi
}
need_fuse() {
	local reason
	reason=$(fuse_missing)
	[ -z "$reason" ] || skip "$reason"
}
# For the suites in which every test needs the mount; the others define their own.
setup() {
	need_fuse
}

place_open() {
	[ -x "$MEMOFS" ] || { echo "$MEMOFS is not built" >&2 && return 1; }
	D=$(mktemp -d --suffix=.memofs-bats)
	STORE=$D/store MNT=$D/mnt TASKS=$D/tasks COUNT=$D/count
	mkdir "$MNT" "$TASKS" "$COUNT"
	export D STORE MNT TASKS COUNT
	export XDG_DATA_HOME=$D/xdg
	unset MEMOFS_STORE MEMOFS_MOUNT
	mem config writable "$D" >/dev/null 2>&1 # in the sandbox no task could count itself otherwise
}

# The process that owns the store: whoever holds its lock file open.
owner_pid() {
	local link
	link=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "$STORE/lock" -print -quit 2>/dev/null)
	[ -n "$link" ] || return 1
	link=${link#/proc/}
	printf '%s\n' "${link%%/*}"
}

is_mounted() {
	awk -v m="$MNT" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo
}

mem() {
	timeout -k 5 $((60 * SLOW)) "$MEMOFS" --store "$STORE" "$@"
}

mount_up() {
	[ -z "$(fuse_missing)" ] || return 0 # the tests are skipped, each with the reason
	mem mount "$MNT" "$@" 3>&- 4>&-
}

# The daemon has ended when nobody owns the store any more.
mount_down() {
	mem umount "$MNT"
	wait_until 20 no_owner
}
no_owner() { ! owner_pid >/dev/null; }

place_close() {
	local pid status=0
	[ -n "${D:-}" ] || return 0
	cd /
	if is_mounted; then
		mem umount "$MNT" >/dev/null 2>&1 || umount -l "$MNT" 2>/dev/null || fusermount3 -uz "$MNT" || status=1
	fi
	if ! wait_until $((10 * SLOW)) no_owner; then
		echo "the daemon did not end by itself" >&2
		status=1
		pid=$(owner_pid) && kill -9 "$pid"
	fi
	rm -rf "$D"
	return "$status"
}

# ---- tasks ---------------------------------------------------------------------------------------

# task NAME <<JSON: writes $TASKS/NAME/task.json and registers it. Scripts beside it are written before.
task_file() {
	mkdir -p "$TASKS/$1"
	cat >"$TASKS/$1/task.json"
}
task() {
	task_file "$1"
	mem add "$TASKS/$1/task.json" >"$D/add.out"
}

# Says with every execution of NAME that it happened: for the env of a task and its commands.
#	"env": { "COUNT": "$COUNT" }, "command": ["sh", "-c", "echo x >>\"$COUNT/NAME\"; ..."]
executions() {
	if [ -e "$COUNT/$1" ]; then wc -l <"$COUNT/$1"; else echo 0; fi
}

# A task that says hello, counts itself, and is quick.
task_hello() {
	task hello <<-JSON
	{ "memofs": 1, "name": "hello", "version": "1",
	  "inputs": { "who": { "type": "string", "default": "world" } },
	  "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/hello\"; printf 'hello %s\\\\n' \"\$INPUT_WHO\""] }
	JSON
}

# A task of 100,000 bytes that waits for the file \$COUNT/open-<gate> to appear, half a minute at most.
task_gated() {
	task gated <<-JSON
	{ "memofs": 1, "name": "gated", "version": "1",
	  "inputs": { "id": { "type": "string" }, "gate": { "type": "string", "default": "always" },
	              "fail": { "type": "boolean", "default": false } },
	  "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/gated-\$INPUT_ID\"; i=0; while [ \"\$INPUT_GATE\" != always ] && [ ! -e \"\$COUNT/open-\$INPUT_GATE\" ] && [ \$i -lt 1500 ]; do sleep 0.02; i=\$((i + 1)); done; [ \"\$INPUT_FAIL\" = false ] || exit 3; seq -f %07g 1 12500"] }
	JSON
}
GATED_BYTES=100000
gate_open() { touch "$COUNT/open-$1"; }

# ---- waiting -------------------------------------------------------------------------------------

# wait_until SECONDS COMMAND...: true as soon as the command is.
wait_until() {
	local end=$((SECONDS + $1 + 1))
	shift
	while [ "$SECONDS" -lt "$end" ]; do
		if "$@"; then return 0; fi
		sleep 0.05
	done
	echo "not within the time: $*" >&2
	return 1
}

# state NAME/VERSION/INPUTS: the word in /info, or NONE.
state() {
	if [ -e "$MNT/info/$1/state" ]; then tr -d '\n' <"$MNT/info/$1/state"; else printf NONE; fi
}
state_is() { [ "$(state "$1")" = "$2" ]; }

gone() { ! kill -0 "$1" 2>/dev/null; }

# The state letter of a process: R, S, D, T, Z; empty when there is none.
letter() {
	sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null
}

milliseconds() { date +%s%3N; }

# ---- asking --------------------------------------------------------------------------------------

rd() { timeout -k 5 $((60 * SLOW)) cat "$@"; }

# errno_of CALL PATH: the name of the error that the call gives, or "ok".
errno_of() {
	local out
	if out=$(timeout 60 "$TOOLS/reader" "$1" "$2" 2>&1 >/dev/null); then echo ok; else echo "${out##*: }"; fi
}

# same WHAT WANT GOT
same() {
	[ "$2" = "$3" ] || { printf '%s: want %q, got %q\n' "$1" "$2" "$3" >&2 && return 1; }
}

# has TEXT PART: TEXT contains PART.
has() {
	[[ "$1" == *"$2"* ]] || { printf 'not in it: %s\n--- it is:\n%s\n' "$2" "$1" >&2 && return 1; }
}
has_not() {
	[[ "$1" != *"$2"* ]] || { printf 'must not be in it: %s\n--- it is:\n%s\n' "$2" "$1" >&2 && return 1; }
}
