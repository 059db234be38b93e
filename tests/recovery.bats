# Starting again after damage, after a crash at an awkward moment, and beside those who are still there.

load helpers

setup_file() {
	place_open
	mount_up
	mem config writable "$COUNT"
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

# Flips a byte in the middle of each table of the database.
flip_tables() {
	python3 - "$STORE/db" <<-'PY'
	import glob, sys
	for name in glob.glob(sys.argv[1] + "/*.sst"):
	    with open(name, "r+b") as f:
	        data = f.read()
	        f.seek(len(data) // 3)
	        f.write(bytes([data[len(data) // 3] ^ 0x10]))
	PY
}

@test "a damaged table under a running daemon is rebuilt by the read that meets it, and said in the log" {
	for i in $(seq 1 30); do rd "$MNT/tasks/hello/1/who=t$i" >/dev/null; done
	before=$(executions hello)
	mount_down
	mount_up
	flip_tables
	for i in $(seq 1 30); do same "t$i" "hello t$i" "$(rd "$MNT/tasks/hello/1/who=t$i")"; done
	same executions "$before" "$(executions hello)"
	has "$(cat "$STORE/memofs.log")" "was found to be damaged and is rebuilt"
	[ -d "$STORE/quarantine" ]
	rd "$MNT/tasks/hello/1/who=after" >/dev/null
	mount_down
	mount_up
	for i in $(seq 1 30); do same "t$i" "hello t$i" "$(rd "$MNT/cached/hello/1/who=t$i")"; done
}

@test "a database that is gone is made again from the receipts" {
	rd "$MNT/tasks/hello/1/who=gone" >/dev/null
	before=$(executions hello)
	mount_down
	rm -rf "$STORE/db"
	run -0 --separate-stderr mem mount "$MNT" 3>&- 4>&-
	has "$stderr" "were put back from their receipts"
	same bytes "hello gone" "$(rd "$MNT/tasks/hello/1/who=gone")"
	same executions "$before" "$(executions hello)"
}

@test "a list of tables that was cut is noticed after a clean stop, too" {
	rd "$MNT/tasks/hello/1/who=cut" >/dev/null
	before=$(executions hello)
	mount_down
	for file in "$STORE"/db/MANIFEST-*; do truncate -s $(($(stat -c %s "$file") / 2)) "$file"; done
	mount_up
	same bytes "hello cut" "$(rd "$MNT/tasks/hello/1/who=cut")"
	same executions "$before" "$(executions hello)"
}

@test "an output that was finished when the daemon was killed is taken up, not made again" {
	name="gate=adopt,id=adopted"
	cat "$MNT/start/gated/1/$name"
	wait_until 10 state_is "gated/1/$name" RUNNING
	# the daemon stands still while the worker comes to its end
	pid=$(owner_pid)
	kill -STOP "$pid"
	gate_open adopt
	finished() { ls "$STORE"/staging/*/exit.json; }
	wait_until 20 finished
	kill -9 "$pid"
	wait_until 10 gone "$pid"
	mount_up
	same bytes "$GATED_BYTES" "$(rd "$MNT/tasks/gated/1/$name" | wc -c)"
	same executions 1 "$(executions gated-adopted)"
	has "$(cat "$MNT/info/gated/1/$name/history.jsonl")" "it had finished when memofs ended"
	nothing_staged() { [ -z "$(ls -A "$STORE/staging")" ]; }
	wait_until 10 nothing_staged
}

@test "a worker that outlived its daemon is ended before its attempt is removed" {
	name="gate=orphan,id=orphan"
	cat "$MNT/start/gated/1/$name"
	wait_until 10 state_is "gated/1/$name" RUNNING
	worker=$(pgrep -f "memofs-worker $STORE/staging/" | head -n 1)
	[ -n "$worker" ]
	kill -STOP "$worker"
	crash
	letter "$worker" | grep -q T
	mount_up
	gone "$worker" || [ "$(letter "$worker")" = Z ]
	same staging 0 "$(find "$STORE/staging" -mindepth 1 | wc -l)"
	gate_open orphan
	same again "$GATED_BYTES" "$(rd "$MNT/tasks/gated/1/$name" | wc -c)"
}

@test "a second owner is told who has the store" {
	pid=$(owner_pid)
	# without the socket nobody answers for it: the lock's own words
	mv "$STORE/control.sock" "$STORE/control.away"
	run -4 timeout 60 "$MEMOFS" --store "$STORE" tasks
	mv "$STORE/control.away" "$STORE/control.sock"
	has "$output" "process $pid on host $(hostname)"
}

@test "on a full disk nothing begins, what is cached is read, and it goes on with room" {
	[ "$(id -u)" -eq 0 ] || skip "a small file system cannot be mounted"
	disk=$D/disk
	mkdir "$disk" "$D/small"
	mount -t tmpfs -o size=48m,mode=755 tmpfs "$disk"
	small() { timeout -k 5 60 "$MEMOFS" --store "$disk/store" "$@" 3>&- 4>&-; }
	small mount "$D/small"
	small config writable "$COUNT"
	small add "$TASKS/hello/task.json"
	same before "hello one" "$(rd "$D/small/tasks/hello/1/who=one")"
	run -1 dd if=/dev/zero of="$disk/filler" bs=64k
	same refused ENOSPC "$(errno_of open "$D/small/tasks/hello/1/who=two")"
	same cached "hello one" "$(rd "$D/small/tasks/hello/1/who=one")"
	rm "$disk/filler"
	same resumed "hello two" "$(rd "$D/small/tasks/hello/1/who=two")"
	small umount "$D/small"
	umount "$disk"
}
