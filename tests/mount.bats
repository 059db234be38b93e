# The mount as CONTRACT describes it: names, what computes and what does not, what a result looks like.

load helpers

setup_file() {
	place_open
	mount_up
	task_hello
	task_gated
	task tree <<-JSON
	{ "memofs": 1, "name": "tree", "version": "1", "inputs": { "id": { "type": "string", "default": "a" } },
	  "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/tree\"; mkdir -p \"\$OUTPUT/sub\"; echo one >\"\$OUTPUT/one\"; echo two >\"\$OUTPUT/sub/two\"; printf '#!/bin/sh\\\\necho ran\\\\n' >\"\$OUTPUT/run\"; chmod +x \"\$OUTPUT/run\"; ln -s one \"\$OUTPUT/link\"; : >\"\$OUTPUT/empty\""],
	  "output": { "type": "Directory", "path": "out" } }
	JSON
	task arr <<-JSON
	{ "memofs": 1, "name": "arr", "version": "2.0-rc1",
	  "inputs": { "x": { "type": "int[]", "default": [] }, "f": { "type": "float", "default": 0.5 }, "s": { "type": "string?" },
	              "b": { "type": "boolean", "default": false }, "e": { "type": "enum", "values": ["red", "green"], "default": "red" },
	              "j": { "type": "json", "default": {} } },
	  "command": ["sh", "-c", "printf '%s|%s|%s|%s|%s|%s\\\\n' \"\$INPUT_X\" \"\$INPUT_F\" \"\$INPUT_S\" \"\$INPUT_B\" \"\$INPUT_E\" \"\$INPUT_J\""] }
	JSON
}
teardown_file() {
	place_close
}

@test "reading a name computes its result, reading it again does not" {
	same first "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
	same again "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
	same executions 1 "$(executions hello)"
}

@test "a stat alone is a demand and tells the true size" {
	same size $GATED_BYTES "$(stat -c %s "$MNT/tasks/gated/1/id=stat")"
	same executions 1 "$(executions gated-stat)"
	[ -f "$MNT/tasks/gated/1/id=stat2" ]
	[ ! -d "$MNT/tasks/gated/1/id=stat2" ]
}

@test "every way of reading gives the same bytes, each as the first demand" {
	want=$(seq -f %07g 1 12500 | sha256sum)
	for call in read sendfile mmap pread; do
		got=$(timeout 30 "$TOOLS/reader" "$call" "$MNT/tasks/gated/1/id=way-$call" | sha256sum)
		same "$call" "$want" "$got"
		got=$(timeout 30 "$TOOLS/reader" "$call" "$MNT/tasks/gated/1/id=way-$call" | sha256sum)
		same "$call again" "$want" "$got"
	done
}

@test "/cached shows the result once it is there, and never starts work" {
	same before ENOENT "$(errno_of stat "$MNT/cached/hello/1/who=Bob")"
	sleep 0.2
	same state NONE "$(state hello/1/who=Bob)"
	rd "$MNT/tasks/hello/1/who=Bob"
	same after "hello Bob" "$(rd "$MNT/cached/hello/1/who=Bob")"
}

@test "/start answers with the state at once, and the work goes on by itself" {
	begin=$(milliseconds)
	word=$(timeout 20 cat "$MNT/start/gated/1/gate=s,id=start")
	[ $(($(milliseconds) - begin)) -lt $((1000 * SLOW)) ]
	[[ "$word" =~ ^(PENDING|SUBMITTED|RUNNING)$ ]]
	wait_until 10 state_is gated/1/gate=s,id=start RUNNING
	same again RUNNING "$(timeout 20 cat "$MNT/start/gated/1/gate=s,id=start")"
	gate_open s
	wait_until 20 state_is gated/1/gate=s,id=start SUCCESS
	same done SUCCESS "$(timeout 20 cat "$MNT/start/gated/1/gate=s,id=start")"
	same size $GATED_BYTES "$(stat -c %s "$MNT/cached/gated/1/gate=s,id=start")"
	same executions 1 "$(executions gated-start)"
}

