# Runs: what the two reference systems' users have, a test for each row of the list, and what memofs adds to it: sheets,
# going on after a failure, detaching, interrupting, outliving the daemon.

load helpers

setup_file() {
	place_open
	mount_up
	task_gated
	task_pipe 1 echo
}
teardown_file() {
	place_close
}
setup() {
	need_fuse
	cd "$D"
	rm -f "$COUNT"/*
	mem config cpus 4 >"$D/cpus" # tasks that wait behind a gate must not keep others from running
}

# A task in two steps. down fails when its mark exists; its body says which edition it is.
task_pipe() { # EDITION COMMAND-OF-up
	task up <<-JSON
	{ "memofs": 1, "name": "up", "version": "1", "inputs": { "id": { "type": "string" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/up\"; $2 up \$INPUT_ID"] }
	JSON
	task down <<-JSON
	{ "memofs": 1, "name": "down", "inputs": { "id": { "type": "string" } }, "env": { "COUNT": "$COUNT" },
	  "needs": { "u": { "task": "up", "inputs": { "id": "{inputs.id}" } } },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/down\"; if [ -e \"\$COUNT/bad-\$INPUT_ID\" ]; then echo the reason >&2; exit 3; fi; echo edition $1; cat \"\$1\"", "sh", "{needs.u}"] }
	JSON
}

# A task whose results are invalid as soon as $COUNT/reject exists; its execution takes that away.
task_checked() {
	task checked <<-JSON
	{ "memofs": 1, "name": "checked", "version": "1", "inputs": { "id": { "type": "string", "default": "c" } }, "env": { "COUNT": "$COUNT" },
	  "verify": ["sh", "-c", "[ ! -e \"\$COUNT/reject\" ]"],
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/checked\"; rm -f \"\$COUNT/reject\"; echo checked"] }
	JSON
}

# The id that a run printed first.
id_in() { sed -n '1s/^run \([0-9][0-9]*-[0-9][0-9]*-[a-z0-9][a-z0-9]*\)$/\1/p' "$1"; }
id_of() { printf '%s\n' "$1" | sed -n '1s/^run //p'; }
# field RUN KEY: from the first line of status --json; KEY may be counts.x
field() { mem status "$1" --json | head -n 1 | python3 -c 'import json,sys
v = json.loads(sys.stdin.readline())
for k in sys.argv[1].split("."): v = v[k]
print(v)' "$2"; }
run_state_is() { [ "$(field "$1" state)" = "$2" ]; }
# counts RUN OUTCOME=N...
counts() {
	local run=$1 pair
	shift
	for pair in "$@"; do
		same "$run ${pair%=*}" "${pair#*=}" "$(field "$run" "counts.${pair%=*}")"
	done
}

# ---- Latch ---------------------------------------------------------------------------------------

@test "latch: opt-in or opt-out of caching per task" {
	for cache in true false; do
		task "opt-$cache" <<-JSON
		{ "memofs": 1, "name": "opt-$cache", "version": "1", "cache": $cache, "env": { "COUNT": "$COUNT" },
		  "command": ["sh", "-c", "echo x >>\"\$COUNT/opt-$cache\"; echo opt"] }
		JSON
		task "uses-$cache" <<-JSON
		{ "memofs": 1, "name": "uses-$cache", "version": "1", "inputs": { "n": { "type": "int" } }, "env": { "COUNT": "$COUNT" },
		  "needs": { "o": { "task": "opt-$cache" } },
		  "command": ["sh", "-c", "[ ! -e \"\$COUNT/bad-\$INPUT_N\" ] || exit 3; cat \"\$1\"", "sh", "{needs.o}"] }
		JSON
	done
	run -0 mem run opt-true
	run -0 mem run opt-true
	same "cached: once" 1 "$(executions opt-true)"
	run -0 mem run opt-false
	run -0 mem run opt-false
	same "not cached: once a run" 2 "$(executions opt-false)"
	rm "$COUNT/opt-false"
	printf 'n\n1\n2\n3\n' >"$D/opt.csv"
	touch "$COUNT/bad-3"
	run -1 --separate-stderr mem run uses-false --sheet "$D/opt.csv" --keep-going
	id=$(id_of "$output")
	same "reused inside its run" 1 "$(executions opt-false)"
	rm "$COUNT/bad-3"
	run -0 mem retry "$id"
	same "and by its retries" 1 "$(executions opt-false)"
	counts "$id" failed=0
}

@test "latch: cache version overrides the code hash" {
	body() { # VERSION WORD
		task versioned <<-JSON
		{ "memofs": 1, "name": "versioned", "version": "$1", "env": { "COUNT": "$COUNT" },
		  "command": ["sh", "-c", "echo x >>\"\$COUNT/versioned\"; echo $2"] }
		JSON
	}
	body 1 first
	run -0 mem run versioned
	body 1 second
	run -0 mem run versioned
	same "another body, the same version" 1 "$(executions versioned)"
	same "the old result" first "$(mem get versioned)"
	body 2 second
	run -0 mem run versioned
	same "a bump drops it" 2 "$(executions versioned)"
	body 3 second
	run -0 mem run versioned
	same "though the code is the same" 3 "$(executions versioned)"
}

@test "latch: code change invalidates, comments don't" {
	mkdir -p "$TASKS/script"
	script() {
		printf '%s\n' '#!/bin/sh' "$@" >"$TASKS/script/run.sh"
		chmod +x "$TASKS/script/run.sh"
		mem add "$TASKS/script"
	}
	task_file script <<-JSON
	{ "memofs": 1, "name": "script", "script": "run.sh", "env": { "COUNT": "$COUNT" } }
	JSON
	script 'echo x >>"$COUNT/script"' 'echo one'
	run -0 mem run script
	script 'echo x >>"$COUNT/script"' 'echo two'
	run -0 --separate-stderr mem run script
	same "changed code" 2 "$(executions script)"
	same result two "$(mem get script)"
	script '# what it does' 'echo x >>"$COUNT/script"' '' 'echo two # the number'
	run -0 mem run script
	same "comments and blank lines" 2 "$(executions script)"
}

@test "latch: name and parameter types invalidate" {
	typed() { # NAME TYPE
		task "$1" <<-JSON
		{ "memofs": 1, "name": "$1", "version": "1", "inputs": { "x": { "type": "$2" } }, "env": { "COUNT": "$COUNT" },
		  "command": ["sh", "-c", "echo x >>\"\$COUNT/typed\"; echo \$INPUT_X"] }
		JSON
	}
	typed typed string
	run -0 mem run typed x=1
	run -0 mem run typed x=1
	same same 1 "$(executions typed)"
	typed typed int
	run -0 mem run typed x=1
	same "another type" 2 "$(executions typed)"
	typed typed-too int
	run -0 mem run typed-too x=1
	same "another name" 3 "$(executions typed)"
	has "$(cat "$MNT/info/typed/1/x=1/key.json")" '"interface"'
}

@test "latch: caches outlive workflows and re-registration, shared by workflows" {
	for w in first second; do
		task "$w" <<-JSON
		{ "memofs": 1, "name": "$w", "version": "1", "needs": { "u": { "task": "up", "inputs": { "id": "shared" } } }, "command": ["cat", "{needs.u}"] }
		JSON
	done
	run -0 mem run first
	run -0 --separate-stderr mem run second
	same "shared by two" 1 "$(executions up)"
	counts "$(id_of "$output")" executed=1 reused=1
	mem remove up
	mem remove first
	mem add "$TASKS/up" "$TASKS/first"
	run -0 --separate-stderr mem run first
	same "registered again" 1 "$(executions up)"
	mount_down
	mount_up
	run -0 --separate-stderr mem run first
	same "another daemon" 1 "$(executions up)"
	counts "$(id_of "$output")" executed=0
}

@test "latch: retry from failed task" {
	touch "$COUNT/bad-r"
	run -1 --separate-stderr mem run down id=r
	id=$(id_of "$output")
	has "$output" "failed: /tasks/down/"
	has "$output" "the reason"
	has "$output" "memofs log /tasks/down/"
	run_state_is "$id" FAILED
	counts "$id" executed=1 failed=1
	# the bug is mended in the code, not in the world
	sed -i 's/exit 3/true/' "$TASKS/down/task.json"
	mem add "$TASKS/down"
	run -0 --separate-stderr mem retry "$id"
	same "the same run" "$id" "$(id_of "$output")"
	same "upstream is reused" 1 "$(executions up)"
	same "what failed is executed" 2 "$(executions down)"
	same state SUCCESS "$(field "$id" state)"
	counts "$id" failed=0
	run -0 mem retry "$id"
	has "$output" "nothing to retry"
	same "nothing is executed" 2 "$(executions down)"
	task_pipe 1 echo
}

# ---- Reflow --------------------------------------------------------------------------------------

@test "reflow: identity over name, version, inputs, upstream output hashes" {
	run -0 mem run down id=key
	key=$(cat "$(echo "$MNT"/info/down/auto-*/id=key/key.json | cut -d' ' -f1)")
	for part in '"task":"down"' '"inputs"' '"id":"key"' '"upstream"' '"u":' '"code"'; do
		has "$(printf %s "$key" | tr -d ' \n')" "$part"
	done
	hash=$(printf 'up key\n' | sha256sum | cut -d' ' -f1)
	run -0 mem why down id=key
	has "$output" hit
	run -0 mem why down id=other-key
	has "$output" miss
	has "$output" '"key" -> "other-key"'
	# upstream executed anew with the same bytes: early cutoff
	before=$(executions down)
	run -0 --separate-stderr mem run down id=key --force-task up
	same "executed up" 2 "$(executions up)"
	same "down is a hit" "$before" "$(executions down)"
}

