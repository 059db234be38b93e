# Real tools on a path that is cached (hit), not computed (miss), being computed (in flight), and whose task fails:
# always the same bytes and exit status as on a plain file, and never success with bytes that are not the result's.

load helpers

setup_file() {
	place_open
	mount_up
	task_gated
	mkdir "$D/plain"
	seq -f %07g 1 12500 >"$D/plain/ref"
	# a tree with the same bytes in it
	task tree <<-JSON
	{ "memofs": 1, "name": "tree", "version": "1",
	  "inputs": { "id": { "type": "string" }, "gate": { "type": "string", "default": "always" }, "fail": { "type": "boolean", "default": false } },
	  "env": { "COUNT": "$COUNT" }, "output": { "type": "Directory", "path": "out" },
	  "command": ["sh", "-c", "i=0; while [ \"\$INPUT_GATE\" != always ] && [ ! -e \"\$COUNT/open-\$INPUT_GATE\" ] && [ \$i -lt 1500 ]; do sleep 0.02; i=\$((i + 1)); done; [ \"\$INPUT_FAIL\" = false ] || exit 3; mkdir -p out/sub; seq -f %07g 1 12500 >out/numbers; echo two >out/sub/two; : >out/empty; printf '#!/bin/sh\\\\n' >out/run; chmod +x out/run; ln -s sub/two out/link"] }
	JSON
	mkdir -p "$D/plain/tree/sub"
	seq -f %07g 1 12500 >"$D/plain/tree/numbers"
	echo two >"$D/plain/tree/sub/two"
	touch "$D/plain/tree/empty"
	printf '#!/bin/sh\n' >"$D/plain/tree/run"
	chmod +x "$D/plain/tree/run"
	ln -s sub/two "$D/plain/tree/link"
}
teardown_file() {
	place_close
}
setup() {
	need_fuse
	OUT=$D/out-$BATS_TEST_NUMBER
	mkdir "$OUT"
	PYTHON=/usr/bin/python3
}

# in_flight TASK ID TOOL: the tool begins while the task runs, the gate opens a little later.
in_flight() {
	local path=$MNT/tasks/$1/1/gate=$2,id=$2
	(wait_until $((20 * SLOW)) state_is "$1/1/gate=$2,id=$2" RUNNING && sleep 0.1 && gate_open "$2") 3>&- 4>&- >&2 &
	local opener=$!
	"$3" "$path"
	local status=$?
	wait "$opener" || return 99
	return "$status"
}

# matrix TASK REFERENCE TOOL: TOOL is a function that takes a path and writes what it read to stdout.
matrix() {
	local task=$1 ref=$2 tool=$3 id=$3 way got status want
	want=$("$tool" "$ref" | sha256sum)
	has_not "$want" "$(printf '' | sha256sum)"
	for way in miss hit hit flight; do
		status=0
		if [ "$way" = flight ]; then
			(set -o pipefail; in_flight "$task" "f-$id" "$tool" | sha256sum >"$OUT/sum") || status=$?
		else
			(set -o pipefail; "$tool" "$MNT/tasks/$task/1/id=$id" | sha256sum >"$OUT/sum") || status=$?
		fi
		same "$tool, $way: status" 0 "$status"
		same "$tool, $way: bytes" "$want" "$(cat "$OUT/sum")"
	done
	status=0
	"$tool" "$MNT/tasks/$task/1/fail=true,id=x-$id" >"$OUT/failed" 2>"$OUT/failed.err" || status=$?
	[ "$status" -ne 0 ] || { echo "$tool: status 0 though the task failed" >&2 && return 1; }
	same "$tool, failed: bytes" 0 "$(stat -c %s "$OUT/failed")"
}

with_file() { matrix gated "$D/plain/ref" "$1"; }
with_tree() { matrix tree "$D/plain/tree" "$1"; }

# Copiers write to a file that is shown only when the copier said that all went well; on failure whatever they left is
# shown, so that a short copy cannot hide.
shown() {
	local status=$1
	shift
	if [ -f "$1" ]; then cat "$1"; fi
	rm -rf "$1"
	return "$status"
}

