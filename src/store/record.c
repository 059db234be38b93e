/* Records of instances, their transitions and their history.
 *
 * A record is one JSON object under the identity. Each transition reads it, checks, and writes it back with a line of
 * history and the index of what is in flight in one batch; the lock of the identity (one of a few, by its first byte) makes
 * that one step. "sequence" grows by one with each and orders a record against its receipt. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ACTIVE "active"
#define ACTIVE_LEN sizeof ACTIVE /* with the NUL, which separates */

static const char *const state_text[MEMO_STATES] = {
	[MEMO_PENDING] = "PENDING",   [MEMO_SUBMITTED] = "SUBMITTED", [MEMO_RUNNING] = "RUNNING",
	[MEMO_SUCCESS] = "SUCCESS",   [MEMO_FAILED] = "FAILED",	      [MEMO_CANCELLED] = "CANCELLED",
	[MEMO_RETRYING] = "RETRYING",
};

const char *memo_state_text(enum memo_state s)
{
	return (unsigned)s < MEMO_STATES ? state_text[s] : "NONE";
}

enum memo_state memo_state_parse(const char *text)
{
	for (unsigned i = 0; i < MEMO_STATES; i++) {
		if (strcmp(state_text[i], text) == 0)
			return (enum memo_state)i;
	}
	return MEMO_STATES;
}

#define BIT(s) (1u << MEMO_##s)
bool memo_state_legal(enum memo_state from, enum memo_state to)
{
	static const unsigned next[MEMO_STATES + 1] = {
		[MEMO_PENDING] = BIT(PENDING) | BIT(SUBMITTED) | BIT(RUNNING) | BIT(SUCCESS) | BIT(FAILED) |
				 BIT(CANCELLED),
		[MEMO_SUBMITTED] = BIT(PENDING) | BIT(RUNNING) | BIT(SUCCESS) | BIT(FAILED) | BIT(CANCELLED) |
				   BIT(RETRYING),
		[MEMO_RUNNING] = BIT(PENDING) | BIT(SUCCESS) | BIT(FAILED) | BIT(CANCELLED) | BIT(RETRYING),
		[MEMO_RETRYING] = BIT(PENDING) | BIT(SUBMITTED) | BIT(RUNNING) | BIT(FAILED) | BIT(CANCELLED),
		[MEMO_FAILED] = BIT(PENDING),
		[MEMO_CANCELLED] = BIT(PENDING),
		[MEMO_SUCCESS] = BIT(PENDING),
		[MEMO_STATES] = BIT(PENDING),
	};
	return (unsigned)from <= MEMO_STATES && (unsigned)to < MEMO_STATES && (next[from] >> to & 1) != 0;
}

/* ---- pieces ------------------------------------------------------------------------------------------- */

struct memo_mutex *memo_identity_lock(struct memo_store *s, const struct memo_id *identity)
{
	return &s->identity_mu[identity->byte[0] % MEMO_STORE_STRIPES];
}

struct memo_mutex *memo_object_lock(struct memo_store *s, const struct memo_id *hash)
{
	return &s->object_mu[hash->byte[0] % MEMO_STORE_STRIPES];
}

