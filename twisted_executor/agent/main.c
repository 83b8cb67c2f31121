/* The loop: one run at a time, heard and served while everything else may be slow. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SILENCE (90 * SECOND)
#define LINGER (SECOND / 10) /* how long output of children is awaited after the main process */

static int64_t heard;

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
    input_reset();
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
    if (input_waits())
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
    input_add(frame);
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
        heard = now();
    }
}

/* Milliseconds until there is something to do for the time alone. */
static int patience(bool room)
{
    int64_t until = run.state == IDLE ? heard + SILENCE + SECOND : run.deadline;
    if (run.state == LOADING)
        return -1;
    if (run.state == DRAINING)
        return room ? 0 : -1;
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
        {.fd = input_waits() ? run.child.in : -1, .events = POLLOUT},
    };
    if (poll(ends, sizeof ends / sizeof *ends, patience(room)) < 0 && errno != EINTR)
        fault("poll failed");
    if (ends[0].revents)
        listen_to_server();
    bool drain = run.state == DRAINING;
    if ((ends[3].revents || drain) && run.child.out >= 0)
        pass_output(&run.child.out, 0);
    if ((ends[4].revents || drain) && run.child.err >= 0)
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
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* a script inherits what is ignored */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* runc gives a tmpfs the mode of the folder that it covers. */
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
    prctl(PR_SET_DUMPABLE, !ON(HIDDEN));
    umask(022);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
    fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC);
    int signals = watch_children();
    if (signals < 0)
        return 71;
    heard = now();
    arguments += count > 0;
    bool ptrace = *arguments && !strcmp(*arguments, "ptrace");
    open_places(arguments + ptrace);
    facts_gather(); /* as the engine left it: no-new-privileges and a filter are ours from here on */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (ON(FILTER) && filter_install(ptrace))
        fault("the filter cannot be installed");
    facts_send();
    frames_flush();
    for (;;)
        turn(signals);
}
