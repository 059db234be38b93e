# What an execution is: needs, reading the mount from a task, retries, limits, failures, outputs, environment.

load helpers

setup_file() {
	place_open
	mount_up
	mem config failure_backoff 1
}
teardown_file() {
	place_close
}

@test "a need is executed first, once, and its result is in the work directory" {
	task up <<-JSON
	{ "memofs": 1, "name": "up", "version": "1", "inputs": { "n": { "type": "int" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/up\"; echo up \$INPUT_N"] }
	JSON
	task down <<-JSON
	{ "memofs": 1, "name": "down", "version": "1", "inputs": { "n": { "type": "int" }, "m": { "type": "int", "default": 0 } },
	  "needs": { "u": { "task": "up", "inputs": { "n": "{inputs.n}" } } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/down\"; printf '%s|%s|' \"\$1\" \"\$NEED_U\"; cat \"\$1\"", "sh", "{needs.u}"] }
	JSON
	same first "needs/u|needs/u|up 4" "$(rd "$MNT/tasks/down/1/n=4")"
	same second "needs/u|needs/u|up 4" "$(rd "$MNT/tasks/down/1/m=9,n=4")"
	same "executions of up" 1 "$(executions up)"
	same "executions of down" 2 "$(executions down)"
	same "up is a result of its own" "up 4" "$(rd "$MNT/cached/up/1/n=4")"
	target=$(readlink "$MNT/info/down/1/n=4/upstream/"*)
	has "$target" "up/1/n=4"
}

@test "each: one instance for each element, in order, the list on the command line and in the variable" {
	task join <<-JSON
	{ "memofs": 1, "name": "join", "version": "1", "inputs": { "xs": { "type": "int[]", "default": [] } },
	  "needs": { "all": { "task": "up", "each": "xs", "inputs": { "n": "{inputs.xs}" } } },
	  "command": ["sh", "-c", "printf '%s %s ' \$# \"\$NEED_ALL\"; [ \$# -eq 0 ] || cat \"\$@\" | tr '\\\\n' ' '", "sh", "{needs.all}"] }
	JSON
	rm -f "$COUNT/up"
	out=$(rd "$MNT/tasks/join/1/xs=30,xs=10,xs=20")
	[[ "$out" =~ ^3\ \[(.*)\]\ up\ 30\ up\ 10\ up\ 20\ $ ]]
	same executions 3 "$(executions up)"
	same more "5" "$(rd "$MNT/tasks/join/1/xs=30,xs=10,xs=20,xs=40,xs=30" | cut -d' ' -f1)"
	same executions 4 "$(executions up)"
	same empty "0 [] " "$(rd "$MNT/tasks/join/1/@default")"
}

@test "fan-out over 60 elements" {
	args=$(seq -s, -f 'xs=%g' 101 130)
	same thirty 30 "$(rd "$MNT/tasks/join/1/$args" | cut -d' ' -f1)"
	p=$(mem path join $(seq -f 'xs=%g' 101 160))
	same sixty 60 "$(rd "$MNT$p" | cut -d' ' -f1)"
}

@test "a need may take the result of another need" {
	task wordcount <<-'JSON'
	{ "memofs": 1, "name": "wordcount", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["wc", "-w", "{inputs.f}"] }
	JSON
	task chained <<-'JSON'
	{ "memofs": 1, "name": "chained", "version": "1", "inputs": { "n": { "type": "int" } },
	  "needs": { "text": { "task": "up", "inputs": { "n": "{inputs.n}" } },
	             "words": { "task": "wordcount", "inputs": { "f": "{needs.text}" } } },
	  "command": ["cut", "-d ", "-f1", "{needs.words}"] }
	JSON
	same words 2 "$(rd "$MNT/tasks/chained/1/n=5")"
}

@test "a File input may be a path in the mount: an upstream instance" {
	rm -f "$COUNT/up"
	p=$(mem path wordcount f=/tasks/up/1/n=77)
	out=$(rd "$MNT$p")
	same words 2 "${out%% *}"
	same executions 1 "$(executions up)"
	same through "$p" "$(mem path wordcount "f=$MNT/tasks/up/1/n=77")"
}

@test "a chain deeper than the slots finishes" {
	task chain <<-'JSON'
	{ "memofs": 1, "name": "chain", "version": "1", "inputs": { "n": { "type": "int" } },
	  "command": ["sh", "-c", "if [ \"$INPUT_N\" -eq 0 ]; then echo 0; else x=$(cat \"$MEMOFS_MOUNT/tasks/chain/1/n=$((INPUT_N - 1))\") || exit 1; echo $((x + 1)); fi"] }
	JSON
	mem config cpus 1
	same depth 12 "$(rd "$MNT/tasks/chain/1/n=12")"
	mem config cpus ""
}

@test "a task that reads the mount records what it read, and executes again when that changes" {
	echo one >"$D/word"
	task source <<-JSON
	{ "memofs": 1, "name": "source", "version": "1", "inputs": { "f": { "type": "File", "default": "$D/word" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	task discovers <<-JSON
	{ "memofs": 1, "name": "discovers", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/discovers\"; sed 's/^/got /' \"\$MEMOFS_MOUNT/tasks/source/1/@default\""] }
	JSON
	same first "got one" "$(rd "$MNT/tasks/discovers/1/@default")"
	same again "got one" "$(rd "$MNT/tasks/discovers/1/@default")"
	same executions 1 "$(executions discovers)"
	has "$(cat "$MNT/info/discovers/1/@default/origin.json")" "/tasks/source/1/@default"
	sleep 0.1
	echo two >"$D/word"
	same changed "got two" "$(rd "$MNT/tasks/discovers/1/@default")"
	same executions 2 "$(executions discovers)"
	sleep 0.1
	echo one >"$D/word"
	same back "got one" "$(rd "$MNT/tasks/discovers/1/@default")"
}

@test "a task that reads itself gets EDEADLK, and so do two that read each other" {
	for pair in selfish:selfish ping:pong pong:ping; do
		task "${pair%:*}" <<-JSON
		{ "memofs": 1, "name": "${pair%:*}", "version": "1",
		  "command": ["sh", "-c", "cat \"\$MEMOFS_MOUNT/tasks/${pair#*:}/1/@default\""] }
		JSON
	done
	begin=$SECONDS
	same selfish EDEADLK "$(errno_of open "$MNT/tasks/selfish/1/@default")"
	has "$(mem log "$MNT/tasks/selfish/1/@default")" "deadlock"
	same ping EDEADLK "$(errno_of open "$MNT/tasks/ping/1/@default")"
	has "$(mem log "$MNT/tasks/pong/1/@default")" "deadlock"
	[ $((SECONDS - begin)) -lt $((20 * SLOW)) ]
}

@test "temporary failures are retried with back-off, others are not" {
	task flaky <<-JSON
	{ "memofs": 1, "name": "flaky", "version": "1", "inputs": { "id": { "type": "string" }, "code": { "type": "int" } },
	  "env": { "COUNT": "$COUNT" }, "max_retries": 2, "temporary_fail_codes": [75],
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/flaky-\$INPUT_ID\"; [ \$(wc -l <\"\$COUNT/flaky-\$INPUT_ID\") -ge 3 ] || exit \$INPUT_CODE; echo third time"] }
	JSON
	same temporary "third time" "$(rd "$MNT/tasks/flaky/1/code=75,id=t")"
	same executions 3 "$(executions flaky-t)"
	has "$(cat "$MNT/info/flaky/1/code=75,id=t/history.jsonl")" RETRYING
	same other EIO "$(errno_of open "$MNT/tasks/flaky/1/code=74,id=o")"
	same executions 1 "$(executions flaky-o)"
	task killed <<-JSON
	{ "memofs": 1, "name": "killed", "version": "1", "env": { "COUNT": "$COUNT" }, "max_retries": 1,
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/killed\"; [ \$(wc -l <\"\$COUNT/killed\") -ge 2 ] || kill -9 \$\$; echo lived"] }
	JSON
	same signal lived "$(rd "$MNT/tasks/killed/1/@default")"
	same executions 2 "$(executions killed)"
}

@test "a time limit ends the whole process tree" {
	task slow <<-JSON
	{ "memofs": 1, "name": "slow", "version": "1", "env": { "COUNT": "$COUNT" }, "requirements": { "time": "00:00:01" },
	  "command": ["sh", "-c", "(setsid sh -c 'echo \$\$ >\"\$COUNT/tree-a\"; sleep 300' &) ; sh -c 'echo \$\$ >\"\$COUNT/tree-b\"; trap \"\" TERM INT HUP; while :; do sleep 1; done' & sleep 300"] }
	JSON
	begin=$SECONDS
	same error EIO "$(errno_of open "$MNT/tasks/slow/1/@default")"
	[ $((SECONDS - begin)) -lt $((20 * SLOW)) ]
	[ -s "$COUNT/tree-a" ]
	[ -s "$COUNT/tree-b" ]
	run -0 mem status
	nothing_of_it() { ! pgrep -f "tree-[ab]" >/dev/null; }
	wait_until 10 nothing_of_it
	has "$(cat "$MNT/info/slow/1/@default/history.jsonl")" FAILED
}

@test "processes that a task leaves behind do not outlive it" {
	task leaves <<-JSON
	{ "memofs": 1, "name": "leaves", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "(setsid sh -c 'exec >/dev/null 2>&1; : leaves-mark; sleep 299.25' &); sleep 0.3; echo done"] }
	JSON
	same result done "$(rd "$MNT/tasks/leaves/1/@default")"
	none_left() { ! pgrep -f "sleep 299[.]25" >/dev/null; }
	wait_until 10 none_left
}

