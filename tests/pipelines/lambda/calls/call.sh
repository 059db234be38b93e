#!/bin/bash
# bcftools writes an index beside the genome, and what a need gave is read-only: so it works on a copy.
# --no-version keeps date and command line out of the header: the same bytes each time.
set -euo pipefail
cp "$NEED_REFERENCE" genome.fa
chmod u+w genome.fa
bcftools mpileup --no-version -Ou -f genome.fa "$NEED_SORT" |
	bcftools call --no-version --ploidy 1 -mv -Ou |
	bcftools view --no-version -i "QUAL>=$INPUT_MIN_QUALITY" -Ov
