"""What a script can do to the agent that runs it."""

from __future__ import annotations

from tests.security.rows import NO_PROFILE, Row, Weakness

UNREACHABLE = "the agent is of another uid, has more capabilities, and is not dumpable"
FILTERED = UNREACHABLE + "; our filter"
SAME_USER = Weakness("UNPRIVILEGED")
VISIBLE = Weakness("HIDDEN+UNPRIVILEGED")
DEBUGGED = Weakness("HIDDEN+UNPRIVILEGED+FILTER", NO_PROFILE)
LATER = "sleep 0.1;"  # the agent is not dumpable in any case while it starts a script
FRAME = r"\012\000\000\000\205\001\000\000\000" + r"\000" * 5  # like an END of run 1, cut off

ROWS = [
    Row(
        "signals-to-agent",
        "every signal to PID 1",
        UNREACHABLE,
        "for n in $(seq 1 64); do kill -$n 1 2>/dev/null && echo sent $n; done; echo none",
        "none",
        SAME_USER,
    ),
    Row("kill-all", "`kill -9 -1`", UNREACHABLE, "kill -9 -1; echo alive", "alive"),
    Row("kill-group", "`kill -9 0`", "the script leads a group of its own", "kill -9 0", "signaled"),
    Row("ptrace-agent", "ptrace of PID 1", FILTERED, f"{LATER} attempt ptrace-agent", "1", DEBUGGED),
    Row(
        "read-agent",
        "process_vm_readv of PID 1",
        FILTERED,
        f"{LATER} attempt read-agent",
        "1",
        DEBUGGED,
    ),
    Row(
        "take-descriptor",
        "pidfd_getfd of PID 1",
        UNREACHABLE + "; the engine's profile",
        f"{LATER} attempt take-descriptor",
        "1",
        DEBUGGED,
    ),
    Row("limit-agent", "prlimit of PID 1", UNREACHABLE, "attempt limit-agent", "1", SAME_USER),
    Row("pin-agent", "sched_setaffinity of PID 1", UNREACHABLE, "attempt pin-agent", "1", SAME_USER),
    Row("nice-agent", "setpriority of PID 1", UNREACHABLE, "attempt nice-agent", "1", SAME_USER),
    *(
        Row(f"proc-{name}", f"/proc/1/{name}", UNREACHABLE, f"{LATER} attempt {how} /proc/1/{name}", "13", VISIBLE)
        for how, name in [
            ("open", "mem"),
            ("open", "environ"),
            ("open", "maps"),
            ("list", "fd"),
            ("list", "root/bin"),
            ("list", "cwd/"),
            ("write", "fd/0"),
            ("write", "fd/1"),
            ("write", "oom_score_adj"),
        ]
    ),
    Row(
        "forged-frames",
        "output that looks like a frame of the agent's",
        "each run has pipes of its own",
        f"printf '{FRAME}' | od -An -tx1; printf '{FRAME}' >/proc/self/fd/2; printf '{FRAME}'>/dev/null; echo end",
        " 0a 00 00 00 85 01 00 00 00 00 00 00 00 00\nend",
        Weakness("OWN_PIPES"),
    ),
    Row(
        "closed-streams",
        "a script that closes its streams and goes on",
        "the main process's end is waited for",
        "exec 0<&- 1>&- 2>&-; sleep 0.3; exit 7",
        "nonzero_exit",
    ),
    Row(
        "held-pipes",
        "a child that holds the pipes",
        "what is left 0.1 s after the end of the script is killed",
        "sleep 1000 & echo mine",
        "mine",
    ),
    Row(
        "full-places",
        "all writable places full, then a script",
        "the script has a place of its own",
        "echo mine",
        "mine",
        None,
        "for place in /tmp /dev/shm /data; do dd if=/dev/zero of=$place/full bs=1M; done 2>/dev/null",
    ),
]
