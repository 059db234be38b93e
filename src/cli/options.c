/* Options: GNU style, options and arguments in any order, "--" ends the options. --store and --help belong to every
 * command. An unknown option is answered with the nearest known one. */
#include "cli.h"

#include "core/nearest.h"

#include <stdio.h>
#include <string.h>

static const struct cli_option common[] = {
	{ 0, "store", "DIR", "the store (else $MEMOFS_STORE, the mount one is in, or the default one)" },
	{ 'h', "help", NULL, "this text" },
	{ 0, NULL, NULL, NULL },
};

const char *cli_value(const struct cli *c, const char *name)
{
	for (int i = 0; i < CLI_OPTIONS && c->command->option[i].name != NULL; i++) {
		if (strcmp(c->command->option[i].name, name) == 0)
			return c->value[i];
	}
	return NULL;
}

static void help_option(struct memo_buf *b, const struct cli_option *o)
{
	char left[64];
	(void)snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter != 0 ? '-' : ' ',
		       o->letter != 0 ? o->letter : ' ', o->letter != 0 ? "," : " ", o->name,
		       o->argument != NULL ? " " : "", o->argument != NULL ? o->argument : "");
	(void)memo_buf_printf(b, "  %-24s %s\n", left, o->help);
}

void cli_help(const struct cli_command *cmd)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "usage: memofs %s %s\n\n%s\n\noptions:\n", cmd->name, cmd->arguments, cmd->about);
	for (int i = 0; i < CLI_OPTIONS && cmd->option[i].name != NULL; i++)
		help_option(&b, &cmd->option[i]);
	for (int i = 0; common[i].name != NULL; i++)
		help_option(&b, &common[i]);
	(void)memo_buf_printf(&b, "\nexample:\n  %s\n", cmd->example);
	(void)cli_write(&b);
}

static int unknown(const struct cli *c, const char *word)
{
	struct memo_nearest n = { .word = word + strspn(word, "-") };
	for (int i = 0; i < CLI_OPTIONS && c->command->option[i].name != NULL; i++)
		memo_nearest_offer(&n, c->command->option[i].name);
	for (int i = 0; common[i].name != NULL; i++)
		memo_nearest_offer(&n, common[i].name);
	if (n.best != NULL)
		return cli_usage(c, "%s: unknown option '%s'; did you mean '--%s'?", c->command->name, word,
				 n.best);
	return cli_usage(c, "%s: unknown option '%s'", c->command->name, word);
}

/* Takes an option with its argument. */
static int take(struct cli *c, const struct cli_option *o, const char **slot, const char *attached, char **word,
		int words, int *i)
{
	const char *v = "";
	if (o->argument == NULL && attached != NULL)
		return cli_usage(c, "%s: option '--%s' takes no argument", c->command->name, o->name);
	if (o->argument != NULL) {
		if (attached == NULL && *i + 1 >= words)
			return cli_usage(c, "%s: option '--%s' needs an argument: %s", c->command->name, o->name,
					 o->argument);
		v = attached != NULL ? attached : word[++*i];
	}
	*slot = v;
	bool many = c->command->many != NULL && strcmp(c->command->many, o->name) == 0;
	if (many && c->repeats == CLI_REPEATED)
		return cli_usage(c, "%s: option '--%s' is given more than %d times", c->command->name, o->name,
				 CLI_REPEATED);
	if (many)
		c->repeated[c->repeats++] = v;
	return -1;
}

static int take_long(struct cli *c, const char *text, char **word, int words, int *i, const char **help)
{
	const char *eq = strchr(text + 2, '=');
	size_t n = eq != NULL ? (size_t)(eq - text - 2) : strlen(text + 2);
	for (int k = 0; k < CLI_OPTIONS && c->command->option[k].name != NULL; k++) {
		const struct cli_option *o = &c->command->option[k];
		if (strlen(o->name) == n && strncmp(o->name, text + 2, n) == 0)
			return take(c, o, &c->value[k], eq != NULL ? eq + 1 : NULL, word, words, i);
	}
	for (int k = 0; common[k].name != NULL; k++) {
		if (strlen(common[k].name) == n && strncmp(common[k].name, text + 2, n) == 0)
			return take(c, &common[k], k == 0 ? &c->store_option : help, eq != NULL ? eq + 1 : NULL,
				    word, words, i);
	}
	return unknown(c, text);
}

/* "-f", "-fx", "-oVALUE", "-o VALUE". */
static int take_short(struct cli *c, const char *text, char **word, int words, int *i, const char **help)
{
	for (const char *p = text + 1; *p != '\0'; p++) {
		int k = 0;
		while (k < CLI_OPTIONS && c->command->option[k].name != NULL && c->command->option[k].letter != *p)
			k++;
		if (k == CLI_OPTIONS || c->command->option[k].name == NULL) {
			if (*p != 'h')
				return unknown(c, text);
			*help = "";
			continue;
		}
		const struct cli_option *o = &c->command->option[k];
		const char *attached = o->argument != NULL && p[1] != '\0' ? p + 1 : NULL;
		int r = take(c, o, &c->value[k], attached, word, words, i);
		if (r >= 0 || o->argument != NULL)
			return r;
	}
	return -1;
}

int cli_parse(struct cli *c, char **word, int words)
{
	const char *help = NULL;
	bool only_arguments = false;
	c->arg = word; /* arguments are moved to the front, behind what was read */
	for (int i = 0; i < words; i++) {
		char *w = word[i];
		int r = -1;
		if (only_arguments || w[0] != '-' || w[1] == '\0')
			c->arg[c->args++] = w;
		else if (strcmp(w, "--") == 0)
			only_arguments = true;
		else if (w[1] == '-')
			r = take_long(c, w, word, words, &i, &help);
		else
			r = take_short(c, w, word, words, &i, &help);
		if (r >= 0)
			return r;
	}
	if (help != NULL) {
		cli_help(c->command);
		return CLI_DONE;
	}
	if (c->args < c->command->least)
		return cli_usage(c, "%s: %s missing", c->command->name,
				 c->args + 1 == c->command->least ? "an argument is" : "arguments are");
	if (c->command->most >= 0 && c->args > c->command->most)
		return cli_usage(c, "%s: '%s' is one argument too many", c->command->name,
				 c->arg[c->command->most]);
	return -1;
}
