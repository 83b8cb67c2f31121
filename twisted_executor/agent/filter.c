/*
 * The script's own seccomp filter, on top of the engine's profile, which stays the engine's and moves with it.
 * It closes what the profile leaves open and scripts do not need.  Everything here is the kernel's fixed interface
 * (seccomp(2), linux/filter.h, linux/audit.h), written out because not every C library brings those headers.
 */
#include "agent.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

struct instruction {
    uint16_t code;
    uint8_t if_true, if_false;
    uint32_t operand;
};
struct program {
    unsigned short length;
    struct instruction *instructions;
};

enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, JUMP_IF_AT_LEAST = 0x35, RETURN = 0x06 }; /* BPF_LD|W|ABS, BPF_JMP|.. */
enum { NUMBER_AT = 0, ARCHITECTURE_AT = 4, ARGUMENTS_AT = 16 };                     /* struct seccomp_data */
enum { FILTER_MODE = 2, ROUTE_PROTOCOL = 0 };                                      /* NETLINK_ROUTE */
#define KILL_PROCESS 0x80000000u
#define ERROR 0x00050000u
#define ALLOW 0x7fff0000u

#if defined(__x86_64__)
#define OWN_ARCHITECTURE 0xc000003eu
#define X32_NUMBERS 0x40000000u
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE 0xc00000b7u
#else
#error "the filter knows x86_64 and aarch64"
#endif

/* The same on both architectures; older headers lack them. */
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static const uint32_t INTO_OTHER_PROCESSES[] = {
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp,
};

/* Answered like a kernel that was built without them, which programs cope with best. */
static const uint32_t ABSENT[] = {
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_shmdt,                         /* System V IPC */
    SYS_semget, SYS_semop, SYS_semctl, SYS_semtimedop,
    SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl,
    SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify, SYS_mq_getsetattr,
    SYS_add_key, SYS_request_key, SYS_keyctl,
    SYS_userfaultfd, SYS_bpf, SYS_perf_event_open,
    425, 426, 427, /* io_uring_setup, io_uring_enter, io_uring_register */
};

static const uint32_t FAMILIES[] = {AF_UNIX, AF_INET, AF_INET6};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct instruction instructions[128];
static unsigned short length;

static void add(uint16_t code, uint32_t operand, uint8_t if_true, uint8_t if_false) {
    instructions[length++] = (struct instruction){code, if_true, if_false, operand};
}

/* When the loaded word is equal, the filter's answer is this. */
static void answer_if(uint32_t value, uint32_t answer) {
    add(JUMP_IF_EQUAL, value, 0, 1);
    add(RETURN, answer, 0, 0);
}

/* socket and socketpair: their first argument is the family, the third the protocol; both are ints. */
static void add_sockets(uint32_t number) {
    unsigned short jump = length;
    add(JUMP_IF_EQUAL, number, 0, 0); /* its way around is set below */
    add(LOAD, ARGUMENTS_AT, 0, 0);
    for (size_t i = 0; i < COUNT(FAMILIES); i++)
        answer_if(FAMILIES[i], ALLOW);
    add(JUMP_IF_EQUAL, AF_NETLINK, 0, 3);
    add(LOAD, ARGUMENTS_AT + 2 * 8, 0, 0);
    answer_if(ROUTE_PROTOCOL, ALLOW);
    add(RETURN, ERROR | EAFNOSUPPORT, 0, 0);
    instructions[jump].if_false = (uint8_t)(length - jump - 1);
}

int filter_install(bool allow_ptrace) {
    length = 0;
    add(LOAD, ARCHITECTURE_AT, 0, 0);
    add(JUMP_IF_EQUAL, OWN_ARCHITECTURE, 1, 0);
    add(RETURN, KILL_PROCESS, 0, 0);
    add(LOAD, NUMBER_AT, 0, 0);
#ifdef X32_NUMBERS
    add(JUMP_IF_AT_LEAST, X32_NUMBERS, 0, 1);
    add(RETURN, KILL_PROCESS, 0, 0);
#endif
    for (size_t i = 0; i < COUNT(ABSENT); i++)
        answer_if(ABSENT[i], ERROR | ENOSYS);
    for (size_t i = 0; i < COUNT(INTO_OTHER_PROCESSES) && !allow_ptrace; i++)
        answer_if(INTO_OTHER_PROCESSES[i], ERROR | EPERM);
    add_sockets(SYS_socket);
    add_sockets(SYS_socketpair);
    add(RETURN, ALLOW, 0, 0);
    struct program program = {length, instructions};
    return prctl(PR_SET_SECCOMP, FILTER_MODE, &program) == 0 ? 0 : errno;
}
