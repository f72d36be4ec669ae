/*
 * Loaded into linux.uml in place of the C library's sigsuspend(2), epoll_wait(2) and waitpid(2): what a frame wakes
 * runs at once.
 *
 * linux.uml 6.1 learns of a frame by SIGIO and then asks epoll which device it was. Two races lose it, and the frame
 * lies there until the next one comes or a timer runs out, up to 0.2 s later:
 *
 * - The tap driver sends SIGIO before it marks the device readable (drivers/net/tun.c, tun_net_xmit: kill_fasync, then
 *   sk_data_ready). A node on another processor asks in between, finds nothing, and is not told again.
 * - A node about to idle has its signals off. SIGIO is then only noted, and the node goes to sleep until its next alarm
 *   (arch/um/os-Linux/time.c, os_idle_sleep).
 *
 * So a node sleeps until a signal comes or a device is readable, whichever is first, and looks twice before it believes
 * that no device is.
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

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	int found;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
	devices = epoll;
	found = real(epoll, events, most, timeout);
	if (found == 0)
		found = real(epoll, events, most, timeout);
	if (found > 0 && running != 0 && may_stop())
		kill(running, SIGALRM);
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