@test "reflow: manifest: payload, identity, output value, output hash, transitions" {
	run -0 --separate-stderr mem run up id=manifest
	id=$(id_of "$output")
	info=$MNT/info/up/1/id=manifest
	has "$(cat "$info/inputs.json")" manifest
	same hash "$(printf 'up manifest\n' | sha256sum | cut -d' ' -f1)" "$(tr -d '\n' <"$info/output_hash")"
	[ "$(tr -d '\n' <"$info/identity" | wc -c)" = 64 ]
	has "$(cat "$info/history.jsonl")" RUNNING
	has "$(cat "$info/history.jsonl")" SUCCESS
	has "$(cat "$info/history.jsonl")" "$id"
	has "$(cat "$info/origin.json")" "$id"
	mem status "$id" --json >"$D/status.json"
	has "$(sed -n 2p "$D/status.json")" "$(tr -d '\n' <"$info/identity")"
	has "$(sed -n 2p "$D/status.json")" '"outcome":"executed"'
	run -0 mem show up --json
	has "$output" '"fingerprint"'
}

@test "reflow: force, force_tasks anywhere in the graph" {
	run -0 mem run down id=f
	same up 1 "$(executions up)"
	same down 1 "$(executions down)"
	run -0 --separate-stderr mem run down id=f --force
	same "force: up" 2 "$(executions up)"
	same "force: down" 2 "$(executions down)"
	counts "$(id_of "$output")" executed=2 reused=0
	run -0 mem run down id=f --force-task up
	same "upstream only: up" 3 "$(executions up)"
	same "upstream only: down" 2 "$(executions down)"
	run -0 mem run down id=f --force-task down
	same "downstream only: up" 3 "$(executions up)"
	same "downstream only: down" 3 "$(executions down)"
	run -0 mem run down id=f --force-task up --force-task=down
	same "both: up" 4 "$(executions up)"
	same "both: down" 4 "$(executions down)"
	run -3 mem run down id=f --force-task nosuch
	has "$output" nosuch
}

