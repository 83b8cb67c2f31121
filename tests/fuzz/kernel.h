/* The kernel as a fuzzer plays it. */
#ifndef KERNEL_H
#define KERNEL_H

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Where a target goes on when the agent exits, and with what it did; longjmp gives 1. */
extern jmp_buf exited;
extern int exit_code;

_Noreturn void fuzz_exit(int code);
void *fuzz_malloc(size_t size);
void *fuzz_calloc(size_t count, size_t size);
ssize_t fuzz_read(int fd, void *to, size_t size);
ssize_t fuzz_write(int fd, const void *from, size_t size);
int fuzz_open(const char *path);
int fuzz_close(int fd);
int fuzz_unlink(const char *path);
int fuzz_poll(struct pollfd *ends, nfds_t count, int wait);
int fuzz_clock_gettime(struct timespec *time);
int fuzz_kill(pid_t pid, int number);
pid_t fuzz_wait4(int *status, int options, struct rusage *usage);

#endif
