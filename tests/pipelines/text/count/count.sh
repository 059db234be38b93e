#!/bin/sh
# Words are runs of letters, upper and lower case alike.
set -eu
tr -cs 'A-Za-z' '\n' <"$NEED_PART" | tr 'A-Z' 'a-z' | LC_ALL=C sort | uniq -c |
	awk 'NF == 2 { printf "%d\t%s\n", $1, $2 }'
