/* Sets the wall clock of one program, because no namespace has one of its own (time_namespaces(7)):
 * what clock_gettime(2) answers for CLOCK_REALTIME is as many seconds off as the file $CLOCK_OFFSET
 * says at that moment. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int)syscall(SYS_clock_gettime, clock, time);
	const char *path = getenv("CLOCK_OFFSET");
	FILE *file;
	long long offset;

	if (result != 0 || clock != CLOCK_REALTIME || !path || !(file = fopen(path, "r")))
		return result;
	if (fscanf(file, "%lld", &offset) == 1)
		time->tv_sec += offset;
	fclose(file);
	return 0;
}
