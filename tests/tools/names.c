/* Names: looks up many names that mean nothing, and many spellings of names that do, and looks at the answers.
 *
 *	names MOUNT SEED COUNT
 *
 * In MOUNT there is a task "names", version 1, with the inputs
 *	n  an int of at least 1, required
 *	s  a string of [a-z]{1,4}, default "a"
 *	t  any string, default ""
 * Nine of ten names are broken in one of the ways of `way` below; each is asked for by one of several calls, and must
 * be refused with one of the errors that the way allows. The tenth is a good one: its spelling is chosen at random among
 * all that mean the same, and readlink(2), which starts no work, must give the canonical one, which this program makes
 * by itself. Prints a line for each way, "ways N names N links N wrong N", and exits 1 when anything was wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME 5000

static uint64_t state;
static const char *mount_point;
static long wrong;

/* xorshift64* */
static uint64_t roll(uint64_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * UINT64_C(2685821657736338717) >> 11) % n;
}

struct name {
	char text[NAME];
	size_t len;
};

static void put(struct name *n, const char *bytes, size_t len)
{
	if (n->len + len >= sizeof n->text)
		return;
	memcpy(n->text + n->len, bytes, len);
	n->len += len;
	n->text[n->len] = '\0';
}

static void puts_(struct name *n, const char *text)
{
	put(n, text, strlen(text));
}