@test "reflow: trust by default; verify with existence or custom callable" {
	task_checked
	task outside <<-JSON
	{ "memofs": 1, "name": "outside", "version": "1", "output": { "type": "External" }, "env": { "COUNT": "$COUNT", "OUT": "$D/outside" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/outside\"; mkdir -p \"\$OUT\"; echo data >\"\$OUT/data\"; echo \"\$OUT\""] }
	JSON
	run -0 mem run checked
	run -0 mem run outside
	touch "$COUNT/reject"
	run -0 mem run checked
	same "trusted" 1 "$(executions checked)"
	run -0 --separate-stderr mem run checked --verify
	same "rejected by its command" 2 "$(executions checked)"
	run -0 mem run checked --verify
	same "accepted by its command" 2 "$(executions checked)"
	run -0 mem run outside --verify
	same "exists" 1 "$(executions outside)"
	rm -r "$D/outside"
	run -0 mem run outside --verify
	same "does not exist" 2 "$(executions outside)"
	run -0 mem run up id=bytes
	file=$(find "$STORE/objects" -name "$(printf 'up bytes\n' | sha256sum | cut -d' ' -f1)")
	mount_down
	chmod u+w "$file"
	printf 'up bYtes\n' >"$file"
	mount_up
	run -0 mem run up id=bytes --verify
	same "damaged" 2 "$(executions up)"
}

@test "reflow: the command verify names what is invalid, which is then not served" {
	task_checked
	run -0 mem run checked id=v
	run -0 mem verify checked id=v
	has "$output" "/tasks/checked/1/id=v valid"
	touch "$COUNT/reject"
	run -1 mem verify "$MNT/tasks/checked/1/id=v"
	has "$output" "/tasks/checked/1/id=v invalid"
	same "not served" ENOENT "$(errno_of stat "$MNT/cached/checked/1/id=v")"
	run -3 mem verify checked id=v
	has "$output" "has no result"
	run -3 mem verify checked id=never-made
	rm "$COUNT/reject"
	run -0 mem run checked id=v
	run -0 mem run up id=all
	touch "$COUNT/reject"
	run -1 mem verify --all
	has "$output" "/tasks/checked/1/id=v invalid"
	has "$output" "/tasks/up/1/id=all valid"
	rm -f "$COUNT/reject"
	run -0 mem verify --all --json
	has "$output" '"valid":true'
	has_not "$output" '"valid":false'
	run -2 mem verify
}

