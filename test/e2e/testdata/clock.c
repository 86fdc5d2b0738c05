/* Moves the clock that a program reads by gettimeofday, by the seconds in CLOCK_AHEAD. Tests preload it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	static long ahead;
	static int known;
	int failed = syscall(SYS_gettimeofday, now, zone);

	if (!known) {
		const char *text = getenv("CLOCK_AHEAD");
		ahead = text ? atol(text) : 0;
		known = 1;
	}
	if (!failed && now)
		now->tv_sec += ahead;
	return failed;
}
