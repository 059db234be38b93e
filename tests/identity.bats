# The identity: which change is a hit and which a miss, with a declared version and without (the table of CONTRACT 3).

load helpers

setup_file() {
	place_open
	mount_up
}
teardown_file() {
	place_close
}

# Each test begins with the same task files, under names of its own: id_d declares its version, id_u does not.
setup() {
	need_fuse
	N=$BATS_TEST_NUMBER
	DECL=id_d$N UNDECL=id_u$N UP=id_up$N
	mkdir -p "$D/files/$N" "$D/tool/$N"
	printf 'content\n' >"$D/files/$N/in.txt"
	for name in "$DECL" "$UNDECL"; do
		mkdir -p "$TASKS/$name/lib"
		printf '#!/bin/sh\necho x >>"$COUNT/$1"\n. lib/part.sh\ncat "$2" "$NEED_UP" >"$OUTPUT"\n' >"$TASKS/$name/run.sh"
		printf 'PART=1\n' >"$TASKS/$name/lib/part.sh"
	done
	printf '#!/bin/sh\necho tool\n' >"$D/tool/$N/id-tool"
	chmod +x "$D/tool/$N/id-tool"
	mem config path "$D/tool/$N:/usr/local/bin:/usr/bin:/bin"
	printf '{ "memofs": 1, "name": "%s", "version": "1", "inputs": { "k": { "type": "int" } }, "command": ["echo", "up"] }\n' "$UP" | task_file "$UP"
	mem add "$TASKS/$UP/task.json" >"$D/add.out"
	write "$DECL" '"version": "1",'
	write "$UNDECL" ''
	register
}

write() {
	cat >"$TASKS/$1/task.json" <<-JSON
	{
	  "memofs": 1,
	  "name": "$1", $2
	  "description": "What it is.",
	  "inputs": {
	    "f": { "type": "File" },
	    "n": { "type": "int", "default": 1 },
	    "label": { "type": "string?", "identity": false }
	  },
	  "needs": { "up": { "task": "$UP", "inputs": { "k": 1 } } },
	  "command": ["sh", "./run.sh", "$1", "{inputs.f}", "{inputs.n}"],
	  "env": { "COUNT": "$COUNT", "SETTING": "a" },
	  "output": { "type": "File", "path": "out.txt" },
	  "code": ["run.sh", "lib/part.sh"],
	  "tools": ["id-tool"],
	  "requirements": { "cpu": 1 },
	  "hints": { "partition": "short" },
	  "max_retries": 0
	}
	JSON
}

# edit SED-EXPRESSION [FILE]: the same change in both task folders.
edit() {
	sed -i -e "$1" "$TASKS/$DECL/${2:-task.json}" "$TASKS/$UNDECL/${2:-task.json}"
}
register() { mem add "$TASKS/$DECL/task.json" "$TASKS/$UNDECL/task.json" >"$D/add.out"; }

# demand NAME [key=value...]: reads the instance of the version that is latest now.
demand() {
	local name=$1 path
	shift
	path=$(mem path "$name" "f=${FILE:-$D/files/$N/in.txt}" "$@")
	rd "$MNT$path" >"$D/out"
}

# expect HIT|MISS HIT|MISS CHANGE: demands both tasks, makes the change, registers, demands again.
expect() {
	local d=$1 u=$2
	shift 2
	demand "$DECL"
	demand "$UNDECL"
	same "first execution" "1 1" "$(executions "$DECL") $(executions "$UNDECL")"
	demand "$DECL"
	demand "$UNDECL"
	same "unchanged" "1 1" "$(executions "$DECL") $(executions "$UNDECL")"
	"$@"
	register
	demand "$DECL" ${ARGS:-}
	demand "$UNDECL" ${ARGS:-}
	same "declared" "$d" "$(verdict "$DECL")"
	same "undeclared" "$u" "$(verdict "$UNDECL")"
}
verdict() { [ "$(executions "$1")" -eq 1 ] && echo HIT || echo MISS; }
nothing() { sleep 0; }

