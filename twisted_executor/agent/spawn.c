/* From a START frame to a running script: a fresh user, a filter, clean streams. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

struct command {
    const char *path;
    char **args, **env;
};

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}}, found[2];
    if (syscall(SYS_capset, &header, none))
        return errno;
    if (syscall(SYS_capget, &header, found))
        return errno;
    return memcmp(found, none, sizeof none) ? EPERM : 0;
}

/* Every step is read back: a prototype that did not look went on as root after a uid that the engine does not map. */
int become(uint32_t uid)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    /* Not the library's, which would do it in every thread: between vfork and exec nothing of the parent may change. */
    if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, uid, uid, uid) || syscall(SYS_setresuid, uid, uid, uid))
        return errno;
    if (getresuid(&ruid, &euid, &suid) || getresgid(&rgid, &egid, &sgid))
        return errno;
    if (ruid != uid || euid != uid || suid != uid || rgid != uid || egid != uid || sgid != uid || getgroups(0, NULL))
        return EPERM;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        return errno;
    int error = drop_capabilities();
    if (error)
        return error;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : EPERM;
}

/* The first victim when memory runs out; only before setuid, as /proc/self then belongs to somebody else. */
static int first_to_go(void)
{
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return errno;
    int error = write(file, "1000", 4) == 4 ? 0 : errno;
    close(file);
    return error;
}

static bool same_name(const char *one, const char *other)
{
    size_t length = strcspn(one, "=");
    return !strncmp(one, other, length + 1);
}

/* The image's variables, ours over them, the request's over both; the names of one layer differ. */
static char **environment(char **request)
{
    static char *const ours[] = {"HOME=/tmp", "TMPDIR=/tmp", "USER=sandbox", "LOGNAME=sandbox", NULL};
    char *const *const layers[] = {environ, ours, request};
    size_t most = 1, size = 0;
    for (int i = 0; i < 3; i++)
        for (char *const *name = layers[i]; *name; name++)
            most++;
    char **list = calloc(most, sizeof *list);
    for (int i = 0; list && i < 3; i++) {
        size_t below = size;
        for (char *const *name = layers[i]; *name; name++) {
            size_t at = 0;
            while (at < below && !same_name(*name, list[at]))
                at++;
            list[at < below ? at : size++] = *name;
        }
    }
    return list;
}

/* The arguments behind one or two names. */
static char **argument_list(const char *first, const char *second, char **args)
{
    size_t count = 0, at = 0;
    while (args[count])
        count++;
    char **list = calloc(count + 3, sizeof *list);
    if (!list)
        return NULL;
    list[at++] = (char *)first;
    if (second)
        list[at++] = (char *)second;
    memcpy(list + at, args, count * sizeof *list);
    return list;
}

static bool has_interpreter(void)
{
    char begin[2] = {0};
    int file = open(SCRIPT, O_RDONLY | O_CLOEXEC);
    bool found = file >= 0 && read(file, begin, 2) == 2 && begin[0] == '#' && begin[1] == '!';
    close(file);
    return found;
}

/* What is executed, made here: between vfork and exec memory is the agent's own. */
static bool prepare(struct command *command, const struct start *start)
{
    bool direct = has_interpreter();
    command->path = direct ? SCRIPT : "/bin/sh";
    command->args = direct ? argument_list(SCRIPT, NULL, start->args) : argument_list("sh", SCRIPT, start->args);
    command->env = environment(start->env);
    return command->args && command->env;
}

/* Nothing that a script begins with is what the agent happens to have. */
static int settle(void)
{
    sigset_t none;
    setsid();
    umask(022);
    sigemptyset(&none);
    if (signal(SIGPIPE, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL))
        return errno;
    if (setpriority(PRIO_PROCESS, 0, 19) || chdir("/tmp"))
        return errno;
    return first_to_go();
}

/* Returns the errno of what could not be set up, or of exec. */
static int confined_exec(const struct command *command, uint32_t uid, int *stage)
{
    int error;
    *stage = STAGE_SETUP;
    if (ON(SETTLED) && (error = settle()))
        return error;
    if (ON(UNPRIVILEGED) && (error = become(uid)))
        return error;
    *stage = STAGE_EXEC;
    execve(command->path, command->args, command->env);
    return errno;
}

static _Noreturn void run_child(const struct command *command, uint32_t uid, int in, int out, int err, int failure)
{
    uint32_t told[2];
    int stage;
    if (ON(OWN_PIPES) && (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0))
        _exit(127);
    told[1] = confined_exec(command, uid, &stage);
    told[0] = stage;
    if (write(failure, told, sizeof told) != sizeof told)
        _exit(127);
    _exit(told[1] == ENOENT ? 127 : 126);
}

/* The script's streams belong to its user, as /dev/stdin and the like open them a second time. */
static bool open_streams(uint32_t uid, int in[2], int out[2], int err[2])
{
    bool theirs = !seteuid(uid); /* one that the engine does not map is told by become() */
    bool opened = !pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC) && !pipe2(err, O_CLOEXEC);
    return (!theirs || !seteuid(0)) && opened;
}

/* Only our ends: the script's are other files, and must block. */
static void keep_ends(struct child *child, int in, int out, int err, int failure)
{
    child->in = in;
    child->out = out;
    child->err = err;
    child->failure = failure;
    fcntl(in, F_SETFL, O_NONBLOCK);
    fcntl(out, F_SETFL, O_NONBLOCK);
    fcntl(err, F_SETFL, O_NONBLOCK);
}

bool spawn(const struct start *start, struct child *child)
{
    int in[2], out[2], err[2], failure[2];
    struct command command = {0};
    if (!prepare(&command, start) || !open_streams(start->uid, in, out, err) || pipe2(failure, O_CLOEXEC | O_NONBLOCK))
        return false;
    keep_ends(child, in[1], out[0], err[0], failure[0]);
    child->pid = vfork(); /* it borrows our memory until its exec: no page is copied */
    if (child->pid == 0)
        run_child(&command, start->uid, in[0], out[1], err[1], failure[1]);
    prctl(PR_SET_DUMPABLE, !ON(HIDDEN)); /* its setuid sets ours to fs.suid_dumpable (kernel/cred.c, commit_creds) */
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(failure[1]);
    free(command.args);
    free(command.env);
    return child->pid > 0;
}
