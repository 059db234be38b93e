/* Runs a fuzz target over the files (and the files in the directories) given as arguments, so that a corpus is a test
 * with any compiler. Each input lies in memory of exactly its size: a sanitizer sees a read beyond it. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES (1 << 20)
#define PATH_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_BYTES);
	if (f == NULL || data == NULL) {
		printf("# %s: %s\n", path, strerror(errno));
		if (f != NULL)
			(void)fclose(f);
		free(data);
		return -1;
	}
	size_t size = fread(data, 1, INPUT_BYTES, f);
	(void)fclose(f);
	uint8_t *exact = realloc(data, size > 0 ? size : 1);
	if (exact != NULL)
		(void)LLVMFuzzerTestOneInput(exact, size);
	free(exact != NULL ? exact : data);
	replayed++;
	return 0;
}

static int replay(const char *path)
{
	struct stat st;
	DIR *d = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	if (d == NULL)
		return replay_file(path);
	int r = 0;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		char name[PATH_BYTES];
		if (e->d_name[0] == '.')
			continue;
		int n = snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		if (n < 0 || (size_t)n >= sizeof name || replay_file(name) < 0)
			r = -1;
	}
	(void)closedir(d);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;
	for (int i = 1; i < argc; i++)
		if (replay(argv[i]) < 0)
			r = -1;
	if (replayed == 0)
		r = -1;
	printf("%s 1 - replay %u inputs\n1..1\n", r == 0 ? "ok" : "not ok", replayed);
	return r == 0 ? 0 : 1;
}
