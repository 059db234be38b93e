# Damage: bytes that rot, files that go away, a disk that cannot be read. What is served is exact or an error, what is damaged is
# found and made again, and nothing is computed because a read failed.

load helpers

setup_file() {
	place_open
	task_kinds
	mount_up
}
teardown_file() {
	place_close
}
setup() {
	need_fuse
	no_owner && mount_up || is_mounted
}

# One task for each kind of result, each of "n"; "big" has more bytes than an open looks at.
task_kinds() {
	kind hello '"command": ["sh", "-c", "echo x >>\"$COUNT/hello\"; echo hello $INPUT_N"]'
	kind big '"command": ["sh", "-c", "echo x >>\"$COUNT/big\"; seq -f \"%.0f of $INPUT_N\" 1 200000"]'
	kind data '"output": { "type": "json", "from": "stdout" }, "command": ["sh", "-c", "echo x >>\"$COUNT/data\"; echo \"[$INPUT_N]\""]'
	kind prog '"output": { "type": "File", "path": "o" }, "command": ["sh", "-c", "echo x >>\"$COUNT/prog\"; printf \"#!/bin/sh\\necho ran %s\\n\" \"$INPUT_N\" >o; chmod +x o"]'
	kind tree '"output": { "type": "Directory", "path": "o" }, "command": ["sh", "-c", "echo x >>\"$COUNT/tree\"; mkdir -p o/sub; echo one $INPUT_N >o/one; echo two >o/sub/two"]'
	kind down '"needs": { "up": { "task": "hello", "inputs": { "n": "{inputs.n}" } } }, "command": ["sh", "-c", "echo x >>\"$COUNT/down\"; tr a-z A-Z <$NEED_UP"]'
	kind below '"needs": { "up": { "task": "tree", "inputs": { "n": "{inputs.n}" } } }, "command": ["sh", "-c", "echo x >>\"$COUNT/below\"; cat $NEED_UP/one"]'
}
kind() {
	task "$1" <<-JSON
	{ "memofs": 1, "name": "$1", "version": "1", "inputs": { "n": { "type": "int" } }, "env": { "COUNT": "$COUNT" }, $(sed 's/\$INPUT_N/$INPUT_N/g' <<<"$2") }
	JSON
}

# object HEX-OF-CONTENT...: the path of the object, or of what has that text as its content
object_of() {
	find "$STORE/objects" -name "$(sha256sum | cut -d' ' -f1)$1"
}
# tree_of N: the directory of that tree
tree_of() {
	dirname "$(grep -rlx "one $1" "$STORE/objects" --include=one)"
}

# flip FILE: one bit of its middle byte, nothing else
flip() {
	python3 - "$1" <<-'PY'
	import os, sys
	path = sys.argv[1]
	st = os.stat(path)
	fd = os.open(path, os.O_RDWR)
	at = st.st_size // 2
	byte = os.pread(fd, 1, at)
	os.pwrite(fd, bytes([byte[0] ^ 1]), at)
	os.close(fd)
	os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
	PY
}

restart() {
	mount_down
	mount_up
}

in_quarantine() { ls "$STORE/quarantine" | grep -c "$1"; }
empty_quarantine() { mem fsck --quick --empty-quarantine >/dev/null; }

# again WHAT TASK N WANT: a read through the mount gives the right bytes, by one execution more
again() {
	local before
	before=$(executions "$2")
	same "$1: bytes" "$4" "$(rd "$MNT/tasks/$2/1/n=$3")"
	same "$1: executions" $((before + 1)) "$(executions "$2")"
	same "$1: bytes again" "$4" "$(rd "$MNT/cached/$2/1/n=$3")"
	same "$1: then a hit" $((before + 1)) "$(executions "$2")"
}

# ---- at the next open ----------------------------------------------------------------------------

@test "a file that is gone, short, longer, of another mode, or no file is made again within the read" {
	same made "hello 1" "$(rd "$MNT/tasks/hello/1/n=1")"
	file=$(echo "hello 1" | object_of)
	rm "$file"
	again gone hello 1 "hello 1"
	truncate -s 3 "$file"
	again short hello 1 "hello 1"
	echo more >>"$file"
	again longer hello 1 "hello 1"
	chmod 644 "$file"
	again mode hello 1 "hello 1"
	rm "$file" && ln -s /etc/passwd "$file"
	again symlink hello 1 "hello 1"
	rm "$file" && mkdir "$file"
	again directory hello 1 "hello 1"
	rm "$file" && mkfifo "$file"
	again FIFO hello 1 "hello 1"
	same "kept" 6 "$(in_quarantine "damaged.$(basename "$file")")"
	has "$(cat "$STORE/memofs.log")" "is damaged; it was moved to quarantine"
}