void memo_record_time(int64_t wall_ns, char out[MEMO_TIME_TEXT])
{
	time_t seconds = (time_t)(wall_ns / MEMO_NS_PER_S);
	struct tm tm;
	char day[24];
	if (gmtime_r(&seconds, &tm) == NULL || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		day[0] = '\0';
	(void)snprintf(out, MEMO_TIME_TEXT, "%s.%03dZ", day, (int)(wall_ns / MEMO_NS_PER_MS % 1000 + 1000) % 1000);
}

int memo_record_load(struct memo_store *s, const struct memo_id *identity, json_t **out, struct memo_err *err)
{
	return memo_manifest_get_json(s->manifest, MEMO_INSTANCES, identity->byte, sizeof identity->byte, out, err);
}

enum memo_state memo_record_state(const json_t *record)
{
	return memo_state_parse(memo_json_string(record, "state", ""));
}

static json_t *text_or_null(const char *text)
{
	return text == NULL ? json_null() : json_string(text);
}

/* The record shares what is immutable by contract: inputs, key, upstream. */
static json_t *share(const json_t *j)
{
	return j == NULL ? json_null() : json_deep_copy(j);
}

int memo_record_describe(json_t *record, const struct memo_instance *i)
{
	char hex[MEMO_HEX_SIZE];
	if (memo_json_set(record, "identity", json_string(memo_id_hex(&i->identity, hex))) < 0 ||
	    memo_json_set(record, "task", json_string(i->task)) < 0 ||
	    memo_json_set(record, "version", json_string(i->version)) < 0 ||
	    memo_json_set(record, "name", json_string(i->name)) < 0 ||
	    memo_json_set(record, "inputs", share(i->inputs)) < 0 ||
	    memo_json_set(record, "key", share(i->key)) < 0 ||
	    memo_json_set(record, "upstream", share(i->upstream)) < 0)
		return -ENOMEM;
	return 0;
}

static void sequence_key(const struct memo_id *identity, int64_t sequence, unsigned char key[MEMO_ID_BYTES + 8])
{
	memcpy(key, identity->byte, MEMO_ID_BYTES);
	for (int i = 0; i < 8; i++)
		key[MEMO_ID_BYTES + i] = (unsigned char)((uint64_t)sequence >> (56 - 8 * i));
}

void memo_record_history(const struct memo_id *identity, int64_t sequence, const json_t *row, struct memo_batch *b)
{
	unsigned char key[MEMO_ID_BYTES + 8];
	sequence_key(identity, sequence, key);
	memo_batch_put_json(b, MEMO_HISTORY, key, sizeof key, row);
}

void memo_record_active(const struct memo_id *identity, bool active, struct memo_batch *b)
{
	char key[ACTIVE_LEN + MEMO_ID_BYTES];
	memcpy(key, ACTIVE, ACTIVE_LEN);
	memcpy(key + ACTIVE_LEN, identity->byte, MEMO_ID_BYTES);
	if (active)
		memo_batch_put(b, MEMO_META, key, sizeof key, "", 0);
	else
		memo_batch_delete(b, MEMO_META, key, sizeof key);
}

static bool in_flight(enum memo_state s)
{
	return s == MEMO_SUBMITTED || s == MEMO_RUNNING || s == MEMO_RETRYING;
}

static int append_history(const struct memo_id *identity, int64_t sequence, enum memo_state from,
			  const struct memo_transition *t, struct memo_batch *b)
{
	char when[MEMO_TIME_TEXT];
	memo_record_time(memo_wall_ns(), when);
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:s?, s:s, s:s?, s:s?, s:s?, s:s?}", "time", when, "from",
					       from == MEMO_STATES ? NULL : memo_state_text(from), "to",
					       memo_state_text(t->to), "reason", t->reason, "run", t->run,
					       "executor", t->executor, "job", t->job);
	if (row == NULL ||
	    memo_json_set(row, "exit", t->exit_code < 0 ? json_null() : json_integer(t->exit_code)) < 0)
		return -ENOMEM;
	memo_record_history(identity, sequence, row, b);
	return 0;
}

static int set_message(json_t *record, const struct memo_transition *t)
{
	if (t->to == MEMO_FAILED || t->to == MEMO_CANCELLED)
		return memo_json_set(record, "message", text_or_null(t->reason));
	/* The message of a failure stays until something else came out. */
	if (t->to == MEMO_SUCCESS || json_object_get(record, "message") == NULL)
		return memo_json_set(record, "message", json_null());
	return 0;
}

