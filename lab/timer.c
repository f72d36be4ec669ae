/*
 * Loaded into linux.uml in place of the C library's timer_settime(2): no alarm of a node is its last.
 *
 * The node's timer fires once, and whoever handles that sets it anew. But linux.uml 6.1 loses an alarm that comes while
 * the one before is being handled: once the handler lets interrupts in, it is struck off what is pending, and not handled
 * (arch/um/os-Linux/signal.c, unblock_signals). It comes so early where the machine is busy. From then on nothing in the
 * node that waits for a time goes on, for nobody sets the timer any more: seen as a node that answered to frames, while
 * its jiffies stood still for minutes.
 *
 * So a timer that is to fire once fires again, until it is set anew or stopped. An alarm too many costs a look at the clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

#define AGAIN_AFTER_NS 50000000

int timer_settime(timer_t timer, int flags, const struct itimerspec *wanted, struct itimerspec *old)
{
	static int (*real)(timer_t, int, const struct itimerspec *, struct itimerspec *);
	struct itimerspec set = *wanted;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "timer_settime");
	if (set.it_interval.tv_sec == 0 && set.it_interval.tv_nsec == 0)
		set.it_interval.tv_nsec = AGAIN_AFTER_NS;
	return real(timer, flags, &set, old);
}
