# Many at once: one execution for all who ask, and those who wait cost the others nothing.

load helpers

setup_file() {
	place_open
	mount_up
	task_gated
	task_hello
}
teardown_file() {
	place_close
}

@test "1,000 readers of one missing path: one execution, the same bytes for all" {
	timeout $((90 * SLOW)) "$TOOLS/crowd" 1000 "$MNT/tasks/gated/1/gate=crowd-open,id=crowd" >"$D/crowd" 3>&- &
	crowd=$!
	wait_until 20 state_is gated/1/gate=crowd-open,id=crowd RUNNING
	sleep 1
	gate_open crowd-open
	wait "$crowd"
	same summary "readers 1000 ok 1000 failed 0 different 0 bytes $GATED_BYTES" "$(sed "s/ sum .*//" "$D/crowd")"
	same executions 1 "$(executions gated-crowd)"
}

@test "1,000 readers of a cached path get the same bytes" {
	rd "$MNT/tasks/gated/1/id=warm" >"$D/warm"
	run -0 timeout $((90 * SLOW)) "$TOOLS/crowd" 1000 "$MNT/tasks/gated/1/id=warm"
	same summary "readers 1000 ok 1000 failed 0 different 0 bytes $GATED_BYTES" "${output% sum *}"
}

@test "200 readers of a failing path all get an error, from one execution" {
	"$TOOLS/crowd" 200 "$MNT/tasks/gated/1/fail=true,gate=fail-open,id=fails" >"$D/fails" 3>&- &
	crowd=$!
	wait_until 20 state_is gated/1/fail=true,gate=fail-open,id=fails RUNNING
	sleep 0.5
	gate_open fail-open
	status=0
	wait "$crowd" || status=$?
	same status 1 "$status"
	same summary "readers 200 ok 0 failed 200 different 0 bytes -1" "$(sed "s/ sum .*//" "$D/fails")"
	same executions 1 "$(executions gated-fails)"
}

@test "while 500 readers wait, a cached read's p99 is under 20 ms" {
	rd "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/gated/1/id=warm" >"$D/warm"
	"$TOOLS/crowd" 500 "$MNT/tasks/gated/1/gate=wait-open,id=wait" >"$D/crowd" 3>&- &
	crowd=$!
	wait_until 20 state_is gated/1/gate=wait-open,id=wait RUNNING
	sleep 1
	run -0 timeout 60 "$TOOLS/latency" 2000 500 "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/gated/1/id=warm"
	echo "# cached read while 500 wait: $output us" >&3
	p99=$(sed 's/.* p99 \([0-9]*\) .*/\1/' <<<"$output")
	gate_open wait-open
	wait "$crowd"
	has "$(sed "s/ sum .*//" "$D/crowd")" "ok 500 failed 0"
	[ "$p99" -lt $((20000 * SLOW)) ] # a sanitized daemon is given its factor
}

@test "while 500 readers wait, listings, stats and /info answer at once" {
	"$TOOLS/crowd" 500 "$MNT/tasks/gated/1/gate=list-open,id=list" >"$D/crowd" 3>&- &
	crowd=$!
	wait_until 20 state_is gated/1/gate=list-open,id=list RUNNING
	begin=$(milliseconds)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		ls "$MNT/tasks" "$MNT/tasks/gated/1" "$MNT/cached/hello/1" >"$D/ls"
		stat "$MNT/README" "$MNT/tasks/hello/1" >"$D/stat"
		cat "$MNT/info/gated/1/gate=list-open,id=list/state" >"$D/state"
	done
	took=$(($(milliseconds) - begin))
	gate_open list-open
	wait "$crowd"
	[ "$took" -lt $((3000 * SLOW)) ]
}

@test "100 different paths at once: each executed once" {
	for i in $(seq 1 100); do
		printf '%s\0' "$MNT/tasks/hello/1/who=n$i"
	done | timeout $((90 * SLOW)) xargs -0 -n 1 -P 50 cat >"$D/hundred"
	same lines 100 "$(sort -u "$D/hundred" | wc -l)"
	before=$(executions hello)
	for i in $(seq 1 100); do
		printf '%s\0' "$MNT/tasks/hello/1/who=n$i"
	done | timeout $((90 * SLOW)) xargs -0 -n 5 -P 50 cat >"$D/hundred2"
	same executions "$before" "$(executions hello)"
	same bytes "$(sort "$D/hundred" | sha256sum)" "$(sort "$D/hundred2" | sha256sum)"
}

@test "what executes at the same time stays within the setting cpus" {
	mem config cpus 2
	task load <<-JSON
	{ "memofs": 1, "name": "load", "version": "1", "inputs": { "id": { "type": "int" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo + >>\"\$COUNT/load\"; sleep 0.3; echo - >>\"\$COUNT/load\"; echo done"] }
	JSON
	for i in 1 2 3 4 5 6; do cat "$MNT/start/load/1/id=$i"; done
	for i in 1 2 3 4 5 6; do wait_until $((20 * SLOW)) state_is "load/1/id=$i" SUCCESS; done
	most=$(awk '/\+/ { n++; if (n > most) most = n } /-/ { n-- } END { print most }' "$COUNT/load")
	[ "$most" -le 2 ]
	[ "$most" -ge 1 ]
	mem config cpus ""
}

@test "command line and mount ask for the same path: one execution" {
	mem get gated id=both gate=both-open >"$D/get" 2>"$D/get.err" 3>&- &
	getter=$!
	wait_until 10 state_is gated/1/gate=both-open,id=both RUNNING
	rd "$MNT/tasks/gated/1/gate=both-open,id=both" >"$D/cat" 3>&- &
	reader=$!
	sleep 0.3
	gate_open both-open
	wait "$getter"
	wait "$reader"
	cmp "$D/get" "$D/cat"
	same bytes $GATED_BYTES "$(stat -c %s "$D/cat")"
	same executions 1 "$(executions gated-both)"
}
