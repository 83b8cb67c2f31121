/* The agent: PID 1 of a sandbox.  docs/agent-protocol.md says what it speaks; each part below has a file of its own. */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VERSION 1
#define MOST_PAYLOAD 65536
#define MOST_START (2 << 20)
#define CREDIT 131072
#define SCRIPT "/.script/script"
#define MOST_MOUNTS 64
#define MOST_PATH 512

enum { START = 1, SCRIPT_PART, STDIN_PART, CANCEL, PING };
enum { HELLO = 129, OUT, ERR, CREDIT_MORE, END, WIPED, PONG, FAULT };
enum { EXITED, TIMED_OUT, OUTPUT_LIMIT, CANCELLED };
enum { STAGE_RUN, STAGE_EXEC, STAGE_SETUP };

/* A build for tests and benchmarks can leave some of these out, -DSWITCHED_OFF=WIPE+CHECK, to show what they do or cost. */
enum {
    FILTER = 1,          /* our seccomp filter */
    WIPE = 2,            /* what a run left in writable places is removed */
    CHECK = 4,           /* what is left all the same, files and processes, makes the container dirty */
    END_ALL = 8,         /* all processes of a run are killed and reaped */
    FRESH_UID = 16,      /* each run has a uid of its own */
    UNPRIVILEGED = 32,   /* it has that uid, and no capability */
    OWN_PIPES = 64,      /* its streams are not the agent's */
    SETTLED = 128,       /* umask, folder, priority, session and signals are set for each run */
    HIDDEN = 256,        /* the agent is not dumpable: only the kernel's root sees its memory and files */
};
#ifndef SWITCHED_OFF
#define SWITCHED_OFF 0
#endif
#define ON(protection) (!((SWITCHED_OFF) & (protection)))

struct start {
    uint32_t uid;
    uint64_t time_limit_us, keep, most, script_size;
    char **args, **env; /* NULL at their ends; they point into `payload` */
    unsigned char *payload;
};

struct child {
    pid_t pid;
    int in, out, err; /* our ends of its streams, -1 when closed */
    int failure;      /* what spawn could not do comes through here */
};

/* frames.c: bytes from and to the server */
struct frame {
    uint8_t type;
    uint32_t length;
    uint64_t run;
    const unsigned char *payload;
};
/* Read what is there.  Returns false at the end of the server's stream. */
bool frames_read(void);
/* The next whole frame, or false.  Its payload is good until the next call. */
bool frames_next(struct frame *frame);
void frames_send(uint8_t type, uint64_t run, const void *payload, size_t length);
/* Room for `size` bytes of a script's output, behind which there is always room for what we say ourselves. */
unsigned char *frames_reserve(size_t size);
/* What was put into the reserved room becomes a frame. */
void frames_commit(uint8_t type, uint64_t run, size_t length);
/* Write what the server takes now; true when nothing is left. */
bool frames_flush(void);
size_t frames_pending(void);
/* Tell why and exit. */
_Noreturn void fault(const char *why);

/* start.c */
bool start_parse(struct start *start, const struct frame *frame);
void start_free(struct start *start);

/* spawn.c */
/* False when it cannot: then there is no way to go on, and descriptors may be left. */
bool spawn(const struct start *start, struct child *child);
/* Become this user, with nothing left of root.  Returns 0 or an errno. */
int become(uint32_t uid);

/* filter.c: for this process and all that it will ever start.  Returns 0 or an errno. */
int filter_install(bool allow_ptrace);

/* wipe.c: NULL when nothing is left, else what is */
const char *wipe(uint32_t uid);

/* facts.c */
extern char mounts[MOST_MOUNTS][MOST_PATH]; /* what a run can write to */
extern int mount_count;
void facts_gather(void);
void facts_send(void);
uint32_t oom_kills(void);

/* frames.c: numbers as they stand in a frame */
void put32(unsigned char *at, uint32_t value);
void put64(unsigned char *at, uint64_t value);
uint32_t get32(const unsigned char *at);
uint64_t get64(const unsigned char *at);

#endif
