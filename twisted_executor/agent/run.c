/* The end of a run: everything of it is killed, accounted for, told and wiped. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct run run;

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void account(pid_t pid, int status, const struct rusage *usage)
{
    run.cpu_ns += (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * SECOND +
                  (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000LL;
    if ((uint64_t)usage->ru_maxrss > run.peak_kb)
        run.peak_kb = usage->ru_maxrss;
    if (pid != run.child.pid || run.reaped)
        return;
    run.reaped = true;
    run.wait_status = status;
    run.ended = now();
}

void reap(int options)
{
    struct rusage usage;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, options, &usage)) > 0 || (pid < 0 && errno == EINTR))
        if (pid > 0)
            account(pid, status, &usage);
}

void end_run(int cause)
{
    run.cause = cause;
    run.state = DRAINING;
    if (ON(END_ALL))
        kill(-1, SIGKILL);
    reap(ON(END_ALL) ? 0 : WNOHANG); /* until there is no child: all processes here are ours, or become so */
    close_end(&run.child.in);
}

void send_end(void)
{
    unsigned char end[56] = {0};
    uint32_t told[2] = {STAGE_RUN, 0};
    if (read(run.child.failure, told, sizeof told) != sizeof told)
        told[0] = told[1] = 0;
    close_end(&run.child.failure);
    end[0] = run.cause;
    end[1] = told[0];
    put32(end + 4, told[1]);
    put32(end + 8, run.wait_status);
    put32(end + 12, oom_kills() - run.oom_before);
    put64(end + 16, run.written[0]);
    put64(end + 24, run.written[1]);
    put64(end + 32, run.ended - run.began);
    put64(end + 40, run.cpu_ns);
    put64(end + 48, run.peak_kb * 1024);
    frames_send(END, run.id, end, sizeof end);
}

void send_wiped(void)
{
    unsigned char wiped[257];
    const char *why = wipe(run.start.uid);
    size_t length = why ? strnlen(why, sizeof wiped - 1) : 0;
    wiped[0] = !why;
    if (length)
        memcpy(wiped + 1, why, length);
    frames_send(WIPED, run.id, wiped, 1 + length);
    start_free(&run.start);
    run.state = IDLE;
}
