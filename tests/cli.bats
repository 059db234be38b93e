# The command line: exit statuses, --json, help, with a daemon on the store and without one.

load helpers

COMMANDS="init mount umount add check new tasks show remove path get explain status log config forget pin unpin gc run retry wait runs graph why verify fsck stats"

setup_file() {
	place_open
	mkdir "$TASKS/hello"
	cat >"$TASKS/hello/task.json" <<-JSON
	{ "memofs": 1, "name": "hello", "version": "1", "inputs": { "who": { "type": "string", "default": "world" }, "fail": { "type": "boolean", "default": false } },
	  "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/hello\"; echo note >&2; [ \"\$INPUT_FAIL\" = false ] || exit 3; echo \"hello \$INPUT_WHO\""] }
	JSON
}
teardown_file() {
	place_close
}

setup() {
	cd "$D"
}

# Lines of standard input are JSON objects that all have the keys.
json_lines() {
	python3 -c 'import json,sys
rows = [json.loads(line) for line in sys.stdin]
assert rows, "no line"
for r in rows:
    assert isinstance(r, dict), r
    for k in sys.argv[1:]: assert k in r, (k, r)' "$@"
}

@test "every command has help, that says how it is called" {
	run -0 "$MEMOFS" --help
	for c in $COMMANDS; do
		has "$output" "$c"
	done
	for c in $COMMANDS; do
		run -0 "$MEMOFS" "$c" --help
		has "$output" "memofs $c"
	done
	run -0 "$MEMOFS" --version
	[[ "$output" =~ [0-9]+\.[0-9]+ ]]
}

@test "wrong usage is status 2, and says what to do" {
	for line in "" "nosuch" "--nosuch" "add" "get" "path" "mount" "umount" "show" "show --nosuch x" "config a b c" "new" "new a/b"; do
		run -2 "$MEMOFS" --store "$D/none" $line
		has "$output" "memofs: "
	done
	[ ! -e "$D/none/db" ]
	run -2 "$MEMOFS" --store
}

@test "without a daemon: the store is made on first use, and all commands work" {
	run -0 --separate-stderr mem add "$TASKS/hello/task.json"
	same add "hello 1 added" "$output"
	run -0 mem path hello who=Ann
	same path "/tasks/hello/1/who=Ann" "$output"
	run -0 mem path hello
	same default "/tasks/hello/1/@default" "$output"
	run -0 --separate-stderr mem get hello who=Ann
	same get "hello Ann" "$output"
	run -0 --separate-stderr mem get /tasks/hello/1/who=Ann
	same again "hello Ann" "$output"
	run -0 --separate-stderr mem get hello/1/who=Ann
	same relative "hello Ann" "$output"
	same executions 1 "$(executions hello)"
	run -0 mem log hello/1/who=Ann
	same log note "$output"
	run -0 mem status
	run -0 mem tasks
	has "$output" hello
	run -0 mem forget hello/1/who=Ann
	run -0 --separate-stderr mem get hello/1/who=Ann
	same executions 2 "$(executions hello)"
}

@test "the task's stderr comes on stderr, the result alone on stdout" {
	run -0 --separate-stderr mem get hello who=Err
	same stdout "hello Err" "$output"
	has "$stderr" note
}

@test "init makes a store, and not a second time or over something else" {
	run -0 "$MEMOFS" init "$D/made"
	[ -d "$D/made/objects" ]
	run "$MEMOFS" init "$D/made"
	[ "$status" -ne 0 ]
	has "$output" "$D/made"
	mkdir "$D/full"
	touch "$D/full/file"
	run "$MEMOFS" init "$D/full"
	[ "$status" -ne 0 ]
	has "$output" "$D/full"
	[ -e "$D/full/file" ]
}

@test "status 1: a task failed" {
	run -1 --separate-stderr mem get hello fail=true
	same stdout "" "$output"
	has "$stderr" "memofs: "
	has "$stderr" hello
}

@test "status 2: inputs that do not fit" {
	for a in "whom=x" "who=a who=b" "fail=maybe" "fail"; do
		run -2 mem get hello $a
		has "$output" "memofs: "
	done
	run -2 mem get hello/1/whom=x
	has "$output" whom
}

@test "status 3: no such task, version or result" {
	run -3 mem get nosuch
	has "$output" nosuch
	run -3 mem get hello@9
	has "$output" 9
	run -3 mem show nosuch
	run -3 mem remove nosuch
	run -3 mem path nosuch
	run -3 mem forget hello/1/who=never-asked-for
	run -3 mem log hello/1/who=never-asked-for
	run -3 mem get helo
	has "$output" "hello"
}

@test "status 4: the store cannot be used" {
	touch "$D/a-file"
	run -4 "$MEMOFS" --store "$D/a-file" tasks
	has "$output" "$D/a-file"
	mkdir "$D/foreign"
	echo something >"$D/foreign/x"
	run -4 "$MEMOFS" --store "$D/foreign" tasks
	cp -r "$D/made" "$D/future"
	echo 999 >"$D/future/format"
	run -4 "$MEMOFS" --store "$D/future" tasks
	has "$output" 999
}