@test "reflow: retry all failed or cancelled, or one task; verify on by default" {
	task_checked
	task two <<-JSON
	{ "memofs": 1, "name": "two", "version": "1", "inputs": { "id": { "type": "string" } },
	  "needs": { "a": { "task": "down", "inputs": { "id": "{inputs.id}" } }, "b": { "task": "checked", "inputs": { "id": "{inputs.id}" } } },
	  "env": { "COUNT": "$COUNT" }, "command": ["sh", "-c", "echo x >>\"\$COUNT/two\"; echo two"] }
	JSON
	mem config failure_backoff 60
	touch "$COUNT/bad-t"
	run -1 --separate-stderr mem run two id=t --keep-going
	id=$(id_of "$output")
	counts "$id" failed=1 never=1
	same two 0 "$(executions two)"
	# verified by default: what was rejected is executed again; its back-off does not hold it up
	rm "$COUNT/bad-t"
	touch "$COUNT/reject"
	run -0 mem retry "$id"
	same "verified" 2 "$(executions checked)"
	same "two" 1 "$(executions two)"
	counts "$id" failed=0 never=0
	# without
	touch "$COUNT/bad-u"
	run -1 --separate-stderr mem run two id=u --keep-going
	id=$(id_of "$output")
	rm "$COUNT/bad-u"
	touch "$COUNT/reject"
	run -0 mem retry "$id" --no-verify
	[ -e "$COUNT/reject" ]
	rm "$COUNT/reject"
	# one task of two that failed
	touch "$COUNT/bad-1"
	printf 'id\n1\n' >"$D/one.csv"
	run -1 --separate-stderr mem run down --sheet "$D/one.csv"
	id=$(id_of "$output")
	before=$(executions down)
	run -0 mem retry "$id" --task up
	has "$output" "nothing to retry"
	same "not up" "$before" "$(executions down)"
	rm "$COUNT/bad-1"
	run -0 mem retry "$id" --task down
	same "only down" $((before + 1)) "$(executions down)"
	mem config failure_backoff 1
	# cancelled
	mem run --detach gated id=rc gate=rc >"$D/rc"
	id=$(id_in "$D/rc")
	wait_until 10 state_is gated/1/gate=rc,id=rc RUNNING
	run -0 mem cancel "$id"
	same state CANCELLED "$(field "$id" state)"
	gate_open rc
	run -0 mem retry "$id"
	same "cancelled, then executed" 2 "$(executions gated-rc)"
	same state SUCCESS "$(field "$id" state)"
}

@test "reflow: run directory, status, cancel, DAG" {
	mem run --detach gated id=dir gate=dir >"$D/dir"
	id=$(id_in "$D/dir")
	wait_until 10 state_is gated/1/gate=dir,id=dir RUNNING
	run -0 mem runs
	has "$output" "$id"
	has "$output" RUNNING
	mem runs --json | python3 -c 'import json,sys
rows = [json.loads(l) for l in sys.stdin]
assert any(r["run"] == sys.argv[1] and r["state"] == "RUNNING" for r in rows), rows' "$id"
	run -0 mem status "$id"
	has "$output" "running /tasks/gated/1/gate=dir,id=dir"
	[ -d "$MNT/runs/$id" ]
	has "$(cat "$MNT/runs/$id/status.json")" RUNNING
	run -0 mem cancel "$id"
	has "$output" "run $id cancelled"
	run -0 mem status "$id"
	has "$output" cancelled
	[ -L "$(echo "$MNT/runs/$id/cancelled/"*)" ]
	run -3 mem cancel "$id"
	run -3 mem status 20200101-000000-none
	run -3 mem graph 20200101-000000-none
	run -0 --separate-stderr mem run down id=dag
	id=$(id_of "$output")
	run -0 mem graph "$id"
	[[ "$output" == "digraph "* ]]
	has "$output" "->"
	has "$output" "/tasks/up/1/id=dag"
	has "$output" executed
	first=$output
	run -0 --separate-stderr mem run down id=dag
	run -0 mem graph "$(id_of "$output")"
	has "$output" reused
	[ -z "$(command -v dot)" ] || printf '%s\n' "$first" | dot -Tsvg >"$D/dag.svg"
}

