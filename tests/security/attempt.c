/* What a script could try on the kernel, its container and its agent, each without harm even where it is allowed.
   attempt WHAT [PATH] tells one line: 0 when it was allowed, else its errno.  Outside of a sandbox it does nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <sys/io.h>
#endif

#define AGENT 1
#define KEYRING_ID 0 /* KEYCTL_GET_KEYRING_ID */
#define USER_KEYRING -4
#define MAP_CREATE 0 /* BPF_MAP_CREATE */
#define UNREAD 9     /* SYSLOG_ACTION_SIZE_UNREAD */
#define NR_CLONE3 435
#define NR_PIDFD_GETFD 438
#define NR_IO_URING_SETUP 425
#define NR_OPEN_TREE 428
#define NR_FSOPEN 430

static long new_namespace(int flags)
{
    long child = syscall(SYS_clone, (long)(flags | SIGCHLD), 0L, 0L, 0L, 0L);
    if (child == 0)
        _exit(0);
    return child;
}

static long clone_3(void)
{
    uint64_t arguments[8] = {0};
    arguments[4] = SIGCHLD;
    long child = syscall(NR_CLONE3, arguments, sizeof arguments);
    if (child == 0)
        _exit(0);
    return child;
}

static long enter_namespace(void)
{
    return setns(open("/proc/self/ns/uts", O_RDONLY), CLONE_NEWUTS);
}

static long make_map(void)
{
    uint32_t attributes[32] = {2 /* array */, 4, 4, 1};
    return syscall(SYS_bpf, MAP_CREATE, attributes, sizeof attributes);
}

static long count_events(void)
{
    uint32_t attributes[32] = {1 /* software */, sizeof attributes};
    return syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0);
}

static long open_handle(void)
{
    uint32_t handle[8] = {8, 1};
    return syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
}

static long set_up_ring(void)
{
    uint32_t parameters[30] = {0};
    return syscall(NR_IO_URING_SETUP, 1, parameters);
}

static long set_no_time(void)
{
    struct timespec none = {.tv_nsec = -1};
    return syscall(SYS_clock_settime, CLOCK_REALTIME, &none);
}

static long read_agent(void)
{
    char byte;
    struct iovec ours = {&byte, 1}, theirs = {(void *)0x400000, 1};
    return process_vm_readv(AGENT, &ours, 1, &theirs, 1, 0);
}

static long take_descriptor(void)
{
    return syscall(NR_PIDFD_GETFD, syscall(SYS_pidfd_open, AGENT, 0), 0, 0);
}

static long limit_agent(void)
{
    struct rlimit none = {0, 0};
    return prlimit(AGENT, RLIMIT_NOFILE, &none, NULL);
}

static long pin_agent(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    return sched_setaffinity(AGENT, sizeof one, &one);
}

static long raise_limit(void)
{
    struct rlimit most;
    getrlimit(RLIMIT_CORE, &most);
    most.rlim_max += 1;
    return setrlimit(RLIMIT_CORE, &most);
}

static long be_realtime(void)
{
    struct sched_param first = {.sched_priority = 1};
    return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first);
}

static long connect_to(uint32_t address)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(address)};
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&there, sizeof there);
}

static long send_to(uint32_t address)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(address)};
    int file = socket(AF_INET, SOCK_DGRAM, 0), yes = 1;
    setsockopt(file, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    return sendto(file, "?", 1, 0, (struct sockaddr *)&there, sizeof there);
}

static long connect_to_6(void)
{
    struct sockaddr_in6 there = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    memcpy(&there.sin6_addr, "\x20\x01\x48\x60\x48\x60\0\0\0\0\0\0\0\0\x88\x88", 16);
    return connect(socket(AF_INET6, SOCK_STREAM, 0), (struct sockaddr *)&there, sizeof there);
}

/* Not a filtered number of ours, but one of another kind: of 32 bits, of x32. */
static long other_kind(int kind)
{
    long result = 0;
#ifdef __x86_64__
    if (kind == 32)
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); /* getpid */
    else
        result = syscall(0x40000000 + SYS_getpid);
#endif
    return result;
}

#ifndef __x86_64__
#define iopl(level) (errno = ENOSYS, -1)
#endif

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "", *path = count > 2 ? arguments[2] : "/";
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    if (strcmp(host, "sandbox"))
        return 3; /* on the machine itself some of this does harm */
