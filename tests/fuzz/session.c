/* The whole agent but for what it does to the machine: its loop, with a server, a script and a clock from the input.
 *
 * Beside what the sanitizers see, this must hold: the agent says only what the protocol allows (server.c), opens and
 * closes each end once, never waits for what cannot come, and is idle with nothing left when all has been said. */
#include "syscalls.h"

#include "harness.h"
#include "input.h"
#include "server.h"

#include "frames.c"
#include "main.c"

enum { SIGNALS = 9, SCRIPT_FILE, IN, OUT_END, ERR_END, FAILURE, ENDS };
#define IS_OUTPUT 4 /* in a turn's mask */
#define PIPE 65536
#define MOST_TURNS 1024

static struct {
    uint8_t ready; /* mask of the turn */
    size_t chunk;
    int64_t time;
    bool last; /* the input is over: everything that is waited for happens */
    bool open[ENDS];
    bool interrupted, gone, ended, full, no_script, no_spawn, poll_fails;
} kernel;

static struct {
    bool alive, waited_for, signalled, writes[2], reads, litters, unlaunched;
    uint64_t printed[2], put; /* bytes that wait to be read, bytes of the file */
    size_t room;
} script;

char mounts[MOST_MOUNTS][MOST_PATH];
int mount_count;

/* What is not under test */

void facts_gather(void) {}
void facts_send(void) {}

uint32_t oom_kills(void)
{
    return 0;
}

int filter_install(bool allow_ptrace)
{
    return allow_ptrace;
}

const char *wipe(uint32_t uid)
{
    static char why[300];
    if (!uid)
        broken("it wipes for root");
    memset(why, 'w', sizeof why - 1);
    return script.litters ? why : NULL;
}

static void open_end(int end)
{
    if (kernel.open[end])
        broken("it opens what is open");
    kernel.open[end] = true;
}

static size_t lengths(char **list)
{
    size_t sum = 0;
    for (; *list; list++)
        sum += strlen(*list);
    return sum;
}

bool spawn(const struct start *start, struct child *child)
{
    if (kernel.open[SCRIPT_FILE])
        broken("it starts a script that is open for writing");
    if (script.put != start->script_size)
        broken("it starts a script that is not whole");
    if (lengths(start->args) + lengths(start->env) > MOST_START)
        broken("arguments that nobody has sent");
    if (kernel.no_spawn)
        return false;
    for (int end = IN; end < ENDS; end++)
        open_end(end);
    *child = (struct child){.pid = 7, .in = IN, .out = OUT_END, .err = ERR_END, .failure = FAILURE};
    if (script.alive)
        broken("two scripts at once");
    script.alive = script.reads = script.writes[0] = script.writes[1] = true;
    script.waited_for = false;
    server_expects_end();
    reached("a run", 5);
    return true;
}

/* The kernel */

static void need_open(int fd)
{
    if (fd < SIGNALS || fd >= ENDS || (fd != SIGNALS && !kernel.open[fd]))
        broken("it uses what is not open");
}

static ssize_t fails(int error)
{
    errno = error;
    return -1;
}

static size_t cut(size_t size)
{
    return kernel.chunk && kernel.chunk < size ? kernel.chunk : size;
}

static ssize_t read_server(void *to, size_t size)
{
    size_t there = wire_end - wire_at;
    if (kernel.interrupted) {
        kernel.interrupted = false;
        return fails(EINTR);
    }
    if (!there)
        return kernel.ended ? 0 : fails(EAGAIN);
    size = cut(size < there ? size : there);
    memcpy(to, wire + wire_at, size);
    wire_at += size;
    return size;
}

static ssize_t read_script(void *to, size_t size, int stream)
{
    uint64_t there = script.printed[stream];
    if (!there)
        return script.alive && script.writes[stream] ? fails(EAGAIN) : 0;
    size = cut(size < there ? size : there);
    memset(to, 'o', size);
    script.printed[stream] -= size;
    return size;
}

