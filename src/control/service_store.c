/* Requests about the store as a whole: hello, status, config. */
#include "service_call.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

int memo_op_hello(struct memo_service_call *c)
{
	const char *mount = memo_runner_mountpoint(c->runner);
	MEMO_AUTO_JSON json_t *more = json_pack("{s:s, s:s, s:i, s:s?, s:b}", "store", memo_store_dir(c->store),
						"version", MEMOFS_VERSION, "pid", (int)getpid(), "mountpoint",
						mount, "owner", c->owner);
	return more == NULL || json_object_update(c->answer, more) < 0 ? memo_service_nomem(c) : 0;
}

int memo_op_status(struct memo_service_call *c)
{
	MEMO_AUTO_JSON json_t *active = NULL;
	int r = memo_runner_active(c->runner, &active);
	if (r < 0)
		return memo_fail(&c->err, r, "what is running cannot be told: %s", memo_strerror(r));
	MEMO_AUTO_JSON json_t *room = NULL;
	r = memo_runner_room(c->runner, &room, &c->err);
	if (r == 0)
		r = memo_service_set(c, "active", json_incref(active));
	if (r == 0)
		r = memo_service_set(c, "room", json_incref(room));
	return r < 0 ? r : memo_op_hello(c);
}

int memo_op_config(struct memo_service_call *c)
{
	const char *key = memo_json_string(c->request, "key", NULL);
	const char *value = memo_json_string(c->request, "value", NULL);
	int r = 0;
	if (key != NULL && value != NULL) {
		r = memo_store_config_set(c->store, key, value, &c->err);
		if (r == 0)
			memo_runner_settings_changed(c->runner);
		if (r == 0 && strcmp(key, "max_size") == 0)
			memo_runner_retain(c->runner);
	} else if (key != NULL) {
		MEMO_AUTO_FREE char *now = NULL;
		r = memo_store_config_get(c->store, key, &now, &c->err);
	}
	if (r < 0) {
		c->status = r == -ENOENT || r == -EINVAL ? 2 : 0; /* no such key is a wrong usage */
		return r;
	}
	MEMO_AUTO_JSON json_t *all = memo_store_config_list(c->store);
	MEMO_AUTO_JSON json_t *some = json_array();
	if (all == NULL || some == NULL)
		return memo_service_nomem(c);
	size_t i;
	json_t *s;
	json_array_foreach(all, i, s)
	{
		bool meant = key == NULL || strcmp(memo_json_string(s, "key", ""), key) == 0;
		if (meant && json_array_append(some, s) < 0)
			return memo_service_nomem(c);
	}
	return memo_service_set(c, "settings", json_incref(some));
}
