#!/usr/bin/env bats
# How far a task reaches (CONTRACT section 6, `sandbox`), what it may use, and what it is given. Without a mount where none is
# needed: commands open the store themselves. Kernels that offer less are played by tests/tools/deny.
load helpers

setup_file() {
	place_open
	chmod 755 "$D"
	OUT=$D/outside
	mkdir "$OUT"
	export OUT
	# c runs a line of shell; net does, with the network; big has a bound
	for name in c net big; do
		extra=""
		[ "$name" != net ] || extra='"network": true, '
		[ "$name" != big ] || extra='"memory": "200 MiB", '
		task "$name" <<-JSON
		{ "memofs": 1, "name": "$name", "version": "1", "inputs": { "c": { "type": "string" } },
		  "requirements": { $extra"time": "00:01:00" }, "command": ["sh", "-c", "{inputs.c}"] }
		JSON
	done
}
teardown_file() {
	place_close
}
setup() {
	mem config sandbox auto >/dev/null
	mem config readable "" >/dev/null
	mem config writable "" >/dev/null
	rm -rf "${OUT:?}"/*
	echo secret >"$OUT/file"
	chmod 644 "$OUT/file"
	touch -d @1000000000 "$OUT/file"
}

# ask LINE [NAME]: what the line prints when it runs as a task, errors too. Every call is an execution of its own.
ask() {
	mem get "${2:-c}" "c=exec 2>&1; $1
: $RANDOM$RANDOM; true" 2>"$D/ask.err"
}
teardown() { # or bats waits for the daemon of a test that failed
	if is_mounted; then mount_down; fi
}
untouched() {
	same content secret "$(cat "$OUT/file")"
	same "mode and time" "644 1000000000" "$(stat -c '%a %Y' "$OUT/file")"
	same listing file "$(ls -A "$OUT")"
}
# lacking WHAT LINE: ask on a kernel that lacks something
lacking() {
	timeout 60 "$TOOLS/deny" "$1" "$MEMOFS" --store "$STORE" get c "c=exec 2>&1; $2
: $RANDOM$RANDOM; true" 2>"$D/ask.err"
}
# The kernel is asked, not memofs.
need_landlock() {
	python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 2)' || skip "no Landlock here"
}
need_view() {
	unshare -m mount --bind / /mnt 2>/dev/null || unshare -rm mount --bind / /mnt 2>/dev/null || skip "no mount namespaces here"
}
need_root() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}
# The store as an ordinary user's, who is 65534 here.
user_place() {
	need_root
	U=$D/user-$BATS_TEST_NUMBER
	mkdir -p "$U"
	chown 65534:65534 "$U"
	cp "$MEMOFS" "$BUILD/src/worker/memofs-worker" "$D/"
	as_user "$D/memofs" --store "$U/s" add "$TASKS/c" "$TASKS/big" 2>/dev/null
}
as_user() { timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent "$@"; }
ask_user() {
	as_user ${2:-} "$D/memofs" --store "$U/s" get c "c=exec 2>&1; $1
: $RANDOM$RANDOM; true" 2>"$D/ask.err"
}

# ---- files ---------------------------------------------------------------------------------------

@test "a task reads system directories, and nothing else of the machine" {
	need_landlock
	got=$(ask "head -c 5 /etc/passwd; ls /usr/bin >/dev/null && echo listed; cat /proc/self/comm; [ -d /sys/kernel ] && echo sys")
	same "what it may" "$(printf 'root:listed\ncat\nsys')" "$got"
	for what in "cat '$OUT/file'" "ls '$OUT'" "cat '$STORE/config.json'" "ls '$STORE/db'" "ls '$STORE/receipts'" "ls /root /home" "cat ../job.json" "ls .." "cat '$TASKS/c/task.json'"; do
		has "$(ask "$what")" "ermission denied"
	done
	untouched
}

@test "a task writes its work directory, and nothing else" {
	need_landlock
	for what in "echo x >'$OUT/new'" "echo x >>'$OUT/file'" "truncate -s 0 '$OUT/file'" "rm '$OUT/file'" "mkdir '$OUT/d'" \
		"touch '$OUT/new'" "ln -s x '$OUT/l'" "echo a >a; mv a '$OUT/a'" "echo a >a; ln a '$OUT/a'" "mv '$OUT/file' ." \
		"echo x >../exit.json" "echo x >'$STORE/x'" "mkfifo '$OUT/p'"; do
		has "$(ask "$what || echo failed as it should")" "failed as it should"
		untouched
	done
	same "inside all goes" "$(printf 'three\na one\nd b')" "$(ask "mkdir d e; echo one >d/a; mv d/a e/a; echo three >d/b; cat d/b; echo x >/dev/null; ln e/a d/c; rm d/c; mkfifo d/p; rm d/p
		printf '%s %s\n' \"\$(ls e)\" \"\$(cat e/a)\"; echo \$(ls -d d) \$(ls d)")"
}

@test "modes and times of what lies outside cannot be changed either" {
	need_view
	for what in "chmod 777 '$OUT/file'" "touch -d @5 '$OUT/file'" "chown 1:1 '$OUT/file'"; do
		has "$(ask "$what || echo failed as it should")" "failed as it should"
		untouched
	done
}

@test "/dev/stdout, /dev/stderr, /dev/shm and several processes work" {
	same out "to out" "$(mem get c "c=echo to out >/dev/stdout" 2>/dev/null)"
	mem get c "c=echo to err >/dev/stderr" 2>"$D/err"
	has "$(cat "$D/err")" "to err"
	command -v python3 >/dev/null || skip "python3 is missing"
	same pool "[1, 4, 9]" "$(ask "python3 -c 'import multiprocessing as m, math; print(m.Pool(2).map(eval, [\"1\", \"2*2\", \"3*3\"]))'")"
	same "and nothing is left in it" "" "$(ask "ls /dev/shm")"
}

@test "inputs are read wherever they lie, and what lies beside them is not" {
	need_landlock
	mkdir -p "$OUT/dir/sub" "$OUT/else"
	echo small >"$OUT/small"
	head -c 3000000 /dev/zero | tr '\0' x >"$OUT/large"
	echo inner >"$OUT/dir/sub/f"
	echo far >"$OUT/else/far"
	ln -s "$OUT/else/far" "$OUT/dir/link"
	task ins <<-JSON
	{ "memofs": 1, "name": "ins", "version": "1", "inputs": { "s": { "type": "File" }, "l": { "type": "File" }, "d": { "type": "Directory" } },
	  "command": ["sh", "-c", "cat \"\$1\"; wc -c <\"\$2\"; cat \"\$3/sub/f\" \"\$3/link\"; cat '$OUT/file' 2>&1 | tail -c 18; ls '$OUT/else' 2>&1 | tail -c 18", "sh", "{inputs.s}", "{inputs.l}", "{inputs.d}"] }
	JSON
	mem config sandbox on
	same read "$(printf 'small\n3000000\ninner\nfar\nPermission denied\nPermission denied')" \
		"$(mem get ins s="$OUT/small" l="$OUT/large" d="$OUT/dir" 2>"$D/err" | tr -s ' ' | sed 's/^ *//')"
}

