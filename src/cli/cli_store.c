/* init and config: the store itself. */
#include "cli.h"

#include "base/json.h"
#include "base/scope.h"
#include "engine.h"

#include <string.h>

static int run_init(struct cli *c)
{
	c->store_option = c->arg[0];
	int s = cli_choose_store(c, NULL);
	if (s != CLI_DONE)
		return s;
	struct memo_err err = { 0 };
	int r = memo_engine_make_store(c->store, &err);
	if (r < 0)
		return cli_fail(CLI_TROUBLE, &err);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_puts(&b, "made the store ");
	cli_put(&b, c->store);
	(void)memo_buf_putc(&b, '\n');
	return cli_write(&b);
}

const struct cli_command cli_init = {
	.name = "init",
	.arguments = "DIR",
	.summary = "make a store",
	.about = "Makes a store in DIR, which must be empty or not exist. Optional: mount and add make a missing "
		 "store too.",
	.example = "memofs init /srv/memofs",
	.least = 1,
	.most = 1,
	.run = run_init,
};

static void put_setting(struct memo_buf *b, const json_t *s)
{
	size_t start = b->len;
	cli_put(b, memo_json_string(s, "key", "?"));
	(void)memo_buf_puts(b, " = ");
	cli_put_json(b, json_object_get(s, "value"));
	do
		(void)memo_buf_putc(b, ' ');
	while (memo_buf_error(b) == 0 && b->len - start < 44);
	(void)memo_buf_puts(b, memo_json_bool(s, "default", false) ? " (default) " : "           ");
	cli_put(b, memo_json_string(s, "meaning", ""));
	(void)memo_buf_putc(b, '\n');
}

static int run_config(struct cli *c)
{
	const char *key = c->args > 0 ? c->arg[0] : NULL, *value = c->args > 1 ? c->arg[1] : NULL;
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s*, s:s*}", "op", "config", "key", key, "value", value), NULL,
			     NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *set;
	json_array_foreach(json_object_get(reply, "settings"), i, set)
	{
		if (cli_value(c, "json") != NULL) {
			cli_put_line(&b, set);
		} else if (key != NULL) {
			cli_put_json(&b, json_object_get(set, "value"));
			(void)memo_buf_putc(&b, '\n');
		} else {
			put_setting(&b, set);
		}
	}
	return cli_write(&b);
}

const struct cli_command cli_config = {
	.name = "config",
	.arguments = "[KEY [VALUE]]",
	.summary = "the store's settings",
	.about = "Lists the settings with their meaning, prints one, or sets one. An empty VALUE resets it to its "
		 "default.\n"
		 "Only the store's owner and root may set. With sandbox auto, tasks read what the system, their "
		 "inputs, "
		 "their code and 'readable' give, and write their work directory and 'writable'; with on they fail "
		 "where the kernel does not offer that; off is without.",
	.example = "memofs config max_size '200 GiB'",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.most = 2,
	.makes = true,
	.run = run_config,
};
