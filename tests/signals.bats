# Signals to a process that waits for a result: what ends the wait, what does not, and that nobody is left behind
# in an uninterruptible sleep.

load helpers

setup_file() {
	place_open
	mount_up
	task_gated
}
teardown_file() {
	place_close
}

# waits_for ID COMMAND...: starts the command in the background with all signals at their defaults; $reader is its pid,
# and it waits for the result of ID when this returns.
waits_for() {
	local id=$1
	shift
	F=$MNT/tasks/gated/1/gate=$id,id=$id
	env --default-signal "$@" "$F" >"$D/out-$id" 2>"$D/err-$id" 3>&- 4>&- &
	reader=$!
	wait_until $((10 * SLOW)) state_is "gated/1/gate=$id,id=$id" RUNNING
	sleep 0.1
	kill -0 "$reader"
}

# The work of ID goes on though its reader is gone: it ends well and was done once.
goes_on() {
	gate_open "$1"
	wait_until $((20 * SLOW)) state_is "gated/1/gate=$1,id=$1" SUCCESS
	same size $GATED_BYTES "$(stat -c %s "$MNT/cached/gated/1/gate=$1,id=$1")"
	same executions 1 "$(executions "gated-$1")"
}

# ends_with SIGNAL STATUS...: the default action of SIGNAL ends the wait at once.
ends_with() {
	local sig=$1 id=end-$1 status=0 begin
	waits_for "$id" cat
	begin=$(milliseconds)
	kill "-$sig" "$reader"
	wait "$reader" || status=$?
	same "$sig status" $((128 + $(kill -l "$sig"))) "$status"
	[ $(($(milliseconds) - begin)) -lt $((2000 * SLOW)) ]
	same "no bytes" 0 "$(stat -c %s "$D/out-$id")"
	goes_on "$id"
}

@test "KILL ends a waiting reader at once, the work goes on" { ends_with KILL; }
@test "INT ends a waiting reader at once, the work goes on" { ends_with INT; }
@test "TERM ends a waiting reader at once, the work goes on" { ends_with TERM; }
@test "HUP ends a waiting reader at once, the work goes on" { ends_with HUP; }
@test "QUIT ends a waiting reader at once, the work goes on" { ulimit -c 0 && ends_with QUIT; }
@test "USR1 with its default action ends a waiting reader at once" { ends_with USR1; }

@test "STOP stops a waiting reader at once, and after CONT no wrong bytes come" {
	status=0
	waits_for stop cat
	kill -STOP "$reader"
	stopped() { [ "$(letter "$reader")" = T ]; }
	wait_until $((3 * SLOW)) stopped
	kill -CONT "$reader"
	sleep 0.3
	goes_on stop
	wait "$reader" || status=$?
	if [ "$status" -eq 0 ]; then
		same bytes $GATED_BYTES "$(stat -c %s "$D/out-stop")"
	else
		same bytes 0 "$(stat -c %s "$D/out-stop")"
	fi
}

# stays CALL SIGNAL: a reader that catches SIGNAL gets it three times and still sees the result.
stays() {
	local call=$1 sig=$2 id=stay-$1-$2 i
	waits_for "$id" "$TOOLS/reader" -c "$sig" "$call"
	for i in 1 2 3; do
		kill "-$sig" "$reader"
		sleep 0.15
		kill -0 "$reader"
	done
	goes_on "$id"
	wait "$reader"
	same "error" "" "$(cat "$D/err-$id")"
	if [ "$call" = read ]; then same bytes $GATED_BYTES "$(stat -c %s "$D/out-$id")"; fi
	if [ "$call" = stat ]; then same size $GATED_BYTES "$(cat "$D/out-$id")"; fi
}

@test "a caught CHLD does not end the wait of an open" { stays read CHLD; }
@test "a caught CHLD does not end the wait of a stat" { stays stat CHLD; }
@test "a caught CHLD does not end the wait of an access" { stays access CHLD; }
@test "a caught ALRM does not end the wait" { stays read ALRM; }
@test "a caught URG does not end the wait" { stays read URG; }
@test "a caught WINCH does not end the wait" { stays stat WINCH; }

# caught SIGNAL: a signal that people send on purpose ends the wait with EINTR also where it is caught.
caught() {
	local sig=$1 id=caught-$1 status=0
	waits_for "$id" "$TOOLS/reader" -c "$sig" read
	kill "-$sig" "$reader"
	wait "$reader" || status=$?
	same status 1 "$status"
	has "$(cat "$D/err-$id")" EINTR
	goes_on "$id"
}

@test "a caught INT ends the wait with EINTR" { caught INT; }
@test "a caught TERM ends the wait with EINTR" { caught TERM; }
@test "a caught HUP ends the wait with EINTR" { caught HUP; }
@test "a caught QUIT ends the wait with EINTR" { caught QUIT; }

