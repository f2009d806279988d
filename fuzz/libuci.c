/* libuci in this process: one file in, what `uci export` prints out. */

#include <stdio.h>
#include <string.h>

#include "uci.h"
#include "uci_internal.h"

long postern_uci_export(const char *text, size_t length, char *to, size_t room, int *line)
{
	struct uci_context *context = uci_alloc_context();
	struct uci_package *package = NULL;
	/* fmemopen(3) takes no empty file. */
	FILE *file = length ? fmemopen((void *)text, length, "r") : fopen("/dev/null", "r");
	long written = -1;

	if (uci_import(context, file, "file", &package, true) == UCI_OK && package) {
		FILE *out = fmemopen(to, room, "w");
		uci_export(context, out, package, true);
		fflush(out);
		written = ftell(out);
		fclose(out);
	} else if (context->pctx) {
		*line = context->pctx->line;
	}
	fclose(file);
	uci_free_context(context);
	return written;
}
