/*
 * Loaded into linux.uml in place of the C library's ptrace(2): the floating point registers of the processes it traces.
 *
 * linux.uml 6.1 reads and writes 2696 bytes of them. The host's kernel takes a write only whole, and on processors with
 * AMX the whole has 11008 bytes: no process of the node could run. What is beyond linux.uml's bytes is written as zeros,
 * which is what it holds in a process that never asked for AMX, and in a node none can.
 *
 * A write of what was read since the process last ran changes nothing and is left out. Most are: linux.uml reads and
 * writes these registers at every system call of a node.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "traced.h"
#include <unistd.h>

#define WHOLE_AT_MOST (1 << 16)
#define IS_READ_AND_UNTOUCHED(pid) ((pid) != 0 && (pid) == read_of)

static char whole[WHOLE_AT_MOST]; /* what is written; zeros beyond what linux.uml knows of */
static size_t whole_size;         /* what the host's kernel asks for; 0: not known yet */

static char as_read[WHOLE_AT_MOST];
static size_t as_read_size;
static pid_t read_of; /* whose registers are as_read; 0: nobody's, or it may have run since */

static long call(long request, pid_t pid, void *address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

static long read_registers(pid_t pid, struct iovec *wanted)
{
	long result;

	read_of = 0;
	result = call(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, wanted);
	if (result == 0 && wanted->iov_len <= sizeof(as_read)) {
		memcpy(as_read, wanted->iov_base, wanted->iov_len);
		as_read_size = wanted->iov_len;
		read_of = pid;
	}
	return result;
}

static long write_registers(pid_t pid, struct iovec *given)
{
	struct iovec complete = {whole, sizeof(whole)};

	if (IS_READ_AND_UNTOUCHED(pid) && given->iov_len == as_read_size &&
	    memcmp(as_read, given->iov_base, as_read_size) == 0)
		return 0;
	read_of = 0;
	if (whole_size == 0) {
		if (call(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &complete) != 0)
			return -1;
		whole_size = complete.iov_len;
		memset(whole, 0, whole_size);
	}
	if (given->iov_len >= whole_size)
		return call(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, given);
	memcpy(whole, given->iov_base, given->iov_len);
	complete.iov_len = whole_size;
	return call(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &complete);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list rest;
	pid_t pid;
	void *address, *data;
	long word, result;

	va_start(rest, request);
	pid = va_arg(rest, pid_t);
	address = va_arg(rest, void *);
	data = va_arg(rest, void *);
	va_end(rest);
	switch (request) {
	case PTRACE_GETREGSET:
		return address == (void *)NT_X86_XSTATE ? read_registers(pid, data) : call(request, pid, address, data);
	case PTRACE_SETREGSET:
		return address == (void *)NT_X86_XSTATE ? write_registers(pid, data) : call(request, pid, address, data);
	case PTRACE_PEEKTEXT: /* as in the C library: the word is the result, and errno says whether it failed */
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSER:
		result = call(request, pid, address, &word);
		if (result < 0)
			return result;
		errno = 0;
		return word;
	case PTRACE_GETREGS: /* these neither let the process run nor touch its floating point registers */
	case PTRACE_SETREGS:
	case PTRACE_GETSIGINFO:
		return call(request, pid, address, data);
	default:
		read_of = 0;
		running = pid;
		return call(request, pid, address, data);
	}
}
