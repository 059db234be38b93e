# Task files: what is registered, what is refused and with which words, and what a registered task keeps.

load helpers

setup_file() {
	place_open
	mount_up
}
teardown_file() {
	place_close
}

# A minimal good file with one more member.
good() {
	printf '{ "memofs": 1, "name": "%s", "version": "1", "command": ["echo", "hi"]%s }\n' "$1" "${2:+, $2}"
}

# refused FILE TEXT...: check and add refuse the file with status 2; the message names the file and each TEXT.
refused() {
	local file=$1 text
	shift
	for command in check add; do
		run -2 mem "$command" "$file"
		has "$output" "memofs: "
		has "$output" "$file"
		for text in "$@"; do has "$output" "$text"; done
	done
}

@test "add says added, unchanged, updated" {
	good one | task_file one
	run -0 mem add "$TASKS/one/task.json"
	same added "one 1 added" "$output"
	run -0 mem add "$TASKS/one"
	same unchanged "one 1 unchanged" "$output"
	good one '"description": "Another."' | task_file one
	run -0 mem check "$TASKS/one/task.json"
	has "$output" "one 1 updated"
	run -0 mem add "$TASKS/one/task.json"
	same updated "one 1 updated" "$output"
	sed -i 's/"version": "1"/"version": "2"/' "$TASKS/one/task.json"
	run -0 mem add "$TASKS/one/task.json"
	same version "one 2 added" "$output"
	same latest 2 "$(basename "$(readlink "$MNT/tasks/one/latest")")"
}

@test "add takes several, in any order of their needs, and a folder of folders" {
	mkdir "$TASKS/many"
	mkdir "$TASKS/many/a" "$TASKS/many/b"
	good a '"needs": { "b": { "task": "b", "inputs": {} } }' >"$TASKS/many/a/task.json"
	good b >"$TASKS/many/b/task.json"
	run -0 mem add "$TASKS/many/a/task.json" "$TASKS/many/b/task.json"
	has "$output" "a 1 added"
	has "$output" "b 1 added"
	run -0 mem add "$TASKS/many"
	has "$output" "a 1 unchanged"
	has "$output" "b 1 unchanged"
}

@test "check changes nothing" {
	good nothing | task_file nothing
	run -0 mem check "$TASKS/nothing/task.json"
	has "$output" "nothing 1 added"
	run -3 mem show nothing
}

@test "a file that is no JSON is refused with the line" {
	printf '{ "memofs": 1,\n  "name": broken }\n' >"$D/broken.json"
	refused "$D/broken.json" 2
	printf '' >"$D/empty.json"
	refused "$D/empty.json"
	printf '[1]' >"$D/array.json"
	refused "$D/array.json"
	printf '{ "memofs": 1, "name": "a", "name": "b", "command": ["x"] }' >"$D/twice.json"
	refused "$D/twice.json" name
}

@test "a file that does not exist is named" {
	run mem add "$D/nosuch.json"
	[ "$status" -eq 2 ] || [ "$status" -eq 3 ]
	has "$output" "$D/nosuch.json"
}

@test "what is wrong in a task file is named with its key" {
	row=0
	while IFS='|' read -r member key hint; do
		row=$((row + 1))
		good bad "$member" >"$D/bad$row.json"
		refused "$D/bad$row.json" "$key" "$hint"
	done <<-'TABLE'
	"comand": ["x"]|comand|command
	"inputs": 3|inputs|object
	"inputs": { "a b": { "type": "int" } }|a b|
	"inputs": { "a": { "type": "integer" } }|inputs.a.type|int
	"inputs": { "a": { "type": "int", "defualt": 3 } }|defualt|default
	"inputs": { "a": { "type": "int", "default": "x" } }|inputs.a.default|number
	"inputs": { "a": { "type": "int", "default": 3, "minimum": 4 } }|inputs.a|
	"inputs": { "a": { "type": "int", "minimum": 4, "maximum": 3 } }|inputs.a|
	"inputs": { "a": { "type": "enum" } }|inputs.a|values
	"inputs": { "a": { "type": "enum", "values": ["x"], "default": "y" } }|inputs.a.default|
	"inputs": { "a": { "type": "string", "pattern": "(" } }|pattern|
	"inputs": { "a": { "type": "int", "pattern": "x" } }|pattern|
	"inputs": { "a": { "type": "int[][]" } }|inputs.a.type|
	"inputs": { "a": {} }|inputs.a|type
	"output": { "type": "Fil" }|output.type|File
	"output": { "type": "Directory" }|output|path
	"output": { "type": "File", "path": "/etc/passwd" }|output.path|
	"output": { "type": "File", "path": "../x" }|output.path|
	"needs": { "n": { "inputs": {} } }|needs.n|task
	"needs": { "n": { "task": "x", "each": "xs", "inputs": {} } }|needs.n|xs
	"needs": { "n": { "task": "x", "inputs": { "a": "{inputs.nosuch}" } } }|nosuch|
	"env": { "A": 3 }|env|string
	"env": { "A=B": "x" }|env|
	"requirements": { "cpus": 2 }|cpus|cpu
	"requirements": { "cpu": 0 }|requirements.cpu|
	"requirements": { "memory": "4 gigs" }|requirements.memory|
	"requirements": { "time": "soon" }|requirements.time|
	"max_retries": -1|max_retries|
	"temporary_fail_codes": [300]|temporary_fail_codes|
	"abandon": "stop"|abandon|cancel
	"cache": "no"|cache|
	"script": "x.sh"|script|command
	"code": ["../secret"]|code|
	"code": ["nosuch.py"]|nosuch.py|
	TABLE
	same rows 34 "$row"
}

