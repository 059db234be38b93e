# /runs: a directory for each run, with a link into /info for each instance, in the folder of what became of it.

load helpers

setup_file() {
	place_open
	mount_up
	task_hello
	task_gated
	task picky <<-'JSON'
	{ "memofs": 1, "name": "picky", "version": "1.0", "inputs": { "n": { "type": "int", "default": 0 } },
	  "command": ["sh", "-c", "[ \"$INPUT_N\" != 3 ]"] }
	JSON
	task pair <<-'JSON'
	{ "memofs": 1, "name": "pair", "version": "1", "inputs": { "who": { "type": "string" } },
	  "needs": { "h": { "task": "hello", "inputs": { "who": "{inputs.who}" } } }, "command": ["cat", "{needs.h}"] }
	JSON
}
teardown_file() {
	place_close
}
setup() {
	need_fuse
	cd "$D"
}

id_in() { sed -n '1s/^run //p' "$1"; }
value() { python3 -c 'import json,sys
v = json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v = v[k]
print(v)' "$1" "$2"; }

@test "a run has its directory with status.json, instances.jsonl and four folders" {
	mem run pair who=Ann >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	same listing "cancelled failed instances.jsonl pending status.json success" "$(ls "$run" | tr '\n' ' ' | sed 's/ $//')"
	same state SUCCESS "$(value "$run/status.json" state)"
	same executed 2 "$(value "$run/status.json" counts.executed)"
	same rows 2 "$(wc -l <"$run/instances.jsonl")"
	same size "$(stat -c %s "$run/status.json")" "$(wc -c <"$run/status.json")"
	has "$(ls "$MNT/runs")" "${run##*/}"
	has "$(ls "$MNT")" runs
	has "$(cat "$MNT/README")" "runs/<run>/"
}

@test "each link leads to the instance's /info, by a relative path" {
	mem run pair who=Bob >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	same links "hello@1@who=Bob pair@1@who=Bob" "$(ls "$run/success" | tr '\n' ' ' | sed 's/ $//')"
	same target "../../../info/pair/1/who=Bob" "$(readlink "$run/success/pair@1@who=Bob")"
	same state SUCCESS "$(cat "$run/success/pair@1@who=Bob/state")"
	same inode "$(stat -c %i "$MNT/info/pair/1/who=Bob")" "$(stat -Lc %i "$run/success/pair@1@who=Bob")"
}

@test "what failed, and what was never started, has folders of its own" {
	printf 'n\n3\n' >"$D/sheet.csv"
	seq 10 60 >>"$D/sheet.csv"
	mem config cpus 1 >/dev/null
	run -1 mem run picky --sheet "$D/sheet.csv"
	run=$MNT/runs/$(printf '%s\n' "$output" | sed -n 's/^run \([^ ]*\)$/\1/p' | head -n 1)
	same failed "picky@1.0@n=3" "$(ls "$run/failed")"
	same "state of it" FAILED "$(cat "$run/failed/picky@1.0@n=3/state")"
	same "all of them" 52 "$(ls "$run/success" "$run/failed" "$run/cancelled" "$run/pending" | grep -c ^picky@)"
	same rows 52 "$(wc -l <"$run/instances.jsonl")"
	# in another folder it is not
	same "elsewhere" ENOENT "$(errno_of stat "$run/success/picky@1.0@n=3")"
}

@test "an instance moves from pending to success while the run goes on" {
	mem run gated id=move gate=move --detach >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	link="gated@1@gate=move,id=move"
	wait_until 10 test -L "$run/pending/$link"
	same state RUNNING "$(value "$run/status.json" state)"
	same "not yet" ENOENT "$(errno_of readlink "$run/success/$link")"
	gate_open move
	wait_until 20 test -L "$run/success/$link"
	same gone ENOENT "$(errno_of readlink "$run/pending/$link")"
	wait_until 10 sh -c "grep -q SUCCESS '$run/status.json'"
}

@test "a name that is too long is cut, stays unique, and still leads to its instance" {
	long=$(printf 'a%.0s' $(seq 1 246))
	printf 'who\n%sx\n%sy\n' "$long" "$long" >"$D/long.csv"
	mem run hello --sheet "$D/long.csv" >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	same links 2 "$(ls "$run/success" | wc -l)"
	for link in "$run/success"/*; do
		[ "$(printf %s "${link##*/}" | wc -c)" -le 255 ]
		same state SUCCESS "$(cat "$link/state")"
	done
	same targets 2 "$(for link in "$run/success"/*; do readlink "$link"; done | sort -u | wc -l)"
	same "another hash" ENOENT "$(errno_of stat "$run/success/$(ls "$run/success" | head -n 1 | sed 's/.$/z/')")"
}

@test "what does not exist is ENOENT, and looking starts nothing" {
	for p in 20200101-000000-aaaa .git x "$(printf 'r%.0s' $(seq 1 200))"; do
		same "$p" ENOENT "$(errno_of stat "$MNT/runs/$p")"
	done
	mem run hello who=look >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	before=$(executions hello)
	for p in nofolder success/x success/hello success/hello@1 success/@@ success/hello@1@ success/hello@1@who=other \
		"success/hello@1@who=../../look" failed/hello@1@who=look; do
		same "$p" ENOENT "$(errno_of readlink "$run/$p")"
	done
	find "$MNT/runs" >/dev/null
	run -1 grep -rq no-such-word-anywhere "$MNT/runs"
	same executions "$before" "$(executions hello)"
}

@test "runs are there after a restart" {
	mem run hello who=restart >"$D/out" 2>&1
	run=$MNT/runs/$(id_in "$D/out")
	before=$(cat "$run/instances.jsonl")
	mount_down
	mount_up
	same rows "$before" "$(cat "$run/instances.jsonl")"
	same state SUCCESS "$(cat "$run/success/hello@1@who=restart/state")"
}

@test "a directory of thousands of instances is listed whole, each once" {
	printf 'n\n3\n' >"$D/many.csv"
	seq 4000 9000 >>"$D/many.csv"
	run -1 mem run picky --sheet "$D/many.csv"
	run=$MNT/runs/$(printf '%s\n' "$output" | sed -n 's/^run \([^ ]*\)$/\1/p' | head -n 1)
	never=$(value "$run/status.json" counts.never)
	[ "$never" -gt 4000 ]
	same pending "$never" "$(ls -U "$run/pending" | sort -u | wc -l)"
	same rows 5002 "$(wc -l <"$run/instances.jsonl")"
	readlink "$run/pending/picky@1.0@n=9000" || readlink "$run/success/picky@1.0@n=9000"
}