@test "code, needs of many parts, and a program named by its path run with sandbox on" {
	mem config sandbox on
	mkdir -p "$TASKS/scripted/lib"
	printf '#!/bin/sh\n. "${0%%/*}/lib/more.sh"\nmore "$(cat "$NEED_P")"\n' >"$TASKS/scripted/run.sh"
	printf 'more() { echo "more $1"; }\n' >"$TASKS/scripted/lib/more.sh"
	chmod +x "$TASKS/scripted/run.sh"
	task part <<-JSON
	{ "memofs": 1, "name": "part", "version": "1", "inputs": { "n": { "type": "string", "default": "p" } }, "command": ["echo", "{inputs.n}"] }
	JSON
	task scripted <<-JSON
	{ "memofs": 1, "name": "scripted", "version": "1", "script": "run.sh", "code": ["lib/more.sh"], "needs": { "p": { "task": "part" } } }
	JSON
	same scripted "more p" "$(mem get scripted 2>/dev/null)"
	task tree <<-JSON
	{ "memofs": 1, "name": "tree", "version": "1", "output": { "type": "Directory", "path": "t" }, "command": ["sh", "-c", "mkdir -p t/u; echo 1 >t/u/a; ln -s u/a t/l"] }
	JSON
	task fan <<-JSON
	{ "memofs": 1, "name": "fan", "version": "1", "inputs": { "xs": { "type": "string[]" } }, "needs": { "p": { "task": "part", "each": "xs", "inputs": { "n": "{inputs.xs}" } }, "t": { "task": "tree" } },
	  "command": ["sh", "-c", "cat \"\$@\"; cat needs/t/u/a needs/t/l", "sh", "{needs.p}"] }
	JSON
	same fan "$(printf 'x\ny\nz\n1\n1')" "$(mem get fan xs=x xs=y xs=z 2>/dev/null)"
	printf '#!/bin/sh\necho my own program\n' >"$OUT/prog"
	chmod +x "$OUT/prog"
	task named <<-JSON
	{ "memofs": 1, "name": "named", "version": "1", "command": ["$OUT/prog"] }
	JSON
	same "by its path" "my own program" "$(mem get named 2>/dev/null)"
}

