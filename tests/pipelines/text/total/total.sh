#!/bin/sh
# total.sh TOP FILE...: adds up "count, tab, word" lines; the TOP words, most frequent first, equals by name.
set -eu
top=$1
shift
awk -F '\t' '{ n[$2] += $1 } END { for (w in n) printf "%d\t%s\n", n[w], w }' "$@" |
	LC_ALL=C sort -k1,1nr -k2,2 | awk -v top="$top" 'NR <= top'
