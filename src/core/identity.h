/* Identity: SHA-256 over the canonical JSON of one object, the key (CONTRACT.md section 3).
 *
 *	{ "memofs": 1, "task": name,
 *	  "version": declared | "code": "<64 hex>", "fingerprint": {"method":"bytes","number":1},
 *	  "interface": {"inputs": {name: type ..}, "output": "File"},
 *	  "inputs": {name: value ..}, "upstream": {name: output hash, or array of them ..} }
 *
 * "fingerprint" where comments were left out of some file: {"files":{"run.sh":"shell/1"},"method":"comments","number":1}.
 * In "inputs": scalars as they are (a number that is whole and beyond 2^53 - 1 as a decimal string, so that
 * any JSON reader gets key.json back unchanged), a File {"name","sha256"}, a Directory
 * one hash (memo_identity_directory), an upstream instance {"upstream": U} with its output hash under U in "upstream";
 * U is "inputs.<input>" or, in an array, "inputs.<input>.<index>". No need is named so: a need's name has no dot.
 * Inputs with "identity": false are left out of "inputs", not of "interface".
 *
 * A change of anything here is a change of format: MEMO_IDENTITY_FORMAT, and the fixed vectors of the tests. Pure. */
#ifndef MEMO_CORE_IDENTITY_H
#define MEMO_CORE_IDENTITY_H

#include "base/error.h"
#include "base/hash.h"
#include "task.h"

#include <jansson.h>

#define MEMO_IDENTITY_FORMAT 1

/* What a File or Directory value turned out to be. */
enum memo_source_kind { MEMO_SOURCE_FILE, MEMO_SOURCE_DIRECTORY, MEMO_SOURCE_UPSTREAM };

/* The hashed form of one File or Directory element. @name: base name. NULL: out of memory. */
json_t *memo_identity_file(const char *name, const struct memo_id *content);
/* SHA-256 over "memofs-directory 1\n" <base name> "\n" <64 hex of the tree> "\n", as a JSON string: a Directory is
 * one hash, and its base name, which the program sees, is in it. */
json_t *memo_identity_directory(const char *name, const struct memo_id *tree);
/* {"upstream": "inputs.<input>[.<index>]"}; @index < 0: not in an array. The member's name is copied to @key. */
#define MEMO_UPSTREAM_KEY 128
json_t *memo_identity_upstream(const char *input, long index, char key[MEMO_UPSTREAM_KEY]);

/* @hashed: as "inputs" above for all inputs of File and Directory type with identity; other inputs are taken from
 * @inputs. @upstream: object as above. @code: the fingerprint when no version is declared, else NULL. */
MEMO_MUST int memo_identity_key(const struct memo_task *t, const struct memo_id *code, const json_t *inputs,
				const json_t *hashed, const json_t *upstream, json_t **key_out,
				struct memo_err *err);
/* The raw identity: that of the same key with the raw fingerprint of the code (fingerprint.h) and method "bytes". */
MEMO_MUST int memo_identity_raw(const json_t *key, const struct memo_id *raw, struct memo_id *id_out,
				struct memo_err *err);
MEMO_MUST int memo_identity_of(const json_t *key, struct memo_id *id_out, struct memo_err *err);

#endif
