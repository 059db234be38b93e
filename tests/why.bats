# Why: a hit says whose work it is, a miss what differs, key by key, from the nearest earlier instance and down to the cause.
# And stats, which count what the mount reads.

load helpers

setup_file() {
	place_open
	mount_up
	task_hello
	script_task 1
	task_steps 1
}
teardown_file() {
	place_close
}
# Only what reads the mount needs FUSE.
setup() {
	cd "$D"
}

# A task without a version, whose script is in a file.
script_task() {
	mkdir -p "$TASKS/scripted"
	printf '#!/bin/sh\n# edition %s\necho "x" >>"$COUNT/scripted"\necho edition %s\n' "$1" "$1" >"$TASKS/scripted/run.sh"
	chmod +x "$TASKS/scripted/run.sh"
	task scripted <<-JSON
	{ "memofs": 1, "name": "scripted", "inputs": { "id": { "type": "string", "default": "a" } }, "env": { "COUNT": "$COUNT" },
	  "script": "run.sh" }
	JSON
}

# Three in a row: index <- align <- report; index is of the given version.
task_steps() {
	task index <<-JSON
	{ "memofs": 1, "name": "index", "version": "$1", "inputs": { "ref": { "type": "string" } },
	  "command": ["sh", "-c", "echo x >>\"$COUNT/index\"; echo index $1 of \$INPUT_REF"] }
	JSON
	task align <<-JSON
	{ "memofs": 1, "name": "align", "version": "1", "inputs": { "ref": { "type": "string" } },
	  "needs": { "index": { "task": "index", "inputs": { "ref": "{inputs.ref}" } } },
	  "command": ["cat", "{needs.index}"] }
	JSON
	task report <<-JSON
	{ "memofs": 1, "name": "report", "version": "1", "needs": { "al": { "task": "align", "inputs": { "ref": "hg38" } } },
	  "command": ["cat", "{needs.al}"] }
	JSON
}

# The number KEY of TASK (or null: of all) in `memofs stats`.
stat_of() {
	mem stats --json | python3 -c 'import json,sys
for line in sys.stdin:
    row = json.loads(line)
    if str(row["task"]) == sys.argv[1]: print(row[sys.argv[2]]); break
else: print(0)' "$1" "$2"
}

@test "why of a hit says when, in which run, how long it took, and from what" {
	run=$(mem run align ref=hit 2>/dev/null | sed -n '1s/^run //p')
	text=$(mem why align ref=hit)
	[[ "$text" == "hit: executed 20"*" by run $run in 0."*" seconds"* ]] || { echo "$text" && false; }
	has "$text" "upstream: index = /tasks/index/1/ref=hit "
	same executions 1 "$(executions index)"
}

@test "why of a miss shows each differing input with both values" {
	mem get hello who=Ann >/dev/null
	text=$(mem why hello who=Bob)
	has "$text" "miss: nothing was executed with this identity"
	has "$text" "nearest: /tasks/hello/1/who=Ann, executed 20"
	has "$text" '  inputs.who: "Ann" -> "Bob"'
	same executions 1 "$(executions hello)"
}