@test "re-registration unchanged" { expect HIT HIT nothing; }

@test "comments or blank lines in the code, version declared" {
	comment() {
		printf '\n\n# a remark\n' >>"$TASKS/$DECL/run.sh"
		printf '# a remark\n' >>"$TASKS/$DECL/lib/part.sh"
	}
	expect HIT HIT comment
}

@test "the script" { expect HIT MISS edit 's/^cat /cat -u /' run.sh; }
@test "a code file" { expect HIT MISS edit 's/PART=1/PART=2/' lib/part.sh; }
@test "the command" { expect HIT MISS edit 's/"sh", /"sh", "-e", /'; }
@test "env" { expect HIT MISS edit 's/"SETTING": "a"/"SETTING": "b"/'; }
@test "the output's path" { expect HIT MISS edit 's/out.txt/other.txt/'; }

@test "a tool's content" {
	change() { printf '#!/bin/sh\necho changed\n' >"$D/tool/$N/id-tool"; }
	expect HIT MISS change
}

@test "description, requirements, hints, retries, verify" {
	change() {
		edit 's/What it is/What else it is/'
		edit 's/"cpu": 1/"cpu": 1, "memory": "64 MiB", "time": "01:00:00"/'
		edit 's/"short"/"long"/'
		edit 's/"max_retries": 0/"max_retries": 3, "verify": ["test", "-s", "{output}"]/'
	}
	expect HIT HIT change
}

@test "an added input with a default changes the interface" { expect MISS MISS edit 's/"n": {/"extra": { "type": "int", "default": 0 }, "n": {/'; }
@test "the type of an input" { expect MISS MISS edit 's/"n": { "type": "int"/"n": { "type": "float"/'; }
@test "the default of an input that is left out is its value" { expect MISS MISS edit 's/"default": 1 }/"default": 2 }/'; }
@test "the output's type" {
	change() {
		edit 's/"type": "File", "path": "out.txt"/"type": "json", "path": "out.txt"/;s/{ "type": "json", "path": "out.txt" }/{ "type": "json", "from": "stdout" }/'
		edit 's/^cat .*/echo 1/' run.sh
	}
	expect MISS MISS change
}
@test "an input's value" { ARGS=n=2 expect MISS MISS nothing; }
@test "an input without identity" { ARGS=label=other expect HIT HIT nothing; }

@test "the version string" {
	change() { sed -i 's/"version": "1"/"version": "2"/' "$TASKS/$DECL/task.json"; }
	expect MISS HIT change
}

@test "declared to undeclared, and undeclared to declared" {
	change() {
		sed -i 's/"version": "1",//' "$TASKS/$DECL/task.json"
		sed -i 's/"memofs": 1,/"memofs": 1, "version": "1",/' "$TASKS/$UNDECL/task.json"
	}
	expect MISS MISS change
}

@test "the task's name" {
	demand "$DECL"
	mkdir "$TASKS/renamed$N"
	cp -r "$TASKS/$DECL/." "$TASKS/renamed$N"
	sed -i "s/\"name\": \"$DECL\"/\"name\": \"renamed$N\"/" "$TASKS/renamed$N/task.json"
	mem add "$TASKS/renamed$N/task.json"
	demand "renamed$N"
	same executions 2 "$(executions "$DECL")"
}

@test "a File's content" {
	change() { printf 'other content\n' >"$D/files/$N/in.txt"; }
	expect MISS MISS change
}

@test "a File's content of the same length, with its old timestamp put back" {
	change() {
		touch -r "$D/files/$N/in.txt" "$D/stamp"
		printf 'CONTENT\n' >"$D/files/$N/in.txt"
		touch -r "$D/stamp" "$D/files/$N/in.txt"
	}
	expect MISS MISS change
}

@test "a File's timestamp" {
	change() { touch -d '2001-01-01' "$D/files/$N/in.txt"; }
	expect HIT HIT change
}