@test "a failure is EIO, with a back-off, and the next demand after it tries again" {
	mem config failure_backoff 3
	task fails <<-JSON
	{ "memofs": 1, "name": "fails", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/fails\"; echo the reason >&2; [ -e \"\$COUNT/mended\" ] || exit 3; echo mended"] }
	JSON
	f=$MNT/tasks/fails/1/@default
	same first EIO "$(errno_of open "$f")"
	same "in back-off" EIO "$(errno_of stat "$f")"
	same executions 1 "$(executions fails)"
	same state FAILED "$(state fails/1/@default)"
	has "$(cat "$MNT/info/fails/1/@default/stderr")" "the reason"
	same cached ENOENT "$(errno_of stat "$MNT/cached/fails/1/@default")"
	run -1 mem get "$f"
	has "$output" "memofs: "
	sleep 3.2
	touch "$COUNT/mended"
	same mended mended "$(rd "$f")"
	same executions 2 "$(executions fails)"
	mem config failure_backoff 1
}

@test "forget resets a failure's back-off" {
	mem config failure_backoff 60
	rm -f "$COUNT/mended" "$COUNT/fails"
	sed -i 's/"version": "1"/"version": "2"/' "$TASKS/fails/task.json"
	mem add "$TASKS/fails/task.json"
	f=$MNT/tasks/fails/2/@default
	same first EIO "$(errno_of open "$f")"
	same second EIO "$(errno_of open "$f")"
	same executions 1 "$(executions fails)"
	touch "$COUNT/mended"
	mem forget "$f"
	same mended mended "$(rd "$f")"
	same executions 2 "$(executions fails)"
	mem config failure_backoff 1
}

