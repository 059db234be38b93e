# What tasks leave behind, and inputs that change under their feet: the promises, one by one. The campaigns leaked, zoo and
# changing try each of them in many forms.

load helpers

setup_file() {
	place_open
	mount_up
}
teardown_file() {
	place_close
}

root_only() { [ "$(id -u)" -eq 0 ] || skip "needs root"; }

# made NAME TYPE PATH COMMAND: a task whose output is at PATH, and its instance's path below /tasks.
made() {
	task "$1" <<-JSON
	{ "memofs": 1, "name": "$1", "version": "1", "output": { "type": "$2", "path": "$3" }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", $(python3 -c 'import json, sys; print(json.dumps(sys.argv[1].replace("{", "{{").replace("}", "}}")))' "$4")] }
	JSON
}
message() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get("message", ""))' "$MNT/info/$1/1/@default/origin.json"; }
refused() { # NAME TEXT
	run ! timeout $((60 * SLOW)) stat "$MNT/tasks/$1/1/@default"
	has "$(message "$1")" "$2"
}
object() { # NAME [SUFFIX]
	local hash
	hash=$(cat "$MNT/info/$1/1/@default/output_hash")
	echo "$STORE/objects/${hash:0:2}/$hash${2:-}"
}

@test "modes are 0444 and 0555, whatever the task set" {
	made modes Directory o 'mkdir -p o/d; for m in 0 1 111 200 644 755 4755 2777 1777; do echo $m >o/$m; chmod $m o/$m; done; chmod 0 o/d'
	same modes "444 0,555 1,555 111,444 200,444 644,555 755,555 4755,555 2777,555 1777,555 d" \
		"$(cd "$MNT/tasks/modes/1/@default" && stat -c '%a %n' 0 1 111 200 644 755 4755 2777 1777 d | paste -sd,)"
	same "in the store" "444 555" "$(stat -c %a "$(object modes .d)"/* | sort -u | paste -sd' ')"
}

@test "the work directory is empty when the task begins: the folder of the output is the task's to make" {
	made folder File a/b/c.txt 'test -z "$(ls -A)" && mkdir a a/b && echo there >"$OUTPUT"'
	same text there "$(rd "$MNT/tasks/folder/1/@default")"
	made folders Directory x/y 'mkdir -p "$OUTPUT" && echo there >"$OUTPUT/f"'
	same text there "$(rd "$MNT/tasks/folders/1/@default/f")"
}

@test "a further hard link is not a way to change the result" {
	mem config sandbox off
	made linked File o 'head -c 3000000 /dev/zero >o; ln o "$COUNT/kept"'
	same bytes 3000000 "$(rd "$MNT/tasks/linked/1/@default" | wc -c)"
	mem config sandbox ""
	[ -e "$COUNT/kept" ]
	echo changed >"$COUNT/kept"
	same bytes 3000000 "$(rd "$MNT/tasks/linked/1/@default" | wc -c)"
	same links 1 "$(stat -c %h "$(object linked)")"
	made inside Directory o 'mkdir o; echo same >o/a; ln o/a o/b'
	same both "same same" "$(rd "$MNT/tasks/inside/1/@default/a" "$MNT/tasks/inside/1/@default/b" | paste -sd' ')"
}