static ssize_t read_failure(void *to, size_t size)
{
    uint32_t told[2] = {STAGE_EXEC, ENOENT};
    if (!script.unlaunched)
        return 0;
    memcpy(to, told, size < sizeof told ? size : sizeof told);
    return size;
}

ssize_t fuzz_read(int fd, void *to, size_t size)
{
    if (fd == STDIN_FILENO)
        return read_server(to, size);
    need_open(fd);
    if (fd == SIGNALS) {
        bool told = script.signalled;
        script.signalled = false;
        return told ? (ssize_t)sizeof(struct signalfd_siginfo) : fails(EAGAIN);
    }
    if (fd == FAILURE)
        return read_failure(to, size);
    if (fd != OUT_END && fd != ERR_END)
        broken("it reads what is only written");
    return read_script(to, size, fd - OUT_END);
}

static ssize_t write_server(const void *from, size_t size)
{
    if (kernel.gone)
        return fails(EPIPE);
    if (!(kernel.ready & IS_OUTPUT))
        return fails(EAGAIN);
    size = cut(size);
    kernel.ready &= ~(kernel.last ? 0 : IS_OUTPUT);
    server_hears(from, size);
    return size;
}

static ssize_t write_stdin(size_t size)
{
    if (!script.alive || !script.reads)
        return fails(EPIPE);
    if (!script.room)
        return fails(EAGAIN);
    size = size < script.room ? size : script.room;
    script.room -= size;
    return size;
}

ssize_t fuzz_write(int fd, const void *from, size_t size)
{
    if (fd == STDOUT_FILENO)
        return write_server(from, size);
    need_open(fd);
    if (fd == IN)
        return write_stdin(size);
    if (fd != SCRIPT_FILE)
        broken("it writes what is only read");
    if (kernel.full)
        return fails(ENOSPC);
    script.put += size;
    return size;
}

int fuzz_open(const char *path)
{
    if (strcmp(path, SCRIPT))
        broken("it opens another file than the script's");
    if (kernel.no_script)
        return fails(EROFS);
    open_end(SCRIPT_FILE);
    memset(&script, 0, sizeof script);
    return SCRIPT_FILE;
}

int fuzz_unlink(const char *path)
{
    if (strcmp(path, SCRIPT))
        broken("it removes another file than the script's");
    return 0;
}

int fuzz_close(int fd)
{
    need_open(fd);
    kernel.open[fd] = false;
    return 0;
}

int fuzz_clock_gettime(struct timespec *time)
{
    *time = (struct timespec){kernel.time / SECOND, kernel.time % SECOND};
    return 0;
}

int fuzz_kill(pid_t pid, int number)
{
    if (pid != -1 || number != SIGKILL)
        broken("it signals one process");
    script.signalled |= script.alive;
    script.alive = false;
    return 0;
}

pid_t fuzz_wait4(int *status, int options, struct rusage *usage)
{
    if (script.waited_for)
        return fails(ECHILD);
    if (script.alive) {
        if (!(options & WNOHANG))
            broken("it waits for a script that lives");
        return 0;
    }
    script.waited_for = true;
    memset(usage, 0, sizeof *usage);
    *status = SIGKILL;
    return 7;
}

static bool is_ready(const struct pollfd *end)
{
    switch (end->fd) {
    case STDIN_FILENO: return wire_at < wire_end || kernel.ended;
    case STDOUT_FILENO: return true;
    case SIGNALS: return script.signalled;
    case IN: return script.room || !script.reads || !script.alive;
    default: return script.printed[end->fd - OUT_END] || !script.writes[end->fd - OUT_END] || !script.alive;
    }
}

int fuzz_poll(struct pollfd *ends, nfds_t count, int wait)
{
    int ready = 0;
    if (wait < -1)
        broken("a negative wait");
    if (kernel.poll_fails) {
        kernel.poll_fails = false;
        return fails(kernel.interrupted ? EINTR : ENOMEM);
    }
    for (nfds_t end = 0; end < count; end++) {
        bool may = ends[end].fd >= 0 && (kernel.ready >> end & 1);
        ends[end].revents = may && is_ready(&ends[end]) ? ends[end].events : 0;
        ready += ends[end].revents != 0;
    }
    if (kernel.last && !ready) {
        if (wait < 0 && run.state != LOADING)
            broken("it waits for ever");
        kernel.time += (int64_t)wait * 1000000;
    }
    return ready;
}