t_cat() { cat "$1"; }
t_cp() { local s=0; cp "$1" "$OUT/c" || s=$?; shown $s "$OUT/c"; }
t_dd() { dd if="$1" bs=7000 status=none; }
t_tar() { (set -o pipefail; tar -C "$(dirname "$1")" -cf - --transform 's/.*/f/' "$(basename "$1")" | tar -xOf -); }
t_rsync() { local s=0; rsync "$1" "$OUT/c" || s=$?; shown $s "$OUT/c"; }
t_cpio() {
	local s=0
	(set -o pipefail; cd "$(dirname "$1")" && basename "$1" | cpio -o --quiet >"$OUT/cpio") || s=$?
	[ $s -ne 0 ] || cpio -i --to-stdout --quiet <"$OUT/cpio"
	return $s
}
t_busybox_cat() { busybox cat "$1"; }
t_busybox_cp() { local s=0; busybox cp "$1" "$OUT/c" || s=$?; shown $s "$OUT/c"; }
t_grep() { grep -c 5 "$1"; }
t_wc_c() { (set -o pipefail; wc -c "$1" | cut -d' ' -f1); }
t_wc_c_stdin() { wc -c <"$1"; }
t_tail_c() { tail -c 1000 "$1"; }
t_head_c() { head -c 1000 "$1"; }
t_head_c_minus() { head -c -1000 "$1"; }
t_sha256sum() { (set -o pipefail; sha256sum "$1" | cut -c1-64); }
t_python_open() { "$PYTHON" -c 'import sys; sys.stdout.write(open(sys.argv[1]).read())' "$1"; }
t_python_mmap() { "$PYTHON" -c 'import mmap,sys; f=open(sys.argv[1],"rb"); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); sys.stdout.buffer.write(m[:])' "$1"; }
t_python_shutil() { local s=0; "$PYTHON" -c 'import shutil,sys; shutil.copyfile(sys.argv[1],sys.argv[2])' "$1" "$OUT/c" || s=$?; shown $s "$OUT/c"; }
t_git_hash() { git hash-object --no-filters "$1"; }
# less writes its messages to stdout and ends with status 0 whatever happens, for a missing file too.
t_less() {
	less "$1" >"$OUT/less"
	if grep -qF ": Input/output error" "$OUT/less"; then return 1; fi
	cat "$OUT/less"
}
t_find() { find "$1" -printf '%s %y\n'; }
t_ls_l() { (set -o pipefail; ls -lL "$1" | awk '{ print $5 }'); }
t_du() { (set -o pipefail; du --apparent-size -b "$1" | cut -f1); }
t_du_blocks() { (set -o pipefail; du -k "$1" | awk '{ print ($1 >= 90) }'); }
t_sort() { sort -r "$1"; }
t_awk() { awk '{ s += $1 } END { print s, NR }' "$1"; }
t_perl() { perl -e 'open F, $ARGV[0] or exit 1; read(F, $x, -s $ARGV[0]) or exit 2; print $x' "$1"; }
t_gzip() { (set -o pipefail; gzip -c "$1" | gzip -dc); }
t_diff() { diff -q "$1" "$D/plain/ref" && echo same; }
t_cmp() { cmp "$1" "$D/plain/ref" && echo same; }
t_split() { local s=0; split -b 30000 "$1" "$OUT/part." || s=$?; cat "$OUT"/part.* 2>/dev/null; rm -f "$OUT"/part.*; return $s; }
t_sendfile() { "$TOOLS/reader" sendfile "$1"; }
t_test_f() { [ -f "$1" ] && echo file; }