@test "a descriptor that was passed on cannot change the result, and the log tells of it" {
	cat >"$D/hold.py" <<-'PY'
	import array, os, socket, sys, time
	s = socket.socket(socket.AF_UNIX)
	s.bind(sys.argv[1])
	s.listen()
	c, _ = s.accept()
	fds = array.array("i")
	fds.frombytes(c.recvmsg(1, 100)[1][0][2][:4])
	c.send(b"!")
	while not os.path.exists(sys.argv[1] + ".go"):
	    time.sleep(0.02)
	os.pwrite(fds[0], b"CHANGED", 0)
	open(sys.argv[1] + ".done", "w").close()
	PY
	python3 "$D/hold.py" "$COUNT/sock" 3>&- &
	wait_until 10 test -S "$COUNT/sock"
	made passed File o 'head -c 3000000 /dev/zero >o; python3 -c "
import array, os, socket
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ[\"COUNT\"] + \"/sock\")
s.sendmsg([b\"x\"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array(\"i\", [os.open(\"o\", os.O_RDWR)]))])
s.recv(1)"'
	before=$(rd "$MNT/tasks/passed/1/@default" | sha256sum)
	touch "$COUNT/sock.go"
	wait_until 10 test -e "$COUNT/sock.done"
	same bytes "$before" "$(rd "$MNT/tasks/passed/1/@default" | sha256sum)"
	same object "$(basename "$(object passed)")  $(object passed)" "$(sha256sum "$(object passed)")"
	has "$(cat "$MNT/info/passed/1/@default/stderr")" "was still open for writing in a process outside the task"
}

@test "extended attributes and access lists do not get into the store" {
	made attributed Directory o 'mkdir o; echo a >o/small; head -c 2000000 /dev/zero >o/large; python3 -c "
import os
for f in \"o\", \"o/small\", \"o/large\":
    os.setxattr(f, \"user.note\", b\"x\")"'
	rd "$MNT/tasks/attributed/1/@default/small" || skip "no extended attributes here"
	same attributes "" "$(python3 -c 'import os, sys
for d, _, files in os.walk(sys.argv[1]):
    print(*(os.listxattr(os.path.join(d, f)) for f in [""] + files), sep="")' "$(object attributed .d)" | tr -d '[]\n')"
}

@test "links inside are kept, links that lead out are refused by name" {
	made kept Directory o 'mkdir -p o/d; echo f >o/d/f; ln -s d/f o/a; ln -s ../d o/d/up; ln -s nowhere o/n'
	same target d/f "$(readlink "$MNT/tasks/kept/1/@default/a")"
	same "through two" f "$(rd "$MNT/tasks/kept/1/@default/d/up/up/f")"
	made absolute Directory o 'mkdir o; ln -s /etc/passwd o/bad'
	refused absolute "'bad' is a symbolic link to '/etc/passwd', outside the output"
	made sly Directory o 'mkdir o; ln -s . o/here; ln -s here/here/../../x o/bad'
	refused sly "'bad' is a symbolic link to 'here/here/../../x', which leads out of the output by way of another link"
	made itself File o 'ln -s /etc/passwd o'
	refused itself "the output 'o' is a symbolic link to '/etc/passwd', outside the work directory"
}

@test "FIFOs, sockets and devices are refused at once" {
	made fifo Directory o 'mkdir o; mkfifo o/bad'
	refused fifo "'bad' is a FIFO"
	made fifofile File o 'mkfifo o'
	refused fifofile "the output 'o' is not a file"
	made socket Directory o 'mkdir o; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\"o/bad\")"'
	refused socket "'bad' is a socket"
}

@test "holes stay holes, and a file that is nothing but a hole of a terabyte is refused soon" {
	made sparse Directory o 'mkdir o; truncate -s 64M o/s; printf end >>o/s; ln o/s o/t'
	same bytes $((67108864 + 3)) "$(stat -c %s "$MNT/tasks/sparse/1/@default/t")"
	same end end "$(tail -c 3 "$MNT/tasks/sparse/1/@default/t")"
	[ "$(stat -c %b "$(object sparse .d)/t")" -lt 1000 ]
	made bomb File o 'truncate -s 1T o'
	refused bomb "'output': an output may hold at most 64 GiB of holes"
}

@test "names are bytes: newlines, invalid UTF-8, 255 bytes" {
	made bytes Directory o 'mkdir o; python3 -c "
import os
for n in b\"new\\nline\", b\"\\xff\\xfe\", b\"per%cent\", b\"-rf\", b\"x\" * 255:
    open(b\"o/\" + n, \"wb\").write(n)"'
	timeout $((60 * SLOW)) stat "$MNT/tasks/bytes/1/@default" >/dev/null
	python3 - "$MNT/tasks/bytes/1/@default" "$(object bytes)" <<-'PY'
	import os, sys
	top = os.fsencode(sys.argv[1])
	want = {b"new\nline", b"\xff\xfe", b"per%cent", b"-rf", b"x" * 255}
	assert set(os.listdir(top)) == want, os.listdir(top)
	assert all(open(os.path.join(top, n), "rb").read() == n for n in want)
	text = open(sys.argv[2], "rb").read()
	assert b" new%0Aline\n" in text and b" per%25cent\n" in text, text
	PY
}

@test "a deep tree is kept, a deeper one refused, and what lies far deeper is removed again" {
	made deep Directory o 'mkdir o; cd o; for i in $(seq 200); do mkdir d; cd d; done; echo bottom >f'
	same bottom bottom "$(cd "$MNT/tasks/deep/1/@default" && for i in $(seq 200); do cd d; done && cat f)"
	made deeper Directory o 'mkdir o; cd o; for i in $(seq 300); do mkdir d; cd d; done'
	refused deeper "exceeds what one tree may hold"
	made rubbish File o 'echo kept >o; python3 -c "
import os
for _ in range(3000):
    os.mkdir(\"d\")
    os.chdir(\"d\")"'
	same kept kept "$(rd "$MNT/tasks/rubbish/1/@default")"
	wait_until 20 sh -c "[ -z \"\$(ls '$STORE/staging')\" ]"
}

@test "what a task wrote on a mount of its own is not stored as an empty directory" {
	root_only
	mem config sandbox off
	made covered Directory o 'mkdir o && mount -t tmpfs none o && echo lost >o/f'
	run ! timeout $((60 * SLOW)) ls "$MNT/tasks/covered/1/@default/"
	made scratch File o 'mkdir s && mount -t tmpfs none s && echo fine >s/f && cat s/f >o'
	scratch=$(rd "$MNT/tasks/scratch/1/@default" || message scratch)
	mem config sandbox ""
	has "$(message covered)" "mounted another file system over its output 'o'"
	same scratch fine "$scratch"
}

@test "files that may not be changed (chattr) are kept all the same, and staging gets empty" {
	root_only
	mem config sandbox off
	made immutable Directory o 'mkdir o; echo f >o/f; chattr +i o/f || touch o/none; chattr +a o'
	text=$(rd "$MNT/tasks/immutable/1/@default/f" || message immutable)
	mem config sandbox ""
	[ ! -e "$MNT/tasks/immutable/1/@default/none" ] || skip "no such flags here"
	same text f "$text"
	wait_until 20 sh -c "[ -z \"\$(ls '$STORE/staging')\" ]"
}

@test "20,000 files" {
	made many Directory o 'mkdir o; cd o; seq -f "f%06g" 20000 | xargs touch'
	same files 20000 "$(timeout $((100 * SLOW)) ls "$MNT/tasks/many/1/@default" | wc -l)"
}

# ---- inputs -----------------------------------------------------------------------------------------------

# A task that prints the hash of its input, after the file COUNT/go is there.
reads_late() {
	task late <<-JSON
	{ "memofs": 1, "name": "late", "version": "1", "inputs": { "f": { "type": "$1" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/late\"; while [ ! -e \"\$COUNT/go\" ]; do sleep 0.02; done; find -L \"\$INPUT_F\" -type f -exec sha256sum {{}} + | cut -c1-64 | sort; touch \"\$COUNT/read\"; while [ ! -e \"\$COUNT/end\" ]; do sleep 0.02; done"] }
	JSON
}
late_name() { echo "late/1/f=${1//\//%2F}"; }
# around FILE-TO-NAME CHANGE BACK: runs them before the task reads, and before it ends.
around() {
	local runs
	rm -f "$COUNT/go" "$COUNT/end" "$COUNT/read" "$COUNT/late"
	rd "$MNT/tasks/$(late_name "$1")" >"$D/late.out" 3>&- &
	wait_until 20 test -e "$COUNT/late"
	eval "$2"
	touch "$COUNT/go"
	wait_until 20 test -e "$COUNT/read"
	eval "$3"
	touch "$COUNT/end"
	wait $!
	runs=$(executions late)
	same executions "$4" "$runs"
}

@test "a large input that is changed while the task runs: the attempt is repeated with what is there now" {
	reads_late File
	head -c 3000000 /dev/zero >"$D/large"
	around "$D/large" 'printf x | dd of="$D/large" conv=notrunc status=none' true 2
	same read "$(sha256sum <"$D/large" | cut -c1-64)" "$(cat "$D/late.out")"
}

@test "also when it is set back before the end, with its old times" {
	reads_late File
	head -c 3000001 /dev/zero >"$D/large2"
	touch -r "$D/large2" "$D/stamp"
	around "$D/large2" 'printf x | dd of="$D/large2" conv=notrunc status=none; touch -r "$D/stamp" "$D/large2"' \
		'head -c 3000001 /dev/zero >"$D/large2"; touch -r "$D/stamp" "$D/large2"' 2
	same read "$(sha256sum <"$D/large2" | cut -c1-64)" "$(cat "$D/late.out")"
}

@test "a small input is a copy: what was hashed is what is read" {
	reads_late File
	echo before >"$D/small"
	around "$D/small" 'echo after >"$D/small"' true 1
	same read "$(echo before | sha256sum | cut -c1-64)" "$(cat "$D/late.out")"
	same now "$(sha256sum <"$D/small" | cut -c1-64)" "$(rd "$MNT/tasks/$(late_name "$D/small")")"
}

@test "a link on the way that is turned for a while does not take the task along" {
	reads_late File
	head -c 3000002 /dev/zero >"$D/one"
	head -c 3000002 /dev/urandom >"$D/two"
	ln -s one "$D/current"
	around "$D/current" 'ln -sfn two "$D/current"' 'ln -sfn one "$D/current"' 1
	same read "$(sha256sum <"$D/one" | cut -c1-64)" "$(cat "$D/late.out")"
}

@test "a Directory input that is changed and set back is noticed" {
	reads_late Directory
	mkdir "$D/tree"
	echo one >"$D/tree/a"
	around "$D/tree" 'echo two >"$D/tree/a"' 'echo one >"$D/tree/a"' 2
	same read "$(echo one | sha256sum | cut -c1-64)" "$(cat "$D/late.out")"
}

@test "a tool that changes while the task runs is noticed" {
	mkdir "$D/bin"
	printf '#!/bin/sh\necho one\n' >"$D/bin/mytool"
	chmod 755 "$D/bin/mytool"
	mem config path "$D/bin:/usr/local/bin:/usr/bin:/bin"
	task tooled <<-JSON
	{ "memofs": 1, "name": "tooled", "tools": ["mytool"], "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/tooled\"; while [ ! -e \"\$COUNT/tool-go\" ]; do sleep 0.02; done; mytool"] }
	JSON
	rd "$MNT/tasks/tooled/latest/@default" >"$D/tooled.out" 3>&- &
	wait_until 20 test -e "$COUNT/tooled"
	printf '#!/bin/sh\necho two\n' >"$D/bin/new"
	chmod 755 "$D/bin/new"
	mv "$D/bin/new" "$D/bin/mytool"
	touch "$COUNT/tool-go"
	wait $!
	same executions 2 "$(executions tooled)"
	same read two "$(cat "$D/tooled.out")"
	mem config path ""
}

@test "a file that was just written is listed at once" {
	task shown <<-'JSON'
	{ "memofs": 1, "name": "shown", "version": "1", "inputs": { "f": { "type": "File" } }, "command": ["wc", "-c", "{inputs.f}"] }
	JSON
	for i in 1 2 3 4 5; do
		echo "$i" >"$D/young$i"
		rd "$MNT/tasks/shown/1/f=${D//\//%2F}%2Fyoung$i" >/dev/null
		has "$(ls "$MNT/tasks/shown/1")" "young$i"
	done
}