@test "/info tells what is known" {
	rd "$MNT/tasks/hello/1/who=Cid"
	i=$MNT/info/hello/1/who=Cid
	same state SUCCESS "$(tr -d '\n' <"$i/state")"
	[[ "$(tr -d '\n' <"$i/identity")" =~ ^[0-9a-f]{64}$ ]]
	same output_hash "$(printf 'hello Cid\n' | sha256sum | cut -d' ' -f1)" "$(tr -d '\n' <"$i/output_hash")"
	same inputs '{"who":"Cid"}' "$(python3 -c 'import json,sys; print(json.dumps(json.load(sys.stdin),separators=(",",":")))' <"$i/inputs.json")"
	python3 - "$i" <<-'PY'
	import hashlib, json, sys
	info = sys.argv[1]
	key = json.load(open(info + "/key.json"))
	assert key["task"] == "hello" and key["version"] == "1" and key["inputs"] == {"who": "Cid"}, key
	assert "code" not in key, key
	identity = open(info + "/identity").read().strip()
	text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
	assert hashlib.sha256(text.encode()).hexdigest() == identity, (text, identity)
	states = [json.loads(line)["to"] for line in open(info + "/history.jsonl")]
	assert states[0] == "PENDING" and states[-1] == "SUCCESS" and "RUNNING" in states, states
	for line in open(info + "/history.jsonl"):
	    entry = json.loads(line)
	    assert {"time", "from", "to"} <= set(entry), entry
	json.load(open(info + "/origin.json"))
	PY
	[ -L "$i/result" ]
	same result "hello Cid" "$(rd "$i/result")"
	[ -d "$i/upstream" ]
	[ -e "$i/stderr" ]
	same never ENOENT "$(errno_of stat "$MNT/info/hello/1/who=never")"
}

@test "/info's stderr grows while the task runs" {
	task talk <<-JSON
	{ "memofs": 1, "name": "talk", "version": "1", "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo begin >&2; i=0; while [ ! -e \"\$COUNT/open-talk\" ] && [ \$i -lt 1500 ]; do sleep 0.02; i=\$((i + 1)); done; echo end >&2; echo out"] }
	JSON
	cat "$MNT/start/talk/1/@default"
	log=$MNT/info/talk/1/@default/stderr
	wait_until 10 grep -q begin "$log"
	run -1 grep -q end "$log"
	gate_open talk
	wait_until 10 grep -q end "$log"
	same log "$(printf 'begin\nend')" "$(mem log "$MNT/tasks/talk/1/@default")"
}

@test "command.sh reproduces the execution by hand" {
	rd "$MNT/tasks/hello/1/who=Hand"
	before=$(executions hello)
	cp "$MNT/info/hello/1/who=Hand/command.sh" "$D/command.sh"
	mkdir -p "$D/hand"
	out=$(cd "$D/hand" && sh "$D/command.sh")
	has "$out" "hello Hand"
	same executions $((before + 1)) "$(executions hello)"
}

@test "/objects gives a result by its output hash" {
	rd "$MNT/tasks/hello/1/who=Dan" >"$D/dan"
	hash=$(sha256sum <"$D/dan" | cut -d' ' -f1)
	cmp "$D/dan" "$MNT/objects/$hash"
	same none ENOENT "$(errno_of stat "$MNT/objects/$(printf no | sha256sum | cut -d' ' -f1)")"
	same short ENOENT "$(errno_of stat "$MNT/objects/${hash:0:20}")"
}

@test "/README is a page of help with examples of the registered tasks" {
	page=$(rd "$MNT/README")
	has "$page" hello
	has "$page" /tasks/
	has "$page" cached
}

@test "listings show finished results only, under canonical names" {
	rd "$MNT/tasks/hello/1/@default" "$MNT/tasks/hello/1/who=Zoe"
	cat "$MNT/start/gated/1/gate=l,id=listed"
	run -0 ls "$MNT/tasks/hello/1"
	has "$output" "who=Zoe"
	has "$output" "@default"
	has_not "$output" "who=world"
	same both "$(ls "$MNT/tasks/hello/1")" "$(ls "$MNT/cached/hello/1")"
	run -0 ls "$MNT/tasks/gated/1"
	has_not "$output" "id=listed"
	gate_open l
	wait_until 20 state_is gated/1/gate=l,id=listed SUCCESS
	run -0 ls "$MNT/tasks/gated/1"
	has "$output" "gate=l,id=listed"
	run -0 ls "$MNT"
	has "$output" README
	for d in tasks cached start info objects; do [ -d "$MNT/$d" ]; done
}

