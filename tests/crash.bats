# kill -9 of the daemon at any moment: memofs mount on the same place works at once, and what was acknowledged is there.

load helpers

setup_file() {
	place_open
	mount_up
	task_hello
	task_gated
}
teardown_file() {
	place_close
}

setup() {
	need_fuse
	no_owner && mount_up || is_mounted
}

crash() {
	local pid
	pid=$(owner_pid)
	kill -9 "$pid"
	wait_until 10 gone "$pid"
}

@test "after kill -9 the mount is dead, and mounting again works at once" {
	rd "$MNT/tasks/hello/1/who=Ann"
	crash
	same dead ENOTCONN "$(errno_of open "$MNT/README")"
	begin=$(milliseconds)
	mount_up
	echo "# mounted again after $(($(milliseconds) - begin)) ms" >&3
	[ $(($(milliseconds) - begin)) -lt $((5000 * SLOW)) ]
	same cached "hello Ann" "$(rd "$MNT/cached/hello/1/who=Ann")"
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
	same executions 1 "$(executions hello)"
	same mounts 1 "$(grep -cF " $MNT " /proc/self/mountinfo)"
}

@test "what ran when the daemon was killed does not run on, and executes again on demand" {
	task marks <<-JSON
	{ "memofs": 1, "name": "marks", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo \$\$ >>\"\$COUNT/marks\"; [ -e \"\$COUNT/second\" ] || sleep 297.5; echo marked"] }
	JSON
	cat "$MNT/tasks/marks/1/@default" >"$D/marks" 2>"$D/marks.err" 3>&- &
	reader=$!
	wait_until 10 test -s "$COUNT/marks"
	crash
	status=0
	wait "$reader" || status=$?
	same "the reader is told" 1 "$status"
	same "no bytes" 0 "$(stat -c %s "$D/marks")"
	none_left() { ! pgrep -f "sleep 297[.]5" >/dev/null; }
	wait_until 10 none_left
	touch "$COUNT/second"
	mount_up
	[[ "$(state marks/1/@default)" =~ ^(PENDING|FAILED|CANCELLED)$ ]]
	same cached ENOENT "$(errno_of stat "$MNT/cached/marks/1/@default")"
	same again marked "$(rd "$MNT/tasks/marks/1/@default")"
	same executions 2 "$(executions marks)"
}

# all_there VIEW: each line "name text" of the file is the result of that name.
all_there() {
	python3 - "$D/acknowledged" "$MNT/$1/hello/1/" <<-'PY'
	import sys
	for line in open(sys.argv[1]):
	    name, text = line.split()
	    got = open(sys.argv[2] + name).read()
	    assert got == text.replace("_", " ") + "\n", (name, got)
	PY
}

@test "everything acknowledged before kill -9 under load is there afterwards" {
	touch "$D/acknowledged"
	for round in 1 2 3 4; do
		workers=""
		for worker in 1 2 3; do
			(
				i=0
				while [ "$i" -lt 300 ]; do
					i=$((i + 1))
					name=who=r$round-w$worker-$i
					out=$(cat "$MNT/tasks/hello/1/$name" 2>/dev/null) || exit 0
					printf '%s %s\n' "$name" "${out// /_}" >>"$D/acknowledged"
				done
			) 3>&- 4>&- &
			workers="$workers $!"
		done
		sleep "0.$((3 + round))"
		crash
		wait $workers
		mount_up
		all_there cached
	done
	n=$(wc -l <"$D/acknowledged")
	echo "# $n results were acknowledged before four crashes" >&3
	[ "$n" -ge 20 ]
	before=$(executions hello)
	all_there tasks
	same executions "$before" "$(executions hello)"
}

@test "registrations and settings survive kill -9" {
	task kept <<-'JSON'
	{ "memofs": 1, "name": "kept", "version": "7", "command": ["echo", "kept"] }
	JSON
	mem config failure_backoff 5
	crash
	mount_up
	same task kept "$(rd "$MNT/tasks/kept/latest/@default")"
	same setting 5 "$(mem config failure_backoff)"
	mem config failure_backoff 1
}

@test "a crash leaves nothing in staging that stays" {
	cat "$MNT/start/gated/1/gate=never,id=staged"
	wait_until 10 state_is gated/1/gate=never,id=staged RUNNING
	crash
	mount_up
	same staging 0 "$(find "$STORE/staging" -mindepth 2 | wc -l)"
}

@test "commands without a mount work after kill -9" {
	crash
	umount -l "$MNT" || fusermount3 -uz "$MNT"
	run -0 --separate-stderr mem get hello who=Ann
	same bytes "hello Ann" "$output"
	mount_up
	same mount "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
}

@test "a result whose bytes were damaged on the disk is computed again within the same read" {
	rd "$MNT/tasks/hello/1/who=Damage"
	hash=$(printf 'hello Damage\n' | sha256sum | cut -d' ' -f1)
	file=$(find "$STORE/objects" -name "$hash")
	[ -f "$file" ]
	mount_down
	chmod u+w "$file"
	printf 'hello Xamage\n' >"$file"
	chmod 444 "$file"
	mount_up
	before=$(executions hello)
	same bytes "hello Damage" "$(rd "$MNT/tasks/hello/1/who=Damage")"
	same executions $((before + 1)) "$(executions hello)"
	rm -f "$file"
	mount_down
	mount_up
	same again "hello Damage" "$(rd "$MNT/tasks/hello/1/who=Damage")"
	same executions $((before + 2)) "$(executions hello)"
}

@test "a second process cannot have the same store" {
	run -4 timeout 60 "$MEMOFS" --store "$STORE" mount "$TASKS"
	has "$output" "$STORE"
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
}