@test "a flipped bit in a small result is found at the first open of a daemon: file, json, executable" {
	same file "hello 2" "$(rd "$MNT/tasks/hello/1/n=2")"
	same json "[2]" "$(rd "$MNT/tasks/data/1/n=2")"
	same executable "ran 2" "$("$MNT/tasks/prog/1/n=2")"
	mount_down
	flip "$(echo "hello 2" | object_of)"
	flip "$(printf '[2]' | object_of)"
	flip "$(printf '#!/bin/sh\necho ran 2\n' | object_of .x)"
	mount_up
	again file hello 2 "hello 2"
	again json data 2 "[2]"
	before=$(executions prog)
	same executable "ran 2" "$("$MNT/tasks/prog/1/n=2")"
	same executions $((before + 1)) "$(executions prog)"
	has "$(mem stats)" "3 damaged objects were found"
}

# of a tree: tree_again WHAT N
tree_again() {
	local before
	before=$(executions tree)
	same "$1: one" "one $2" "$(rd "$MNT/tasks/tree/1/n=$2/one")"
	same "$1: two" two "$(rd "$MNT/tasks/tree/1/n=$2/sub/two")"
	same "$1: listing" "one sub" "$(ls "$MNT/tasks/tree/1/n=$2" | tr '\n' ' ' | sed 's/ $//')"
	same "$1: executions" $((before + 1)) "$(executions tree)"
}

@test "a tree with a file that is gone, short, damaged or a link, or without its listing, is made again within the read" {
	same made "one 3" "$(rd "$MNT/tasks/tree/1/n=3/one")"
	tree=$(tree_of 3)
	rm -f "$tree/one"
	tree_again gone 3
	truncate -s 1 "$tree/one"
	tree_again short 3
	rm -f "$tree/one" && ln -s /etc/passwd "$tree/one"
	tree_again link 3
	rm -rf "$tree"
	tree_again all 3
	mount_down
	flip "$tree/one"
	mount_up
	tree_again flipped 3
	mount_down
	rm -f "${tree%.d}"
	mount_up
	tree_again "no listing" 3
	mount_down
	flip "${tree%.d}"
	mount_up
	tree_again "damaged listing" 3
}

@test "/cached and /objects never start work, also where /tasks was read before" {
	same made "hello 4" "$(rd "$MNT/tasks/hello/1/n=4")"
	same cached "hello 4" "$(rd "$MNT/cached/hello/1/n=4")"
	hash=$(echo "hello 4" | sha256sum | cut -d' ' -f1)
	same object "hello 4" "$(rd "$MNT/objects/$hash")"
	rm "$(echo "hello 4" | object_of)"
	before=$(executions hello)
	same "cached: gone" ENOENT "$(errno_of open "$MNT/cached/hello/1/n=4")"
	same "cached: gone for stat" ENOENT "$(errno_of stat "$MNT/cached/hello/1/n=4")"
	same "object: gone" ENOENT "$(errno_of open "$MNT/objects/$hash")"
	same "nothing executed" "$before" "$(executions hello)"
	again "then a read" hello 4 "hello 4"
	same "object" "hello 4" "$(rd "$MNT/objects/$hash")"
	same tree "one 4" "$(rd "$MNT/tasks/tree/1/n=4/one")"
	same tree "one 4" "$(rd "$MNT/cached/tree/1/n=4/one")"
	rm -f "$(tree_of 4)/one"
	before=$(executions tree)
	[ "$(errno_of open "$MNT/cached/tree/1/n=4/one")" != ok ]
	same "cached: gone" ENOENT "$(errno_of stat "$MNT/cached/tree/1/n=4")"
	same "nothing executed" "$before" "$(executions tree)"
}