@test "what is wrong in required keys is named" {
	row=0
	while IFS='|' read -r text key; do
		row=$((row + 1))
		printf '%s\n' "$text" >"$D/required$row.json"
		refused "$D/required$row.json" "$key"
	done <<-'TABLE'
	{ "name": "x", "command": ["y"] }|memofs
	{ "memofs": 2, "name": "x", "command": ["y"] }|memofs
	{ "memofs": 1, "command": ["y"] }|name
	{ "memofs": 1, "name": "a/b", "command": ["y"] }|name
	{ "memofs": 1, "name": "9x", "command": ["y"] }|name
	{ "memofs": 1, "name": "x" }|command
	{ "memofs": 1, "name": "x", "command": [] }|command
	{ "memofs": 1, "name": "x", "command": "echo hi" }|command
	{ "memofs": 1, "name": "x", "version": "latest", "command": ["y"] }|version
	{ "memofs": 1, "name": "x", "version": "a b", "command": ["y"] }|version
	{ "memofs": 1, "name": "x", "version": 1, "command": ["y"] }|version
	{ "memofs": 1, "name": "x", "command": ["{inputs.nosuch}"] }|nosuch
	{ "memofs": 1, "name": "x", "command": ["{oops}"] }|oops
	{ "memofs": 1, "name": "x", "command": ["{"] }|command
	{ "memofs": 1, "name": "x", "inputs": { "a": { "type": "int[]" } }, "command": ["-a={inputs.a}"] }|inputs.a
	{ "memofs": 1, "name": "x", "script": "nosuch.sh" }|nosuch.sh
	TABLE
	same rows 16 "$row"
	run -0 mem tasks
	has_not "$output" "required"
}

@test "one bad file among good ones is told, and what was told as added is added" {
	good fine | task_file fine
	printf '{}' >"$D/not.json"
	run -2 mem add "$TASKS/fine/task.json" "$D/not.json"
	has "$output" "$D/not.json"
	if [[ "$output" == *"fine 1 added"* ]]; then mem show fine; else run -3 mem show fine; fi
}

@test "needs may not form a cycle" {
	good loop_a '"needs": { "n": { "task": "loop_b", "inputs": {} } }' | task_file loop_a
	good loop_b '"needs": { "n": { "task": "loop_a", "inputs": {} } }' | task_file loop_b
	mem add "$TASKS/loop_a/task.json"
	run -2 mem add "$TASKS/loop_b/task.json"
	has "$output" loop_a
	has "$output" loop_b
	good self '"needs": { "n": { "task": "self", "inputs": {} } }' >"$D/self.json"
	run -2 mem add "$D/self.json"
	has "$output" self
}

@test "a need with inputs that the needed task has not is refused" {
	good leaf '"inputs": { "a": { "type": "int", "default": 1 } }' | task_file leaf
	mem add "$TASKS/leaf/task.json"
	good user '"needs": { "n": { "task": "leaf", "inputs": { "b": 3 } } }' >"$D/user.json"
	refused "$D/user.json" b
}