# ---- sheets --------------------------------------------------------------------------------------

task_sheet() {
	task sheet <<-JSON
	{ "memofs": 1, "name": "sheet", "version": "1", "env": { "COUNT": "$COUNT" },
	  "inputs": { "s": { "type": "string" }, "n": { "type": "int", "default": 7, "minimum": 0 }, "xs": { "type": "int[]", "default": [] },
	              "f": { "type": "File?" }, "o": { "type": "string?" }, "c": { "type": "string", "default": "none" } },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/sheet\"; printf '%s|%s|%s|%s|%s|' \"\$INPUT_S\" \"\$INPUT_N\" \"\$INPUT_XS\" \"\$INPUT_O\" \"\$INPUT_C\"; [ -z \"\$INPUT_F\" ] || cat \"\$INPUT_F\""] }
	JSON
	mkdir -p "$D/sheets/sub"
	echo content >"$D/sheets/sub/f.txt"
}

@test "sheets: CSV with quotes, line ends, a mark in front, arrays, files beside it" {
	task_sheet
	printf '\xef\xbb\xbfs,n,xs,xs,f,o\r\n"a ""quoted"", with\nnewline",1,4,2,sub/f.txt,o1\r\nplain,,,3,,' >"$D/sheets/s.csv"
	run -0 --separate-stderr mem run sheet --sheet "$D/sheets/s.csv" c=constant
	id=$(id_of "$output")
	counts "$id" executed=2
	same first "$(printf 'a "quoted", with\nnewline|1|[4,2]|o1|constant|content')" \
		"$(mem get sheet s="$(printf 'a "quoted", with\nnewline')" n=1 xs=4 xs=2 f="$D/sheets/sub/f.txt" o=o1 c=constant)"
	same "empty cells are left out" "plain|7|[3]||constant|" "$(mem get sheet s=plain xs=3 c=constant)"
	same executions 2 "$(executions sheet)"
}

@test "sheets: TSV and JSON Lines" {
	task_sheet
	printf 's\tn\ta\nx\t1\t2\n' >"$D/sheets/t.tsv"
	run -2 mem run sheet --sheet "$D/sheets/t.tsv"
	has "$output" "header"
	has "$output" "'a'"
	printf 's\tn\n"a"\t1\nb, c\t\n' >"$D/sheets/t.tsv"
	run -0 mem run sheet --sheet "$D/sheets/t.tsv"
	same tsv '"a"|1|[]||none|' "$(mem get sheet s='"a"' n=1)"
	printf '{"s":"j","n":3,"xs":[9,8],"f":"sub/f.txt"}\n\n{"s":"k"}\n' >"$D/sheets/j.jsonl"
	run -0 mem run sheet --sheet "$D/sheets/j.jsonl"
	same json "j|3|[9,8]||none|content" "$(mem get sheet s=j n=3 xs=9 xs=8 f="$D/sheets/sub/f.txt")"
	same executions 4 "$(executions sheet)"
	(cd "$D/sheets/sub" && run -0 mem run sheet --sheet ../j.jsonl)
	same "by another path" 4 "$(executions sheet)"
}

@test "sheets: a wrong row is named by its number and column, and nothing starts" {
	task_sheet
	before=$(mem runs --json | wc -l)
	refuses() { # NAME TEXT PART...
		local name=$1 part
		printf "$2" >"$D/sheets/$name"
		shift 2
		run -2 --separate-stderr mem run sheet --sheet "$D/sheets/$name" --keep-going
		same "nothing on stdout" "" "$output"
		[[ "$stderr" == "memofs: "* ]]
		for part in "$name" "$@"; do has "$stderr" "$part"; done
	}
	refuses type.csv 's,n\na,1\nb,many\nc,3\n' "row 2 (line 3)" "column 'n'" many
	refuses range.csv 's,n\n"a\nb",1\nb,-1\n' "row 2 (line 4)" "column 'n'" minimum
	refuses file.csv 's,f\na,sub/f.txt\nb,sub/missing\n' "row 2" "column 'f'" "missing"
	refuses cells.csv 's,n\na,1\nb\n' "row 2" "1 cell"
	refuses quote.csv 's,n\na,1\n"b,2\n' "row 2" "quote"
	refuses column.csv 's,m\na,1\n' "header" "'m'"
	refuses twice.csv 's,s\na,1\n' "header" "twice"
	refuses utf8.csv 's\n\xff\n' "row 1" "UTF-8"
	refuses type.jsonl '{"s":"a"}\n{"s":1}\n' "row 2" "column 's'"
	refuses name.jsonl '{"s":"a","nn":1}\n' "row 1" "'nn'"
	refuses text.jsonl '{"s":"a"}\n{"s":\n' "row 2"
	refuses needed.jsonl '{"n":1}\n' "row 1" "'s'"
	refuses empty.csv '' "empty"
	refuses none.csv 's,n\n' "no rows"
	refuses s.txt 's\na\n' ".csv"
	same "nothing ran" 0 "$(executions sheet)"
	same "no run is left" "$before" "$(mem runs --json | wc -l)"
	run -2 mem run sheet --sheet "$D/sheets/nosuch.csv"
	run -3 mem run nosuch --sheet "$D/sheets/type.csv"
	printf 's,n\na,1\n' >"$D/sheets/both.csv"
	run -2 mem run sheet --sheet "$D/sheets/both.csv" n=2
	has "$output" "'n'"
}