@test "a File's directory" {
	change() {
		mkdir "$D/files/$N/elsewhere"
		mv "$D/files/$N/in.txt" "$D/files/$N/elsewhere/in.txt"
		FILE=$D/files/$N/elsewhere/in.txt
	}
	expect HIT HIT change
}

@test "a File's base name" {
	change() {
		mv "$D/files/$N/in.txt" "$D/files/$N/renamed.txt"
		FILE=$D/files/$N/renamed.txt
	}
	expect MISS MISS change
}

@test "a need's output bytes" {
	change() {
		sed -i 's/"echo", "up"/"echo", "down"/; s/"version": "1"/"version": "2"/' "$TASKS/$UP/task.json"
		mem add "$TASKS/$UP/task.json"
	}
	expect MISS MISS change
}

@test "a need that is executed again and gives the same bytes (early cutoff)" {
	change() {
		sed -i 's/"echo", "up"/"printf", "up\\\\n"/; s/"version": "1"/"version": "2"/' "$TASKS/$UP/task.json"
		mem add "$TASKS/$UP/task.json"
	}
	expect HIT HIT change
	same "it was executed" SUCCESS "$(state "$UP/2/k=1")"
}

@test "a Directory input: content counts, times and its place do not, names do" {
	mkdir -p "$D/dirs/a/in/sub"
	echo 1 >"$D/dirs/a/in/one"
	echo 2 >"$D/dirs/a/in/sub/two"
	task takes_dir <<-JSON
	{ "memofs": 1, "name": "takes_dir", "version": "1", "inputs": { "d": { "type": "Directory" } }, "env": { "COUNT": "$COUNT" },
	  "command": ["sh", "-c", "echo x >>\"\$COUNT/takes_dir\"; cd \"\$INPUT_D\" && find . -type f | sort | xargs cat"] }
	JSON
	mem get takes_dir "d=$D/dirs/a/in" >"$D/out"
	same bytes "$(printf '1\n2')" "$(cat "$D/out")"
	touch -d '2001-01-01' "$D/dirs/a/in/one"
	mkdir "$D/dirs/b"
	cp -r "$D/dirs/a/in" "$D/dirs/b/in"
	mem get takes_dir "d=$D/dirs/a/in" >"$D/out"
	mem get takes_dir "d=$D/dirs/b/in" >"$D/out"
	same executions 1 "$(executions takes_dir)"
	mv "$D/dirs/b/in/sub/two" "$D/dirs/b/in/sub/zwei"
	mem get takes_dir "d=$D/dirs/b/in" >"$D/out"
	same executions 2 "$(executions takes_dir)"
	chmod +x "$D/dirs/a/in/one"
	echo 3 >"$D/dirs/a/in/sub/two"
	mem get takes_dir "d=$D/dirs/a/in" >"$D/out"
	same executions 3 "$(executions takes_dir)"
}

@test "key.json is the whole pre-image and hashes to the identity" {
	demand "$DECL"
	demand "$UNDECL"
	for name in "$DECL" "$UNDECL"; do
		info=$MNT/info$(mem path "$name" "f=$D/files/$N/in.txt" | sed 's|^/tasks||')
		python3 - "$info" "$name" <<-'PY'
	import hashlib, json, sys
	key = json.load(open(sys.argv[1] + "/key.json"))
	text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
	assert hashlib.sha256(text.encode()).hexdigest() == open(sys.argv[1] + "/identity").read().strip()
	assert key["memofs"] == 1 and key["task"] == sys.argv[2]
	assert ("version" in key) != ("code" in key), key
	assert key["inputs"]["f"] == {"name": "in.txt", "sha256": hashlib.sha256(b"content\n").hexdigest()}, key
	assert key["inputs"]["n"] == 1 and "label" not in key["inputs"], key
	assert key["upstream"] == {"up": hashlib.sha256(b"up\n").hexdigest()}, key
	assert "interface" in key
	PY
	done
}