@test "an External result whose path is gone is not there in /cached, and is made again by /tasks" {
	task outside <<-JSON
	{ "memofs": 1, "name": "outside", "version": "1", "output": { "type": "External" }, "env": { "COUNT": "$COUNT", "OUT": "$D/outside" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/outside\"; mkdir -p \"\$OUT\"; echo data >\"\$OUT/data\"; echo \"\$OUT\""] }
	JSON
	same made data "$(rd "$MNT/tasks/outside/1/@default/data")"
	same cached "$D/outside" "$(readlink "$MNT/cached/outside/1/@default")"
	rm -r "$D/outside"
	run ! readlink "$MNT/cached/outside/1/@default"
	same "nothing executed" 1 "$(executions outside)"
	same again data "$(rd "$MNT/tasks/outside/1/@default/data")"
	same executions 2 "$(executions outside)"
}

@test "damage does not spread: what a task needs is looked at before it starts" {
	same up "hello 5" "$(rd "$MNT/tasks/hello/1/n=5")"
	same tree "one 5" "$(rd "$MNT/tasks/tree/1/n=5/one")"
	mount_down
	flip "$(echo "hello 5" | object_of)"
	flip "$(tree_of 5)/one"
	mount_up
	up=$(executions hello) tree=$(executions tree)
	same down "HELLO 5" "$(rd "$MNT/tasks/down/1/n=5")"
	same "down executed once" 1 "$(executions down)"
	same "up executed again" $((up + 1)) "$(executions hello)"
	same below "one 5" "$(rd "$MNT/tasks/below/1/n=5")"
	same "tree executed again" $((tree + 1)) "$(executions tree)"
}

@test "without a daemon: memofs get makes again what is damaged" {
	mount_down
	same made "hello 6" "$(mem get hello n=6 2>/dev/null)"
	before=$(executions hello)
	flip "$(echo "hello 6" | object_of)"
	same again "hello 6" "$(mem get hello n=6 2>/dev/null)"
	same executions $((before + 1)) "$(executions hello)"
}

# ---- a disk that cannot be read ------------------------------------------------------------------

eio_mount() {
	! grep -q fsanitize "$BUILD/build.ninja" 2>/dev/null || skip "the calls of a build with sanitizers cannot be taken over"
	: >"$D/eio"
	mount_down
	MEMO_EIO=$D/eio LD_PRELOAD=$TOOLS/eio.so mount_up
}

# bats test_tags=preload
@test "a read error is an error, and no reason to compute: EIO, and well again when the disk is" {
	same made "hello 7" "$(rd "$MNT/tasks/hello/1/n=7")"
	eio_mount
	file=$(echo "hello 7" | object_of)
	basename "$file" >"$D/eio"
	before=$(executions hello)
	empty_quarantine
	same "the reader is told" EIO "$(errno_of open "$MNT/tasks/hello/1/n=7")"
	same "nothing executed" "$before" "$(executions hello)"
	[ -f "$file" ]
	same "nothing moved" 0 "$(ls "$STORE/quarantine" | wc -l)"
	: >"$D/eio"
	same "well again" "hello 7" "$(rd "$MNT/tasks/hello/1/n=7")"
	same "nothing executed" "$before" "$(executions hello)"
	has "$(mem stats)" "1 reads of objects failed"
	has "$(cat "$STORE/memofs.log")" "cannot be read: Input/output error"
}

# bats test_tags=preload
@test "an object that fails twice is given up and computed once; one that goes on failing is not computed again" {
	same made "hello 8" "$(rd "$MNT/tasks/hello/1/n=8")"
	eio_mount
	file=$(echo "hello 8" | object_of)
	basename "$file" >"$D/eio"
	before=$(executions hello)
	same first EIO "$(errno_of open "$MNT/tasks/hello/1/n=8")"
	# the second gives it up; what is made anew lies under the same name and cannot be read either
	for _ in 2 3 4 5 6 7 8; do
		same later EIO "$(errno_of open "$MNT/tasks/hello/1/n=8")"
	done
	same "executed once" $((before + 1)) "$(executions hello)"
	same kept 1 "$(in_quarantine "unreadable.$(basename "$file")")"
	: >"$D/eio"
	same "well again" "hello 8" "$(rd "$MNT/tasks/hello/1/n=8")"
	same "executed once" $((before + 1)) "$(executions hello)"
}