@test "sheets: a wrong row far behind keeps everything from starting" {
	task_sheet
	{ echo s,n; seq 1 4000 | sed 's/.*/r&,&/'; echo last,x; } >"$D/sheets/far.csv"
	run -2 mem run sheet --sheet "$D/sheets/far.csv"
	has "$output" "row 4001 (line 4002), column 'n'"
	same "nothing ran" 0 "$(executions sheet)"
}

@test "sheets: many rows" {
	task_sheet
	mem run sheet s=all >/dev/null
	{ echo s,o; seq 1 20000 | sed 's/.*/all,/'; } >"$D/sheets/many.csv"
	begin=$(milliseconds)
	run -0 --separate-stderr mem run sheet --sheet "$D/sheets/many.csv"
	echo "# 20,000 rows in $(($(milliseconds) - begin)) ms" >&3
	same "equal rows are one instance" 1 "$(field "$(id_of "$output")" total)"
	{ echo s; seq -f 'm%g' 1 300; } >"$D/sheets/more.csv"
	run -0 --separate-stderr mem run sheet --sheet "$D/sheets/more.csv"
	counts "$(id_of "$output")" executed=300
	run -0 --separate-stderr mem run sheet --sheet "$D/sheets/more.csv"
	counts "$(id_of "$output")" reused=300 executed=0
	has "$output" "300 reused"
}

# ---- following -----------------------------------------------------------------------------------

@test "run prints its id first, then a line for each change, then a summary" {
	mem run down id=lines >"$D/out" 2>"$D/err"
	[ -n "$(id_in "$D/out")" ]
	has "$(cat "$D/err")" "executed /tasks/up/1/id=lines"
	has "$(cat "$D/err")" "executed /tasks/down/"
	has "$(tail -n 1 "$D/out")" "2 executed, 0 reused"
	has "$(tail -n 1 "$D/out")" "saved"
	has_not "$(cat "$D/out" "$D/err")" "$(printf '\033')"
	mem run down id=lines --json >"$D/json" 2>"$D/err"
	python3 - "$D/json" <<-'PY'
	import json, sys
	rows = [json.loads(l) for l in open(sys.argv[1])]
	assert "run" in rows[0] and rows[-1]["state"] == "SUCCESS" and rows[-1]["counts"]["reused"] == 2, rows
	assert all(r["run"] == rows[0]["run"] for r in rows)
	PY
}

@test "on a terminal there is one block, redrawn in place and cut to the width" {
	command -v script >/dev/null || skip "script is missing"
	live() { # COLUMNS NAME
		script -qec "stty cols $1 rows 24; TERM=xterm exec '$MEMOFS' --store '$STORE' run gated id=tty-$2 gate=tty-$2" "$D/tty-$2" >/dev/null 2>&1 </dev/null &
		local follower=$!
		wait_until 10 state_is "gated/1/gate=tty-$2,id=tty-$2" RUNNING
		sleep 1
		gate_open "tty-$2"
		wait "$follower"
	}
	live 100 wide
	python3 - "$D/tty-wide" 100 <<-'PY'
	import re, sys
	text = open(sys.argv[1], encoding="utf-8", newline="").read()
	assert len(re.findall(r"\x1b\[\d+A\r\x1b\[J", text)) >= 3, text
	assert "[####" in text or "[...." in text, text
	assert "\x1b[32m" in text, text
	assert "1 running" in text and "1 executed" in text, text
	PY
	NO_COLOR=1 live 34 narrow
	python3 - "$D/tty-narrow" 34 <<-'PY'
	import re, sys
	text = open(sys.argv[1], encoding="utf-8", newline="").read()
	assert not re.search(r"\x1b\[\d+m", text), text
	block = [l for l in re.sub(r"\x1b\[\d*[A-Za-z]", "", text).replace("\r", "\n").split("\n") if "%" in l or " s  /" in l]
	assert block and all(len(l) < 34 for l in block), block
	PY
}