@test "new writes a starter task that can be added and read" {
	cd "$D"
	run -0 mem new starter
	file=$(find "$D" -path "*starter*" -name '*.json' | head -n 1)
	[ -n "$file" ]
	run -0 mem add "$file"
	has "$output" starter
	version=$(readlink "$MNT/tasks/starter/latest")
	rd "$MNT/tasks/starter/$(basename "$version")/@default" >"$D/starter.out"
	run mem new starter
	[ "$status" -ne 0 ]
	cd "$ROOT"
}

@test "tasks and show tell what is registered, remove takes it away" {
	good seen '"description": "What it is for."' | task_file seen
	mem add "$TASKS/seen/task.json"
	run -0 mem tasks
	has "$output" seen
	run -0 mem show seen
	has "$output" "What it is for."
	run -0 mem show seen@1
	run -3 mem show seen@2
	run -0 bash -c '"$1" --store "$2" tasks --json | python3 -c "import json,sys; print([t for t in map(json.loads, sys.stdin) if t[\"name\"] == \"seen\"][0][\"version\"])"' sh "$MEMOFS" "$STORE"
	same json 1 "$output"
	run -0 mem remove seen@1
	run -3 mem show seen
	run -3 mem remove seen
}

@test "every type of input reaches the command as argument and variable" {
	mkdir -p "$D/in/dir"
	printf 'file\n' >"$D/in/f.txt"
	printf 'inner\n' >"$D/in/dir/i.txt"
	task types <<-JSON
	{ "memofs": 1, "name": "types", "version": "1",
	  "inputs": { "s": { "type": "string" }, "i": { "type": "int" }, "f": { "type": "float" }, "b": { "type": "boolean" },
	              "e": { "type": "enum", "values": ["x", "y"] }, "p": { "type": "File" }, "d": { "type": "Directory" }, "j": { "type": "json" },
	              "l": { "type": "string[]" }, "o": { "type": "int?" } },
	  "command": ["sh", "-c", "for a; do printf '<%s>' \"\$a\"; done; echo; printf '%s\\\\n' \"\$INPUT_S\" \"\$INPUT_I\" \"\$INPUT_F\" \"\$INPUT_B\" \"\$INPUT_E\" \"\$INPUT_P\" \"\$INPUT_D\" \"\$INPUT_J\" \"\$INPUT_L\" \"\$INPUT_O\"; cat \"\$INPUT_P\" \"\$INPUT_D/i.txt\"", "sh",
	              "{inputs.s}", "-i={inputs.i}", "{inputs.f}", "{inputs.b}", "{inputs.e}", "{inputs.p}", "{inputs.d}", "{inputs.j}", "{inputs.l}", "[{inputs.o}]", "{{x}}"] }
	JSON
	cd "$D/in"
	run -0 --separate-stderr mem get types 's=a $(b) "c"' i=7 f=2.50 b=false e=y p=f.txt d=dir 'j={"k": [1, 2]}' l=one 'l=t w o'
	cat >"$D/want" <<-'WANT'
	<a $(b) "c"><-i=7><2.5><false><y><f.txt><dir><{"k":[1,2]}><one><t w o><[]><{x}>
	a $(b) "c"
	7
	2.5
	false
	y
	f.txt
	dir
	{"k":[1,2]}
	["one","t w o"]
	
	file
	inner
	WANT
	same output "$(cat "$D/want")" "$output"
	same path "$output" "$(rd "$MNT$(mem path types 's=a $(b) "c"' i=7 f=2.50 b=false e=y p=f.txt d=dir 'j={"k": [1, 2]}' l=one 'l=t w o')")"
	cd "$ROOT"
}

@test "inputs that do not fit are refused with status 2 and a sentence" {
	while read -r hint arguments; do
		run -2 mem get types s=a i=7 f=2 b=true e=y "p=$D/in/f.txt" "d=$D/in/dir" j=1 l=x $arguments
		has "$output" "memofs: "
		has "$output" "$hint"
	done <<-'TABLE'
	nosuch nosuch=1
	e e=z
	TABLE
	run -2 mem get types s=a
	has "$output" i
	run -2 mem path types s=a i=x f=2 b=true e=y "p=$D/in/f.txt" "d=$D/in/dir" j=1 l=x
	has "$output" i
}

