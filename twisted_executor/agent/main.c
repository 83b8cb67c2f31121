/* The loop: one run at a time, heard and served while everything else may be slow. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SILENCE (90 * SECOND)
#define LINGER (SECOND / 10) /* how long output of children is awaited after the main process */
#define CHUNK 32768
#define CREDIT_STEP 32768
#define HOLD (SECOND / 200) /* how long a little output waits for more: with the END it is one write instead of two */
#define HOLD_MOST 16384

/* IDLE, then LOADING the script, RUNNING, LINGERING for output after the main process, and DRAINING what the dead wrote. */
enum state { IDLE, LOADING, RUNNING, LINGERING, DRAINING };

static struct {
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
} run;

static struct {
    unsigned char bytes[CREDIT];
    size_t at, size;
    bool ended;      /* the server has sent all */
    uint32_t credit; /* taken, and not said yet */
} input;

static int64_t heard, held_until;

void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = value >> (24 - 8 * i);
}

void put64(unsigned char *at, uint64_t value)
{
    put32(at, value >> 32);
    put32(at + 4, value);
}

uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

uint64_t get64(const unsigned char *at)
{
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void close_end(int *end)
{
    if (*end >= 0)
        close(*end);
    *end = -1;
}

/* The end of a run */

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

static void reap(int options)
{
    struct rusage usage;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, options, &usage)) > 0 || (pid < 0 && errno == EINTR))
        if (pid > 0)
            account(pid, status, &usage);
}

static void end_run(int cause)
{
    run.cause = cause;
    run.state = DRAINING;
    kill(-1, SIGKILL);
    reap(0); /* until there is no child: all processes here are ours, or become so */
    close_end(&run.child.in);
}

static void send_end(void)
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
    frames_flush();
}

static void send_wiped(void)
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
    heard = now();
}

/* The script's streams */

static void pass_output(int *end, int stream)
{
    static unsigned char dropped[CHUNK];
    uint64_t *written = &run.written[stream];
    uint64_t room = *written < run.start.keep ? run.start.keep - *written : 0;
    size_t most = room && room < CHUNK ? room : CHUNK;
    unsigned char *into = room ? frames_reserve(most) : dropped;
    if (!into)
        return; /* the server is slow: the script waits */
    ssize_t got = read(*end, into, most);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        return close_end(end);
    *written += got;
    if (!frames_pending())
        held_until = now() + HOLD;
    if (room)
        frames_commit(stream ? ERR : OUT, run.id, got);
    if (*written >= run.start.most && run.state == RUNNING)
        end_run(OUTPUT_LIMIT);
}

static void give_credit(size_t bytes)
{
    unsigned char amount[4];
    input.credit += bytes;
    if (input.ended || (input.size && input.credit < CREDIT_STEP) || !input.credit)
        return;
    put32(amount, input.credit);
    input.credit = held_until = 0;
    frames_send(CREDIT_MORE, run.id, amount, sizeof amount);
}

/* The script does not want what is left. */
static void discard_input(void)
{
    size_t size = input.size;
    close_end(&run.child.in);
    input.size = 0;
    give_credit(size);
}

static void pass_input(void)
{
    size_t most = input.at + input.size > CREDIT ? CREDIT - input.at : input.size;
    ssize_t put = most ? write(run.child.in, input.bytes + input.at, most) : 0;
    if (put < 0 && errno != EAGAIN && errno != EINTR)
        return discard_input();
    if (put > 0) {
        input.at = (input.at + put) % CREDIT;
        input.size -= put;
        give_credit(put);
    }
    if (!input.size && input.ended)
        close_end(&run.child.in);
}

/* What the server says */

