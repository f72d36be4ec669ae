/*
 * Loaded into linux.uml in place of the C library's sigsuspend(2), epoll_wait(2) and waitpid(2): what a frame wakes
 * runs at once, and no frame, and no end of a disk's work, is forgotten.
 *
 * linux.uml 6.1 learns of a frame by SIGIO and then asks epoll which device it was. Three races lose it, and the frame
 * lies there until the next one of that device comes, which may be never:
 *
 * - The tap driver sends SIGIO before it marks the device readable (drivers/net/tun.c, tun_net_xmit: kill_fasync, then
 *   sk_data_ready). A node on another processor asks in between, finds nothing, and is not told again.
 * - A node about to idle has its signals off. SIGIO is then only noted, and the node goes to sleep until its next alarm
 *   (arch/um/os-Linux/time.c, os_idle_sleep).
 * - What epoll said is kept in one place for all (arch/um/os-Linux/irq.c, epoll_events). While the first of several
 *   devices is served the next SIGIO is handled, its answer overwrites what is left of the one before, and epoll, which
 *   says each thing once, says that no more. A disk's end of work that is lost so waits for that of another one.
 *
 * So a node sleeps until a signal comes or a device is readable, whichever is first; it is told of one device at a time;
 * and where SIGIO came and no device is readable it looks again at once, and twice more by an alarm of ours. Of 6,000
 * connections to a node that starts programs all the time 13 lost a frame before the last two, and waited a second.
 *
 * And it handles SIGIO while a process of the node goes on running, and asks who is to run next only once that process
 * stops: at its next system call, or at the next tick, up to 10 ms later. Whoever waited for the frame waits on, though
 * it may be a kernel thread. So the process is stopped, as the node does itself when its timer fires; not more often
 * than twice in a tick: a stop costs some tenths of a millisecond, and under load processes would get half as far.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "traced.h"

#define STOPS 2
#define IN_NS 10000000

pid_t running;
static int devices = -1; /* the node's only epoll; ppoll passes over it while it is negative */

static int may_stop(void)
{
	static long since_ns;
	static int stops;
	struct timespec now;
	long now_ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = now.tv_sec * 1000000000L + now.tv_nsec;
	if (now_ns - since_ns > IN_NS) {
		since_ns = now_ns;
		stops = 0;
	}
	return stops++ < STOPS;
}

/* Have SIGIO sent to the node's kernel once more; it handles its signals in the thread that asks epoll. */
static void look_again_after(long nanoseconds)
{
	static int (*real)(timer_t, int, const struct itimerspec *, struct itimerspec *);
	static timer_t timer;
	static pid_t owner;
	struct itimerspec once = {{0, 0}, {0, nanoseconds}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGIO};

	if (owner != getpid()) {
		event._sigev_un._tid = syscall(SYS_gettid);
		if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
			return;
		owner = getpid();
	}
	/* Not that of timer.c, which would fire again and again. */
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "timer_settime");
	real(timer, 0, &once, NULL);
}

int epoll_wait(int epoll, struct epoll_event *events, int most __attribute__((unused)), int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	static const long looks_ns[] = {100000, 1000000};
	static unsigned looks;
	static int was_found;
	int found;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
	devices = epoll;
	found = real(epoll, events, 1, timeout);
	if (found == 0)
		found = real(epoll, events, 1, timeout);
	if (found > 0 && running != 0 && may_stop())
		kill(running, SIGALRM);
	/* After each device it asks for a next one: that there is none is news only if there was no first one. */
	if (found > 0 || was_found)
		looks = 0;
	else if (looks < sizeof(looks_ns) / sizeof(*looks_ns))
		look_again_after(looks_ns[looks++]);
	else
		looks = 0;
	was_found = found > 0;
	return found;
}

int sigsuspend(const sigset_t *mask)
{
	struct pollfd readable = {devices, POLLIN, 0};

	if (ppoll(&readable, 1, NULL, mask) > 0)
		kill(getpid(), SIGIO); /* noted, and handled as soon as the node's signals are on again */
	errno = EINTR;
	return -1;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	static pid_t (*real)(pid_t, int *, int);
	pid_t found;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "waitpid");
	found = real(pid, status, options);
	running = 0;
	return found;
}