@test "another spelling is a symbolic link to the canonical name" {
	cd "$MNT/tasks/hello/1"
	[ -L who=world ]
	same default "$MNT/tasks/hello/1/@default" "$(realpath -s "$(dirname who=world)/$(readlink who=world)" | sed "s|^\([^/]\)|$MNT/\1|")"
	same bytes "hello world" "$(rd who=world)"
	[ -L 'who=%41nn' ]
	same readlink 'who=Ann' "$(basename "$(readlink 'who=%41nn')")"
	cd "$MNT/tasks/gated/1"
	same order 'gate=x,id=y' "$(basename "$(readlink 'id=y,gate=x')")"
	cd "$MNT/tasks/arr/2.0-rc1"
	same number 'f=1.5' "$(basename "$(readlink 'f=1.50')")"
	same number 'x=7' "$(basename "$(readlink 'x=%37')")"
	same upper 's=a%2Fb' "$(basename "$(readlink 's=a%2fb')")"
	same none "" "$(readlink 's=a%2Fb')"
	same inode "$(stat -c %i "$MNT/tasks/hello/1/@default")" "$(stat -L -c %i "$MNT/tasks/hello/1/who=world")"
	cd "$ROOT"
}

@test "@ and an identity or an inputs digest name an instance" {
	rd "$MNT/tasks/hello/1/who=Eve"
	id=$(tr -d '\n' <"$MNT/info/hello/1/who=Eve/identity")
	same whole "hello Eve" "$(rd "$MNT/tasks/hello/1/@$id")"
	same prefix "hello Eve" "$(rd "$MNT/tasks/hello/1/@${id:0:12}")"
	same "too short" ENOENT "$(errno_of stat "$MNT/tasks/hello/1/@${id:0:11}")"
	same unknown ENOENT "$(errno_of stat "$MNT/tasks/hello/1/@0123456789abcdef")"
	long=$(printf 'v%.0s' {1..300})
	p=$(mem path hello "who=$long")
	[[ "$p" =~ ^/tasks/hello/1/@[0-9a-f]{64}$ ]]
	same long "hello $long" "$(rd "$MNT$p")"
}

@test "latest is a symbolic link to the version registered last" {
	same link 1 "$(basename "$(readlink "$MNT/tasks/hello/latest")")"
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/latest/who=Ann")"
}

@test "errors have their numbers" {
	t=$MNT/tasks
	while read -r want call path; do
		same "$path" "$want" "$(errno_of "$call" "$t/$path")"
	done <<-TABLE
	ENOENT stat nosuch
	ENOENT stat nosuch/1/a=b
	ENOENT stat hello/2
	ENOENT stat hello/2/who=x
	ENOENT stat hello/1/plain
	ENOENT stat hello/1/@nothex
	EINVAL stat hello/1/whom=x
	EINVAL stat hello/1/who=a,who=b
	EINVAL stat hello/1/who=%zz
	EINVAL stat hello/1/who=%00
	EINVAL stat hello/1/who=%ff
	EINVAL stat hello/1/who=a,b
	EINVAL open gated/1/gate=x
	EINVAL stat gated/1/@default
	EINVAL stat gated/1/id=x,fail=maybe
	EINVAL stat arr/2.0-rc1/x=one
	EINVAL stat arr/2.0-rc1/x=9223372036854775808
	EINVAL stat arr/2.0-rc1/f=inf
	EINVAL stat arr/2.0-rc1/e=blue
	EINVAL stat arr/2.0-rc1/j=%7b
	EINVAL stat arr/2.0-rc1/b=TRUE
	ENOTDIR stat hello/1/who=Ann/x
	ok stat hello/1/who=Ann
	TABLE
	long=$(printf 'v%.0s' {1..300})
	same long ENAMETOOLONG "$(errno_of stat "$t/hello/1/who=$long")"
	v251=$(printf 'v%.0s' {1..251})
	same "255 bytes" ok "$(errno_of stat "$t/hello/1/who=$v251")"
	same nothing 0 "$(executions gated-x)"
	run -2 mem explain "$t/hello/1/whom=x"
	has "$output" whom
}

@test "values of all types arrive, percent-encoded or not" {
	cd "$MNT/tasks/arr/2.0-rc1"
	same default '[]|0.5||false|red|{}' "$(rd @default)"
	same array '[1,2,3]|0.5||false|red|{}' "$(rd x=1,x=2,x=3)"
	same order '[3,1]|0.5||false|red|{}' "$(rd x=3,x=1)"
	same negative '[-9223372036854775808]|-1e-7||true|green|{}' "$(rd b=true,e=green,f=-1e-7,x=-9223372036854775808)"
	same equals '[]|0.5|a=b=c|false|red|{}' "$(rd s=a=b=c)"
	same encoded '[]|0.5|a/b,c%d|false|red|{}' "$(rd s=a%2Fb%2Cc%25d)"
	same once '[]|0.5|%2F|false|red|{}' "$(rd s=%252F)"
	same utf8 '[]|0.5|Grüße ☃|false|red|{}' "$(rd 's=Grüße ☃')"
	same json '[]|0.5||false|red|{"a":[1,"x"]}' "$(rd 'j=%7B%22a%22:%5B1%2C%22x%22%5D%7D')"
	cd "$ROOT"
}