@test "programs in the directories of path run, with what lies beside bin" {
	mkdir -p "$OUT/env/bin" "$OUT/env/lib" "$OUT/env/other"
	echo library >"$OUT/env/lib/data"
	echo other >"$OUT/env/other/data"
	printf '#!/bin/sh\ncat "%s/env/lib/data" "%s/env/other/data" 2>/dev/null\n' "$OUT" "$OUT" >"$OUT/env/bin/tool"
	chmod +x "$OUT/env/bin/tool"
	mem config path "$OUT/env/bin:/usr/bin:/bin"
	got=$(ask "tool")
	mem config path ""
	has "$got" library
	need_landlock
	has_not "$got" other
}

@test "readable and writable name further directories" {
	need_landlock
	mkdir "$OUT/r" "$OUT/w"
	echo r >"$OUT/r/f"
	echo w >"$OUT/w/f"
	mem config sandbox on
	mem config readable "$OUT/r:/nonexistent"
	mem config writable "/nonexistent:$OUT/w"
	got=$(ask "cat '$OUT/r/f' '$OUT/w/f'; echo x >'$OUT/r/g' || echo refused; echo y >'$OUT/w/g' && echo written; cat '$OUT/file' >/dev/null || echo hidden")
	has "$got" "$(printf 'r\nw')"
	for word in refused written hidden; do has "$got" "$word"; done
	same "it is there" y "$(cat "$OUT/w/g")"
	[ ! -e "$OUT/r/g" ]
	run -2 mem config readable "relative/dir"
}

@test "an External result lies in a writable directory" {
	task ext <<-JSON
	{ "memofs": 1, "name": "ext", "version": "1", "output": { "type": "External" }, "command": ["sh", "-c", "mkdir -p '$OUT/ext' && echo data >'$OUT/ext/f' && echo '$OUT/ext'"] }
	JSON
	mem config sandbox on
	run -1 --separate-stderr mem get ext
	[ ! -e "$OUT/ext" ]
	mem config writable "$OUT"
	run -0 mem run ext
	same "it is there" data "$(cat "$OUT/ext/f")"
}

# ---- network -------------------------------------------------------------------------------------

listener() { # prints its port, then answers once
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(8); print(s.getsockname()[1], flush=True); s.settimeout(60); s.accept()[0].sendall(b"hello"); s.accept()' >"$D/port" 3>&- 4>&- &
	LISTENER=$!
	wait_until 10 test -s "$D/port"
	PORT=$(cat "$D/port")
}
CALL='import socket, sys
s = socket.socket()
s.settimeout(5)
s.connect(("127.0.0.1", int(sys.argv[1])))
print(s.recv(5).decode())'

@test "a task has no network unless it requires it" {
	command -v python3 >/dev/null || skip "python3 is missing"
	listener
	got=$(ask "python3 -c '$CALL' $PORT")
	has_not "$got" hello
	has "$got" Error
	got=$(ask "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\"x\", (\"192.0.2.1\", 53))'")
	has "$got" Error
	mem config sandbox on
	same "required" hello "$(ask "python3 -c '$CALL' $PORT" net)"
	kill "$LISTENER" || true
}

@test "without network namespaces a filter keeps the network out, and leaves local sockets alone" {
	command -v python3 >/dev/null || skip "python3 is missing"
	listener
	mem config sandbox on
	for what in netns namespaces; do
		got=$(lacking "$what" "python3 -c '$CALL' $PORT")
		has "$got" "Permission denied"
		same "unix sockets ($what)" b "$(lacking "$what" "python3 -c 'import socket; a, b = socket.socketpair(); a.send(b\"b\"); print(b.recv(1).decode()); s = socket.socket(socket.AF_UNIX); s.bind(\"s\")'")"
	done
	kill "$LISTENER" || true
}

