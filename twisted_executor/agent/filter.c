/* A seccomp filter on top of the engine's: it closes what that leaves open and untrusted code does not need. */
#include "agent.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "no filter for this architecture"
#endif

/* Not in every libc's headers; the numbers are the same on all architectures (asm-generic/unistd.h, from 5.1 on). */
#define NR_IO_URING_SETUP 425
#define NR_IO_URING_ENTER 426
#define NR_IO_URING_REGISTER 427

struct rule {
    int call, error;
    bool ptrace; /* a debugger needs it */
};

static const struct rule rules[] = {
    {SYS_ptrace, EPERM, true},
    {SYS_process_vm_readv, EPERM, true},
    {SYS_process_vm_writev, EPERM, true},
    {SYS_shmget, EPERM, false},
    {SYS_shmat, EPERM, false},
    {SYS_shmctl, EPERM, false},
    {SYS_shmdt, EPERM, false},
    {SYS_semget, EPERM, false},
    {SYS_semop, EPERM, false},
    {SYS_semctl, EPERM, false},
    {SYS_semtimedop, EPERM, false},
    {SYS_msgget, EPERM, false},
    {SYS_msgsnd, EPERM, false},
    {SYS_msgrcv, EPERM, false},
    {SYS_msgctl, EPERM, false},
    {SYS_mq_open, EPERM, false},
    {SYS_mq_unlink, EPERM, false},
    {SYS_mq_timedsend, EPERM, false},
    {SYS_mq_timedreceive, EPERM, false},
    {SYS_mq_notify, EPERM, false},
    {SYS_mq_getsetattr, EPERM, false},
    {SYS_add_key, EPERM, false},
    {SYS_request_key, EPERM, false},
    {SYS_keyctl, EPERM, false},
    {SYS_userfaultfd, ENOSYS, false},
    /* ENOSYS, so that programs fall back to other calls */
    {NR_IO_URING_SETUP, ENOSYS, false},
    {NR_IO_URING_ENTER, ENOSYS, false},
    {NR_IO_URING_REGISTER, ENOSYS, false},
};

#define RULES (sizeof rules / sizeof *rules)
#define FIELD(name) offsetof(struct seccomp_data, name)
/* The low half of an argument; both architectures are little-endian. */
#define ARGUMENT(n) (FIELD(args) + (n) * sizeof(uint64_t))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))

int filter_install(bool allow_ptrace)
{
    struct sock_filter code[2 * RULES + 24];
    unsigned short size = 0;
    const struct sock_filter entry[] = {
        LOAD(FIELD(arch)),
        EQUAL(ARCHITECTURE, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(FIELD(nr)),
#ifdef __x86_64__
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
        RETURN(SECCOMP_RET_KILL_PROCESS),
#endif
    };
    for (size_t i = 0; i < sizeof entry / sizeof *entry; i++)
        code[size++] = entry[i];
    for (size_t i = 0; i < RULES; i++) {
        if (allow_ptrace && rules[i].ptrace)
            continue;
        code[size++] = (struct sock_filter)EQUAL(rules[i].call, 0, 1);
        code[size++] = (struct sock_filter)REFUSE(rules[i].error);
    }
    const struct sock_filter sockets[] = {
        EQUAL(SYS_socket, 2, 0),
        EQUAL(SYS_socketpair, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        LOAD(ARGUMENT(0)),
        EQUAL(AF_UNIX, 6, 0),
        EQUAL(AF_INET, 5, 0),
        EQUAL(AF_INET6, 4, 0),
        EQUAL(AF_NETLINK, 1, 0),
        REFUSE(EAFNOSUPPORT),
        LOAD(ARGUMENT(2)),
        EQUAL(NETLINK_ROUTE, 0, 1),
        RETURN(SECCOMP_RET_ALLOW),
        REFUSE(EPROTONOSUPPORT),
    };
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++)
        code[size++] = sockets[i];
    const struct sock_fprog program = {.len = size, .filter = code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? errno : 0;
}