@test "probes of prompts, editors and indexers find nothing and start nothing" {
	before=$(ls "$COUNT")
	for probe in .git .envrc .hg HEAD config .python-version __init__.py node_modules package.json .DS_Store Makefile \
		desktop.ini .hidden .gitignore .editorconfig autorun.inf; do
		for dir in "" /tasks /tasks/hello /tasks/hello/1 /cached/hello/1 /start/hello/1 /info/hello/1 /objects /runs; do
			same "$dir/$probe" ENOENT "$(errno_of stat "$MNT$dir/$probe")"
		done
	done
	cd "$MNT/tasks/hello/1"
	run -128 git status
	cd "$ROOT"
	same started "$before" "$(ls "$COUNT")"
}

@test "crawlers start nothing" {
	rd "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/tree/1/@default/one"
	counts=$(cat "$COUNT"/* | wc -l)
	find "$MNT" -type f >"$D/found"
	ls -lR "$MNT" >"$D/listed"
	du -s "$MNT" >"$D/du"
	grep -r "nothing contains this" "$MNT/tasks" "$MNT/cached" || [ $? -eq 1 ]
	tar -C "$MNT" -cf /dev/null cached
	grep -q "/tasks/hello/1/who=Ann$" "$D/found"
	grep -q "/cached/tree/1/@default/sub/two$" "$D/found"
	same counts "$counts" "$(cat "$COUNT"/* | wc -l)"
}

@test "everything is read-only" {
	rd "$MNT/tasks/hello/1/who=Ann"
	for command in "touch $MNT/x" "touch $MNT/tasks/hello/1/who=Ann" "mkdir $MNT/tasks/new" "rm -f $MNT/tasks/hello/1/who=Ann" \
		"chmod 777 $MNT/tasks/hello/1/who=Ann" "ln -s a $MNT/b" "truncate -s 0 $MNT/tasks/hello/1/who=Ann"; do
		run -1 $command
		has "$output" "Read-only file system"
	done
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
}

@test "modes, owners and times are the result's" {
	f=$MNT/tasks/hello/1/who=Ann t=$MNT/tasks/tree/1/@default
	rd "$f" "$t/one"
	same file "444 regular file" "$(stat -c '%a %F' "$f")"
	same dir "555 directory" "$(stat -c '%a %F' "$t")"
	same x "555 regular file" "$(stat -c '%a %F' "$t/run")"
	same plain "444 regular file" "$(stat -c '%a %F' "$t/one")"
	same owner "$(id -u)" "$(stat -c %u "$f")"
	age=$(($(date +%s) - $(stat -c %Y "$f")))
	[ "$age" -ge 0 ]
	[ "$age" -lt 600 ]
	same ran ran "$("$t/run")"
}

@test "a directory result is a tree, with links and an empty file" {
	t=$MNT/tasks/tree/1/id=dir
	[ -d "$t" ]
	same list "empty link one run sub" "$(ls "$t" | tr '\n' ' ' | sed 's/ $//')"
	same link one "$(readlink "$t/link")"
	same through one "$(rd "$t/link")"
	same deep two "$(rd "$t/sub/two")"
	same empty 0 "$(stat -c %s "$t/empty")"
	same inner ENOENT "$(errno_of stat "$t/nosuch")"
	same probe ENOENT "$(errno_of stat "$t/.git")"
	(cd "$t/sub" && same pwd two "$(cat two)")
	diff -r "$t" "$MNT/cached/tree/1/id=dir"
	hash=$(tr -d '\n' <"$MNT/info/tree/1/id=dir/output_hash")
	diff -r "$t" "$MNT/objects/$hash"
}

@test "entering a directory that is not computed yet computes it" {
	before=$(executions tree)
	same deep two "$(rd "$MNT/tasks/tree/1/id=enter/sub/two")"
	same executions $((before + 1)) "$(executions tree)"
	(cd "$MNT/tasks/tree/1/id=enter2" && [ -f one ])
	same list 5 "$(ls "$MNT/tasks/tree/1/id=enter3" | wc -l)"
}

@test "the mount says what it is" {
	line=$(awk -v m="$MNT" '$5 == m' /proc/self/mountinfo)
	has "$line" " - fuse.memofs $STORE "
	for option in ro nosuid nodev; do has ",$(awk '{ print $6 }' <<<"$line")," ",$option,"; done
	has "$line" default_permissions
	same attributes "" "$(getfattr -d -m - --absolute-names "$MNT/README" 2>/dev/null)"
}

@test "an open file keeps its result when the name is forgotten and computed again" {
	task clock <<-JSON
	{ "memofs": 1, "name": "clock", "version": "1", "command": ["date", "+%s.%N"] }
	JSON
	f=$MNT/tasks/clock/1/@default
	old=$(rd "$f")
	"$TOOLS/reader" -h "$D/go" hold "$f" >"$D/held" 3>&- &
	reader=$!
	wait_until 10 grep -q open "$D/held"
	mem forget "$f"
	new=$(rd "$f")
	[ "$old" != "$new" ]
	touch "$D/go"
	wait "$reader"
	same held "$old" "$(tail -n +2 "$D/held")"
	same again "$new" "$(rd "$f")"
	same cached "$new" "$(rd "$MNT/cached/clock/1/@default")"
}

@test "forget takes the name out of the listings" {
	rd "$MNT/tasks/hello/1/who=Fay"
	mem forget "$MNT/tasks/hello/1/who=Fay"
	same cached ENOENT "$(errno_of stat "$MNT/cached/hello/1/who=Fay")"
	run -0 ls "$MNT/cached/hello/1"
	has_not "$output" who=Fay
	before=$(executions hello)
	same computed "hello Fay" "$(rd "$MNT/tasks/hello/1/who=Fay")"
	same executions $((before + 1)) "$(executions hello)"
	same cached "hello Fay" "$(rd "$MNT/cached/hello/1/who=Fay")"
}

@test "results, inodes and versions survive umount and mount" {
	rd "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/tree/1/@default/sub/two"
	before=$(executions hello)
	ino=$(stat -c %i "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/tree/1/@default/sub/two")
	list=$(ls "$MNT/tasks/hello/1")
	mount_down
	[ ! -e "$MNT/tasks" ]
	mount_up
	same list "$list" "$(ls "$MNT/tasks/hello/1")"
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
	same inodes "$ino" "$(stat -c %i "$MNT/tasks/hello/1/who=Ann" "$MNT/tasks/tree/1/@default/sub/two")"
	same executions "$before" "$(executions hello)"
}

@test "a second mount on the same place is refused with a sentence" {
	run -4 mem mount "$MNT"
	has "$output" "memofs: "
	has "$output" "$MNT"
	same bytes "hello Ann" "$(rd "$MNT/tasks/hello/1/who=Ann")"
}

@test "a task registered while mounted appears, a removed one goes, its results stay cached" {
	same before ENOENT "$(errno_of stat "$MNT/tasks/late/1/@default")"
	task late <<-JSON
	{ "memofs": 1, "name": "late", "version": "1", "env": { "COUNT": "$COUNT" }, "command": ["sh", "-c", "echo x >>\"\$COUNT/late\"; echo late"] }
	JSON
	same bytes late "$(rd "$MNT/tasks/late/1/@default")"
	mem remove late@1
	same after ENOENT "$(errno_of stat "$MNT/tasks/late/1/@default")"
	mem add "$TASKS/late/task.json"
	same again late "$(rd "$MNT/tasks/late/1/@default")"
	same executions 1 "$(executions late)"
}

@test "mount -t fuse.memofs works, as fstab would use it" {
	[ "$(id -u)" -eq 0 ] || skip "only root may call mount(8)"
	mkdir "$D/mnt2"
	"$MEMOFS" "$D/store2" "$D/mnt2" -o rw,dev,suid 3>&- 4>&-
	"$MEMOFS" --store "$D/store2" add "$TASKS/hello/task.json"
	same bytes "hello Two" "$(rd "$D/mnt2/tasks/hello/1/who=Two")"
	"$MEMOFS" umount "$D/mnt2"
	# mount(8) finds an installed program by "-t fuse.memofs"; this one lies elsewhere, so its path takes that place
	mount -t "fuse.$MEMOFS" "$D/store2" "$D/mnt2" 3>&- 4>&-
	has "$(grep -F " $D/mnt2 " /proc/self/mountinfo)" " - fuse.memofs $D/store2 "
	same bytes "hello Two" "$(rd "$D/mnt2/cached/hello/1/who=Two")"
	umount "$D/mnt2"
	STORE=$D/store2 wait_until 20 no_owner
}