static void putf(struct name *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void putf(struct name *n, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	puts_(n, text);
}

/* Bytes that may stand in a component; none of the @not. */
static void put_noise(struct name *n, size_t most, const char * not )
{
	for (size_t i = 1 + roll(most); i > 0; i--) {
		char c;
		do
			c = (char)(1 + roll(255));
		while (c == '/' || strchr(not, c) != NULL);
		put(n, &c, 1);
	}
}

/* ---- the ways ------------------------------------------------------------------------------------ */

static void no_equals(struct name *n)
{
	static const char *const seen[] = { ".git", ".envrc", "__init__.py", "desktop.ini", ".Trash-1000",
					    "#x#",  "~" };
	if (roll(4) == 0) {
		puts_(n, seen[roll(sizeof seen / sizeof *seen)]);
		return;
	}
	char first;
	do
		first = (char)(1 + roll(255));
	while (strchr("/=@.", first) != NULL);
	put(n, &first, 1);
	put_noise(n, 40, "=");
}

static void unknown_key(struct name *n)
{
	putf(n, "n=1,");
	put(n, &"zxyw"[roll(4)], 1);
	put_noise(n, 10, "=%");
	putf(n, "=%d", (int)roll(100));
}

static void bad_escape(struct name *n)
{
	static const char *const tail[] = { "%", "%4", "%G1", "%1G", "%%41", "%-1", "%u0041", "% 1" };
	putf(n, "n=1,t=");
	puts_(n, tail[roll(sizeof tail / sizeof *tail)]);
}

static void no_int(struct name *n)
{
	static const char *const v[] = { "",	 "abc", "1x",	   "--1", "1e99", "9223372036854775808",
					 "0x10", "1.5", "+ 1",	   " 1",  "1%00", "%EF%BC%91",
					 "nan",	 "%2F", "..%2F..", "0" };
	putf(n, "n=%s", v[roll(sizeof v / sizeof *v)]);
}

static void twice(struct name *n)
{
	putf(n, "n=%d,n=%d", 1 + (int)roll(9), 1 + (int)roll(9));
}

static void missing(struct name *n)
{
	static const char *const v[] = { "s=b",	 "t=x",	 "s=b,t=y",  "=", "=1",	  ",",
					 ",n=1", "n=1,", "n=1,,s=b", "n", "n=1,s" };
	/* "n" and "," have no '=': another error, but none the less refused */
	puts_(n, v[roll(sizeof v / sizeof *v)]);
}

static void pattern(struct name *n)
{
	static const char *const v[] = { "ABC", "abcde", "a%0Ab", "%61%00", "a.b", "", "%C3%A4", "a%2Cb" };
	putf(n, "n=1,s=%s", v[roll(sizeof v / sizeof *v)]);
}

static void not_utf8(struct name *n)
{
	static const char *const v[] = { "\xff",      "\xc0\xaf",	  "%C0%AF", "\xe0\x80\xaf",
					 "%ED%A0%80", "\xf4\x90\x80\x80", "%80",    "%F8%88",
					 "\xc3",      "a\xe2\x82" };
	putf(n, "n=1,t=x%s", v[roll(sizeof v / sizeof *v)]);
}

static void control(struct name *n)
{
	char c = (char)(1 + roll(31));
	putf(n, "n=1,t=a");
	put(n, roll(8) == 0 ? "\x7f" : &c, 1);
	puts_(n, "b");
}

static void handle(struct name *n)
{
	static const char hex[] = "0123456789abcdef";
	puts_(n, "@");
	switch (roll(4)) {
	case 0:
		put_noise(n, 30, "d");
		return;
	case 1:
		puts_(n, "defaultx");
		return;
	case 2:
		for (size_t i = roll(12); i > 0; i--)
			put(n, &hex[roll(16)], 1);
		return;
	default:
		for (size_t i = 12 + roll(60); i > 0; i--)
			put(n, &hex[roll(16)], 1);
	}
}

static void too_long(struct name *n)
{
	size_t most = 256 + roll(roll(2) == 0 ? 100 : 3700);
	putf(n, "n=1,t=");
	while (n->len < most)
		puts_(n, "x");
}

static const struct way {
	const char *name;
	void (*make)(struct name *n);
	int allowed[4];
} way[] = {
	{ "no-equals", no_equals, { ENOENT } },
	{ "unknown-key", unknown_key, { EINVAL } },
	{ "bad-escape", bad_escape, { EINVAL } },
	{ "no-int", no_int, { EINVAL } },
	{ "twice", twice, { EINVAL } },
	{ "missing", missing, { EINVAL, ENOENT } },
	{ "pattern", pattern, { EINVAL } },
	{ "not-utf8", not_utf8, { EINVAL } },
	{ "control", control, { EINVAL } },
	{ "handle", handle, { ENOENT, EINVAL } },
	{ "too-long", too_long, { ENAMETOOLONG } },
};
#define WAYS (sizeof way / sizeof *way)
static long hit[WAYS];

/* ---- asking -------------------------------------------------------------------------------------- */

static int ask(const char *path)
{
	static const char *const view[] = { "tasks", "cached", "start", "info" };
	char full[2 * NAME], text[NAME];
	struct stat st;
	int fd;
	(void)snprintf(full, sizeof full, "%s/%s/names/1/%s", mount_point, view[roll(4)], path);
	switch (roll(6)) {
	case 0:
		return stat(full, &st);
	case 1:
		return lstat(full, &st);
	case 2:
		return access(full, R_OK);
	case 3:
		return readlink(full, text, sizeof text) < 0 ? -1 : 0;
	case 4:
		fd = open(full, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		break;
	default:
		fd = open(full, O_PATH | O_CLOEXEC);
	}
	if (fd >= 0)
		(void)close(fd);
	return fd < 0 ? -1 : 0;
}

static void complain(const char *what, const char *name, const char *said)
{
	if (++wrong > 20)
		return;
	printf("wrong: %s: ", what);
	for (const unsigned char *p = (const unsigned char *)name;
	     *p != '\0' && p - (const unsigned char *)name < 200; p++)
		printf(*p >= 0x20 && *p < 0x7f ? "%c" : "\\x%02x", *p);
	printf(": %s\n", said);
}

static void try_broken(void)
{
	size_t w = roll(WAYS);
	struct name n = { .len = 0 };
	way[w].make(&n);
	hit[w]++;
	if (ask(n.text) == 0) {
		complain(way[w].name, n.text, "it exists");
		return;
	}
	int e = errno;
	for (size_t i = 0; i < 4; i++) {
		if (e == way[w].allowed[i])
			return;
	}
	/* whatever is too long for a component is that first */
	if (e == ENAMETOOLONG && n.len > 255)
		return;
	complain(way[w].name, n.text, strerror(e));
}

/* ---- good names ---------------------------------------------------------------------------------- */

static int must_escape(unsigned char c)
{
	return c < 0x20 || c == 0x7f || c == '/' || c == ',' || c == '%';
}

/* The bytes of a character, escaped where that is needed, and where it is not when @freely. */
static void put_char(struct name *n, const char *bytes, size_t len, int freely)
{
	int all = freely && roll(4) == 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (all || must_escape(c))
			putf(n, freely && roll(2) == 0 ? "%%%02x" : "%%%02X", c);
		else
			put(n, bytes + i, 1);
	}
}

static void put_value(struct name *n, const char *const *chars, size_t count, int freely)
{
	for (size_t i = 0; i < count; i++)
		put_char(n, chars[i], strlen(chars[i]), freely);
}

static void try_good(long *links)
{
	static const char *const some[] = { "a",
					    "Z",
					    "0",
					    "=",
					    "%",
					    ",",
					    "/",
					    " ",
					    "\t",
					    "\n",
					    "\x1b",
					    "'",
					    "\"",
					    "$",
					    "`",
					    "\\",
					    "@",
					    "-",
					    ".",
					    "..",
					    "{",
					    "}",
					    "\xc3\xa4",
					    "\xe2\x82\xac",
					    "\xf0\x9f\x90\x80",
					    "\xe2\x80\xae",
					    "\x7f",
					    "~",
					    "*",
					    ";" };
	const char *value[12];
	size_t count = roll(12);
	int number = 1 + (int)roll(1000000), freely = roll(8) != 0;
	const char *s = roll(3) == 0 ? "a" : "bcd"; /* the default, or not */
	for (size_t i = 0; i < count; i++)
		value[i] = some[roll(sizeof some / sizeof *some)];
	struct name want = { .len = 0 }, part[3] = { { .len = 0 } }, given = { .len = 0 };
	putf(&want, "n=%d", number);
	if (strcmp(s, "a") != 0)
		putf(&want, ",s=%s", s);
	if (count > 0) {
		puts_(&want, ",t=");
		put_value(&want, value, count, 0);
	}
	putf(&part[0], freely && roll(4) == 0 ? "n=%03d" : "n=%d", number);
	putf(&part[1], "s=%s", s);
	puts_(&part[2], "t=");
	put_value(&part[2], value, count, freely);
	size_t first = freely ? roll(3) : 0, way_round = freely ? 1 + roll(2) : 1;
	for (size_t i = 0; i < 3; i++) {
		size_t k = (first + i * way_round) % 3;
		int is_default = (k == 1 && strcmp(s, "a") == 0) || (k == 2 && count == 0);
		if (is_default && !(freely && roll(2) == 0))
			continue;
		if (given.len > 0)
			puts_(&given, ",");
		put(&given, part[k].text, part[k].len);
	}
	if (given.len > 255 || want.len > 255)
		return;
	char full[2 * NAME], got[NAME];
	(void)snprintf(full, sizeof full, "%s/tasks/names/1/%s", mount_point, given.text);
	ssize_t len = readlink(full, got, sizeof got - 1);
	int canonical = strcmp(given.text, want.text) == 0;
	++*links;
	if (len < 0 && errno == EINVAL && canonical)
		return; /* it is no link */
	if (len < 0) {
		int e = errno;
		/* a number with zeros in front may be refused instead */
		if (e == EINVAL && strstr(given.text, "n=0") != NULL)
			return;
		complain("spelling", given.text, strerror(e));
		return;
	}
	got[len] = '\0';
	if (strcmp(got, want.text) != 0)
		complain("spelling", given.text, got);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	mount_point = argv[1];
	state = strtoull(argv[2], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
	long count = strtol(argv[3], NULL, 10), links = 0, ways = 0;
	for (long i = 0; i < count; i++) {
		if (roll(10) == 0)
			try_good(&links);
		else
			try_broken();
	}
	for (size_t w = 0; w < WAYS; w++) {
		printf("%s %ld\n", way[w].name, hit[w]);
		ways += hit[w] > 0;
	}
	printf("ways %ld names %ld links %ld wrong %ld\n", ways, count, links, wrong);
	return wrong > 0;
}