@test "status 130: interrupted" {
	task_gated
	env --default-signal "$MEMOFS" --store "$STORE" get gated id=int gate=never-int >"$D/int" 2>&1 3>&- &
	getter=$!
	wait_until 20 test -e "$COUNT/gated-int"
	kill -INT "$getter"
	status=0
	wait "$getter" || status=$?
	same status 130 "$status"
	wait_until 10 no_owner
}

@test "--json is a JSON object a line" {
	mem tasks --json | json_lines name version
	mem show hello --json | json_lines name version
	mem config --json | json_lines key value
	mem add --json "$TASKS/hello/task.json" | json_lines name version
	mem path --json hello who=Ann | json_lines path
	mem get hello who=Ann >"$D/out"
}

@test "config shows, sets, checks and resets" {
	run -0 mem config
	for key in executor cpus memory path sandbox readable writable mode group runners max_size max_waiting failure_backoff; do
		has "$output" "$key"
	done
	run -0 mem config failure_backoff
	same default 1 "$output"
	run -0 mem config failure_backoff 7
	run -0 mem config failure_backoff
	same set 7 "$output"
	run -0 mem config failure_backoff ""
	run -0 mem config failure_backoff
	same reset 1 "$output"
	for bad in "failure_backoff soon" "cpus 0" "memory much" "executor cloud" "mode 999" "nosuch 1"; do
		run -2 mem config $bad
		has "$output" "${bad%% *}"
	done
	run -2 mem config nosuch
	has "$output" nosuch
}

@test "explain says how a path is read and what is wrong with it" {
	run -0 mem explain hello/1/who=Ann
	has "$output" hello
	has "$output" Ann
	while read -r bad hint; do
		run mem explain "$bad"
		has "$output" "$hint"
	done <<-'TABLE'
	hello/1/whom=x whom
	hello/1/whom=x who
	nosuch/1/@default nosuch
	hello/7/@default 7
	hello/1/plain plain
	hello/1/who=%zz %zz
	TABLE
}

@test "get -o writes a file, and a directory result as a folder" {
	task dir <<-'JSON'
	{ "memofs": 1, "name": "dir", "version": "1", "output": { "type": "Directory", "path": "o" },
	  "command": ["sh", "-c", "mkdir -p o/sub; echo 1 >o/one; echo 2 >o/sub/two; chmod +x o/one; ln -s one o/link"] }
	JSON
	run -0 mem get -o "$D/got" dir
	same one 1 "$(cat "$D/got/one")"
	same two 2 "$(cat "$D/got/sub/two")"
	same link one "$(readlink "$D/got/link")"
	[ -x "$D/got/one" ]
	run -0 mem get -o "$D/file" hello who=File
	same file "hello File" "$(cat "$D/file")"
	run -2 mem get dir
	has "$output" "-o"
	run mem get -o "$D/got" dir
	[ "$status" -ne 0 ]
	same "nothing was overwritten" 1 "$(cat "$D/got/one")"
}