# bats test_tags=preload
@test "a disk that fails altogether: at most eight objects are computed again" {
	for n in $(seq 100 119); do rd "$MNT/tasks/hello/1/n=$n" >/dev/null; done
	eio_mount
	echo "$STORE/objects" >"$D/eio"
	before=$(executions hello)
	for _ in 1 2 3; do
		for n in $(seq 100 119); do
			same "n=$n" EIO "$(errno_of open "$MNT/tasks/hello/1/n=$n")"
		done
	done
	[ "$(executions hello)" -le $((before + 8)) ]
	: >"$D/eio"
	after=$(executions hello)
	for n in $(seq 100 119); do same "n=$n" "hello $n" "$(rd "$MNT/tasks/hello/1/n=$n")"; done
	same "nothing more" "$after" "$(executions hello)"
}

# bats test_tags=preload
@test "verify and fsck call an unreadable object unreadable, and leave it alone" {
	same made "hello 9" "$(rd "$MNT/tasks/hello/1/n=9")"
	eio_mount
	file=$(echo "hello 9" | object_of)
	basename "$file" >"$D/eio"
	run -1 mem fsck
	has "$output" "$(basename "$file") cannot be read"
	run -4 mem fsck --repair
	has "$output" "not repaired"
	[ -f "$file" ]
	run -4 mem verify --all
	has "$output" "cannot be verified"
	[ -f "$file" ]
	: >"$D/eio"
	run -0 mem fsck
	mount_down
	mount_up
}

# ---- verify --all --------------------------------------------------------------------------------

@test "verify --all finds what an open does not see, and what is found is made again" {
	sum=$(rd "$MNT/tasks/big/1/n=1" | sha256sum)
	same made "hello 10" "$(rd "$MNT/tasks/hello/1/n=10")"
	flip "$(find "$STORE/objects" -name "${sum%% *}")"
	run -1 mem verify --all
	has "$output" "/tasks/big/1/n=1 invalid: its stored bytes are damaged"
	has "$output" "/tasks/hello/1/n=10 valid"
	[[ "${lines[-1]}" =~ ^[0-9]+\ valid,\ 1\ invalid$ ]]
	same "not served" ENOENT "$(errno_of stat "$MNT/cached/big/1/n=1")"
	same again "$sum" "$(rd "$MNT/tasks/big/1/n=1" | sha256sum)"
	same executions 2 "$(executions big)"
	run -0 mem verify --all --json
	has "$output" '"path":"/tasks/big/1/n=1","valid":true'
	has_not "$output" '"valid":false'
	mount_down
	run -0 mem verify --all
	has "$output" "/tasks/big/1/n=1 valid"
}

@test "verify --all goes on where it was interrupted, and reads no faster than it is told" {
	for n in 11 12 13 14; do rd "$MNT/tasks/big/1/n=$n" >/dev/null; done
	total=$(mem verify --all --restart | sed -n 's/ valid, 0 invalid$//p')
	# 2 MiB a second: four results of 2 to 3 MiB take seconds, and are cut off in the middle
	begin=$(milliseconds)
	status=0
	timeout -s INT 3 "$MEMOFS" --store "$STORE" verify --all --rate 2M >"$D/first" 2>"$D/first.err" || status=$?
	same "interrupted" 124 "$status"
	has "$(cat "$D/first.err")" "goes on from here"
	done=$(grep -c ' valid$' "$D/first")
	[ "$done" -lt "$total" ]
	run -0 mem verify --all
	[[ "${lines[-1]}" == "$total valid, 0 invalid ("*" of them before an interruption)" ]]
	left=$(grep -c ' valid$' <<<"$output")
	[ "$left" -lt "$total" ]
	[ $((left + done)) -ge "$total" ]
	run -0 mem verify --all
	same "whole again" "$total valid, 0 invalid" "${lines[-1]}"
}

@test "results that share their bytes are hashed once" {
	kind same '"command": ["sh", "-c", "seq 1 300000"]'
	for n in 1 2 3 4 5 6; do rd "$MNT/tasks/same/1/n=$n" >/dev/null; done
	run -0 mem verify --all
	same "all of them" 6 "$(grep -c '/tasks/same/1/n=. valid' <<<"$output")"
	flip "$(find "$STORE/objects" -name "$(seq 1 300000 | sha256sum | cut -d' ' -f1)")"
	run -1 mem verify --all
	same "all of them" 6 "$(grep -c '/tasks/same/1/n=. invalid' <<<"$output")"
	for n in 1 2 3 4 5 6; do same "n=$n" 300000 "$(rd "$MNT/tasks/same/1/n=$n" | tail -n 1)"; done
}