@test "why never computes and never hashes" {
	before=$(executions index)
	printf 'data\n' >"$D/file"
	task copy <<-JSON
	{ "memofs": 1, "name": "copy", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	text=$(mem why copy "f=$D/file")
	has "$text" "miss: it cannot be told without reading inputs.f ($D/file)"
	text=$(mem why align ref=never)
	has "$text" "miss: there is no result yet of upstream.index (/tasks/index/1/ref=never)"
	sleep 0.2
	same executions "$before" "$(executions index)"
}

@test "why of a changed file names it by name and short hash" {
	printf 'one\n' >"$D/reads.txt"
	mem get copy "f=$D/reads.txt" >/dev/null
	sleep 0.1
	printf 'two\n' >"$D/reads.txt"
	sleep 0.1
	text=$(mem why copy "f=$D/reads.txt")
	has "$text" "inputs.f: reads.txt (2c8b08da5ce6) -> reads.txt (not read yet)"
	mem get copy "f=$D/reads.txt" >/dev/null
	[[ "$(mem why copy "f=$D/reads.txt")" == hit:* ]]
}

@test "why of changed code is a unified diff, also after the old version was removed" {
	mem get scripted >/dev/null
	old=$(mem tasks --json | python3 -c 'import json,sys
for l in sys.stdin:
    t = json.loads(l)
    if t["name"] == "scripted": print(t["version"])' | head -n 1)
	script_task 2
	mem remove "scripted@$old" >/dev/null
	text=$(mem why scripted)
	has "$text" "  code: "
	has "$text" "--- run.sh"
	has "$text" "-echo edition 1"
	has "$text" "+echo edition 2"
	printf '#!/bin/sh\necho "x" >>"$COUNT/scripted"\necho edition 1\n' >"$D/old.sh"
	same executions 1 "$(executions scripted)"
}

@test "why follows a changed upstream down to its cause" {
	mem get report >/dev/null
	task_steps 2
	text=$(mem why report)
	has "$text" "miss: there is no result yet of upstream.al (/tasks/align/1/ref=hg38)"
	has "$text" "/tasks/index/2/ref=hg38: nothing was executed with this identity"
	has "$text" 'version: "1" -> "2"'
	mem get align ref=hg38 >/dev/null
	text=$(mem why report)
	has "$text" "miss: nothing was executed with this identity"
	has "$text" "/tasks/align/1/ref=hg38: executed 20"
	has "$text" "before: /tasks/index/1/ref=hg38, of which it differs in"
	has "$text" 'version: "1" -> "2"'
}

@test "why of a failure says so, and what is different from what worked" {
	task odd <<-'JSON'
	{ "memofs": 1, "name": "odd", "version": "1", "inputs": { "n": { "type": "int" } },
	  "command": ["sh", "-c", "[ \"$INPUT_N\" != 2 ]"] }
	JSON
	mem get odd n=1 >/dev/null
	run -1 mem get odd n=2
	text=$(mem why odd n=2)
	has "$text" "miss: the last execution failed, 20"
	has "$text" "  inputs.n: 1 -> 2"
}

@test "why of a path that cannot be executed says what is wrong" {
	text=$(mem why copy "f=$D/missing")
	has "$text" "miss: it cannot be executed as it stands: inputs.f: $D/missing"
	has "$text" "No such file or directory"
}

@test "/info/.../why is the same text" {
	need_fuse
	mem get hello who=Cyd >/dev/null
	same text "$(mem why hello who=Cyd)" "$(cat "$MNT/info/hello/1/who=Cyd/why")"
	ls -l "$MNT/info/hello/1/who=Cyd/" >/dev/null
}

@test "stats counts each open of a result through the mount as one hit" {
	need_fuse
	rd "$MNT/tasks/hello/1/who=stat" >/dev/null
	hits=$(stat_of hello hits)
	misses=$(stat_of hello misses)
	for i in 1 2 3 4 5; do rd "$MNT/tasks/hello/1/who=stat" >/dev/null; done
	same hits $((hits + 5)) "$(stat_of hello hits)"
	stat "$MNT/tasks/hello/1/who=stat" >/dev/null
	ls "$MNT/tasks/hello/1" >/dev/null
	same "hits after looking only" $((hits + 5)) "$(stat_of hello hits)"
	rd "$MNT/tasks/hello/1/who=stat2" >/dev/null
	same "hits after a miss" $((hits + 5)) "$(stat_of hello hits)"
	same misses $((misses + 1)) "$(stat_of hello misses)"
}

@test "stats tells what is computed, saved, stored and shared, and keeps it over a restart" {
	need_fuse
	task nap <<-'JSON'
	{ "memofs": 1, "name": "nap", "version": "1", "inputs": { "n": { "type": "int" } },
	  "command": ["sh", "-c", "sleep 0.3; head -c 1000 /dev/zero"] }
	JSON
	for n in 1 2 3; do rd "$MNT/tasks/nap/1/n=$n" | cmp -n 1000 - /dev/zero; done
	rd "$MNT/tasks/nap/1/n=1" | cmp -n 1000 - /dev/zero
	same executions 3 "$(stat_of nap executions)"
	same failures 0 "$(stat_of nap failures)"
	same results 3 "$(stat_of nap results)"
	same bytes 1000 "$(stat_of nap bytes)"
	same shared 2000 "$(stat_of nap bytes_shared)"
	python3 -c 'import sys; c, s = map(float, sys.argv[1:]); assert c > 0.9 and 0.3 <= s < c, (c, s)' \
		"$(stat_of nap seconds_computed)" "$(stat_of nap seconds_saved)"
	before=$(mem stats --json)
	mount_down
	mount_up
	same "after a restart" "$before" "$(mem stats --json)"
}
