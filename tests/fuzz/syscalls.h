/* Included before each of the agent's files: what they ask of the kernel, the fuzzer answers. */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include "kernel.h"

#define _exit(code) fuzz_exit(code)
#define malloc(size) fuzz_malloc(size)
#define calloc(count, size) fuzz_calloc(count, size)
#define read(fd, to, size) fuzz_read(fd, to, size)
#define write(fd, from, size) fuzz_write(fd, from, size)
#define open(path, ...) fuzz_open(path)
#define close(fd) fuzz_close(fd)
#define unlink(path) fuzz_unlink(path)
#define poll(ends, count, wait) fuzz_poll(ends, count, wait)
#define clock_gettime(clock, time) fuzz_clock_gettime(time)
#define kill(pid, number) fuzz_kill(pid, number)
#define wait4(pid, status, options, usage) fuzz_wait4(status, options, usage)
#define main agent_main

#endif