# ---- fsck ----------------------------------------------------------------------------------------

@test "a store that was used in every way is clean, with a daemon and without, while tasks are published" {
	rd "$MNT/tasks/down/1/n=20" >/dev/null
	rd "$MNT/tasks/below/1/n=20" >/dev/null
	"$MNT/tasks/prog/1/n=20"
	rd "$MNT/tasks/data/1/n=20" >/dev/null
	mem run hello n=21 >/dev/null 2>&1
	mem forget hello n=21
	(for n in $(seq 200 260); do rd "$MNT/tasks/hello/1/n=$n" "$MNT/tasks/tree/1/n=$n/one" >/dev/null; done) 3>&- &
	reader=$!
	for _ in 1 2 3 4; do
		run -0 mem fsck
		[[ "${lines[-1]}" == *"nothing is wrong"* ]]
	done
	wait "$reader"
	run -0 mem fsck --json
	has "${lines[-1]}" '"found":"summary"'
	has "${lines[-1]}" '"wrong":0'
	mount_down
	run -0 mem fsck
	[[ "${lines[-1]}" == *"nothing is wrong"* ]]
	run -0 mem fsck --quick
	has "${lines[-1]}" "without their content"
}

# broken WHAT WHERE: fsck says so, once, and nothing else; repair mends it; then nothing is wrong
broken() {
	run -1 mem fsck
	same "$1: findings" 1 "$(grep -c '(repair would: ' <<<"$output")"
	has "$output" "$2"
	has "${lines[-1]}" "1 wrong"
	run -1 mem fsck --repair
	has "$output" "(repaired: "
	has "${lines[-1]}" "1 wrong, 1 repaired, 0 not"
	run -0 mem fsck
}