@test "File inputs may be relative to the working directory" {
	task cats <<-'JSON'
	{ "memofs": 1, "name": "cats", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	mkdir "$D/rel"
	echo relative >"$D/rel/r.txt"
	cd "$D/rel"
	run -0 --separate-stderr mem get cats f=r.txt
	same bytes relative "$output"
	run -0 mem path cats f=./r.txt
	same path "/tasks/cats/1/f=${D//\//%2F}%2Frel%2Fr.txt" "$output"
}

@test "the store is \$MEMOFS_STORE, else \$XDG_DATA_HOME/memofs" {
	run -0 env MEMOFS_STORE="$STORE" "$MEMOFS" tasks
	has "$output" hello
	run -0 env XDG_DATA_HOME="$D/data" "$MEMOFS" add "$TASKS/hello/task.json"
	[ -d "$D/data/memofs/objects" ]
	run -0 env XDG_DATA_HOME="$D/data" "$MEMOFS" tasks
	has "$output" hello
}

@test "with a daemon: the same commands go through it, also from inside the mount" {
	need_fuse
	mount_up
	run -0 --separate-stderr mem get hello who=Daemon
	same get "hello Daemon" "$output"
	same mount "hello Daemon" "$(rd "$MNT/tasks/hello/1/who=Daemon")"
	before=$(executions hello)
	run -0 --separate-stderr "$MEMOFS" get "$MNT/tasks/hello/1/who=Daemon"
	same by-path "hello Daemon" "$output"
	cd "$MNT/tasks/hello/1"
	run -0 --separate-stderr "$MEMOFS" get who=Daemon
	cd "$D"
	same executions "$before" "$(executions hello)"
	run -0 mem config max_waiting 77
	run -0 mem config max_waiting
	same config 77 "$output"
	mem tasks --json | json_lines name version
	run -3 mem get nosuch
	run -2 mem get hello whom=x
	run -1 mem get hello fail=true
	run -0 mem forget hello/1/who=Daemon
	same forgotten ENOENT "$(errno_of stat "$MNT/cached/hello/1/who=Daemon")"
}

@test "status shows what runs and what waits for it" {
	need_fuse
	cat "$MNT/start/gated/1/gate=status,id=status"
	wait_until 10 state_is gated/1/gate=status,id=status RUNNING
	run -0 mem status
	has "$output" "gated/1/gate=status,id=status"
	mem status --json | json_lines
	mem status --json | grep -F '"state"' | json_lines state path
	gate_open status
	wait_until 20 state_is gated/1/gate=status,id=status SUCCESS
}

@test "get shows progress on stderr while it waits" {
	need_fuse
	mem get gated id=progress gate=progress >"$D/progress.out" 2>"$D/progress.err" 3>&- &
	getter=$!
	wait_until 10 state_is gated/1/gate=progress,id=progress RUNNING
	wait_until 10 grep -q gated "$D/progress.err"
	gate_open progress
	wait "$getter"
	same bytes $GATED_BYTES "$(stat -c %s "$D/progress.out")"
}

@test "an interrupted get leaves the work going on in the daemon" {
	need_fuse
	env --default-signal "$MEMOFS" --store "$STORE" get gated id=left gate=left >"$D/int" 2>&1 3>&- &
	getter=$!
	wait_until 20 state_is gated/1/gate=left,id=left RUNNING
	kill -INT "$getter"
	status=0
	wait "$getter" || status=$?
	same status 130 "$status"
	gate_open left
	wait_until 20 state_is gated/1/gate=left,id=left SUCCESS
	same executions 1 "$(executions gated-left)"
}

@test "log -f follows a running task" {
	need_fuse
	task talks <<-JSON
	{ "memofs": 1, "name": "talks", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo begin >&2; i=0; while [ ! -e \"\$COUNT/open-talks\" ] && [ \$i -lt 1500 ]; do sleep 0.02; i=\$((i + 1)); done; echo end >&2"] }
	JSON
	cat "$MNT/start/talks/1/@default"
	wait_until 10 state_is talks/1/@default RUNNING
	mem log -f talks/1/@default >"$D/follow" 3>&- &
	follower=$!
	wait_until 10 grep -q begin "$D/follow"
	gate_open talks
	wait "$follower"
	same log "$(printf 'begin\nend')" "$(cat "$D/follow")"
}

@test "umount ends the daemon; umount of what is not mounted is an error" {
	need_fuse
	mount_down
	run "$MEMOFS" umount "$MNT"
	[ "$status" -ne 0 ]
	has "$output" "$MNT"
	run "$MEMOFS" umount /
	[ "$status" -ne 0 ]
}

@test "mount -f stays in the foreground and ends on TERM" {
	need_fuse
	env --default-signal "$MEMOFS" --store "$STORE" mount -f "$MNT" >"$D/fg" 2>&1 3>&- 4>&- &
	daemon=$!
	wait_until 20 test -e "$MNT/README"
	kill -TERM "$daemon"
	status=0
	wait "$daemon" || status=$?
	same status 0 "$status"
	run -1 is_mounted
}

@test "a mount point that is missing or no directory is refused before anything happens" {
	run mem mount "$D/no/such/dir"
	[ "$status" -ne 0 ]
	has "$output" "$D/no/such/dir"
	touch "$D/plainfile"
	run mem mount "$D/plainfile"
	[ "$status" -ne 0 ]
	has "$output" "$D/plainfile"
	no_owner
}

@test "a store with a long path works, with a daemon and without" {
	long=$D/$(printf 'l%.0s' {1..100})/$(printf 'm%.0s' {1..100})/store
	mkdir -p "$(dirname "$long")" "$D/mnt-long"
	run -0 "$MEMOFS" --store "$long" add "$TASKS/hello/task.json"
	run -0 --separate-stderr "$MEMOFS" --store "$long" get hello who=Long
	same bytes "hello Long" "$output"
	need_fuse
	"$MEMOFS" --store "$long" mount "$D/mnt-long" 3>&- 4>&-
	same mount "hello Long" "$(rd "$D/mnt-long/tasks/hello/1/who=Long")"
	run -0 --separate-stderr "$MEMOFS" --store "$long" get hello who=Long2
	same daemon "hello Long2" "$output"
	"$MEMOFS" umount "$D/mnt-long"
	STORE=$long wait_until 20 no_owner
}

@test "messages name no code alone and show no stack" {
	for line in "get nosuch" "get hello whom=x" "add $D/nosuch.json" "show x" "config nosuch"; do
		run mem $line
		[ "$status" -ne 0 ]
		[[ "${lines[0]}" == "memofs: "* ]]
		has_not "$output" "errno"
		has_not "$output" ".c:"
	done
}
