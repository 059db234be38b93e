/* memofs.h: the public C library of memofs.
 *
 * Two parts: pure functions over task definitions (canonical inputs, instance names, digests, identities), so that a second
 * program never has to re-invent a name; and a client of the process that serves a store.
 *
 * Functions return 0 or a negative errno and fill the caller's error text. Strings given out are freed with free(). A handle is
 * used by one thread at a time. JSON travels as UTF-8 text. Usable from C99 and C++. No ABI is promised before 1.0; link
 * it statically. */
#ifndef MEMOFS_H
#define MEMOFS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEMOFS_ERROR_TEXT 1024

struct memofs_error {
	int code; /* negative errno */
	char text[MEMOFS_ERROR_TEXT];
};

/* "0.1.0". */
const char *memofs_version(void);

/* ---- names and identities (pure) ---- */

struct memofs_task;

/* Parses the text of a task file. @label is what error texts call it. */
int memofs_task_parse(const char *json, size_t len, const char *label, struct memofs_task **out,
		      struct memofs_error *err);
void memofs_task_free(struct memofs_task *t);
const char *memofs_task_name(const struct memofs_task *t);

/* Complete canonical inputs (a JSON object) from a path component ("sample=A,min_score=20", "@default"). */
int memofs_inputs_from_component(const struct memofs_task *t, const char *component, char **inputs_out,
				 struct memofs_error *err);
/* The same from a partial JSON object. */
int memofs_inputs_from_json(const struct memofs_task *t, const char *json, char **inputs_out,
			    struct memofs_error *err);
/* The canonical component for canonical inputs: spelled out, or "@<digest>" when it is too long or cannot be spelled. */
int memofs_component(const struct memofs_task *t, const char *inputs, char **component_out,
		     struct memofs_error *err);
/* SHA-256 (64 hex and NUL) of canonical inputs; the handle of an instance. */
int memofs_inputs_digest(const char *inputs, char hex_out[65], struct memofs_error *err);
/* RFC 8785 form of any JSON text. */
int memofs_canonical_json(const char *json, char **out, struct memofs_error *err);
/* The identity of a key object (the text of /info/.../key.json, in any spelling). */
int memofs_identity(const char *key_json, char hex_out[65], struct memofs_error *err);

/* ---- client ---- */

struct memofs;

/* Connects to the process that serves the store in directory @store. -ECONNREFUSED or -ENOENT: none does. */
int memofs_connect(const char *store, struct memofs **out, struct memofs_error *err);
void memofs_close(struct memofs *m);

/* @path as in CONTRACT.md section 5: "/tasks/NAME/VERSION/INPUTS" or the part after "/tasks/". */

/* One of PENDING SUBMITTED RUNNING SUCCESS FAILED CANCELLED RETRYING, or NONE: never demanded. Never starts work. */
int memofs_state(struct memofs *m, const char *path, char **state_out, struct memofs_error *err);
/* Waits for the result, executing it if need be. *@file_out: a path in the store at which this machine can read it. */
int memofs_demand(struct memofs *m, const char *path, char **file_out, char hash_out[65], struct memofs_error *err);
int memofs_cancel(struct memofs *m, const char *path, struct memofs_error *err);
int memofs_forget(struct memofs *m, const char *path, struct memofs_error *err);
/* Any request of the control protocol as JSON text; the answer as JSON text. */
int memofs_call(struct memofs *m, const char *request, char **reply_out, struct memofs_error *err);

#ifdef __cplusplus
}
#endif
#endif
