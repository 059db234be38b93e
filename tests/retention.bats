# Retention: forget, pin, unpin, gc and max_size: what goes, what stays, and that it comes back by being read.

load helpers

setup_file() {
	place_open
	chmod 755 "$D"
	task_bulk
	task_hello
	task_gated
	mount_up
}
teardown_file() {
	place_close
}

# bulk id=I [bytes=N] [nap=S]: N bytes that are I's own; top reads bulk, tip reads top.
task_bulk() {
	task bulk <<-JSON
	{ "memofs": 1, "name": "bulk", "version": "1",
	  "inputs": { "id": { "type": "string" }, "bytes": { "type": "int", "default": 100000 }, "nap": { "type": "string", "default": "0" } },
	  "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/bulk-\$INPUT_ID\"; sleep \"\$INPUT_NAP\"; yes \"\$INPUT_ID\" | head -c \"\$INPUT_BYTES\""] }
	JSON
	task top <<-JSON
	{ "memofs": 1, "name": "top", "version": "1", "inputs": { "id": { "type": "string" } },
	  "needs": { "from": { "task": "bulk", "inputs": { "id": "{inputs.id}" } } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/top-\$INPUT_ID\"; head -n 1 \"\$NEED_FROM\"; cat \"\$NEED_FROM\" | wc -c"] }
	JSON
	task tip <<-JSON
	{ "memofs": 1, "name": "tip", "version": "1", "inputs": { "id": { "type": "string" } },
	  "needs": { "from": { "task": "top", "inputs": { "id": "{inputs.id}" } } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/tip-\$INPUT_ID\"; echo tip; cat \"\$NEED_FROM\""] }
	JSON
}
bulk() { yes "$1" | head -c "${2:-100000}"; }
top() { printf '%s\n100000\n' "$1"; }

