/* What an engine does to a container's first process, then that process: confine PROGRAM [ARGUMENT...]
   It also gives it what engines did at times, and what no script may have: groups, and inheritable capabilities. */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEPT (1U << CAP_KILL | 1U << CAP_SETUID | 1U << CAP_SETGID)

static int set_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct kept[2] = {{.effective = KEPT, .permitted = KEPT, .inheritable = KEPT}};
    return syscall(SYS_capset, &header, kept);
}

int main(int count, char **arguments)
{
    const gid_t groups[] = {0, 1, 6, 10};
    if (count < 2 || setgroups(sizeof groups / sizeof *groups, groups))
        return 2;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (!(capability < 32 && KEPT & 1U << capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
            return 3;
    if (set_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 4;
    execv(arguments[1], arguments + 1);
    return 5;
}
