/* The run that is under way, shared by what begins it, serves it and ends it. */
#ifndef RUN_H
#define RUN_H

#include "agent.h"

#define SECOND 1000000000LL
#define CHUNK 32768 /* bytes of output that one frame carries */

/* IDLE, then LOADING the script, RUNNING, LINGERING for output after the main process, and DRAINING what the dead wrote. */
enum state { IDLE, LOADING, RUNNING, LINGERING, DRAINING };

struct run {
    enum state state;
    uint64_t id;
    struct start start;
    struct child child;
    int script;
    uint64_t script_left;
    int cause, wait_status;
    bool reaped;
    int64_t began, ended, deadline;
    uint64_t cpu_ns, peak_kb, written[2];
    uint32_t oom_before;
};

extern struct run run;

/* Nanoseconds of a clock that only goes forward. */
int64_t now(void);

/* run.c: the end of a run */
void reap(int options);
void end_run(int cause);
void send_end(void);
void send_wiped(void);

/* streams.c: the script's stdin, stdout and stderr */
extern int64_t held_until;
void close_end(int *end);
void pass_output(int *end, int stream);
void input_reset(void);
void input_add(const struct frame *frame);
void pass_input(void);
/* Whether there is something to do for the script's stdin. */
bool input_waits(void);
/* Whether what is queued for the server may wait for more. */
bool holding(void);

#endif