/* The input */

static void reset(void)
{
    start_free(&run.start);
    memset(&run, 0, sizeof run);
    run.child = (struct child){.in = -1, .out = -1, .err = -1, .failure = -1};
    free(large);
    large = payload = NULL;
    input_at = input_end = head_size = payload_size = queue_at = queue_end = 0;
    input_reset();
    held_until = 0;
    memset(&kernel, 0, sizeof kernel);
    memset(&script, 0, sizeof script);
    script.waited_for = true;
    wire_at = wire_end = 0;
    kernel.time = 1000 * SECOND;
    heard = kernel.time;
    server_reset();
}

/* A pipe holds so much. */
static void print(int stream, uint64_t bytes)
{
    uint64_t room = PIPE - script.printed[stream];
    if (script.writes[stream])
        script.printed[stream] += bytes < room ? bytes : room;
}

static void do_deed(enum deed deed, uint8_t amount)
{
    if (!script.alive && deed != LITTER)
        return;
    switch (deed) {
    case PRINT:
    case COMPLAIN: print(deed, (uint64_t)amount * amount); return;
    case CLOSE_OUT:
    case CLOSE_ERR: script.writes[deed - CLOSE_OUT] = false; return;
    case EXIT: script.unlaunched = amount & 1; script.alive = false; script.signalled = true; return;
    case TAKE: script.room += (size_t)amount * amount; return;
    case CLOSE_IN: script.reads = false; return;
    case LITTER: script.litters = true;
    }
}

static void make_trouble(enum trouble trouble)
{
    switch (trouble) {
    case INTERRUPTED: kernel.interrupted = true; return;
    case SERVER_GONE: kernel.gone = true; return;
    case SERVER_ENDS: kernel.ended = true; return;
    case SCRIPT_FULL: kernel.full = true; return;
    case NO_SCRIPT: kernel.no_script = true; return;
    case NO_SPAWN: kernel.no_spawn = true; return;
    case POLL_FAILS: kernel.poll_fails = true; return;
    case TROUBLES: return;
    }
}

static void follow(const struct instruction *now)
{
    switch (now->kind) {
    case SENT: return;
    case TURN:
        kernel.ready = now->first;
        kernel.chunk = now->second;
        return turn(SIGNALS);
    case DEED: return do_deed(now->first % 8, now->second);
    case TIME: kernel.time += (int64_t)1 << now->first % 45; return;
    case TROUBLE: return make_trouble(now->first % TROUBLES);
    }
}

/* Everything that is on its way arrives, and the script ends: then the agent must be idle, with nothing left. */
static bool rests(void)
{
    return wire_at == wire_end && queue_at == queue_end && (run.state == IDLE || run.state == LOADING);
}

static void finish(void)
{
    kernel.last = true;
    kernel.ready = 255;
    kernel.chunk = 0;
    for (int turns = 0; !rests(); turns++) {
        script.room += CREDIT;
        if (turns > MOST_TURNS / 2)
            do_deed(EXIT, 0); /* its time limit may be months */
        turn(SIGNALS);
        if (turns == MOST_TURNS)
            broken("it does not come to rest");
    }
    for (int end = SCRIPT_FILE; end < ENDS; end++)
        if (kernel.open[end] && !(end == SCRIPT_FILE && run.state == LOADING))
            broken("it leaves something open");
    server_is_answered();
    if (run.state == IDLE && run.start.payload)
        broken("it keeps a START that is over");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    struct instruction next;
    reset();
    failing_allocation = input_byte(&input);
    if (!setjmp(exited)) {
        while (input_next(&input, &next))
            follow(&next);
        finish();
    } else if (exit_code != 0 && exit_code != 70)
        broken("an exit code that means nothing");
    reset();
    return 0;
}