int memo_record_step(json_t *record, const struct memo_id *identity, const struct memo_transition *t,
		     struct memo_batch *b)
{
	enum memo_state from = memo_record_state(record);
	if (!memo_state_legal(from, t->to))
		return -EPROTO;
	if (from == MEMO_PENDING && t->to == MEMO_PENDING)
		return 0;
	int64_t sequence = memo_json_int(record, "sequence", 0) + 1;
	int64_t attempts = memo_json_int(record, "attempts", 0) + (t->to == MEMO_RUNNING ? 1 : 0);
	int r = append_history(identity, sequence, from, t, b);
	if (r < 0)
		return r;
	if (memo_json_set(record, "state", json_string(memo_state_text(t->to))) < 0 ||
	    memo_json_set(record, "sequence", json_integer(sequence)) < 0 ||
	    memo_json_set(record, "attempts", json_integer(attempts)) < 0 || set_message(record, t) < 0)
		return -ENOMEM;
	if (t->origin != NULL && memo_json_set(record, "origin", json_deep_copy(t->origin)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < 3; i++) {
		static const char *const always[] = { "result", "origin", "observed" };
		if (json_object_get(record, always[i]) == NULL && memo_json_set(record, always[i], json_null()) < 0)
			return -ENOMEM;
	}
	if (in_flight(from) || in_flight(t->to))
		memo_record_active(identity, in_flight(t->to), b);
	return 0;
}

/* ---- the transition ------------------------------------------------------------------------------------ */

static int fail_step(const struct memo_instance *i, const json_t *record, const struct memo_transition *t, int r,
		     struct memo_err *err)
{
	if (r == -EPROTO)
		return memo_fail(err, r, "instance %s/%s/%s: cannot go from %s to %s", i->task, i->version, i->name,
				 memo_state_text(memo_record_state(record)), memo_state_text(t->to));
	return memo_fail(err, r, "instance %s/%s/%s: its record cannot be made: %s", i->task, i->version, i->name,
			 memo_strerror(r));
}

static int transition(struct memo_store *s, const struct memo_instance *i, const struct memo_transition *t,
		      struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, &i->identity, &record, err);
	if (r == -ENOENT)
		r = (record = json_object()) == NULL ? memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir)
						     : 0;
	if (r < 0)
		return r;
	if (t->to == MEMO_SUCCESS && !json_is_object(json_object_get(record, "result")))
		return fail_step(i, record, t, -EPROTO, err);
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	r = memo_record_step(record, &i->identity, t, &b);
	if (r == 0)
		r = memo_record_describe(record, i);
	if (r < 0)
		return fail_step(i, record, t, r, err);
	if (t->anew)
		(void)json_object_del(record, "collected");
	memo_batch_put_json(&b, MEMO_INSTANCES, i->identity.byte, sizeof i->identity.byte, record);
	uint64_t info;
	r = memo_record_name(s, i, &b, &info, err);
	if (r == 0)
		r = memo_manifest_write(s->manifest, &b, t->to == MEMO_SUCCESS, err);
	memo_results_forget(s, &i->identity);
	return r;
}

int memo_store_transition(struct memo_store *s, const struct memo_instance *i, const struct memo_transition *t,
			  struct memo_err *err)
{
	struct memo_mutex *by_identity = memo_identity_lock(s, &i->identity);
	struct memo_mutex *by_name = memo_name_lock(s, i->task, i->version, i->name);
	memo_mutex_lock(by_identity);
	memo_mutex_lock(by_name);
	int r = transition(s, i, t, err);
	memo_mutex_unlock(by_name);
	memo_mutex_unlock(by_identity);
	return r;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

int memo_store_record(struct memo_store *s, const struct memo_id *identity, json_t **out, struct memo_err *err)
{
	int r = memo_record_load(s, identity, out, err);
	char hex[MEMO_HEX_SIZE];
	return r == -ENOENT ? memo_fail(err, r, "instance %s: was never demanded", memo_id_hex(identity, hex)) : r;
}

static int take_row(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	(void)len;
	json_t *row;
	if (memo_json_parse(value, value_len, &row, NULL) < 0)
		return -EIO;
	return memo_json_push(arg, row);
}

int memo_store_history(struct memo_store *s, const struct memo_id *identity, json_t **out, struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *rows = json_array();
	if (rows == NULL)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	int r = memo_manifest_scan(s->manifest, MEMO_HISTORY, identity->byte, sizeof identity->byte, NULL, 0,
				   take_row, rows, err);
	if (r < 0)
		return memo_fail(err, r, "instance %s: its history cannot be read", memo_id_hex(identity, hex));
	*out = memo_json_steal(&rows);
	return 0;
}
