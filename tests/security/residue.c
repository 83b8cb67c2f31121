/* What one run can leave and the next one can find, where a shell cannot do it.  residue COMMAND [ARGUMENT...]
    Most tell one line: "0" or the errno of what they tried.  "hold" commands leave a process that keeps it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define KEY 0x5ec2e7
#define PIPE_SIZE (1 << 20)
#define USER_KEYRING -4
#define SESSION_KEYRING -3
#define SEARCH 10
#define SET_TIMEOUT 15

static int tell(long result)
{
    printf("%d\n", result < 0 ? errno : 0);
    return 0;
}

/* Go on as a process of its own, which nobody waits for, after it has said what it holds. */
static int hold(long result)
{
    tell(result);
    fflush(stdout);
    if (fork())
        return 0;
    setsid();
    for (int number = 1; number < 32; number++)
        signal(number, SIG_IGN);
    for (;;)
        pause();
}

static int bound(int kind, int port, bool reuse)
{
    int file = socket(AF_INET, kind, 0), yes = reuse;
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    return bind(file, (struct sockaddr *)&here, sizeof here) ? -1 : file;
}

static int listen_on(int port)
{
    int file = bound(SOCK_STREAM, port, true);
    return file < 0 || listen(file, 5) ? -1 : file;
}

static int connect_to(int port)
{
    int file = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in there = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(file, (struct sockaddr *)&there, sizeof there) ? -1 : file;
}

/* A connection whose server closed first, so that its port rests. */
static int rest_port(int port)
{
    int server = listen_on(port), client = connect_to(port), accepted = accept(server, NULL, NULL);
    char byte;
    close(accepted);
    close(server);
    ssize_t got = read(client, &byte, 1);
    close(client);
    return got;
}

static int abstract(const char *name)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    int file = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(here.sun_path + 1, name, sizeof here.sun_path - 2);
    return bind(file, (struct sockaddr *)&here, sizeof here) || listen(file, 1) ? -1 : file;
}

/* As many as a user may have. */
static int watch_all(void)
{
    int count = 0;
    while (inotify_init1(0) >= 0)
        count++;
    return count;
}

static int large_pipe(void)
{
    int ends[2];
    return pipe(ends) ? -1 : fcntl(ends[0], F_SETPIPE_SZ, PIPE_SIZE);
}

static int pipe_all(void)
{
    int count = 0;
    while (large_pipe() > 0)
        count++;
    return count;
}

static int add_key(int keyring)
{
    long key = syscall(SYS_add_key, "user", "residue", "secret", 6, keyring);
    if (key > 0)
        syscall(SYS_keyctl, SET_TIMEOUT, key, 20); /* seconds: none is left on a machine that is not protected */
    return key;
}

static int find_key(void)
{
    return syscall(SYS_request_key, "user", "residue", NULL, 0);
}

static int find_user_key(void)
{
    return syscall(SYS_keyctl, SEARCH, USER_KEYRING, "user", "residue", 0);
}

/* IPC objects of each kind of System V. */
static int make_objects(void)
{
    long memory = syscall(SYS_shmget, KEY, 4096, 01666), queue = syscall(SYS_msgget, KEY, 01666);
    long set = syscall(SYS_semget, KEY, 1, 01666);
    return memory < 0 || queue < 0 || set < 0 ? -1 : 0;
}

static int go_down(int count, const char *name)
{
    for (; count > 0; count--)
        if (mkdir(name, 0700) || chdir(name))
            return -1;
    return 0;
}

static int make_socket(const char *name)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    strncpy(here.sun_path, name, sizeof here.sun_path - 1);
    return bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&here, sizeof here);
}

static int lock(const char *path)
{
    return flock(open(path, O_RDONLY), LOCK_EX | LOCK_NB);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "", *name = count > 2 ? arguments[2] : "x";
    int number = atoi(name);
#define COMMAND(word, does) \
    if (!strcmp(what, word)) \
        return does
    COMMAND("hold", hold(0));
    COMMAND("hold-abstract", hold(abstract(name)));
    COMMAND("hold-listening", hold(listen_on(number)));
    COMMAND("hold-datagrams", hold(bound(SOCK_DGRAM, number, false)));
    COMMAND("hold-inotify", hold(watch_all()));
    COMMAND("hold-pipes", hold(pipe_all()));
    COMMAND("hold-terminal", hold(open("/dev/ptmx", O_RDWR | O_NOCTTY)));
    COMMAND("hold-lock", hold(lock(name)));
    COMMAND("lock", tell(lock(name)));
    COMMAND("abstract", tell(abstract(name)));
    COMMAND("bind", tell(bound(SOCK_STREAM, number, false)));
    COMMAND("bind-datagrams", tell(bound(SOCK_DGRAM, number, false)));
    COMMAND("connect", tell(connect_to(number)));
    COMMAND("rest-port", tell(rest_port(number)));
    COMMAND("inotify", tell(inotify_init1(0)));
    COMMAND("pipe", tell(large_pipe()));
    COMMAND("user-key", tell(add_key(USER_KEYRING)));
    COMMAND("session-key", tell(add_key(SESSION_KEYRING)));
    COMMAND("find-key", tell(find_key()));
    COMMAND("find-user-key", tell(find_user_key()));
    COMMAND("objects", tell(make_objects()));
    COMMAND("queue", tell(syscall(SYS_mq_open, name, O_CREAT | O_RDWR, 0666, NULL)));
    COMMAND("socket", tell(make_socket(name)));
    COMMAND("deep", tell(go_down(number, "d")));
    fprintf(stderr, "no such command\n");
    return 2;
}
