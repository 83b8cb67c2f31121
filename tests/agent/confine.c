/* What the engine does to a container's first process, then that process: confine PROGRAM [ARGUMENT...] */
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count < 2)
        return 2;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (capability != CAP_KILL && capability != CAP_SETUID && capability != CAP_SETGID &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
            return 3;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 4;
    execv(arguments[1], arguments + 1);
    return 5;
}
