/* The agent: PID 1 of a container, runs one script after the other.  docs/agent-protocol.md is its protocol. */
#ifndef AGENT_H
#define AGENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SCRIPT_PATH "/.script/script"
#define STDIN_CREDIT 131072
#define MOST_PAYLOAD 65536
#define MOST_TEXT 256
#define NANOSECONDS 1000000000ull

struct pollfd;

/* The types of frames; those from the agent begin at HELLO. */
enum type { START = 1, SCRIPT, STDIN, CANCEL, PING, HELLO = 129, STDOUT, STDERR, CREDIT, END, WIPED, PONG, FAULT };
enum cause { EXITED, TIME_LIMIT, OUTPUT_LIMIT, CANCELLED };
enum stage { STAGE_RUN, STAGE_EXEC, STAGE_SETUP };

static inline void put32(uint8_t *at, uint32_t value) {
    for (int i = 3; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

static inline void put64(uint8_t *at, uint64_t value) {
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

static inline uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t get64(const uint8_t *at) {
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

/* main.c: nanoseconds on a clock that only goes forward. */
uint64_t now(void);

/* frames.c: what the server sends. */
void frames_receive(const uint8_t *bytes, size_t count); /* calls the run_ functions below */

/* queue.c: what the server gets. */
void queue_frame(enum type type, uint64_t run, const void *payload, size_t count);
uint8_t *queue_place(void); /* where up to MOST_PAYLOAD bytes of output may be read to; NULL: no room now */
void queue_output(enum type type, uint64_t run, size_t count); /* sends what was put there */
bool queue_waits(void);
void queue_flush(void);                           /* writes what the server takes now */
_Noreturn void fault(const char *reason);         /* tells the server why, and exits */

/* command.c: what a START asks for. */
struct command {
    uint32_t uid;
    bool allow_ptrace;
    uint64_t time_limit;        /* nanoseconds */
    uint64_t kept, most_output; /* bytes of one stream: what is sent, and what ends the run */
    uint64_t script_bytes;
    char **argv; /* "sh", SCRIPT_PATH, and the script's own arguments */
    char **envp;
    uint8_t *payload; /* what argv and envp point into */
};
void command_read(struct command *command, uint8_t *payload, size_t count); /* keeps the payload, from malloc */
void command_free(struct command *command);

/* spawn.c: a child process that is the script. */
struct child {
    pid_t pid;
    int in, out, err; /* our ends of its pipes */
    int report;       /* two numbers come here when the script could not be started: stage and errno */
};
int spawn(const struct command *command, bool has_interpreter, struct child *child); /* 0 or an errno */
int become(uint32_t uid); /* gives up root for good; 0 or an errno */

/* filter.c */
int filter_install(bool allow_ptrace); /* 0 or an errno */

/* run.c: the script that is under way. */
void run_open(void); /* before anything else */
void run_start(uint64_t id, uint8_t *payload, size_t count);
void run_script(uint64_t id, const uint8_t *bytes, size_t count);
void run_stdin(uint64_t id, const uint8_t *bytes, size_t count); /* no bytes: its end */
void run_cancel(uint64_t id);
void run_children(void);    /* some have changed their state */
bool run_idle(void);        /* none is under way, and the last one is wiped */
uint64_t run_wakes(void);   /* when run_step has to be called at the latest */
enum { RUN_PIPES = 3 };
void run_pipes(struct pollfd polled[RUN_PIPES]);
void run_step(const struct pollfd polled[RUN_PIPES]);

/* pipes.c: the script's pipes. */
struct stream {
    enum type type;
    int fd;           /* -1 after its end */
    uint64_t written; /* bytes that came, also those that were dropped */
};
bool stream_wants(const struct stream *stream, uint64_t kept);
size_t stream_read(struct stream *stream, uint64_t run, uint64_t kept); /* 0: nothing more for now */
void stdin_open(int fd);
void stdin_take(uint64_t run, const uint8_t *bytes, size_t count);
void stdin_write(uint64_t run);
bool stdin_waits(void);
int stdin_fd(void);
void stdin_close(void);

/* mounts.c: where the script can leave something behind. */
struct mount {
    const char *path;
    int fd;             /* of the directory, when others than root may write to it, else -1 */
    bool is_writable;   /* others than root may really write to it */
};
enum { MOST_MOUNTS = 256 };
extern struct mount mounts[MOST_MOUNTS];
extern size_t mount_count;
extern bool root_is_read_only;
void mounts_read(void);
bool mounts_lead_through(const char *path); /* it is a mount point, or a directory above one */

/* wipe.c */
pid_t wipe_start(uint32_t uid);       /* a child that empties all writable places; -1 and errno */
const char *wipe_verify(void);        /* NULL: nothing of the run is left; else what is */
bool wipe_needed(void);

/* facts.c */
size_t file_read(const char *path, char *text, size_t size); /* ends the text with a NUL; 0 when unreadable */
void greet(void);
uint32_t oom_kills(void); /* of this container, since it exists */

#endif
