# The pipelines in tests/pipelines: through the mount they give what the tools give by hand, only what depends on a change
# is executed again, and two stores give the same bytes.

load helpers

P=$BATS_TEST_DIRNAME/pipelines

setup_file() {
	place_open
	mount_up
}
teardown_file() {
	place_close
}

# ran: how many executions there were so far, by the histories of all instances: one line for each RUNNING.
ran() { ran_of '*'; }
# ran_of TASK
ran_of() {
	find "$MNT/info" -path "$MNT/info/$1/*/history.jsonl" -exec cat {} + | awk '/"to": *"RUNNING"/ { n++ } END { print n + 0 }'
}

# identities TASK: of all its instances, in order.
identities() { find "$MNT/info" -path "$MNT/info/$1/*/identity" -exec sh -c 'for f; do cat "$f"; echo; done' sh {} + | grep . | sort; }

# elsewhere PIPELINE TASK...: the result from another store, that is not mounted.
elsewhere() {
	local name=$1
	shift
	timeout 100 "$MEMOFS" --store "$D/other" add "$P/$name"/*/task.json >"$D/add.out"
	timeout 100 "$MEMOFS" --store "$D/other" get "$@" 2>"$D/get.err"
}

@test "text: fan-out over parts and fan-in give what one pipe gives" {
	mem add "$P"/text/*/task.json
	want=$(tr -cs 'A-Za-z' '\n' <"$P/text/sample.txt" | tr 'A-Z' 'a-z' | LC_ALL=C sort | uniq -c |
		awk 'NF == 2 { printf "%d\t%s\n", $1, $2 }' | LC_ALL=C sort -k1,1nr -k2,2 | head -n 10)
	cp "$P/text/sample.txt" "$D/sample.txt"
	path=$(mem path text.total "text=$D/sample.txt")
	same words "$want" "$(rd "$MNT$path")"
	same parts 4 "$(ran_of text.part)"
	same counts 4 "$(ran_of text.count)"
	same totals 1 "$(ran_of text.total)"
}

@test "text: a changed parameter executes only the last step again" {
	same top 3 "$(rd "$MNT$(mem path text.total "text=$D/sample.txt" top=3)" | wc -l)"
	same executed 10 "$(ran)"
	rd "$MNT$(mem path text.total "text=$D/sample.txt" parts=0 parts=1 top=3)" >"$D/two"
	same executed 11 "$(ran)"
}

@test "text: a changed line executes only the part that it is in, and what follows from it" {
	path=$(mem path text.total "text=$D/sample.txt")
	identities text.part >"$D/parts"
	identities text.count >"$D/counts"
	sleep 0.1
	sed -i '2s/$/ water water water water water water water water/' "$D/sample.txt"
	has "$(rd "$MNT$path")" water
	same "all parts are read anew" 0 "$(identities text.part | comm -12 - "$D/parts" | wc -l)"
	same "three counts are what they were" 3 "$(identities text.count | comm -12 - "$D/counts" | wc -l)"
	same "each executed once" "4 4" "$(ran_of text.part) $(ran_of text.count)"
}

@test "text: another store gives the same bytes" {
	same bytes "$(rd "$MNT$(mem path text.total "text=$D/sample.txt")")" "$(elsewhere text text.total "text=$D/sample.txt")"
}

lambda_ready() {
	L=/usr/share/doc/bowtie2/examples
	for tool in bowtie2 samtools bcftools; do
		command -v "$tool" >/dev/null || skip "$tool is missing (scripts/install-deps --demo)"
	done
	[ -e "$L/reads/reads_1.fq.gz" ] || skip "the data of bowtie2-examples are missing (scripts/install-deps --demo)"
	set -- "fasta=$L/reference/lambda_virus.fa.gz" "reads1=$L/reads/reads_1.fq.gz" "reads2=$L/reads/reads_2.fq.gz"
	LAMBDA=("$@")
}

@test "lambda: variant calls of the phage, by reading one path" {
	lambda_ready
	mem add "$P"/lambda/*/task.json
	before=$(ran)
	f=$MNT$(mem path calls "${LAMBDA[@]}")
	same variants 87 "$(timeout 100 bcftools view -H "$f" | wc -l)"
	same steps $((before + 5)) "$(ran)"
	bam=$MNT$(mem path sort "${LAMBDA[@]}")
	same reads 20000 "$(samtools view -c "$bam")"
	samtools quickcheck "$bam"
	[ -d "$MNT$(mem path index "fasta=$L/reference/lambda_virus.fa.gz")" ]
	same nothing $((before + 5)) "$(ran)"
}

@test "lambda: another quality executes only the calls again" {
	lambda_ready
	before=$(ran) calls=$(ran_of calls)
	f=$MNT$(mem path calls "${LAMBDA[@]}" min_quality=100)
	n=$(timeout 100 bcftools view -H "$f" | wc -l)
	[ "$n" -gt 0 ]
	[ "$n" -lt 87 ]
	same executed $((before + 1)) "$(ran)"
	same calls $((calls + 1)) "$(ran_of calls)"
}

@test "lambda: another store gives the same bytes" {
	lambda_ready
	elsewhere lambda calls "${LAMBDA[@]}" >"$D/again.vcf"
	cmp "$D/again.vcf" "$MNT$(mem path calls "${LAMBDA[@]}")"
	elsewhere lambda sort "${LAMBDA[@]}" >"$D/again.bam"
	cmp "$D/again.bam" "$MNT$(mem path sort "${LAMBDA[@]}")"
}

mito_ready() {
	M=/usr/share/doc/minimap2/test
	for tool in minimap2 samtools bcftools; do
		command -v "$tool" >/dev/null || skip "$tool is missing (scripts/install-deps --demo)"
	done
	[ -e "$M/MT-human.fa.gz" ] || skip "the data of minimap2 are missing (scripts/install-deps --demo)"
	MITO=("reference=$M/MT-human.fa.gz" "query=$M/MT-orang.fa.gz")
}

@test "mito: how human and orang-utan mitochondria differ" {
	mito_ready
	mem add "$P"/mito/*/task.json
	before=$(ran)
	f=$MNT$(mem path mito.calls "${MITO[@]}")
	same variants 2244 "$(timeout 100 bcftools view -H "$f" | wc -l)"
	same steps $((before + 5)) "$(ran)"
	elsewhere mito mito.calls "${MITO[@]}" >"$D/mito.vcf"
	cmp "$D/mito.vcf" "$f"
}

@test "climate: mean height by latitude, on two grids" {
	command -v cdo >/dev/null || skip "cdo is missing (scripts/install-deps --demo)"
	mem add "$P"/climate/*/task.json
	before=$(ran)
	f=$MNT$(mem path climate.zonmean)
	same rows 180 "$(timeout 100 cdo -s griddes "$f" | sed -n 's/^ysize *= *//p')"
	same steps $((before + 3)) "$(ran)"
	f2=$MNT$(mem path climate.zonmean grid=r90x45)
	same rows 45 "$(timeout 100 cdo -s griddes "$f2" | sed -n 's/^ysize *= *//p')"
	same steps $((before + 5)) "$(ran)"
	elsewhere climate climate.zonmean >"$D/zonmean.nc"
	cmp "$D/zonmean.nc" "$f"
}