@test "a failed need fails what needs it, with its reason" {
	task broken <<-'JSON'
	{ "memofs": 1, "name": "broken", "version": "1", "command": ["sh", "-c", "echo deep reason >&2; exit 4"] }
	JSON
	task above <<-'JSON'
	{ "memofs": 1, "name": "above", "version": "1", "needs": { "b": { "task": "broken", "inputs": {} } }, "command": ["echo", "never"] }
	JSON
	same error EIO "$(errno_of open "$MNT/tasks/above/1/@default")"
	run -1 mem get above
	has "$output" broken
	same state FAILED "$(state broken/1/@default)"
}

@test "a program that does not exist, an output that is missing, and a missing input file fail with a sentence" {
	task noprog <<-'JSON'
	{ "memofs": 1, "name": "noprog", "version": "1", "command": ["no-such-program-here"] }
	JSON
	run -1 mem get noprog
	has "$output" no-such-program-here
	task noout <<-'JSON'
	{ "memofs": 1, "name": "noout", "version": "1", "command": ["true"], "output": { "type": "File", "path": "result.txt" } }
	JSON
	run -1 mem get noout
	has "$output" result.txt
	task reads <<-'JSON'
	{ "memofs": 1, "name": "reads", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	run mem get reads "f=$D/no/such/file"
	[ "$status" -eq 1 ] || [ "$status" -eq 2 ]
	has "$output" "$D/no/such/file"
	same mount EIO "$(errno_of open "$MNT/tasks/reads/1/f=${D//\//%2F}%2Fno%2Fsuch")"
}

@test "an output of another kind than declared fails" {
	task kind <<-'JSON'
	{ "memofs": 1, "name": "kind", "version": "1", "command": ["mkdir", "out"], "output": { "type": "File", "path": "out" } }
	JSON
	same directory EIO "$(errno_of open "$MNT/tasks/kind/1/@default")"
	task fifo <<-'JSON'
	{ "memofs": 1, "name": "fifo", "version": "1", "command": ["sh", "-c", "mkdir out; mkfifo out/p"], "output": { "type": "Directory", "path": "out" } }
	JSON
	same fifo EIO "$(errno_of stat "$MNT/tasks/fifo/1/@default")"
}

@test "json output is parsed and stored canonically" {
	task js <<-'JSON'
	{ "memofs": 1, "name": "js", "version": "1", "inputs": { "text": { "type": "string" } }, "command": ["printf", "%s", "{inputs.text}"],
	  "output": { "type": "json", "from": "stdout" } }
	JSON
	p=$(mem path js 'text={ "b": 1.0,  "a": [true, null, "\u00e4", 1e2] }')
	same canonical '{"a":[true,null,"ä",100],"b":1}' "$(rd "$MNT$p")"
	p=$(mem path js 'text={ "b": ')
	same broken EIO "$(errno_of open "$MNT$p")"
	run -1 mem get js 'text={ "b": '
	has "$output" JSON
}

@test "an External result is a link to a path that stays outside" {
	mkdir -p "$D/outside/zarr"
	echo chunk >"$D/outside/zarr/0.0"
	task ext <<-JSON
	{ "memofs": 1, "name": "ext", "version": "1", "env": { "COUNT": "$COUNT" }, "output": { "type": "External" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/ext\"; mkdir -p $D/outside/zarr; [ -e $D/outside/zarr/0.0 ] || echo again >$D/outside/zarr/0.0; echo $D/outside/zarr"] }
	JSON
	f=$MNT/tasks/ext/1/@default
	same link "$D/outside/zarr" "$(readlink "$f")"
	same through chunk "$(rd "$f/0.0")"
	same executions 1 "$(executions ext)"
	same cached "$D/outside/zarr" "$(readlink "$MNT/cached/ext/1/@default")"
	rm -r "$D/outside/zarr"
	same recomputed again "$(rd "$f/0.0")"
	same executions 2 "$(executions ext)"
	task extbad <<-'JSON'
	{ "memofs": 1, "name": "extbad", "version": "1", "output": { "type": "External" }, "command": ["echo", "not/absolute"] }
	JSON
	same relative EIO "$(errno_of stat "$MNT/tasks/extbad/1/@default/x")"
}

@test "a Directory result keeps x bits, links and empty directories, and can be a need" {
	task bundle <<-'JSON'
	{ "memofs": 1, "name": "bundle", "version": "1", "output": { "type": "Directory", "path": "b" },
	  "command": ["sh", "-c", "mkdir -p b/empty b/bin; printf '#!/bin/sh\\necho \"I am $0\"\\n' >b/bin/tool; chmod 750 b/bin/tool; ln -s bin/tool b/alias; echo data >b/data; chmod 600 b/data"] }
	JSON
	t=$MNT/tasks/bundle/1/@default
	same runs "I am $t/bin/tool" "$("$t/bin/tool")"
	same link bin/tool "$(readlink "$t/alias")"
	same modes "555 444 555" "$(stat -c %a "$t/bin/tool" "$t/data" "$t/empty" | tr '\n' ' ' | sed 's/ $//')"
	task uses <<-'JSON'
	{ "memofs": 1, "name": "uses", "version": "1", "needs": { "b": { "task": "bundle", "inputs": {} } },
	  "command": ["sh", "-c", "needs/b/alias; cat needs/b/data; ls -A needs/b | tr '\\n' ' '"] }
	JSON
	same used "$(printf 'I am needs/b/alias\ndata\nalias bin data empty ')" "$(rd "$MNT/tasks/uses/1/@default")"
}

@test "cache false: each open is an execution of its own, stat and open of one reader belong together" {
	task fresh <<-JSON
	{ "memofs": 1, "name": "fresh", "version": "1", "env": { "COUNT": "$COUNT" }, "cache": false,
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/fresh\"; date +%s.%N; head -c \$(wc -l <\"\$COUNT/fresh\")000 /dev/zero"] }
	JSON
	f=$MNT/tasks/fresh/1/@default
	rd "$f" >"$D/f1"
	same executions 1 "$(executions fresh)"
	rd "$f" >"$D/f2"
	same executions 2 "$(executions fresh)"
	run -1 cmp -s "$D/f1" "$D/f2"
	cp "$f" "$D/f3"
	same executions 3 "$(executions fresh)"
	same size 3020 "$(($(stat -c %s "$D/f3") / 20 * 20))"
	python3 -c 'import os,sys
f = os.open(sys.argv[1], os.O_RDONLY)
assert os.fstat(f).st_size == len(os.read(f, 1 << 20)), "size of the open"' "$f"
}

@test "a result of 300 MB" {
	task big <<-'JSON'
	{ "memofs": 1, "name": "big", "version": "1", "command": ["sh", "-c", "seq 1 40000000 | head -c 314572800"] }
	JSON
	want=$(seq 1 40000000 | head -c 314572800 | sha256sum)
	same size 314572800 "$(timeout 110 stat -c %s "$MNT/tasks/big/1/@default")"
	same sum "$want" "$(timeout 110 sha256sum <"$MNT/tasks/big/1/@default")"
	same hash "${want%% *}" "$(tr -d '\n' <"$MNT/info/big/1/@default/output_hash")"
	same end "$(seq 1 40000000 | head -c 314572800 | tail -c 100)" "$(tail -c 100 "$MNT/tasks/big/1/@default")"
}

@test "an empty result, and one with any bytes" {
	task bytes <<-'JSON'
	{ "memofs": 1, "name": "bytes", "version": "1", "inputs": { "n": { "type": "int" } },
	  "command": ["awk", "-v", "n={inputs.n}", "BEGIN {{ for (i = 0; i < n; i++) printf \"%c\", i % 128 }}"] }
	JSON
	same empty 0 "$(stat -c %s "$MNT/tasks/bytes/1/n=0")"
	same none "" "$(rd "$MNT/tasks/bytes/1/n=0")"
	for n in 1 4095 4096 4097 131072 131073; do
		same "$n" "$n" "$(rd "$MNT/tasks/bytes/1/n=$n" | wc -c)"
	done
}

@test "the environment is exactly what the contract says" {
	task envs <<-'JSON'
	{ "memofs": 1, "name": "envs", "version": "1", "inputs": { "a_b": { "type": "string", "default": "v w" }, "opt": { "type": "int?" } },
	  "env": { "EXTRA": "x y" }, "needs": { "u": { "task": "up", "inputs": { "n": 1 } } }, "command": ["env"] }
	JSON
	rd "$MNT/tasks/envs/1/@default" | sort >"$D/env"
	same names "EXTRA HOME INPUT_A_B INPUT_OPT LANG MEMOFS_MOUNT NEED_U PATH TMPDIR TZ" "$(sed 's/=.*//' "$D/env" | grep -vx OUTPUT | tr '\n' ' ' | sed 's/ $//')"
	for line in "EXTRA=x y" "INPUT_A_B=v w" INPUT_OPT= LANG=C.UTF-8 "MEMOFS_MOUNT=$MNT" NEED_U=needs/u PATH=/usr/local/bin:/usr/bin:/bin TZ=UTC; do
		grep -qxF "$line" "$D/env" || { echo "missing: $line" >&2 && cat "$D/env" >&2 && return 1; }
	done
	same home "$(sed -n 's/^HOME=//p' "$D/env")" "$(sed -n 's/^TMPDIR=//p' "$D/env")"
}

@test "the work directory is empty but for the inputs, which are read-only, and stdin is empty" {
	echo data >"$D/name with blank.txt"
	task where <<-'JSON'
	{ "memofs": 1, "name": "where", "version": "1", "inputs": { "f": { "type": "File?" } }, "cache": false,
	  "command": ["sh", "-c", "ls -A; [ \"$PWD\" = \"$HOME\" ] && echo home; cat; [ -z \"$INPUT_F\" ] || stat -L -c %A \"$INPUT_F\"; umask; ls /proc/self/fd | wc -l"] }
	JSON
	same bare "$(printf 'home\n0022\n4')" "$(rd "$MNT/tasks/where/1/@default")"
	has "$(mem get where "f=$D/name with blank.txt")" "$(printf 'name with blank.txt\nhome\n-r--r--r--')"
}

@test "an input file of the same name twice does not mix" {
	mkdir -p "$D/x" "$D/y"
	echo in x >"$D/x/same.txt"
	echo in y >"$D/y/same.txt"
	task two <<-'JSON'
	{ "memofs": 1, "name": "two", "version": "1", "inputs": { "a": { "type": "File" }, "b": { "type": "File" } }, "command": ["cat", "{inputs.a}", "{inputs.b}"] }
	JSON
	same bytes "$(printf 'in x\nin y')" "$(mem get two "a=$D/x/same.txt" "b=$D/y/same.txt" 2>/dev/null)"
}

@test "stdout of a task whose result is a file is kept as a log" {
	task logs <<-'JSON'
	{ "memofs": 1, "name": "logs", "version": "1", "command": ["sh", "-c", "echo to stdout; echo to stderr >&2; echo result >out"], "output": { "type": "File", "path": "out" } }
	JSON
	same result result "$(rd "$MNT/tasks/logs/1/@default")"
	same stdout "to stdout" "$(cat "$MNT/info/logs/1/@default/stdout")"
	same stderr "to stderr" "$(cat "$MNT/info/logs/1/@default/stderr")"
	same log "to stderr" "$(mem log logs/1/@default)"
}

@test "memory beyond what this machine has is refused, not waited for" {
	task huge <<-'JSON'
	{ "memofs": 1, "name": "huge", "version": "1", "requirements": { "memory": "900 TiB" }, "command": ["echo", "no"] }
	JSON
	run timeout 20 "$MEMOFS" --store "$STORE" get huge
	[ "$status" -eq 0 ] || [ "$status" -eq 1 ]
}

@test "abandon cancel: the work ends half a minute after the last reader is gone" {
	[ -z "${MEMOFS_QUICK:-}" ] || skip "takes 35 s: in the full run only"
	task lonely <<-JSON
	{ "memofs": 1, "name": "lonely", "version": "1", "abandon": "cancel", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo \$\$ >\"\$COUNT/lonely\"; sleep 100; echo never"] }
	JSON
	cat "$MNT/tasks/lonely/1/@default" 3>&- 2>/dev/null &
	reader=$!
	wait_until 10 state_is lonely/1/@default RUNNING
	kill -9 "$reader"
	wait "$reader" || same status 137 $?
	sleep 15
	same "still there" RUNNING "$(state lonely/1/@default)"
	wait_until 30 state_is lonely/1/@default CANCELLED
}