@test "without --keep-going nothing new starts after a failure" {
	mem config cpus 1
	# rows are looked up side by side: the first is not surely the first that executes, but surely not the last of so many
	{ echo id,fail; echo a0,true; seq -f 'a%g,false' 1 30; } >"$D/stop.csv"
	run -1 --separate-stderr mem run gated --sheet "$D/stop.csv"
	id=$(id_of "$output")
	[ "$(field "$id" counts.never)" -ge 1 ]
	has "$output" "never started"
	run -1 --separate-stderr mem run gated --sheet "$D/stop.csv" --keep-going
	id=$(id_of "$output")
	same never 0 "$(field "$id" counts.never)"
	same failed 1 "$(field "$id" counts.failed)"
	same rest 30 $(($(field "$id" counts.executed) + $(field "$id" counts.reused)))
}

@test "detach returns at once; status and wait follow it" {
	begin=$(milliseconds)
	mem run --detach gated id=det gate=det >"$D/det"
	[ $(($(milliseconds) - begin)) -lt $((5000 * SLOW)) ]
	id=$(id_in "$D/det")
	run_state_is "$id" RUNNING
	mem wait "$id" >"$D/wait" 2>&1 3>&- &
	waiter=$!
	sleep 0.5
	kill -0 "$waiter"
	run -2 mem wait
	gate_open det
	wait "$waiter"
	has "$(cat "$D/wait")" "run $id succeeded"
	run -0 mem wait "$id"
	mem run --detach gated id=detf fail=true >"$D/det"
	run -1 mem wait "$(id_in "$D/det")"
	run -3 mem wait 20200101-000000-none
}

@test "detach without a daemon is refused with the remedy" {
	run -4 "$MEMOFS" --store "$D/alone" run --detach hello
	has "$output" "mount"
	rm -rf "$D/alone"
}

@test "without a daemon the command executes the run itself" {
	"$MEMOFS" --store "$D/alone" add "$TASKS/up" "$TASKS/down" 2>/dev/null
	run -0 --separate-stderr "$MEMOFS" --store "$D/alone" run down id=alone
	has "$output" "2 executed"
	id=$(id_of "$output")
	run -0 "$MEMOFS" --store "$D/alone" runs
	has "$output" "$id"
	run -0 "$MEMOFS" --store "$D/alone" status "$id"
	touch "$COUNT/bad-alone2"
	run -1 --separate-stderr "$MEMOFS" --store "$D/alone" run down id=alone2
	rm "$COUNT/bad-alone2"
	run -0 "$MEMOFS" --store "$D/alone" retry "$(id_of "$output")"
	rm -rf "$D/alone"
}

# A run of two: one runs behind its gate, one waits for the only cpu.
two_begin() { # NAME
	mem config cpus 1
	{ echo id,gate; printf '%s-1,%s\n%s-2,%s\n' "$1" "$1" "$1" "$1"; } >"$D/$1.csv"
	env --default-signal "$MEMOFS" --store "$STORE" run gated --sheet "$D/$1.csv" >"$D/$1.out" 2>"$D/$1.err" 3>&- 4>&- &
	runner=$!
	wait_until 20 sh -c "ls '$COUNT' | grep -q 'gated-$1-'"
	wait_until 20 test -s "$D/$1.out"
	id=$(id_in "$D/$1.out")
	sleep 0.3
}

@test "Ctrl-C once stops starting and waits for what runs" {
	two_begin once
	kill -INT "$runner"
	wait_until 10 grep -q "stopping; what runs is finished first" "$D/once.err"
	sleep 0.5
	kill -0 "$runner"
	gate_open once
	status=0
	wait "$runner" || status=$?
	same status 130 "$status"
	counts "$id" executed=1 never=1
	has "$(cat "$D/once.out")" "never started"
	same "the second never ran" 1 "$(ls "$COUNT" | grep -c '^gated-once-')"
	run -0 mem retry "$id"
	same state SUCCESS "$(field "$id" state)"
}

@test "Ctrl-C twice cancels" {
	two_begin twice
	kill -INT "$runner"
	wait_until 10 grep -q "stopping" "$D/twice.err"
	kill -INT "$runner"
	status=0
	wait "$runner" || status=$?
	same status 130 "$status"
	same state CANCELLED "$(field "$id" state)"
	counts "$id" executed=0 running=0
	same "it runs no more" CANCELLED "$(state "gated/1/gate=twice,id=$(ls "$COUNT" | sed -n 's/^gated-//p')")"
}