#define ATTEMPT(word, does) \
    if (!strcmp(what, word)) { \
        long result = (does); \
        return printf("%d\n", result < 0 ? errno : 0) < 0; \
    }
    ATTEMPT("mount", mount("none", "/tmp", "tmpfs", 0, ""))
    ATTEMPT("remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL))
    ATTEMPT("umount", umount2("/data", MNT_DETACH))
    ATTEMPT("fsopen", syscall(NR_FSOPEN, "tmpfs", 0))
    ATTEMPT("open_tree", syscall(NR_OPEN_TREE, AT_FDCWD, "/", 1 /* a clone */))
    ATTEMPT("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"))
    ATTEMPT("chroot", chroot("/tmp"))
    ATTEMPT("unshare-user", unshare(CLONE_NEWUSER))
    ATTEMPT("unshare-mounts", unshare(CLONE_NEWNS))
    ATTEMPT("unshare-net", unshare(CLONE_NEWNET))
    ATTEMPT("clone-user", new_namespace(CLONE_NEWUSER))
    ATTEMPT("clone3", clone_3())
    ATTEMPT("setns", enter_namespace())
    ATTEMPT("sethostname", sethostname("sandbox", 7))
    ATTEMPT("mknod", mknod("/tmp/device", S_IFCHR | 0666, makedev(1, 3)))
    ATTEMPT("mknod-disk", mknod("/tmp/disk", S_IFBLK | 0666, makedev(8, 0)))
    ATTEMPT("open_by_handle_at", open_handle())
    ATTEMPT("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL))
    ATTEMPT("ptrace-agent", ptrace(PTRACE_SEIZE, AGENT, NULL, NULL))
    ATTEMPT("read-agent", read_agent())
    ATTEMPT("take-descriptor", take_descriptor())
    ATTEMPT("limit-agent", limit_agent())
    ATTEMPT("pin-agent", pin_agent())
    ATTEMPT("nice-agent", setpriority(PRIO_PROCESS, AGENT, 19))
    ATTEMPT("kcmp", syscall(SYS_kcmp, getpid(), AGENT, 1, 0, 0))
    ATTEMPT("keyctl", syscall(SYS_keyctl, KEYRING_ID, USER_KEYRING, 0))
    ATTEMPT("add_key", syscall(SYS_add_key, "user", "attempt", "x", 1, -1))
    ATTEMPT("request_key", syscall(SYS_request_key, "user", "attempt", NULL, 0))
    ATTEMPT("bpf", make_map())
    ATTEMPT("perf_event_open", count_events())
    ATTEMPT("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC))
    ATTEMPT("io_uring_setup", set_up_ring())
    ATTEMPT("init_module", syscall(SYS_init_module, "", 0, ""))
    ATTEMPT("delete_module", syscall(SYS_delete_module, "no-such-module", O_NONBLOCK))
    ATTEMPT("reboot", syscall(SYS_reboot, 0, 0, 0, NULL)) /* not with the numbers that it wants */
    ATTEMPT("swapon", swapon("/no-such-file", 0))
    ATTEMPT("acct", acct("/no-such-file"))
    ATTEMPT("clock_settime", set_no_time())
    ATTEMPT("syslog", syscall(SYS_syslog, UNREAD, NULL, 0))
    ATTEMPT("iopl", iopl(3))
    ATTEMPT("setuid", setuid(0))
    ATTEMPT("setgid", setgid(0))
    ATTEMPT("setgroups", syscall(SYS_setgroups, 0, NULL))
    ATTEMPT("nice", setpriority(PRIO_PROCESS, 0, -1))
    ATTEMPT("setrlimit", raise_limit())
    ATTEMPT("sched_setscheduler", be_realtime())
    ATTEMPT("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
    ATTEMPT("packet", socket(AF_PACKET, SOCK_RAW, 0))
    ATTEMPT("vsock", socket(40, SOCK_STREAM, 0))
    ATTEMPT("alg", socket(38, SOCK_SEQPACKET, 0))
    ATTEMPT("audit", socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT))
    ATTEMPT("uevent", socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT))
    ATTEMPT("shmget", syscall(SYS_shmget, 1, 4096, 01600))
    ATTEMPT("semget", syscall(SYS_semget, 1, 1, 01600))
    ATTEMPT("msgget", syscall(SYS_msgget, 1, 01600))
    ATTEMPT("mq_open", syscall(SYS_mq_open, "attempt", O_CREAT | O_RDWR, 0600, NULL))
    ATTEMPT("open", open(path, O_RDONLY))
    ATTEMPT("write", open(path, O_WRONLY))
    ATTEMPT("create", open(path, O_WRONLY | O_CREAT, 0600))
    ATTEMPT("list", open(path, O_RDONLY | O_DIRECTORY))
    ATTEMPT("other-kind-32", other_kind(32))
    ATTEMPT("other-kind-x32", other_kind(0x32))
    ATTEMPT("internet", connect_to(0x08080808))
    ATTEMPT("internet-6", connect_to_6())
    ATTEMPT("metadata", connect_to(0xa9fea9fe))
    ATTEMPT("bridge", connect_to(0xac110001))
    ATTEMPT("datagram", send_to(0x08080808))
    ATTEMPT("broadcast", send_to(0xffffffff))
    ATTEMPT("multicast", send_to(0xe00000fb))
    ATTEMPT("root", geteuid() == 0 ? 0 : (errno = EPERM, -1))
    fprintf(stderr, "no such attempt\n");
    return 2;
}