@test "the store's control socket is out of reach" {
	need_fuse
	command -v python3 >/dev/null || skip "python3 is missing"
	need_view
	mount_up
	got=$(ask "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"$STORE/control.sock\")'")
	mount_down
	has "$got" Error
}

# ---- the mount -----------------------------------------------------------------------------------

@test "tasks that read the mount work with sandbox on" {
	need_fuse
	mount_up
	mem config sandbox on
	task up <<-JSON
	{ "memofs": 1, "name": "up", "version": "1", "inputs": { "n": { "type": "int" } }, "command": ["echo", "up {inputs.n}"] }
	JSON
	task reads <<-'JSON'
	{ "memofs": 1, "name": "reads", "version": "1", "inputs": { "n": { "type": "int" } }, "command": ["sh", "-c", "cat \"$MEMOFS_MOUNT/tasks/up/1/n=$INPUT_N\"; ls \"$MEMOFS_MOUNT/cached/up/1\""] }
	JSON
	same "through the mount" "$(printf 'up 4\nn=4')" "$(rd "$MNT/tasks/reads/1/n=4")"
	has "$(cat "$MNT/info/reads/1/n=4/origin.json")" '"/tasks/up/1/n=4"'
	mount_down
}

# ---- what is said --------------------------------------------------------------------------------

@test "origin.json has the level, command.sh and the log say it" {
	need_fuse
	: >"$STORE/memofs.log"
	mount_up
	for mode in auto on off; do
		mem config sandbox "$mode"
		rd "$MNT/tasks/c/1/c=echo $mode" >/dev/null
		info="$MNT/info/c/1/c=echo $mode"
		has "$(cat "$info/origin.json")" "\"setting\":\"$mode\""
		has "$(cat "$info/command.sh")" "sandbox '$mode'"
		sh -n "$info/command.sh"
	done
	same "off is none" none "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["sandbox"]["level"])' <"$info/origin.json")"
	same "it runs by hand" off "$(sh "$info/command.sh")"
	rd "$MNT/tasks/c/1/c=echo again" >/dev/null
	mem config sandbox auto
	rd "$MNT/tasks/c/1/c=echo more" >/dev/null
	mount_down
	same "once in the log" 1 "$(grep -c 'sandbox auto: ' "$STORE/memofs.log")"
	need_landlock
	mount_up
	has "$(cat "$MNT/info/c/1/c=echo on/origin.json")" '"files":"landlock'
	has "$(cat "$MNT/info/c/1/c=echo on/origin.json")" '"level":"full"'
	mount_down
}

@test "a task that fails because of the sandbox is told so" {
	need_landlock
	run -1 --separate-stderr mem get c "c=echo x >'$OUT/new'"
	has "$stderr" "memofs config readable' or 'writable'"
	run -1 --separate-stderr mem get c "c=exit 3"
	has_not "$stderr" sandbox
	mem config sandbox off
	run -1 --separate-stderr mem get c "c=cat '$OUT/nothing'; echo Permission denied >&2; exit 4"
	has_not "$stderr" sandbox
}

# ---- on, off, auto -------------------------------------------------------------------------------

@test "off: no limits to what a task reads, writes and calls" {
	mem config sandbox off
	same read secret "$(ask "cat '$OUT/file'; echo x >'$OUT/new'")"
	same written x "$(cat "$OUT/new")"
}

@test "on: a task fails, and says what is missing, where the kernel does not offer it" {
	mem config sandbox on
	run ! lacking landlock "echo ran >'$OUT/ran'"
	has "$(cat "$D/ask.err")" "Landlock"
	has "$(cat "$D/ask.err")" "memofs config sandbox auto"
	run ! lacking netns,seccomp "echo ran"
	has "$(cat "$D/ask.err")" "network namespace"
	[ ! -e "$OUT/ran" ]
	same "namespaces alone are not needed" ran "$(lacking namespaces "echo ran")"
}