@test "cat" { with_file t_cat; }
@test "cp" { with_file t_cp; }
@test "dd" { with_file t_dd; }
@test "tar" { with_file t_tar; }
@test "rsync" { with_file t_rsync; }
@test "cpio" { with_file t_cpio; }
@test "busybox cat" { with_file t_busybox_cat; }
@test "busybox cp" { with_file t_busybox_cp; }
@test "grep" { with_file t_grep; }
@test "wc -c FILE" { with_file t_wc_c; }
@test "wc -c <FILE" { with_file t_wc_c_stdin; }
@test "tail -c" { with_file t_tail_c; }
@test "head -c" { with_file t_head_c; }
@test "head -c -N" { with_file t_head_c_minus; }
@test "sha256sum" { with_file t_sha256sum; }
@test "python3 open" { with_file t_python_open; }
@test "python3 mmap" { with_file t_python_mmap; }
@test "python3 shutil.copyfile" { with_file t_python_shutil; }
@test "git hash-object" { with_file t_git_hash; }
@test "less" { with_file t_less; }
@test "find" { with_file t_find; }
@test "ls -l" { with_file t_ls_l; }
@test "du" { with_file t_du; }
@test "du in blocks" { with_file t_du_blocks; }
@test "sort" { with_file t_sort; }
@test "awk" { with_file t_awk; }
@test "perl read of -s bytes" { with_file t_perl; }
@test "gzip" { with_file t_gzip; }
@test "diff -q" { with_file t_diff; }
@test "cmp" { with_file t_cmp; }
@test "split" { with_file t_split; }
@test "open and sendfile without a stat" { with_file t_sendfile; }
@test "test -f" { with_file t_test_f; }

d_tar() { (set -o pipefail; tar -C "$1" -cf - . | tar -tvf - | awk '{ print substr($1, 1, 1), substr($1, 4, 1), ($1 ~ /^d/) ? 0 : $3, $6, $7, $8 }' | sort); }
d_cp() { local s=0; cp -r "$1" "$OUT/c" || s=$?; [ $s -ne 0 ] || (cd "$OUT/c" && find . | sort && cat numbers sub/two && readlink link); chmod -R u+w "$OUT/c" 2>/dev/null; rm -rf "$OUT/c"; return $s; }
d_rsync() { local s=0; rsync -rl "$1/" "$OUT/c" || s=$?; [ $s -ne 0 ] || (cd "$OUT/c" && find . | sort && cat numbers sub/two && readlink link); chmod -R u+w "$OUT/c" 2>/dev/null; rm -rf "$OUT/c"; return $s; }
d_find() { (set -o pipefail; cd "$1" && find . -type f -printf '%p %s\n' -o -printf '%p %y\n' | sort); }
d_ls() { (set -o pipefail; cd "$1" && ls -R); }
d_du() { (set -o pipefail; cd "$1" && du -b numbers empty sub/two run); }
d_sums() { (set -o pipefail; cd "$1" && find . -type f -exec sha256sum {} + | sort); }
d_diff() { diff -r "$1" "$D/plain/tree" && echo same; }
d_grep() { (set -o pipefail; cd "$1" && grep -rl two . | sort); }
d_test_d() { [ -d "$1" ] && [ ! -f "$1" ] && echo directory; }
d_inner() { cat "$1/sub/two"; }
d_busybox() { (set -o pipefail; cd "$1" && busybox ls -1 . sub && busybox cat numbers); }
d_python() { "$PYTHON" -c 'import os,sys
for d, dirs, files in sorted(os.walk(sys.argv[1], onerror=lambda e: sys.exit(1))): print(os.path.relpath(d, sys.argv[1]), sorted(dirs), sorted(files), [os.path.getsize(os.path.join(d, f)) for f in sorted(files)])' "$1"; }

@test "directory: tar" { with_tree d_tar; }
@test "directory: cp -r" { with_tree d_cp; }
@test "directory: rsync" { with_tree d_rsync; }
@test "directory: find" { with_tree d_find; }
@test "directory: ls -R" { with_tree d_ls; }
@test "directory: du" { with_tree d_du; }
@test "directory: sha256sum of all files" { with_tree d_sums; }
@test "directory: diff -r" { with_tree d_diff; }
@test "directory: grep -r" { with_tree d_grep; }
@test "directory: test -d" { with_tree d_test_d; }
@test "directory: a file in it by name" { with_tree d_inner; }
@test "directory: busybox" { with_tree d_busybox; }
@test "directory: python3 os.walk" { with_tree d_python; }