# The store as it was made, but for the tasks: what other tests left is collected.
afresh() {
	is_mounted || mount_up
	for what in "bulk id=pinned" "tip id=chain" follows leans "twin id=c"; do
		mem unpin $what >/dev/null 2>&1 || true
	done
	mem config max_size 0 >/dev/null
	mem gc --max-size 0 >/dev/null
}
# Paths that gc would collect or collected, from its JSON.
collected() { python3 -c '
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if row["kind"] == "result":
        print(row["path"])'; }
summary() { python3 -c '
import json, sys
print(json.loads(sys.stdin.read().strip().split("\n")[-1])[sys.argv[1]])' "$1"; }
# Bytes of results in the store: code of tasks, which always stays, is not counted.
object_bytes() { find "$STORE/objects" -type f -printf '%s\n' | awk -v code="$(cat "$D/code.bytes" 2>/dev/null)" '{ s += $1 } END { print s - code }'; }
cached_names() { find "$MNT/cached/$1/1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '; }

# ---- what collecting leaves ------------------------------------------------------------------------

@test "a collected result is not listed and is ENOENT in /cached; it comes back by being read" {
	afresh
	rd "$MNT/tasks/bulk/1/id=back" | cmp - <(bulk back)
	[ -e "$MNT/cached/bulk/1/id=back" ]
	mem gc --max-size 0
	same objects 0 "$(object_bytes)"
	wait_until 5 eval '! [ -e "$MNT/cached/bulk/1/id=back" ]'
	same "in /cached" ENOENT "$(errno_of open "$MNT/cached/bulk/1/id=back")"
	has_not "$(ls "$MNT/tasks/bulk/1")" id=back
	state_is bulk/1/id=back PENDING
	has "$(mem why bulk id=back)" "its result was collected to make room"
	has "$(cat "$MNT/info/bulk/1/id=back/history.jsonl")" "collected"
	same executions 1 "$(executions bulk-back)"
	rd "$MNT/tasks/bulk/1/id=back" | cmp - <(bulk back)
	same executions 2 "$(executions bulk-back)"
	rd "$MNT/cached/bulk/1/id=back" | cmp - <(bulk back)
}

@test "a cached downstream stays a hit when what it was made from is collected, also after a restart" {
	afresh
	rd "$MNT/tasks/tip/1/id=chain" >/dev/null
	mem pin tip id=chain
	mem gc --max-size 0 >/dev/null
	same "left in the store" "$(rd "$MNT/tasks/tip/1/id=chain" | wc -c)" "$(object_bytes)"
	same tip "$(echo tip; top chain)" "$(rd "$MNT/tasks/tip/1/id=chain")"
	has "$(mem why tip id=chain)" "hit"
	same get "$(echo tip; top chain)" "$(mem get tip id=chain)"
	[ -e "$MNT/cached/tip/1/id=chain" ]
	same listed "id=chain " "$(cached_names tip)"
	mount_down
	same "without a daemon" "$(echo tip; top chain)" "$(mem get tip id=chain)"
	mount_up
	same "after a restart" "$(echo tip; top chain)" "$(rd "$MNT/tasks/tip/1/id=chain")"
	same "a run" 0 "$(mem run tip id=chain >/dev/null; echo $?)"
	same executions "1 1 1" "$(executions bulk-chain) $(executions top-chain) $(executions tip-chain)"
	mem unpin tip id=chain
}

@test "a downstream that is a miss gets the bytes of its collected upstream, and nothing else is executed" {
	afresh
	rd "$MNT/tasks/top/1/id=again" >/dev/null
	mem gc --max-size 0 >/dev/null
	same tip "$(echo tip; top again)" "$(rd "$MNT/tasks/tip/1/id=again")"
	same executions "2 2 1" "$(executions bulk-again) $(executions top-again) $(executions tip-again)"
	mem gc --max-size 0 >/dev/null
	run -0 mem run tip id=again
	same "in a run" "3 3 2" "$(executions bulk-again) $(executions top-again) $(executions tip-again)"
}

@test "when a collected upstream comes back with other bytes its downstream is a miss" {
	afresh
	task drifts <<-JSON
	{ "memofs": 1, "name": "drifts", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/drifts\"; wc -l <\"\$COUNT/drifts\""] }
	JSON
	task follows <<-JSON
	{ "memofs": 1, "name": "follows", "version": "1", "needs": { "d": { "task": "drifts" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/follows\"; sed s/^/from:/ \"\$NEED_D\""] }
	JSON
	same first from:1 "$(rd "$MNT/tasks/follows/1/@default")"
	mem pin follows
	mem gc --max-size 0 >/dev/null
	same "still a hit" from:1 "$(rd "$MNT/tasks/follows/1/@default")"
	same "executed again" 2 "$(rd "$MNT/tasks/drifts/1/@default")"
	same "a miss" from:2 "$(rd "$MNT/tasks/follows/1/@default")"
	same executions "2 2" "$(executions drifts) $(executions follows)"
	mem unpin follows
}

@test "a collected upstream that fails when it is read leaves its downstream cached; forget and force do not" {
	afresh
	task brittle <<-JSON
	{ "memofs": 1, "name": "brittle", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/brittle\"; [ ! -e \"\$COUNT/broken\" ] || exit 3; echo whole"] }
	JSON
	task leans <<-JSON
	{ "memofs": 1, "name": "leans", "version": "1", "needs": { "b": { "task": "brittle" } }, "command": ["sed", "s/^/on /", "{needs.b}"] }
	JSON
	same first "on whole" "$(rd "$MNT/tasks/leans/1/@default")"
	mem pin leans
	mem gc --max-size 0 >/dev/null
	touch "$COUNT/broken"
	same "it fails" EIO "$(errno_of open "$MNT/tasks/brittle/1/@default")"
	same "still a hit" "on whole" "$(rd "$MNT/tasks/leans/1/@default")"
	mem forget brittle
	same "its upstream is not known any more" EIO "$(errno_of open "$MNT/tasks/leans/1/@default")"
	rm "$COUNT/broken"
	run mem forget brittle # 3: there is nothing of it, not even a failure
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]
	same "back" "on whole" "$(rd "$MNT/tasks/leans/1/@default")"
	mem unpin leans
}

@test "directories, executables and paths inside a directory come back, too" {
	afresh
	task folder <<-JSON
	{ "memofs": 1, "name": "folder", "version": "1", "env": { "COUNT": "$COUNT" }, "output": { "type": "Directory", "path": "out" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/folder\"; mkdir -p out/sub; echo a >out/a; echo b >out/sub/b; printf '#!/bin/sh\\\\necho runs\\\\n' >out/run; chmod 755 out/run"] }
	JSON
	task program <<-JSON
	{ "memofs": 1, "name": "program", "version": "1", "env": { "COUNT": "$COUNT" }, "output": { "type": "File", "path": "p" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/program\"; printf '#!/bin/sh\\\\necho ran\\\\n' >p; chmod 755 p"] }
	JSON
	task inner <<-JSON
	{ "memofs": 1, "name": "inner", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	for round in 1 2 3; do
		same inside b "$(rd "$MNT/tasks/folder/1/@default/sub/b")"
		same runs runs "$("$MNT/tasks/folder/1/@default/run")"
		same ran ran "$("$MNT/tasks/program/1/@default")"
		same "as an input" b "$(mem get inner f=/tasks/folder/1/@default/sub/b)"
		same listing "a run sub " "$(find "$MNT/tasks/folder/1/@default" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
		mem gc --max-size 0 >/dev/null
		same objects 0 "$(object_bytes)"
	done
	same executions "3 3" "$(executions folder) $(executions program)"
	same trees 0 "$(find "$STORE/objects" -name '*.d' | wc -l)"
}

# ---- what goes first --------------------------------------------------------------------------------

@test "what is cheapest to compute again for its bytes goes first; uses count" {
	afresh
	rd "$MNT/tasks/bulk/1/id=slow,nap=0.6" >/dev/null
	rd "$MNT/tasks/bulk/1/id=quick" >/dev/null
	same "the quick one" /tasks/bulk/1/id=quick "$(mem gc --max-size 150000 --dry-run --json | collected)"
	rd "$MNT/tasks/bulk/1/bytes=1000,id=small" >/dev/null
	same "not the small one" /tasks/bulk/1/id=quick "$(mem gc --max-size 150000 --dry-run --json | collected)"
	for i in $(seq 1 400); do rd "$MNT/tasks/bulk/1/id=quick" >/dev/null; done
	same "not what is used" "/tasks/bulk/1/id=slow,nap=0.6" "$(mem gc --max-size 150000 --dry-run --json | collected)"
}

@test "what is not used any more ages: L rises with each collection, and is kept over a restart" {
	afresh
	rd "$MNT/tasks/bulk/1/bytes=50000,id=old,nap=0.05" >/dev/null
	for i in 1 2 3 4 5 6 7 8; do
		rd "$MNT/tasks/bulk/1/bytes=50000,id=new$i,nap=0.04" >/dev/null
		rd "$MNT/tasks/bulk/1/bytes=50000,id=new$i,nap=0.04" >/dev/null
		mem gc --max-size 100000 >/dev/null
		if [ "$i" = 4 ]; then mount_down && mount_up; fi
	done
	wait_until 5 eval '! [ -e "$MNT/cached/bulk/1/bytes=50000,id=old,nap=0.05" ]'
}

@test "bytes that several results share are counted once and go with the last of them" {
	afresh
	task_file twin <<-JSON
	{ "memofs": 1, "name": "twin", "version": "1", "inputs": { "id": { "type": "string" } }, "command": ["sh", "-c", "yes twin | head -c 100000"] }
	JSON
	mem add "$TASKS/twin/task.json" >/dev/null
	rd "$MNT/tasks/twin/1/id=a" "$MNT/tasks/twin/1/id=b" "$MNT/tasks/twin/1/id=c" >/dev/null
	same counted 100000 "$(mem gc --dry-run --json | summary after)"
	mem forget twin id=a >/dev/null
	mem gc >/dev/null
	same "one forgotten" 100000 "$(object_bytes)"
	rd "$MNT/cached/twin/1/id=b" | cmp - <(yes twin | head -c 100000)
	mem pin twin id=c >/dev/null
	mem gc --max-size 0 >/dev/null
	same "one pinned" 100000 "$(object_bytes)"
	same "none collected" "id=b id=c " "$(cached_names twin)"
	mem unpin twin id=c >/dev/null
	same "both at once" 2 "$(mem gc --max-size 0 --json | collected | wc -l)"
	same gone 0 "$(object_bytes)"
}

# ---- what stays -------------------------------------------------------------------------------------

@test "a pinned result stays, over restarts, forced executions and the loss of the manifest; unpin lets it go" {
	afresh
	rd "$MNT/tasks/bulk/1/id=pinned" >/dev/null
	same pin "/tasks/bulk/1/id=pinned pinned" "$(mem pin bulk id=pinned)"
	mem pin "$MNT/tasks/bulk/1/id=pinned" >/dev/null
	has "$(mem explain bulk id=pinned)" "pinned, never collected"
	mem gc --max-size 0 | tail -n 1 | grep -q "1 pinned"
	mem run --force bulk id=pinned >/dev/null
	mem gc --max-size 0 >/dev/null
	mount_down
	rm -rf "$STORE/db"
	mount_up
	mem gc --max-size 0 >/dev/null
	rd "$MNT/cached/bulk/1/id=pinned" | cmp - <(bulk pinned)
	same executions 2 "$(executions bulk-pinned)"
	same unpin "/tasks/bulk/1/id=pinned unpinned" "$(mem unpin bulk id=pinned)"
	mem gc --max-size 0 >/dev/null
	same objects 0 "$(object_bytes)"
}

@test "forgetting ends a pin; pinning what has no result is refused" {
	afresh
	run ! mem pin bulk id=never
	same status 3 "$status"
	rd "$MNT/tasks/bulk/1/id=pinned" >/dev/null
	mem pin bulk id=pinned >/dev/null
	mem forget bulk id=pinned >/dev/null
	rd "$MNT/tasks/bulk/1/id=pinned" >/dev/null
	mem gc --max-size 0 >/dev/null
	same objects 0 "$(object_bytes)"
}

@test "a result that is open is not collected, a directory neither; it goes when it is closed" {
	afresh
	task folder2 <<-JSON
	{ "memofs": 1, "name": "folder2", "version": "1", "output": { "type": "Directory", "path": "out" }, "command": ["sh", "-c", "mkdir out; echo a >out/a"] }
	JSON
	exec 7<"$MNT/tasks/bulk/1/id=open"
	dd bs=10 count=1 <&7 >/dev/null 2>&1
	cat "$MNT/tasks/folder2/1/@default/a"
	python3 /dev/stdin "$MNT/tasks/folder2/1/@default" "$D/go" "$D/opened" 3>&- 4>&- 7>&- <<-'PY' &
	import os, sys, time
	fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
	open(sys.argv[3], "w").close()
	while not os.path.exists(sys.argv[2]):
	    time.sleep(0.02)
	os.close(fd)
	PY
	wait_until 10 test -e "$D/opened"
	mem gc --max-size 0 | tail -n 1 | grep -q "2 in use"
	[ -e "$MNT/cached/bulk/1/id=open" ]
	[ -e "$MNT/cached/folder2/1/@default" ]
	cmp <(cat <&7) <(bulk open | tail -c +11)
	exec 7<&-
	touch "$D/go"
	wait $!
	gone_all() { mem gc --max-size 0 >/dev/null && [ "$(object_bytes)" = 0 ]; }
	wait_until 10 gone_all
	same executions 1 "$(executions bulk-open)"
}

@test "an open file keeps reading a forgotten result to its end, and a mapping too; its bytes go afterwards" {
	afresh
	rd "$MNT/tasks/bulk/1/bytes=9000000,id=kept" >/dev/null
	python3 - "$MNT/tasks/bulk/1/bytes=9000000,id=kept" "$MEMOFS" "$STORE" <<-'PY'
	import mmap, os, subprocess, sys
	want = (b"kept\n" * 1800001)[:9000000]
	f = open(sys.argv[1], "rb", buffering=0)
	m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
	got = f.read(1000)
	subprocess.run([sys.argv[2], "--store", sys.argv[3], "forget", "bulk", "id=kept", "bytes=9000000"], check=True, stdout=subprocess.DEVNULL)
	subprocess.run([sys.argv[2], "--store", sys.argv[3], "gc", "--max-size", "0"], check=True, stdout=subprocess.DEVNULL)
	while part := f.read(1 << 16):
	    got += part
	assert got == want and m[:] == want
	PY
	gone_all() { mem gc >/dev/null && [ "$(object_bytes)" = 0 ]; }
	wait_until 10 gone_all
}

@test "what a waiting or running task reads is not collected" {
	afresh
	task gate2 <<-JSON
	{ "memofs": 1, "name": "gate2", "version": "1", "needs": { "b": { "task": "bulk", "inputs": { "id": "input" } } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/gate2\"; while [ ! -e \"\$COUNT/open-gate2\" ]; do sleep 0.02; done; cat \"\$NEED_B\""] }
	JSON
	cat "$MNT/tasks/gate2/1/@default" >"$D/gate2.out" 3>&- 4>&- &
	wait_until 20 test -e "$COUNT/gate2"
	mem gc --max-size 0 >/dev/null
	[ -e "$MNT/cached/bulk/1/id=input" ]
	mem forget bulk id=input >/dev/null
	mem gc --max-size 0 >/dev/null
	gate_open gate2
	wait $!
	cmp "$D/gate2.out" <(bulk input)
	same executions "1 1" "$(executions bulk-input) $(executions gate2)"
}

@test "the code of tasks is no garbage: scripts run after gc, and why shows what changed" {
	afresh
	mkdir -p "$TASKS/coded"
	printf '#!/bin/sh\necho one\n' >"$TASKS/coded/run.sh"
	task_file coded <<-'JSON'
	{ "memofs": 1, "name": "coded", "script": "run.sh" }
	JSON
	mem add "$TASKS/coded" >/dev/null
	same one one "$(mem get coded)"
	printf '#!/bin/sh\necho two\n' >"$TASKS/coded/run.sh"
	mem add "$TASKS/coded" >/dev/null
	mem gc --max-size 0 >/dev/null
	has "$(mem why coded)" "echo one"
	same two two "$(mem get coded)"
	mem gc --max-size 0 >/dev/null
	object_bytes >"$D/code.bytes.new" && mv "$D/code.bytes.new" "$D/code.bytes"
	same two two "$(mem get coded)"
}

# ---- gc ------------------------------------------------------------------------------------------------

@test "a dry run lists what would go, with bytes, seconds, uses and last use, and changes nothing" {
	afresh
	rd "$MNT/tasks/bulk/1/id=dry,nap=0.1" >/dev/null
	rd "$MNT/tasks/bulk/1/id=dry2" >/dev/null
	mem forget bulk id=dry2 >/dev/null
	out=$(mem gc --max-size 0 --dry-run)
	has "$out" "/tasks/bulk/1/id=dry,nap=0.1"
	has "$out" "garbage              object"
	[[ "$out" =~ "would free 195.3 KiB: 1 results, "[0-9.]+" s of work; 1 pieces of garbage, 97.7 KiB" ]]
	mem gc --max-size 0 --dry-run --json | python3 -c '
import json, sys
rows = [json.loads(l) for l in sys.stdin]
r = [r for r in rows if r["kind"] == "result"]
assert len(r) == 1 and r[0]["bytes"] == 100000 and r[0]["seconds"] >= 0.1 and r[0]["uses"] >= 1 and r[0]["last_use"].startswith("20"), r
assert [g["bytes"] for g in rows if g["kind"] == "object"] == [100000], rows
s = rows[-1]
assert s["kind"] == "summary" and s["dry"] and s["bytes"] == 100000 and s["after"] == 0 and s["limit"] == 0, s'
	same objects 200000 "$(object_bytes)"
	[ -e "$MNT/cached/bulk/1/id=dry,nap=0.1" ]
	same executions 1 "$(executions bulk-dry)"
}

@test "garbage goes without a limit: objects, receipts and logs of what was forgotten; results stay" {
	afresh
	task noisy <<-'JSON'
	{ "memofs": 1, "name": "noisy", "version": "1", "inputs": { "id": { "type": "string" } }, "command": ["sh", "-c", "echo said >&2; yes \"$INPUT_ID\" | head -c 5000"] }
	JSON
	rd "$MNT/tasks/noisy/1/id=a" "$MNT/tasks/noisy/1/id=b" >/dev/null
	mem forget noisy id=a >/dev/null
	same "left behind" 10000 "$(object_bytes)"
	has "$(mem gc)" "garbage              log"
	same objects 5000 "$(object_bytes)"
	same logs 1 "$(find "$STORE/logs" -type f -size -2 -newer "$TASKS/noisy/task.json" | wc -l)"
	rd "$MNT/cached/noisy/1/id=b" | cmp - <(yes b | head -c 5000)
	same "nothing more" "freed 0 B: 0 results, 0.0 s of work; 0 pieces of garbage, 0 B" "$(mem gc | head -n 1)"
}

@test "gc without a daemon does the same" {
	afresh
	rd "$MNT/tasks/bulk/1/id=alone" >/dev/null
	mount_down
	has "$(mem gc --max-size 0)" "freed 97.7 KiB: 1 results"
	same objects 0 "$(object_bytes)"
	mem get bulk id=alone | cmp - <(bulk alone)
	mount_up
}

@test "a wrong size is refused, and who is not the owner may not forget, pin, unpin or collect" {
	afresh
	for size in 10X -1 ten '' 99999999999999999999; do
		run ! mem gc --max-size "$size"
		same "status of '$size'" 2 "$status"
	done
	for size in 10G 500M 1000 '2 GiB' 3TB 1K; do mem gc --dry-run --max-size "$size" >/dev/null; done
	[ "$(id -u)" -eq 0 ] || skip "root alone can become somebody else"
	rd "$MNT/tasks/bulk/1/id=mine" >/dev/null
	cp "$MEMOFS" "$D/memofs" && chmod 755 "$D/memofs"
	for what in "forget bulk id=mine" "pin bulk id=mine" "unpin bulk id=mine" "gc --max-size 0" "gc --dry-run"; do
		run ! setpriv --reuid 65534 --regid 65534 --clear-groups env MEMOFS_WORKER="$BUILD/src/worker/memofs-worker" "$D/memofs" --store "$STORE" $what
		same "status of $what" 4 "$status"
		has "$output" "only"
	done
	rd "$MNT/cached/bulk/1/id=mine" | cmp - <(bulk mine)
}

# ---- max_size ------------------------------------------------------------------------------------------

@test "max_size: what is too much goes by itself, down to 95 % of it; what is read stays exact" {
	afresh
	mem config max_size 1000000 >/dev/null
	for i in $(seq 1 25); do rd "$MNT/tasks/bulk/1/id=auto$i" | cmp - <(bulk "auto$i"); done
	fits() { [ "$(object_bytes)" -le 950000 ]; }
	wait_until 10 fits
	[ "$(object_bytes)" -ge 500000 ]
	has "$(mem stats)" "max_size 976.6 KiB, kept"
	has "$(mem stats)" "collected"
	has "$(mem status)" "max_size"
	for i in 1 12 25; do rd "$MNT/tasks/bulk/1/id=auto$i" | cmp - <(bulk "auto$i"); done
	mem config max_size 300000 >/dev/null
	less() { [ "$(object_bytes)" -le 300000 ]; }
	wait_until 10 less
	mount_down
	mem config max_size 200000 >/dev/null
	[ "$(object_bytes)" -le 200000 ]
	mount_up
	mem config max_size 0 >/dev/null
}

@test "gc during a hundred demands: every byte is right, and what is open is not executed again" {
	afresh
	(for _ in $(seq 1 200); do [ ! -e "$D/enough" ] || break; mem gc --max-size 200000 >/dev/null || echo failed >>"$D/gc.failed"; done) >/dev/null 2>&1 3>&- 4>&- &
	collector=$!
	pids=
	for i in $(seq 1 100); do
		(rd "$MNT/tasks/top/1/id=m$((i % 10))" | cmp - <(top "m$((i % 10))") || echo "top $i" >>"$D/wrong"
		rd "$MNT/tasks/bulk/1/id=m$((i % 10))" | cmp - <(bulk "m$((i % 10))") || echo "bulk $i" >>"$D/wrong"
		mem get bulk "id=m$((i % 7))" 2>>"$D/get.err" | cmp - <(bulk "m$((i % 7))") || echo "get $i" >>"$D/wrong") 3>&- 4>&- &
		pids="$pids $!"
	done
	for pid in $pids; do wait "$pid"; done
	touch "$D/enough"
	wait "$collector"
	[ ! -e "$D/wrong" ] || { cat "$D/wrong" && false; }
	[ ! -e "$D/gc.failed" ]
}