@test "fsck names each kind of damage to objects, repair mends it, and every read is exact" {
	same made "hello 30" "$(rd "$MNT/tasks/hello/1/n=30")"
	same made "one 30" "$(rd "$MNT/tasks/tree/1/n=30/one")"
	same made "ran 30" "$("$MNT/tasks/prog/1/n=30")"
	file=$(echo "hello 30" | object_of)
	name=${file#"$STORE/"}
	flip "$file"
	broken flipped "$name has other bytes than its name says"
	again flipped hello 30 "hello 30"
	rm "$file"
	broken gone "$name is missing"
	again gone hello 30 "hello 30"
	truncate -s 2 "$file"
	broken short "$name has another size"
	again short hello 30 "hello 30"
	rm "$file" && ln -s /etc/passwd "$file"
	broken link "$name is no file"
	again link hello 30 "hello 30"
	before=$(executions hello)
	chmod 644 "$file"
	broken mode "$name has mode 0644"
	same mode "hello 30" "$(rd "$MNT/tasks/hello/1/n=30")"
	same "mode: mended in its place" "$before" "$(executions hello)"
	flip "$(printf '#!/bin/sh\necho ran 30\n' | object_of .x)"
	broken executable "has other bytes than its name says"
	same executable "ran 30" "$("$MNT/tasks/prog/1/n=30")"
	tree=$(tree_of 30)
	flip "$tree/one"
	broken "file of a tree" "'one' is not what the listing says"
	tree_again "file of a tree" 30
	rm -f "$tree/sub/two"
	broken "gone from a tree" "directory 'sub' does not have the entries of the listing"
	tree_again "gone from a tree" 30
	echo more >"$tree/more"
	broken "added to a tree" "directory '' does not have the entries of the listing"
	tree_again "added to a tree" 30
	flip "${tree%.d}"
	broken "listing" "has other bytes than its name says"
	tree_again listing 30
}

@test "fsck --quick sees sizes and modes, and says that it leaves the content out" {
	same made "hello 31" "$(rd "$MNT/tasks/hello/1/n=31")"
	file=$(echo "hello 31" | object_of)
	flip "$file"
	run -0 mem fsck --quick
	truncate -s 2 "$file"
	run -1 mem fsck --quick
	has "$output" "has another size"
	run -1 mem fsck --quick --repair
	again short hello 31 "hello 31"
}

receipt_of() { # PATH below /tasks
	local id
	id=$(cat "$MNT/info/$1/identity")
	find "$STORE/receipts" -name "$id"
}

@test "a receipt that is damaged, gone, or another's is written again; nothing is computed" {
	same made "hello 32" "$(rd "$MNT/tasks/hello/1/n=32")"
	same made "hello 33" "$(rd "$MNT/tasks/hello/1/n=33")"
	before=$(executions hello)
	file=$(receipt_of hello/1/n=32) # where it is written again may be another directory
	flip "$file"
	broken damaged "${file##*/} is damaged: its checksum is wrong"
	file=$(receipt_of hello/1/n=32)
	rm "$file"
	broken gone "${file##*/} is missing"
	file=$(receipt_of hello/1/n=32)
	: >"$file"
	broken empty "${file##*/} is damaged"
	file=$(receipt_of hello/1/n=32)
	cp "$(receipt_of hello/1/n=33)" "$file"
	broken "another's" "${file##*/} is not what its name says"
	same bytes "hello 32" "$(rd "$MNT/tasks/hello/1/n=32")"
	same "nothing executed" "$before" "$(executions hello)"
}

@test "a receipt of a task, the store's own modes, and what lies about" {
	file=$(find "$STORE/receipts/tasks" -type f | head -n 1)
	flip "$file"
	broken "task's receipt" "has a damaged receipt"
	rm "$file"
	broken "task's receipt" "has no receipt"
	chmod 755 "$STORE/receipts"
	broken mode "receipts has mode 0755"
	same mended 700 "$(stat -c %a "$STORE/receipts")"
	chmod 777 "$STORE/objects/ab"
	broken mode "objects/ab has mode 0777"
	sleep 1.1
	touch "$STORE/objects/ab/stray" "$STORE/receipts/ab/stray" "$STORE/stray"
	sleep 1.1
	run -0 mem fsck
	has "$output" "objects/ab/stray is no object (left over"
	has "$output" "receipts/ab/stray is no receipt (left over"
	has "$output" "stray is no part of a store (left over"
	run -0 mem fsck --repair
	[ ! -e "$STORE/objects/ab/stray" ] && [ ! -e "$STORE/receipts/ab/stray" ] && [ -e "$STORE/stray" ]
	rm "$STORE/stray"
}

@test "code of a registered task that is gone cannot be mended: status 4, and it says what to do" {
	mkdir -p "$TASKS/scripted"
	printf '#!/bin/sh\necho scripted\n' >"$TASKS/scripted/run.sh"
	task scripted <<-JSON
	{ "memofs": 1, "name": "scripted", "version": "1", "script": "run.sh" }
	JSON
	rm "$(object_of .x <"$TASKS/scripted/run.sh")$(object_of <"$TASKS/scripted/run.sh")"
	run -1 mem fsck
	has "$output" "task scripted 1 has lost its file 'run.sh'"
	has "$output" "memofs add"
	run -4 mem fsck --repair
	mem add "$TASKS/scripted/task.json" >/dev/null
	run -0 mem fsck
	same works scripted "$(rd "$MNT/tasks/scripted/1/@default")"
}

@test "what is in quarantine is listed, and removed when that is asked for" {
	same made "hello 35" "$(rd "$MNT/tasks/hello/1/n=35")"
	file=$(echo "hello 35" | object_of)
	truncate -s 0 "$file"
	again short hello 35 "hello 35"
	sleep 2.1
	run -0 mem fsck --quick
	has "$output" "damaged.$(basename "$file") is what an earlier finding left"
	run -0 mem fsck --quick --empty-quarantine
	same empty 0 "$(ls "$STORE/quarantine" | wc -l)"
}

@test "usage, and rights" {
	run -2 mem fsck everything
	run -2 mem fsck --rate fast
	run -2 mem verify --rate 1M hello n=1
	run -2 mem verify --all hello n=1
	if [ "$(id -u)" -eq 0 ]; then
		run -4 setpriv --reuid 65534 --regid 65534 --clear-groups "$MEMOFS" --store "$STORE" fsck
	fi
}
