/* What a script may ask of the kernel.  probe calls: one line for each call, its name and its errno (0: allowed);
   probe foreign: a 32-bit call; probe x32: a call of the x32 kind; probe stop: a process in a session of its own
   that ignores what can be ignored and stops; probe socket NAME: a socket in the file system;
   probe deep COUNT NAME: folders in folders, below the working one; probe descriptors: a line for each that is open,
   its number, whether it blocks, and what it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#define TELL(name, call) (errno = 0, (void)(call), printf("%s %d\n", name, errno))

static void ask_sockets(void)
{
    static const struct {
        const char *name;
        int family, type, protocol;
    } sockets[] = {
        {"unix", AF_UNIX, SOCK_STREAM, 0},
        {"inet", AF_INET, SOCK_STREAM, 0},
        {"inet6", AF_INET6, SOCK_STREAM, 0},
        {"route", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE},
        {"audit", AF_NETLINK, SOCK_RAW, NETLINK_AUDIT},
        {"crypto", AF_NETLINK, SOCK_RAW, NETLINK_CRYPTO},
        {"packet", AF_PACKET, SOCK_RAW, 0},
        {"alg", AF_ALG, SOCK_SEQPACKET, 0},
        {"vsock", AF_VSOCK, SOCK_STREAM, 0},
        {"bluetooth", AF_BLUETOOTH, SOCK_RAW, 0},
    };
    int pair[2];
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++)
        TELL(sockets[i].name, socket(sockets[i].family, sockets[i].type, sockets[i].protocol));
    TELL("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    TELL("pair-vsock", socketpair(AF_VSOCK, SOCK_STREAM, 0, pair));
}

static void ask_calls(void)
{
    char byte;
    TELL("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), &byte, 0, &byte, 0, 0));
    TELL("process_vm_writev", syscall(SYS_process_vm_writev, getpid(), &byte, 0, &byte, 0, 0));
    TELL("shmget", syscall(SYS_shmget, 0, 4096, 01600));
    TELL("semget", syscall(SYS_semget, 0, 1, 01600));
    TELL("msgget", syscall(SYS_msgget, 0, 01600));
    TELL("mq_open", syscall(SYS_mq_open, "probe", 0102, 0600, NULL));
    TELL("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, -2));
    TELL("request_key", syscall(SYS_request_key, "user", "probe", NULL, 0));
    TELL("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    TELL("userfaultfd", syscall(SYS_userfaultfd, 0));
    TELL("io_uring_setup", syscall(425, 1, NULL));
    TELL("io_uring_enter", syscall(426, -1, 0, 0, 0, NULL, 0));
    TELL("io_uring_register", syscall(427, -1, 0, NULL, 0));
    TELL("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static void tell_descriptors(void)
{
    for (int file = 0; file < 1024; file++) {
        char path[32], target[256] = "";
        int flags = fcntl(file, F_GETFL);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        if (flags >= 0 && readlink(path, target, sizeof target - 1) > 0)
            printf("%d %s %s\n", file, flags & O_NONBLOCK ? "returns" : "blocks", target);
    }
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "calls";
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!strcmp(what, "calls")) {
        ask_sockets();
        ask_calls();
    }
    if (!strcmp(what, "descriptors"))
        tell_descriptors();
#ifdef __x86_64__
    if (!strcmp(what, "foreign")) {
        long number = 20; /* getpid */
        __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
        printf("foreign call: %ld\n", number);
    }
    if (!strcmp(what, "x32"))
        printf("x32 call: %ld\n", syscall(0x40000000 | SYS_getpid));
#endif
    if (!strcmp(what, "stop")) {
        for (int number = 1; number < 32; number++)
            signal(number, SIG_IGN);
        setsid();
        printf("stopping\n");
        raise(SIGSTOP);
    }
    if (!strcmp(what, "socket") && count > 2) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        strncpy(name.sun_path, arguments[2], sizeof name.sun_path - 1);
        return bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof name) ? 1 : 0;
    }
    if (!strcmp(what, "deep") && count > 3)
        for (int left = atoi(arguments[2]); left > 0; left--)
            if (mkdir(arguments[3], 0700) || chdir(arguments[3]))
                return 1;
    return 0;
}