@test "auto: with less from the kernel there is less, and the rest holds" {
	need_landlock
	same "no namespaces: files are kept" "refused" "$(lacking namespaces "cat '$OUT/file' 2>/dev/null || echo refused")"
	has "$(lacking namespaces "echo x >'$OUT/file'")" "ermission denied"
	untouched
	same "no view: files are kept" "refused" "$(lacking views "cat '$OUT/file' 2>/dev/null || echo refused")"
	same "nothing at all: it runs" secret "$(lacking landlock,namespaces,seccomp "cat '$OUT/file'")"
	if [ "$(id -u)" -eq 0 ]; then
		has "$(lacking landlock "echo x >'$OUT/file'")" "Read-only file system"
		untouched
	fi
}

@test "what is missing is in the record" {
	need_fuse
	run -0 "$TOOLS/deny" landlock,netns,seccomp "$MEMOFS" --store "$STORE" get c "c=echo missing"
	mount_up
	origin=$(cat "$MNT/info/c/1/c=echo missing/origin.json")
	mount_down
	has "$origin" '"missing":"Landlock'
	has "$origin" '"network":"open"'
	has_not "$origin" '"level":"full"'
}

# How many processes a bomb makes: too many for a task, and few enough for the machine where nothing holds it.
BOMB=$((2 * (1024 + 64 * $(nproc))))

# ---- processes -----------------------------------------------------------------------------------

@test "a task sees no process but its own, and can end none" {
	need_landlock
	sleep 300 3>&- 4>&- &
	victim=$!
	got=$(ask "kill -9 $victim || echo no; cat /proc/$victim/environ || echo no; ls -d /proc/[0-9]* | wc -l")
	same "it lives" S "$(letter "$victim")"
	has "$got" no
	[ "$(tail -n 1 <<<"$got")" -lt 10 ]
	got=$(lacking namespaces "kill -9 $victim || echo no; cat /proc/$victim/environ || echo no")
	same "it lives without namespaces" S "$(letter "$victim")"
	same "twice no" 2 "$(grep -c '^no$' <<<"$got")"
	kill "$victim"
}

@test "what a task left running is gone before its output is kept" {
	same output first "$(mem get c 'c=echo first; (trap "" TERM HUP; sleep 0.5; while :; do echo late; sleep 0.02; done) & setsid sh -c "sleep 1000.5; echo later" & exit 0' 2>/dev/null)"
	[ -z "$(pgrep -f 'sleep 1000.5')" ]
}

@test "more memory than declared ends the task, and says so" {
	command -v python3 >/dev/null || skip "python3 is missing"
	run -1 --separate-stderr mem get big "c=python3 -c 'x = b\"x\" * (300 << 20); import time; time.sleep(30)'"
	has "$stderr" "used more than its memory, 200 MiB: raise requirements.memory"
	run -1 --separate-stderr mem get big "c=for i in 1 2 3 4; do python3 -c 'x = b\"x\" * (80 << 20); import time; time.sleep(30)' & done; wait"
	has "$stderr" "used more than its memory"
	# what processes share counts once
	run -0 --separate-stderr mem get big "c=python3 -c 'import os, time; x = b\"x\" * (120 << 20); [os.fork() for i in range(3)]; time.sleep(0.5)'"
	mem config memory "150 MiB"
	run -1 --separate-stderr mem get c "c=python3 -c 'x = b\"x\" * (200 << 20); import time; time.sleep(30)'"
	mem config memory ""
	has "$stderr" "150 MiB of memory"
}

@test "a fork bomb ends, and so does one without namespaces" {
	begin=$SECONDS
	run -1 --separate-stderr mem get c 'c=i=0; while [ $i -lt '$BOMB' ]; do sleep 1000.25 & i=$((i + 1)); done; wait'
	has "$stderr" "processes and threads"
	run ! lacking namespaces 'i=0; while [ $i -lt '$BOMB' ]; do sleep 1000.25 & i=$((i + 1)); done; wait'
	has "$(cat "$D/ask.err")" "processes and threads"
	[ $((SECONDS - begin)) -lt $((40 * SLOW)) ]
	wait_until 5 sh -c '[ -z "$(pgrep -f "sleep 1000[.]25")" ]'
}

# ---- what a task is given ------------------------------------------------------------------------

