/* Verification of every result in the store: see run.h. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "run.h"

#include <stdatomic.h>
#include <string.h>

#define NOTE "verify"
#define NOTE_NS MEMO_NS_PER_S /* how much of a pass an interruption may cost */

struct pass {
	struct memo_runner *r;
	struct memo_verify_all *v;
	struct memo_position at;
	int64_t noted_ns;
	struct memo_id hash; /* whose bytes were looked at last */
	bool any; /* @hash, @code and @why hold */
	int code;
	struct memo_err why;
};

/* ---- where it has come to ------------------------------------------------------------------------------ */

static int note(struct pass *p, struct memo_err *err)
{
	char hash[MEMO_HEX_SIZE], identity[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *j = json_pack(
		"{s:s, s:s, s:I, s:I, s:I}", "hash", memo_id_hex(&p->at.hash, hash), "identity",
		memo_id_hex(&p->at.identity, identity), "valid", (json_int_t)atomic_load(&p->v->valid), "invalid",
		(json_int_t)atomic_load(&p->v->invalid), "unknown", (json_int_t)atomic_load(&p->v->unknown));
	p->noted_ns = memo_now_ns();
	return j == NULL ? memo_fail(err, -ENOMEM, "out of memory")
			 : memo_store_note_put(p->r->store, NOTE, j, err);
}

/* A note that makes no sense is none. */
static void go_on(struct pass *p)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	struct memo_position at;
	if (p->v->restart || memo_store_note_get(p->r->store, NOTE, &j, NULL) < 0 ||
	    memo_id_parse(memo_json_string(j, "hash", ""), &at.hash) < 0 ||
	    memo_id_parse(memo_json_string(j, "identity", ""), &at.identity) < 0)
		return;
	p->at = at;
	atomic_store(&p->v->valid, (uint64_t)memo_json_int(j, "valid", 0));
	atomic_store(&p->v->invalid, (uint64_t)memo_json_int(j, "invalid", 0));
	atomic_store(&p->v->unknown, (uint64_t)memo_json_int(j, "unknown", 0));
	p->v->before = atomic_load(&p->v->valid) + atomic_load(&p->v->invalid) + atomic_load(&p->v->unknown);
}

/* ---- one result ---------------------------------------------------------------------------------------- */

static int command(struct pass *p, const json_t *record, struct memo_result *res, struct memo_err *why)
{
	struct memo_task *t = NULL;
	int code = memo_store_task(p->r->store, memo_json_string(record, "task", ""),
				   memo_json_string(record, "version", ""), &t, NULL);
	if (code < 0)
		return code == -ENOMEM ? code
				       : 0; /* removed from the registry: its bytes are all that can be asked */
	if (t->verifies > 0)
		code = memo_verify_command(p->r, t, json_object_get(record, "inputs"), res, why);
	memo_task_unref(t);
	return code;
}

static int judge(struct pass *p, const json_t *record, struct memo_result *res, struct memo_err *why)
{
	bool shared = p->any && memo_id_equal(&p->hash, &res->hash) && res->kind != MEMO_RESULT_EXTERNAL;
	if (!shared) {
		p->why.code = 0;
		p->code = memo_store_result_verify(p->r->store, res, &p->v->scrub, &p->why);
		p->hash = res->hash;
		p->any = true;
	}
	*why = p->why;
	return p->code < 0 ? p->code : command(p, record, res, why);
}

static int verify_one(struct pass *p, struct memo_err *err)
{
	struct memo_err why = { 0 };
	MEMO_AUTO_JSON json_t *record = NULL;
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	struct memo_result *res = NULL;
	int code = memo_store_lookup(p->r->store, &p->at.identity, &res, err);
	if (code == 0)
		code = memo_store_record(p->r->store, &p->at.identity, &record, err);
	if (code < 0 || !memo_id_equal(&res->hash, &p->at.hash)) {
		memo_result_unref(res);
		return code == -ENOENT ? 0 : code; /* forgotten, or made anew, since it was listed */
	}
	code = judge(p, record, res, &why);
	int e = 0;
	if (code == -EBADMSG)
		e = memo_store_result_lost(p->r->store, res, why.text, err);
	memo_result_unref(res);
	if (code == -ECANCELED || e < 0)
		return e < 0 ? e : code;
	(void)atomic_fetch_add(code == 0 ? &p->v->valid : code == -EBADMSG ? &p->v->invalid : &p->v->unknown, 1);
	(void)memo_buf_printf(&path, "/tasks/%s/%s/%s", memo_json_string(record, "task", "?"),
			      memo_json_string(record, "version", "?"), memo_json_string(record, "name", "?"));
	p->v->verdict(p->v->arg, memo_buf_str(&path), &p->at.identity, code,
		      code == 0	      ? ""
		      : why.code != 0 ? why.text
				      : memo_strerror(code));
	return 0;
}

int memo_verify_all(struct memo_runner *r, struct memo_verify_all *v, struct memo_err *err)
{
	struct pass p = { .r = r, .v = v, .noted_ns = memo_now_ns() };
	go_on(&p);
	int code = 0;
	while (code == 0) {
		struct memo_position before = p.at;
		code = memo_scrub_stopped(&v->scrub) ? -ECANCELED : memo_store_next_result(r->store, &p.at, err);
		if (code == 0)
			code = verify_one(&p, err);
		if (code < 0 && code != -ENOENT)
			p.at = before;
		if (code == 0 && memo_now_ns() - p.noted_ns >= NOTE_NS)
			code = note(&p, err);
	}
	if (code == -ENOENT)
		return memo_store_note_put(r->store, NOTE, NULL, err);
	if (code == -ECANCELED && note(&p, NULL) < 0)
		return code; /* the next pass begins where the last note is */
	return code == -ECANCELED ? memo_fail(err, code, "the verification was interrupted") : code;
}