@test "after a soft signal, KILL still ends the wait at once" {
	status=0
	waits_for soft "$TOOLS/reader" -c CHLD read
	kill -CHLD "$reader"
	sleep 0.3
	begin=$(milliseconds)
	kill -KILL "$reader"
	wait "$reader" || status=$?
	same status 137 "$status"
	[ $(($(milliseconds) - begin)) -lt $((2000 * SLOW)) ]
	goes_on soft
}

@test "after a soft signal, a caught TERM still ends the wait" {
	status=0
	waits_for soft2 "$TOOLS/reader" -c CHLD -c TERM read
	kill -CHLD "$reader"
	sleep 0.3
	kill -TERM "$reader"
	wait "$reader" || status=$?
	same status 1 "$status"
	has "$(cat "$D/err-soft2")" EINTR
	goes_on soft2
}

@test "an interval timer does not end the wait" {
	waits_for timer "$TOOLS/reader" -c ALRM -a 200 read
	sleep 0.6
	kill -0 "$reader"
	goes_on timer
	wait "$reader"
	same bytes $GATED_BYTES "$(stat -c %s "$D/out-timer")"
}

@test "bash's [ -e f ] says yes though a background child ends meanwhile" {
	F=$MNT/tasks/gated/1/gate=bash,id=bash
	bash -c 'trap : CHLD; (sleep 0.5) & (sleep 0.8) & [ -e "$1" ] && echo yes || echo no' sh "$F" >"$D/bash" 3>&- &
	reader=$!
	sleep 1.5
	gate_open bash
	wait "$reader"
	same answer yes "$(cat "$D/bash")"
}

@test "sh's [ -f f ] and \$(<f) are right though background children end meanwhile" {
	F=$MNT/tasks/gated/1/gate=dash,id=dash
	sh -c 'sleep 0.5 & sleep 0.7 & [ -f "$1" ] && echo yes || echo no' sh "$F" >"$D/dash" 3>&- &
	first=$!
	bash -c 'sleep 0.5 & sleep 0.7 & x=$(<"$1"); echo "${#x}"' sh "$F" >"$D/length" 3>&- &
	second=$!
	sleep 1.3
	gate_open dash
	wait "$first"
	wait "$second"
	same answer yes "$(cat "$D/dash")"
	same length $((GATED_BYTES - 1)) "$(cat "$D/length")"
}

@test "timeout(1) ends a wait" {
	run -124 timeout 0.5 cat "$MNT/tasks/gated/1/gate=timeout,id=timeout"
	goes_on timeout
}

@test "a killed reader does not disturb the others who wait for the same result" {
	status=0
	waits_for shared cat
	first=$reader
	cat "$F" >"$D/second" 3>&- &
	second=$!
	sleep 0.3
	kill -KILL "$first"
	wait "$first" || status=$?
	same status 137 "$status"
	goes_on shared
	wait "$second"
	same bytes $GATED_BYTES "$(stat -c %s "$D/second")"
}

@test "cancel ends the wait with an error" {
	status=0
	waits_for cancelled cat
	mem cancel "$F"
	wait "$reader" || status=$?
	same status 1 "$status"
	same bytes 0 "$(stat -c %s "$D/out-cancelled")"
	wait_until 10 state_is gated/1/gate=cancelled,id=cancelled CANCELLED
	gate_open cancelled
	same again $GATED_BYTES "$(rd "$F" | wc -c)"
}

@test "an interrupted open inside an uncomputed directory leaves the tree usable" {
	task dir <<-JSON
	{ "memofs": 1, "name": "dir", "version": "1", "env": { "COUNT": "$COUNT" }, "output": { "type": "Directory", "path": "out" },
	  "command": ["sh", "-c", "i=0; while [ ! -e \"\$COUNT/open-dir\" ] && [ \$i -lt 1500 ]; do sleep 0.02; i=\$((i + 1)); done; mkdir out; echo one >out/one"] }
	JSON
	cat "$MNT/tasks/dir/1/@default/one" 3>&- 2>"$D/err" &
	first=$!
	ls "$MNT/tasks/dir/1/@default" >"$D/ls" 3>&- &
	second=$!
	wait_until 10 state_is dir/1/@default RUNNING
	sleep 0.2
	same "other names pass meanwhile" "" "$(timeout 5 ls "$MNT/tasks/dir/1")"
	kill -KILL "$first"
	status=0
	wait "$first" || status=$?
	same status 137 "$status"
	gate_open dir
	wait "$second"
	same ls one "$(cat "$D/ls")"
}

# Processes that name our mount and sleep uninterruptibly.
stuck() {
	local p
	for p in /proc/[0-9]*; do
		if [ "$(letter "${p#/proc/}")" = D ] && grep -qF "$MNT" "$p/cmdline" 2>/dev/null; then
			printf '%s ' "${p#/proc/}"
		fi
	done
}
none_stuck() { [ -z "$(stuck)" ]; }

@test "at the end no process is left in state D" {
	wait_until 5 none_stuck
}
