# What a hostile or clumsy user met: each of these went wrong once.

load helpers

setup_file() {
	place_open
	mount_up
	task_hello
}
teardown_file() {
	place_close
}
teardown() {
	mountpoint -q "$D/smallmnt" && umount -l "$D/smallmnt"
	mountpoint -q "$D/small" && umount -l "$D/small"
	return 0
}

@test "an input file that changes all the time never gives an older result to the same thread" {
	task shows <<-'JSON'
	{ "memofs": 1, "name": "shows", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["cat", "{inputs.f}"] }
	JSON
	python3 - "$D/ctr" "$MNT/tasks/shows/1/f=${D//\//%2F}%2Fctr" <<-'PY'
	import os, sys, threading, time
	file, name = sys.argv[1:]
	last, stop, good, stale = 0, False, 0, []
	def write(v):
	    global last
	    with open(file + ".new", "w") as f:
	        f.write("%08d" % v)
	    os.replace(file + ".new", file)
	    last = v
	def writer():
	    v = 0
	    while not stop:
	        v += 1
	        write(v)
	        time.sleep(0.2)
	write(0)
	t = threading.Thread(target=writer)
	t.start()
	end = time.monotonic() + 6
	while time.monotonic() < end:
	    before = last
	    try:
	        with open(name) as f:
	            got = int(f.read())
	    except OSError:
	        continue # it changed while it was hashed
	    if before <= got <= last + 1:
	        good += 1
	    else:
	        stale.append((before, got, last))
	stop = True
	t.join()
	assert good > 0 and not stale, (good, stale[:3], len(stale))
	PY
}

@test "cache false: a stat and the open after it are one execution, every time" {
	task fresh <<-JSON
	{ "memofs": 1, "name": "fresh", "version": "1", "env": { "COUNT": "$COUNT" }, "cache": false,
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/fresh\"; date +%s.%N"] }
	JSON
	python3 - "$MNT/tasks/fresh/1/@default" "$COUNT/fresh" <<-'PY'
	import os, sys, time
	name, count = sys.argv[1:]
	for i in range(1, 13):
	    told = os.stat(name)
	    if i % 3 == 0:
	        time.sleep(0.05)
	    with open(name, "rb") as f:
	        assert os.fstat(f.fileno()).st_ino == told.st_ino, i
	        assert len(f.read()) == told.st_size, i
	    assert os.path.getsize(count) == 2 * i, (i, os.path.getsize(count))
	PY
	for i in 1 2 3 4; do cp "$MNT/tasks/fresh/1/@default" "$D/copy$i"; done
	same executions 16 "$(executions fresh)"
}

@test "ls -l starts nothing after a name has come to mean something else" {
	local old="$TASKS/turns/task.json"
	task turns <<-JSON
	{ "memofs": 1, "name": "turns", "version": "1", "env": { "COUNT": "$COUNT" },
	  "inputs": { "n": { "type": "int", "default": 1 } }, "command": ["sh", "-c", "echo x >>\"\$COUNT/turns\"; echo \$INPUT_N"] }
	JSON
	same default 1 "$(rd "$MNT/tasks/turns/1/@default")"
	same listed @default "$(ls "$MNT/tasks/turns/1")"
	sed -i 's/"default": 1/"default": 7/' "$old"
	mem add "$old"
	same "listed after" "" "$(ls "$MNT/tasks/turns/1" "$MNT/cached/turns/1" | grep -v : || true)"
	ls -l "$MNT/tasks/turns/1" "$MNT/cached/turns/1" >/dev/null
	same executions 1 "$(executions turns)"
	same "new default" 7 "$(rd "$MNT/tasks/turns/1/@default")"
	sed -i 's/"n": {/"m": { "type": "int?" }, "n": {/' "$old"
	mem add "$old"
	ls -l "$MNT/tasks/turns/1" "$MNT/cached/turns/1" >/dev/null
	same executions 2 "$(executions turns)"
}

@test "a hit under a second name is known there too" {
	task names <<-'JSON'
	{ "memofs": 1, "name": "names", "version": "1",
	  "inputs": { "n": { "type": "int" }, "label": { "type": "string?", "identity": false } }, "command": ["echo", "{inputs.n}"] }
	JSON
	same first 1 "$(rd "$MNT/tasks/names/1/n=1")"
	same second 1 "$(rd "$MNT/tasks/names/1/label=x,n=1")"
	same state SUCCESS "$(state "names/1/label=x,n=1")"
	same identity "$(cat "$MNT/info/names/1/n=1/identity")" "$(cat "$MNT/info/names/1/label=x,n=1/identity")"
	same listed "label=x,n=1 n=1" "$(ls "$MNT/tasks/names/1" | tr '\n' ' ' | sed 's/ $//')"
}

@test "a store is not mounted on itself, nor below its mount point" {
	mem init "$D/self/store"
	for place in "$D/self/store" "$D/self/store/objects" "$D/self" /; do
		run timeout 20 "$MEMOFS" --store "$D/self/store" mount "$place"
		same "status for $place" 2 "$status"
		has "$output" "choose another directory"
	done
	run -2 mem umount "$D/nothing"
	has_not "$output" "make the directory"
}

@test "a store that a task fills says ENOSPC, and gives the space back" {
	[ "$(id -u)" -eq 0 ] || skip "only root may mount a small file system"
	mkdir -p "$D/small" "$D/smallmnt" "$TASKS/fills"
	mount -t tmpfs -o size=30m none "$D/small" || skip "a small file system cannot be mounted here"
	cat >"$TASKS/fills/task.json" <<-'JSON'
	{ "memofs": 1, "name": "fills", "version": "1", "inputs": { "mb": { "type": "int" }, "err": { "type": "boolean", "default": false } },
	  "command": ["sh", "-c", "if $INPUT_ERR; then exec >&2; fi; head -c $((INPUT_MB * 1000000)) /dev/zero"] }
	JSON
	"$MEMOFS" --store "$D/small/s" mount "$D/smallmnt" 3>&- 4>&-
	"$MEMOFS" --store "$D/small/s" add "$TASKS/fills"
	stdout=$(errno_of open "$D/smallmnt/tasks/fills/1/mb=50")
	stderr=$(errno_of open "$D/smallmnt/tasks/fills/1/err=true,mb=50")
	wait_until 10 test -r "$D/smallmnt/tasks/fills/1/mb=5" # what filled it is removed after the answer
	after=$(wc -c <"$D/smallmnt/tasks/fills/1/mb=5")
	"$MEMOFS" --store "$D/small/s" umount "$D/smallmnt"
	umount "$D/small"
	same stdout ENOSPC "$stdout"
	same stderr ENOSPC "$stderr"
	same after 5000000 "$after"
}

@test "messages name what is meant" {
	run -3 mem forget nothere
	has "$output" "'nothere' is not registered"
	has_not "$output" "null"
	run -2 mem check /dev/null
	has "$output" "Not a regular file"
	run -0 mem config mode 0750
	same said 0750 "$output"
	mem config mode ""
}