static void begin(const struct frame *frame)
{
    if (run.state != IDLE || !frame->run)
        fault("START while a run is under way");
    memset(&run, 0, sizeof run);
    run.child = (struct child){.in = -1, .out = -1, .err = -1, .failure = -1};
    if (!start_parse(&run.start, frame))
        fault("a START that is none");
    run.id = frame->run;
    run.script_left = run.start.script_size;
    input.at = input.size = input.credit = 0;
    input.ended = false;
    unlink(SCRIPT);
    run.script = open(SCRIPT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (run.script < 0)
        fault("the script cannot be written");
    run.state = LOADING;
}

static void launch(void)
{
    close_end(&run.script); /* one that is open for writing cannot be executed */
    run.oom_before = oom_kills();
    run.began = run.ended = now();
    run.deadline = run.began + (int64_t)run.start.time_limit_us * 1000;
    if (!spawn(&run.start, &run.child))
        fault("the script cannot be started");
    run.state = RUNNING;
    if (input.size || input.ended)
        pass_input();
}

static void add_script(const struct frame *frame)
{
    if (run.state != LOADING || frame->run != run.id || !frame->length || frame->length > run.script_left)
        fault("SCRIPT that was not announced");
    if (write(run.script, frame->payload, frame->length) != (ssize_t)frame->length)
        fault("the script cannot be written");
    run.script_left -= frame->length;
    if (!run.script_left)
        launch();
}

static void add_input(const struct frame *frame)
{
    if (!frame->run || frame->run != run.id || run.state == LOADING)
        fault("STDIN of a run that is not under way");
    if (run.state != RUNNING && run.state != LINGERING)
        return; /* it was on its way when the run ended */
    if (input.ended || frame->length > CREDIT - input.size)
        fault("STDIN beyond its end or its credit");
    input.ended = !frame->length;
    size_t to = (input.at + input.size) % CREDIT;
    size_t first = frame->length < CREDIT - to ? frame->length : CREDIT - to;
    memcpy(input.bytes + to, frame->payload, first);
    memcpy(input.bytes, frame->payload + first, frame->length - first);
    input.size += frame->length;
    if (run.child.in < 0)
        discard_input();
    else
        pass_input();
}

static void cancel(const struct frame *frame)
{
    if (!frame->run || frame->run != run.id || frame->length)
        fault("CANCEL of a run that is not under way");
    if (run.state == LOADING)
        fault("CANCEL before the script"); /* the server sends both in one write */
    if (run.state == RUNNING || run.state == LINGERING)
        end_run(CANCELLED);
}

static void obey(const struct frame *frame)
{
    heard = now();
    switch (frame->type) {
    case START: return begin(frame);
    case SCRIPT_PART: return add_script(frame);
    case STDIN_PART: return add_input(frame);
    case CANCEL: return cancel(frame);
    default:
        if (frame->run || frame->length)
            fault("a PING that is none");
        held_until = 0;
        frames_send(PONG, 0, NULL, 0);
    }
}

static void listen_to_server(void)
{
    struct frame frame;
    if (!frames_read())
        _exit(0);
    while (frames_next(&frame))
        obey(&frame);
}

/* The loop */

static void children_changed(int signals)
{
    struct signalfd_siginfo infos[8];
    while (read(signals, infos, sizeof infos) > 0)
        ;
    if (run.state == RUNNING || run.state == LINGERING)
        reap(WNOHANG);
    if (run.state == RUNNING && run.reaped) {
        run.state = LINGERING;
        run.deadline = now() + LINGER;
    }
}

static void keep_time(void)
{
    if (run.state == IDLE && now() - heard > SILENCE)
        _exit(0);
    if (run.state == RUNNING && now() >= run.deadline)
        end_run(TIMED_OUT);
    if (run.state == LINGERING && ((run.child.out < 0 && run.child.err < 0) || now() >= run.deadline))
        end_run(EXITED);
    if (run.state == DRAINING && run.child.out < 0 && run.child.err < 0) {
        send_end();
        send_wiped();
    }
}

/* Nobody waits for output alone: the client gets its answer at the end. */
static bool holding(void)
{
    bool early = run.state == RUNNING || run.state == LINGERING;
    return early && frames_pending() && frames_pending() < HOLD_MOST && now() < held_until;
}

static int patience(void)
{
    int64_t until = run.state == IDLE ? heard + SILENCE + SECOND : run.deadline;
    if (run.state == LOADING || run.state == DRAINING)
        return -1;
    if (holding() && held_until < until)
        until = held_until;
    int64_t left = until - now();
    return left < 0 ? 0 : left / 1000000 >= 3600000 ? 3600000 : (int)(left / 1000000 + 1);
}

static void turn(int signals)
{
    bool room = frames_reserve(CHUNK) != NULL;
    struct pollfd ends[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = signals, .events = POLLIN},
        {.fd = frames_pending() && !holding() ? STDOUT_FILENO : -1, .events = POLLOUT},
        {.fd = room ? run.child.out : -1, .events = POLLIN},
        {.fd = room ? run.child.err : -1, .events = POLLIN},
        {.fd = input.size || input.ended ? run.child.in : -1, .events = POLLOUT},
    };
    if (poll(ends, sizeof ends / sizeof *ends, patience()) < 0 && errno != EINTR)
        fault("poll failed");
    if (ends[0].revents)
        listen_to_server();
    if (ends[3].revents && run.child.out >= 0)
        pass_output(&run.child.out, 0);
    if (ends[4].revents && run.child.err >= 0)
        pass_output(&run.child.err, 1);
    if (ends[5].revents && run.child.in >= 0)
        pass_input();
    if (ends[1].revents)
        children_changed(signals);
    keep_time();
    if (!holding())
        frames_flush();
}

static int watch_children(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Each argument is a place that the script may write to.  runc gives a tmpfs the mode of the folder that it covers. */
static void open_places(char **places)
{
    for (; *places; places++)
        if (chmod(*places, 01777))
            fault("a writable place cannot be opened");
}

int main(int count, char **arguments)
{
    if (getpid() != 1)
        return 64; /* it kills every process it sees, so it must see only its own */
    run.child = (struct child){.in = -1, .out = -1, .err = -1, .failure = -1};
    prctl(PR_SET_DUMPABLE, 0);
    umask(022);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
    fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC);
    int signals = watch_children();
    if (signals < 0)
        return 71;
    heard = now();
    open_places(arguments + (count > 0));
    facts_send();
    frames_flush();
    for (;;)
        turn(signals);
}
