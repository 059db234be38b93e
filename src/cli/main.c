/* memofs: the table of subcommands, and the three ways in: memofs COMMAND, mount.fuse.memofs (what mount(8) starts), and
 * memofs STORE MOUNTPOINT (how mount.fuse3 starts a file system of type "memofs"). */
#include "cli.h"

#include "base/scope.h"
#include "core/nearest.h"
#include "memofs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
	const char *heading; /* before this command; NULL: as above */
	const struct cli_command *command;
} table[] = {
	{ "store and mount", &cli_init },
	{ NULL, &cli_mount },
	{ NULL, &cli_umount },
	{ NULL, &cli_config },
	{ NULL, &cli_fsck },
	{ "tasks", &cli_new },
	{ NULL, &cli_check },
	{ NULL, &cli_add },
	{ NULL, &cli_tasks },
	{ NULL, &cli_show },
	{ NULL, &cli_remove },
	{ NULL, &cli_fingerprint },
	{ "results", &cli_get },
	{ NULL, &cli_path },
	{ NULL, &cli_explain },
	{ NULL, &cli_log },
	{ NULL, &cli_status },
	{ NULL, &cli_cancel },
	{ NULL, &cli_why },
	{ NULL, &cli_verify },
	{ NULL, &cli_stats },
	{ "what is kept", &cli_forget },
	{ NULL, &cli_pin },
	{ NULL, &cli_unpin },
	{ NULL, &cli_gc },
	{ "runs", &cli_run },
	{ NULL, &cli_retry },
	{ NULL, &cli_wait },
	{ NULL, &cli_runs },
	{ NULL, &cli_graph },
};

#define COMMANDS (sizeof table / sizeof *table)

static int help(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_puts(&b, "usage: memofs [--store DIR] COMMAND ...\n\n"
				"memofs executes a task when its result is read, once, and keeps the result.\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		char left[64];
		if (table[i].heading != NULL)
			(void)memo_buf_printf(&b, "\n%s:\n", table[i].heading);
		(void)snprintf(left, sizeof left, "%s %.40s", table[i].command->name, table[i].command->arguments);
		if (strlen(left) > 30)
			(void)snprintf(left, sizeof left, "%s ...", table[i].command->name);
		(void)memo_buf_printf(&b, "  %-31s %s\n", left, table[i].command->summary);
	}
	(void)memo_buf_puts(
		&b,
		"\nThe store is --store, else $MEMOFS_STORE, else that of the mount that the path or the working\n"
		"directory lies in, else $XDG_DATA_HOME/memofs (~/.local/share/memofs).\n"
		"A first task: memofs new hello && memofs add hello && memofs get hello who=you\n"
		"memofs COMMAND --help says more; memofs --version prints the version.\n");
	return cli_write(&b);
}

static const struct cli_command *find(const char *name, const char **nearest_out)
{
	struct memo_nearest n = { .word = name };
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(name, table[i].command->name) == 0)
			return table[i].command;
		memo_nearest_offer(&n, table[i].command->name);
	}
	*nearest_out = n.best;
	return NULL;
}

static int unknown(const char *what, const char *word, const char *best)
{
	if (best != NULL)
		cli_say("unknown %s '%s'; did you mean '%s'?", what, word, best);
	else
		cli_say("unknown %s '%s'; memofs --help lists what there is", what, word);
	return CLI_USAGE;
}

static int unknown_option(const char *word)
{
	static const char *const known[] = { "--help", "--version", "--store" };
	struct memo_nearest n = { .word = word };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		memo_nearest_offer(&n, known[i]);
	if (strcmp(word, "--store") != 0)
		return unknown("option", word, n.best);
	cli_say("option '--store' needs a directory");
	return CLI_USAGE;
}

