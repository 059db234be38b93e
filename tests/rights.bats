# Who may do what: files that a demand names, the settings mode, group, runners and max_waiting, the place of the store, what
# tasks inherit, and what a terminal is shown.

load helpers

ALICE=21001 BOB=21002

# As another user, with the groups given: as ALICE "50,60" COMMAND...
as() {
	local uid=$1 groups=$2
	shift 2
	(cd / && setpriv --reuid "$uid" --regid "$uid" --groups "${groups:-$uid}" -- "$@")
}
need_root() {
	[ "$(id -u)" -eq 0 ] || skip "becomes other users"
	command -v setpriv >/dev/null || skip "setpriv is missing"
	need_fuse
}
setup() { need_root; }

# Two groups that nobody is in.
two_groups() {
	local list
	list=$(awk -F: '$3 > 0 && $3 < 1000 && $4 == "" { print $3 }' /etc/group | sort -n | head -2)
	SEE=$(sed -n 1p <<<"$list") RUN=$(sed -n 2p <<<"$list")
}

setup_file() {
	[ "$(id -u)" -eq 0 ] || return 0
	place_open
	chmod 755 "$D"
	chmod 1777 "$COUNT"
	mount_up -o allow_other
	[ -z "$(fuse_missing)" ] || return 0
	task_hello
	task show <<-JSON
	{ "memofs": 1, "name": "show", "version": "1", "inputs": { "f": { "type": "File" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/show\"; sleep \"\$(cat \"\$COUNT/pause\" 2>/dev/null || echo 0)\"; cat \"\$INPUT_F\""] }
	JSON
	task walk <<-'JSON'
	{ "memofs": 1, "name": "walk", "version": "1", "inputs": { "d": { "type": "Directory" } },
	  "command": ["sh", "-c", "cat \"$INPUT_D\"/*"] }
	JSON
	task outer <<-'JSON'
	{ "memofs": 1, "name": "outer", "version": "1", "inputs": { "f": { "type": "string" } },
	  "needs": { "n": { "task": "show", "inputs": { "f": "{inputs.f}" } } }, "command": ["cat", "{needs.n}"] }
	JSON
}
teardown_file() {
	[ "$(id -u)" -eq 0 ] || return 0
	place_close
}
teardown() {
	mem config mode "" >/dev/null 2>&1
	mem config group "" >/dev/null 2>&1
	mem config runners "" >/dev/null 2>&1
	mem config max_waiting "" >/dev/null 2>&1
	rm -f "$COUNT/pause"
}

show() { printf '%s/tasks/show/1/f=%s' "$MNT" "${1//\//%2F}"; }
put() { # put NAME MODE OWNER: a file with its own name in it
	printf '%s\n' "${1##*/}" >"$D/$1" && chown "$3" "$D/$1" && chmod "$2" "$D/$1"
}

@test "a file that the asker cannot read is not read for him, cached or not" {
	put cold 600 0:0
	put warm 600 0:0
	[ "$(rd "$(show "$D/warm")")" = warm ]
	for f in cold warm; do
		[ "$(as $ALICE "" "$TOOLS/reader" read "$(show "$D/$f")" 2>&1 >/dev/null | sed 's/.*: //')" != ok ]
		run as $ALICE "" cat "$(show "$D/$f")"
		[ "$status" -eq 1 ]
		has "$output" "Permission denied"
		run as $ALICE "" stat "$(show "$D/$f")"
		[ "$status" -eq 1 ]
		has "$output" "Permission denied"
		run as $ALICE "" cat "$MNT/tasks/outer/1/f=${D//\//%2F}%2F$f"
		[ "$status" -eq 1 ]
		run as $ALICE "" "$MEMOFS" --store "$STORE" get show "f=$D/$f"
		[ "$status" -eq 4 ]
		has "$output" "'$D/$f': you may not read it"
		run as $ALICE "" "$MEMOFS" --store "$STORE" run show "f=$D/$f"
		[ "$status" -ne 0 ]
		has "$output" "you may not read it"
		run as $ALICE "" cat "$MNT/cached/show/1/f=${D//\//%2F}%2F$f"
		[ "$status" -eq 1 ]
	done
	[ "$(rd "$(show "$D/warm")")" = warm ]
}

@test "the groups of the process count, and only while it has them" {
	put lab 640 $BOB:31001
	run as $ALICE 31001 cat "$(show "$D/lab")"
	same bytes lab "$output"
	run as $ALICE "" cat "$(show "$D/lab")"
	has "$output" "Permission denied"
	run as $ALICE 31001 "$MEMOFS" --store "$STORE" get show "f=$D/lab"
	same bytes lab "$output"
	run as $ALICE 7 "$MEMOFS" --store "$STORE" get show "f=$D/lab"
	[ "$status" -eq 4 ]
}

@test "what lies in a directory that the asker cannot enter is not told from what is not there" {
	mkdir -m 700 "$D/hidden"
	put hidden/in 644 0:0
	for f in in none; do
		run as $ALICE "" cat "$(show "$D/hidden/$f")"
		has "$output" "Permission denied"
		run as $ALICE "" "$MEMOFS" --store "$STORE" why show "f=$D/hidden/$f"
		has "$output" "Permission denied"
	done
	run as $ALICE "" cat "$(show "$D/nothing")"
	has "$output" "Input/output error"
}

@test "a Directory is read with the asker's rights, every file of it" {
	mkdir -m 755 "$D/tree"
	put tree/a 644 0:0
	put tree/b 640 0:31001
	name="$MNT/tasks/walk/1/d=${D//\//%2F}%2Ftree"
	run as $ALICE "" cat "$name"
	has "$output" "Permission denied"
	run as $ALICE 31001 cat "$name"
	same bytes "a
b" "$output"
	run as $ALICE "" cat "$name"
	has "$output" "Permission denied"
}

@test "a listing leaves out what the asker may not read, and ls -l starts nothing" {
	put listed 644 0:0
	put unlisted 600 0:0
	rd "$(show "$D/listed")" "$(show "$D/unlisted")" >/dev/null
	before=$(executions show)
	run as $ALICE "" ls -l "$MNT/tasks/show/1"
	[ "$status" -eq 0 ]
	has "$output" "%2Flisted"
	has_not "$output" "%2Funlisted"
	has "$(ls "$MNT/tasks/show/1")" "%2Funlisted"
	same executions "$before" "$(executions show)"
}

@test "what is no file cannot be an input, and nothing waits for it" {
	mkfifo -m 666 "$D/fifo"
	for f in "$D/fifo" /dev/zero /dev/stdin /proc/self/environ /sys/kernel/notes; do
		run timeout 20 cat "$(show "$f")"
		[ "$status" -eq 1 ]
		run timeout 20 "$MEMOFS" --store "$STORE" get show "f=$f"
		[ "$status" -ge 1 ] && [ "$status" -le 4 ]
		has "$output" "$f"
	done
	ln -s /proc/self/environ "$D/magic"
	run timeout 20 cat "$(show "$D/magic")"
	[ "$status" -eq 1 ]
}

@test "a file that is swapped while the task runs is the one that was asked for" {
	mkdir -m 755 "$D/mine"
	chown $ALICE "$D/mine"
	seq 400000 >"$D/mine/big" # too big to be copied unless somebody else names it
	chown $ALICE "$D/mine/big"
	echo secret >"$D/kept" && chmod 600 "$D/kept"
	echo 1 >"$COUNT/pause"
	rm -f "$COUNT/show"
	as $ALICE "" cat "$(show "$D/mine/big")" >"$D/got" 2>"$D/said" 3>&- 4>&- &
	reader=$!
	wait_until 10 test -s "$COUNT/show"
	sleep 0.4
	mv "$D/mine" "$D/moved"
	mkdir "$D/mine"
	ln -s "$D/kept" "$D/mine/big"
	sleep 1.2
	rm -r "$D/mine"
	mv "$D/moved" "$D/mine"
	wait "$reader" || true
	if [ -s "$D/got" ]; then cmp "$D/got" "$D/mine/big"; else has "$(cat "$D/said")" "error"; fi
	has_not "$(head -c 100 "$D/got")" secret
}

@test "a directory that is swapped while the task runs is the one that was asked for" {
	task stroll <<-JSON
	{ "memofs": 1, "name": "stroll", "version": "1", "inputs": { "d": { "type": "Directory" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/stroll\"; sleep 1; cat \"\$INPUT_D\"/sub/*"] }
	JSON
	mkdir -m 755 "$D/yours" && mkdir -m 755 "$D/yours/all" "$D/yours/all/sub"
	echo plain >"$D/yours/all/sub/file"
	ln -s sub/file "$D/yours/all/link"
	ln -s nowhere "$D/yours/all/dangling"
	chown -R $ALICE "$D/yours"
	echo secret >"$D/kept" && chmod 600 "$D/kept"
	as $ALICE "" cat "$MNT/tasks/stroll/1/d=${D//\//%2F}%2Fyours%2Fall" >"$D/got" 2>"$D/said" 3>&- 4>&- &
	reader=$!
	wait_until 10 test -s "$COUNT/stroll"
	mv "$D/yours" "$D/away"
	mkdir -p "$D/yours/all/sub"
	ln -s "$D/kept" "$D/yours/all/sub/file"
	sleep 1.2
	rm -r "$D/yours"
	mv "$D/away" "$D/yours"
	wait "$reader"
	same bytes plain "$(cat "$D/got")"
}

@test "mode and group hold at once, for the mount and for the commands" {
	two_groups
	mem get hello who=mode >/dev/null
	name="$MNT/tasks/hello/1/who=mode"
	as $ALICE "" cat "$name" >/dev/null
	as $ALICE "" "$MEMOFS" --store "$STORE" tasks >/dev/null
	mem config mode 0750
	mem config group "$SEE"
	wait_until 5 eval '! as $ALICE "" cat "$name" 2>/dev/null'
	run as $ALICE "" ls "$MNT/tasks"
	has "$output" "Permission denied"
	run as $ALICE "" "$MEMOFS" --store "$STORE" tasks
	[ "$status" -eq 4 ]
	run as $ALICE "" ls "$STORE/objects"
	[ "$status" -ne 0 ]
	as $ALICE "$SEE" cat "$name" >/dev/null
	as $ALICE "$SEE" "$MEMOFS" --store "$STORE" tasks >/dev/null
	same group "$SEE" "$(stat -c %g "$name")"
	same mode 440 "$(stat -c %a "$name")"
	mem config mode ""
	wait_until 5 as $ALICE "" cat "$name"
}

@test "a store can be given to no group to write" {
	mem config mode 0777
	same mode 755 "$(stat -c %a "$STORE")"
}

@test "runners start work, others read what is cached" {
	two_groups
	mem get hello who=cached >/dev/null
	mem config runners "$RUN"
	as $ALICE "" cat "$MNT/tasks/hello/1/who=cached" >/dev/null
	run as $ALICE "" cat "$MNT/tasks/hello/1/who=refused"
	has "$output" "Permission denied"
	run as $ALICE "" cat "$MNT/start/hello/1/who=refused"
	has "$output" "Permission denied"
	run as $ALICE "" "$MEMOFS" --store "$STORE" get hello who=refused
	[ "$status" -eq 4 ]
	run as $ALICE "" "$MEMOFS" --store "$STORE" run hello who=refused
	[ "$status" -ne 0 ]
	has "$output" "runners"
	same bytes "hello runs" "$(as $ALICE "$RUN" cat "$MNT/tasks/hello/1/who=runs")"
	as $ALICE "$RUN" "$MEMOFS" --store "$STORE" run hello who=too >/dev/null 2>&1
	same bytes "hello root" "$(rd "$MNT/tasks/hello/1/who=root")"
}

@test "max_waiting counts reads and starts" {
	task_gated
	mem config max_waiting 3
	readers=()
	for i in 1 2; do
		as $ALICE "" cat "$MNT/tasks/gated/1/gate=q,id=w$i" >/dev/null 2>&1 3>&- 4>&- &
		readers+=($!)
	done
	wait_until 10 eval '[ "$(mem status --json | grep -c gate=q)" -ge 2 ]'
	as $ALICE "" cat "$MNT/start/gated/1/gate=q,id=s" >/dev/null
	run as $ALICE "" cat "$MNT/tasks/gated/1/gate=q,id=w4"
	has "$output" "quota exceeded"
	run as $ALICE "" cat "$MNT/start/gated/1/gate=q,id=s2"
	has "$output" "quota exceeded"
	as $BOB "" cat "$MNT/start/gated/1/gate=q,id=b" >/dev/null
	gate_open q
	wait "${readers[@]}"
	mem config max_waiting ""
	as $ALICE "" cat "$MNT/tasks/gated/1/gate=q,id=w4" >/dev/null
}

@test "only the owner and root change what belongs to all" {
	for words in "add $TASKS/hello/task.json" "remove hello" "config mode 0700" "forget hello who=x" "cancel hello/1/who=x" \
		"verify hello who=x" "run hello who=x --force"; do
		# shellcheck disable=SC2086 # words are words
		run as $ALICE "" "$MEMOFS" --store "$STORE" $words
		[ "$status" -eq 4 ] || { echo "$words: $status $output" >&2 && return 1; }
		has "$output" "only its owner and root may"
	done
	for words in "tasks" "show hello" "status" "runs" "stats" "config" "config mode" "path hello" "explain hello" \
		"check $TASKS/hello/task.json"; do
		# shellcheck disable=SC2086
		as $ALICE "" "$MEMOFS" --store "$STORE" $words >/dev/null
	done
}

@test "a store is not opened where somebody else could put another in its place" {
	mkdir -p -m 777 "$D/open"
	chmod 777 "$D/open"
	"$MEMOFS" init "$D/open/store" >/dev/null
	run "$MEMOFS" --store "$D/open/store" config
	[ "$status" -eq 4 ]
	has "$output" "everyone may write to '$D/open'"
	mkdir -m 755 "$D/others"
	"$MEMOFS" init "$D/others/store" >/dev/null
	chown $BOB "$D/others"
	run "$MEMOFS" --store "$D/others/store" config
	[ "$status" -eq 4 ]
	"$MEMOFS" init "$D/good" >/dev/null
	chmod 777 "$D/good"
	run "$MEMOFS" --store "$D/good" config
	[ "$status" -eq 4 ]
	chmod 755 "$D/good"
	"$MEMOFS" --store "$D/good" config >/dev/null
	mkdir -m 1777 "$D/sticky"
	"$MEMOFS" init "$D/sticky/store" >/dev/null
	"$MEMOFS" --store "$D/sticky/store" config >/dev/null
}

@test "a task inherits no descriptor and no variable" {
	"$MEMOFS" init "$D/clean" >/dev/null
	cat >"$D/inherit.json" <<-'JSON'
	{ "memofs": 1, "name": "inherit", "version": "1", "inputs": {},
	  "command": ["sh", "-c", "env | cut -d= -f1 | sort | tr '\\n' ' '; for f in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$f ] && printf '%s ' $f; done; :"] }
	JSON
	"$MEMOFS" --store "$D/clean" add "$D/inherit.json" >/dev/null
	mkdir "$D/cleanmnt"
	SECRET=s LD_PRELOAD='' "$MEMOFS" --store "$D/clean" mount "$D/cleanmnt" 7</etc/passwd 9>"$D/nine" 3>&- 4>&-
	out=$(cat "$D/cleanmnt/tasks/inherit/1/@default")
	"$MEMOFS" --store "$D/clean" umount "$D/cleanmnt"
	same inherited "HOME LANG MEMOFS_MOUNT OUTPUT PATH PWD TMPDIR TZ 0 1 2" "$(echo $out)"
}

@test "an output that cannot be written to is an error of every command" {
	mem get hello who=out >/dev/null
	for words in "tasks" "tasks --json" "show hello" "runs" "stats" "config" "status" "path hello who=out" "explain hello who=out" \
		"why hello who=out" "get hello who=out" "verify hello who=out" "--help" "--version" "tasks --help" \
		"fingerprint /etc/passwd" "check $TASKS/hello/task.json"; do
		# shellcheck disable=SC2086
		"$MEMOFS" ${words:0:0} $( [ "${words#--}" != "$words" ] || echo "--store $STORE" ) $words >/dev/full 2>"$D/said" && return 1
		has "$(cat "$D/said")" "standard output"
		# shellcheck disable=SC2086
		run "$MEMOFS" $( [ "${words#--}" != "$words" ] || echo "--store $STORE" ) $words >&-
		# run has an output of its own: once more without it
		status=0
		# shellcheck disable=SC2086
		"$MEMOFS" $( [ "${words#--}" != "$words" ] || echo "--store $STORE" ) $words >&- 2>/dev/null || status=$?
		[ "$status" -eq 4 ] || { echo "$words >&-: $status" >&2 && return 1; }
	done
}

@test "what names and messages say drives no terminal, and commands that are suggested can be pasted" {
	task sour <<-'JSON'
	{ "memofs": 1, "name": "sour", "version": "1", "description": "a\u202eb\u001b[31mc\u2028d",
	  "inputs": { "v": { "type": "string" } }, "command": ["sh", "-c", "printf '%s\\n' \"$INPUT_V\" >&2; exit 3"] }
	JSON
	out=$(mem tasks | grep sour)
	has "$out" 'a\xe2\x80\xaeb\x1b[31mc\xe2\x80\xa8d'
	out=$(mem tasks --json | grep sour)
	has "$out" '\u202e'
	has "$out" '\u2028'
	[ "$(jq -r .description <<<"$out" 2>/dev/null || echo skip)" != "" ]
	run mem run sour "v=it's; touch $D/canary"
	suggested=$(grep -o 'memofs log .* shows more' <<<"$output" | head -1 | sed 's/ shows more$//')
	has "$suggested" "memofs log "
	eval "\"\$MEMOFS\" --store \"\$STORE\" ${suggested#memofs }" >"$D/pasted" 2>&1
	has "$(cat "$D/pasted")" "it's; touch $D/canary"
	[ ! -e "$D/canary" ]
}