@test "Ctrl-C once and twice without a daemon" {
	"$MEMOFS" --store "$D/alone" add "$TASKS/gated" 2>/dev/null
	"$MEMOFS" --store "$D/alone" config writable "$COUNT" >/dev/null
	for times in 1 2; do
		env --default-signal "$MEMOFS" --store "$D/alone" run gated id=self$times gate=self$times >"$D/self.out" 2>"$D/self.err" 3>&- 4>&- &
		runner=$!
		wait_until 20 test -e "$COUNT/gated-self$times"
		wait_until 20 test -s "$D/self.out"
		kill -INT "$runner"
		wait_until 10 grep -q stopping "$D/self.err"
		[ "$times" = 1 ] && gate_open self1 || kill -INT "$runner"
		status=0
		wait "$runner" || status=$?
		# everything that was asked for was finished: that is success
		same "status $times" $((times == 1 ? 0 : 130)) "$status"
	done
	rm -rf "$D/alone"
}

@test "an interrupted wait leaves the run alone" {
	mem run --detach gated id=wi gate=wi >"$D/wi"
	id=$(id_in "$D/wi")
	env --default-signal "$MEMOFS" --store "$STORE" wait "$id" >"$D/wi.out" 2>"$D/wi.err" 3>&- 4>&- &
	waiter=$!
	sleep 0.5
	kill -INT "$waiter"
	status=0
	wait "$waiter" || status=$?
	same status 130 "$status"
	has "$(cat "$D/wi.err")" "goes on"
	run_state_is "$id" RUNNING
	gate_open wi
	run -0 mem wait "$id"
}

@test "a run survives kill -9 of the daemon, and whoever follows it goes on following" {
	printf 'id,gate\nk1,always\nk2,kill\nk3,kill\n' >"$D/kill.csv"
	env --default-signal "$MEMOFS" --store "$STORE" run gated --sheet "$D/kill.csv" >"$D/kill.out" 2>"$D/kill.err" 3>&- 4>&- &
	runner=$!
	wait_until 20 test -e "$COUNT/gated-k3"
	wait_until 20 state_is gated/1/id=k1 SUCCESS
	sleep 0.5
	id=$(id_in "$D/kill.out")
	pid=$(owner_pid)
	kill -9 "$pid"
	wait_until 10 gone "$pid"
	sleep 0.3
	kill -0 "$runner"
	mount_up
	same "goes on" RUNNING "$(field "$id" state)"
	gate_open kill
	status=0
	wait "$runner" || status=$?
	same status 0 "$status"
	has "$(cat "$D/kill.out")" "run $id succeeded"
	same "what was done was not done again" 1 "$(executions gated-k1)"
	same total 3 "$(field "$id" total)"
	counts "$id" failed=0 never=0 waiting=0
}

@test "a run survives an orderly restart of the daemon, detached" {
	mem run --detach gated id=restart gate=restart >"$D/restart"
	id=$(id_in "$D/restart")
	wait_until 10 state_is gated/1/gate=restart,id=restart RUNNING
	mount_down
	mount_up
	gate_open restart
	run -0 mem wait "$id"
	same state SUCCESS "$(field "$id" state)"
}

@test "only the store's owner and the run's may end it" {
	[ "$(id -u)" = 0 ] || skip "needs root to be somebody else"
	mem run --detach gated id=who gate=who >"$D/who"
	id=$(id_in "$D/who")
	chmod 755 "$D" "$STORE"
	cp "$MEMOFS" "$D/memofs" # wherever the build lies, somebody else may not get there
	other() { setpriv --reuid 65534 --regid 65534 --clear-groups "$D/memofs" --store "$STORE" "$@"; }
	run -0 other runs
	run -0 other status "$id"
	run -4 other cancel "$id"
	has "$output" "$id"
	run -4 other run up id=who --force
	gate_open who
	run -0 mem wait "$id"
}

@test "why and stats" {
	run -0 mem run up id=stats
	run -0 mem run up id=stats
	run -0 mem why up id=stats
	has "$output" hit
	run -0 mem why "$MNT/tasks/up/1/id=unheard-of" --json
	has "$output" '"why"'
	has "$output" miss
	same "it computes nothing" 1 "$(executions up)"
	run -0 mem stats
	has "$output" up
	has "$output" hits
	mem stats --json | python3 -c 'import json,sys
rows = [json.loads(l) for l in sys.stdin]
up = [r for r in rows if r["task"] == "up"][0]
assert up["hits"] >= 1 and up["executions"] >= 1, up
assert rows[-1]["task"] is None, rows[-1]'
	run -3 mem why nosuch
}