@test "a task has the variables that are listed, and no other" {
	task environ <<-JSON
	{ "memofs": 1, "name": "environ", "version": "1", "inputs": { "n": { "type": "int", "default": 1 } }, "env": { "EXTRA": "1" }, "command": ["cat", "/proc/self/environ"] }
	JSON
	LEAK=leaked mem get environ >"$D/environ" 2>/dev/null
	same variables "EXTRA HOME INPUT_N LANG OUTPUT PATH TMPDIR TZ" "$(tr '\0' '\n' <"$D/environ" | sed 's/=.*//' | sort | tr '\n' ' ' | sed 's/ $//')"
	same values "C.UTF-8 UTC /usr/local/bin:/usr/bin:/bin" "$(ask 'echo $LANG $TZ $PATH')"
	same places 1 "$(ask 'printf "%s\n" "$HOME" "$TMPDIR" "$PWD" | sort -u | wc -l')"
}

@test "a task has descriptors 0 to 2, a session, umask 022 and no rights to gain" {
	exec 9<"$OUT/file"
	same descriptors "0 1 2" "$(ask 'echo $(ls /proc/self/fd | head -n 3)')" # and the one that ls has open
	same "none besides" 4 "$(ask 'ls /proc/self/fd | wc -l')"
	exec 9<&-
	same "stdin is empty" 0 "$(ask 'wc -c </dev/stdin')"
	same umask 0022 "$(ask umask)"
	got=$(ask 'cat /proc/self/status; set -- $(cat /proc/$$/stat); echo "session $(($6 == $$)) tty $7"')
	has "$got" "NoNewPrivs:	1"
	has "$got" "session 1 tty 0"
	# about owners and modes of files for root, none for others
	caps=$(sed -n 's/^CapEff:[[:space:]]*//p' <<<"$got")
	same capabilities "$([ "$(id -u)" -eq 0 ] && echo 000000000000001f || echo 0000000000000000)" "$caps"
	same "none to be had" "$(sed -n 's/^CapPrm:[[:space:]]*//p' <<<"$got")" "$caps"
	same "no core files" 0 "$(ask 'ulimit -c')"
	same "who it is" "$(id -u) $(id -g)" "$(ask 'echo $(id -u) $(id -g)')"
}

# ---- an ordinary user ----------------------------------------------------------------------------

@test "an ordinary user's tasks: files, network, processes, rights" {
	user_place
	got=$(ask_user "id -u; cat '$OUT/file'; echo x >'$U/x'; ls -d /proc/[0-9]* | wc -l; echo in >f; cat f; grep CapEff /proc/self/status")
	has "$got" 65534
	has "$got" "ermission denied"
	has "$got" "$(printf 'in\nCapEff:\t0000000000000000')"
	[ ! -e "$U/x" ]
	for what in userns namespaces; do
		got=$(ask_user "cat '$OUT/file' || echo refused; echo x >'$U/x'; echo in >f; cat f" "$TOOLS/deny $what")
		has "$got" refused
		has "$got" in
		[ ! -e "$U/x" ]
	done
}

@test "an ordinary user's worker that is killed takes the whole tree along" {
	user_place
	as_user unshare -Urpf true 2>/dev/null || skip "no user namespaces here"
	as_user "$D/memofs" --store "$U/s" get c 'c=setsid sh -c "sleep 1000.75 & sleep 1000.75" & setsid setsid sleep 1000.75 & wait; sleep 1000.75' >"$D/get" 2>&1 3>&- 4>&- &
	client=$!
	wait_until 20 sh -c '[ "$(pgrep -cfx "sleep 1000[.]75")" -ge 3 ]'
	worker=$(pgrep -f "^$D/memofs-worker $U/s" | head -n 1)
	kill -9 "$worker"
	wait_until 2 sh -c '[ -z "$(pgrep -fx "sleep 1000[.]75")" ]'
	wait "$client" || true
}

@test "an ordinary user's fork bomb meets a limit of its own" {
	user_place
	run ! as_user "$D/memofs" --store "$U/s" get c 'c=i=0; while [ $i -lt '$BOMB' ]; do sleep 1000.125 & i=$((i + 1)); done; wait'
	# the kernel refuses the fork, which the shell says, unless the watch is there first
	[[ "$output" == *"processes and threads"* || "$output" == *"annot fork"* ]]
	wait_until 5 sh -c '[ -z "$(pgrep -fx "sleep 1000[.]125")" ]'
}