@test "constraints hold" {
	task bounds <<-'JSON'
	{ "memofs": 1, "name": "bounds", "version": "1",
	  "inputs": { "n": { "type": "int", "default": 5, "minimum": 1, "maximum": 9 }, "w": { "type": "string", "default": "ab", "pattern": "^[a-c]+$" },
	              "x": { "type": "float", "default": 0.5, "minimum": 0, "maximum": 1 } },
	  "command": ["echo", "{inputs.n}", "{inputs.w}", "{inputs.x}"] }
	JSON
	same ok "9 abc 1" "$(rd "$MNT/tasks/bounds/1/n=9,w=abc,x=1")"
	for bad in n=0 n=10 w=abd w= x=1.01 x=-0.1; do
		same "$bad" EINVAL "$(errno_of stat "$MNT/tasks/bounds/1/$bad")"
	done
}

@test "a registered version stays executable when its files are gone, with its own code" {
	mkdir "$TASKS/keeps"
	printf '#!/bin/sh\necho "first $1 $(cat lib/word)"\n' >"$TASKS/keeps/run.sh"
	chmod +x "$TASKS/keeps/run.sh"
	mkdir "$TASKS/keeps/lib"
	echo old >"$TASKS/keeps/lib/word"
	task_file keeps <<-'JSON'
	{ "memofs": 1, "name": "keeps", "version": "1", "inputs": { "n": { "type": "int", "default": 1 } }, "script": "run.sh", "code": ["lib/word"] }
	JSON
	sed -i 's/"script": "run.sh"/"command": [".\/run.sh", "{inputs.n}"]/; s/\["lib/["run.sh", "lib/' "$TASKS/keeps/task.json"
	mem add "$TASKS/keeps/task.json"
	printf '#!/bin/sh\necho "second $1 $(cat lib/word)"\n' >"$TASKS/keeps/run.sh"
	echo new >"$TASKS/keeps/lib/word"
	sed -i 's/"version": "1"/"version": "2"/' "$TASKS/keeps/task.json"
	mem add "$TASKS/keeps/task.json"
	rm -r "$TASKS/keeps"
	same one "first 1 old" "$(rd "$MNT/tasks/keeps/1/@default")"
	same two "second 7 new" "$(rd "$MNT/tasks/keeps/2/n=7")"
	mount_down
	mount_up
	same one "first 3 old" "$(rd "$MNT/tasks/keeps/1/n=3")"
}

@test "a script is run by its first line, whatever its mode, and gets variables" {
	mkdir "$TASKS/scripted"
	printf '#!/usr/bin/awk -f\nBEGIN { print ENVIRON["INPUT_WORD"], ARGC }\n' >"$TASKS/scripted/go.awk"
	chmod -x "$TASKS/scripted/go.awk"
	task scripted <<-'JSON'
	{ "memofs": 1, "name": "scripted", "version": "1", "inputs": { "word": { "type": "string" } }, "script": "go.awk" }
	JSON
	same output "x 1" "$(rd "$MNT/tasks/scripted/1/word=x")"
}

@test "an undeclared version is auto- and 16 hex, and moves with the code" {
	printf '{ "memofs": 1, "name": "auto", "command": ["echo", "1"] }' | task_file auto
	run -0 mem add "$TASKS/auto/task.json"
	[[ "$output" =~ ^auto\ auto-[0-9a-f]{16}\ added$ ]]
	first=${output#auto }
	printf '{ "memofs": 1, "name": "auto", "description": "more", "command": ["echo", "1"] }' | task_file auto
	run -0 mem add "$TASKS/auto/task.json"
	has "$output" "${first% added}"
	printf '{ "memofs": 1, "name": "auto", "command": ["echo", "2"] }' | task_file auto
	run -0 mem add "$TASKS/auto/task.json"
	has_not "$output" "${first% added}"
	same latest 2 "$(rd "$MNT/tasks/auto/latest/@default")"
	same first 1 "$(rd "$MNT/tasks/auto/${first% added}/@default")"
}

@test "the task files of the pipelines fit the JSON Schema, and check finds nothing wrong with them" {
	/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || skip "python3-jsonschema is missing"
	/usr/bin/python3 - "$ROOT"/src/core/task.schema.json "$ROOT"/tests/pipelines/*/*/task.json <<-'PY'
	import json, jsonschema, sys
	schema = json.load(open(sys.argv[1]))
	kind = jsonschema.validators.validator_for(schema)
	kind.check_schema(schema)
	assert len(sys.argv) > 15
	for path in sys.argv[2:]:
	    errors = list(kind(schema).iter_errors(json.load(open(path))))
	    assert not errors, (path, errors[0].message)
	PY
	for pipeline in "$ROOT"/tests/pipelines/*/; do
		run -0 mem check "$pipeline"*/task.json
		has_not "$output" "error"
	done
}