static int run(struct cli *c, char **word, int words)
{
	int s = cli_parse(c, word, words);
	if (s < 0)
		s = c->command->run(c);
	cli_close(c);
	free(c->store);
	free(c->mount);
	free(c->cwd);
	if (cli_output_failed() && s == CLI_DONE)
		s = CLI_TROUBLE;
	/* whoever read our output has enough: the end that a shell expects of it */
	if (cli_pipe_closed()) {
		(void)signal(SIGPIPE, SIG_DFL);
		(void)raise(SIGPIPE);
	}
	return s;
}

/* STORE MOUNTPOINT [-sfnv] [-o OPTIONS] ...; mount(8)'s -f means: do not really mount. */
static int run_from_mount(struct cli *c, char **word, int words)
{
	char *kept[8] = { 0 };
	int n = 0;
	bool fake = false;
	for (int i = 2; i < words; i++) {
		const char *w = word[i];
		bool has_value = strcmp(w, "-o") == 0 || strcmp(w, "-t") == 0 || strcmp(w, "-N") == 0;
		if (strcmp(w, "-o") == 0 && i + 1 < words && n + 2 < 8) {
			kept[n++] = word[i];
			kept[n++] = word[i + 1];
		} else if (!has_value && w[0] == '-' && c->from_mount && strchr(w, 'f') != NULL) {
			fake = true;
		} else if (!has_value && !c->from_mount && strcmp(w, "-f") == 0 && n + 1 < 8) {
			kept[n++] = word[i];
		} else if (!has_value && (w[0] != '-' || strspn(w + 1, "snv") != strlen(w + 1))) {
			return unknown("argument", w, NULL);
		}
		i += has_value;
	}
	if (words < 2) {
		cli_say("usage: mount.fuse.memofs STORE MOUNTPOINT [-o OPTIONS]");
		return CLI_USAGE;
	}
	if (fake)
		return CLI_DONE;
	c->command = &cli_mount;
	c->store_option = word[0];
	kept[n++] = word[1];
	return run(c, kept, n);
}

/* A descriptor 0, 1 or 2 that was closed would become a file of the store. An output that was closed cannot be written to:
 * whoever prints must find out. */
static void open_stdio(void)
{
	int fd;
	do {
		bool output = fcntl(1, F_GETFD) < 0;
		fd = open("/dev/null", output && fcntl(0, F_GETFD) >= 0 ? O_RDONLY : O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		(void)close(fd);
}

static int version(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "memofs %s\n", memofs_version());
	return cli_write(&b);
}

/* The options in front of the command. -1: *@at is where the command is; else the exit status. */
static int before_command(struct cli *c, int argc, char **argv, int *at)
{
	int i = 1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return help();
		if (strcmp(argv[i], "--version") == 0)
			return version();
		if (strncmp(argv[i], "--store=", 8) == 0)
			c->store_option = argv[i] + 8;
		else if (strcmp(argv[i], "--store") == 0 && i + 1 < argc)
			c->store_option = argv[++i];
		else
			return unknown_option(argv[i]);
	}
	*at = i;
	return -1;
}

int main(int argc, char **argv)
{
	struct cli c = { 0 };
	(void)signal(SIGPIPE, SIG_IGN);
	open_stdio();
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	c.from_mount = argc > 0 && strcmp(slash != NULL ? slash + 1 : argv[0], "mount.fuse.memofs") == 0;
	if (c.from_mount || (argc > 2 && argv[1][0] != '-' && strchr(argv[1], '/') != NULL))
		return run_from_mount(&c, argv + 1, argc - 1);
	int i = 1, status = before_command(&c, argc, argv, &i);
	if (status >= 0)
		return status;
	if (i == argc) {
		cli_say("no command is given; memofs --help lists them");
		return CLI_USAGE;
	}
	if (strcmp(argv[i], "help") == 0 && i + 1 == argc)
		return help();
	const char *nearest = NULL;
	c.command = find(argv[i], &nearest);
	if (c.command == NULL)
		return unknown("command", argv[i], nearest);
	return run(&c, argv + i + 1, argc - i - 1);
}
