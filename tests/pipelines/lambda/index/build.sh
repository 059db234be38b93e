#!/bin/sh
# The result of the need "reference" is a file below the work directory, named by $NEED_REFERENCE;
# the index has to appear at $OUTPUT.
set -eu
mkdir "$OUTPUT"
bowtie2-build --quiet --threads 1 "$NEED_REFERENCE" "$OUTPUT/genome"
