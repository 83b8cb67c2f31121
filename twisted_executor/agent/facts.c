/* What the agent sees of its container: for the greeting, the wipe and the account of a run. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP "/sys/fs/cgroup/"
#define UNLIMITED (1ULL << 60) /* version 1 says a number near 2^63 */

char mounts[MOST_MOUNTS][MOST_PATH];
int mount_count;

static char text[32768];

/* A whole small file with a zero behind it; NULL when it cannot be read. */
static char *slurp(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t got = -1;
    if (file < 0)
        return NULL;
    while (size < sizeof text - 1 && (got = read(file, text + size, sizeof text - 1 - size)) > 0)
        size += got;
    close(file);
    text[size] = 0;
    return got < 0 ? NULL : text;
}

static char said[16384];
static size_t said_size;

static void say(const char *key, const char *value)
{
    int size = snprintf(said + said_size, sizeof said - said_size, "%s %s\n", key, value);
    if (size > 0 && (size_t)size < sizeof said - said_size)
        said_size += size;
}

static void say_number(const char *key, const char *value)
{
    char number[32];
    if (!strncmp(value, "max", 3) || *value == '-' || strtoull(value, NULL, 10) >= UNLIMITED)
        return say(key, "max");
    snprintf(number, sizeof number, "%llu", strtoull(value, NULL, 10));
    say(key, number);
}

static bool say_file(const char *key, const char *path)
{
    char *value = slurp(path);
    if (value)
        say_number(key, value);
    return value != NULL;
}

static void say_map(const char *key, const char *path)
{
    char joined[512] = "", *map = slurp(path), *rest = NULL;
    unsigned inside, outside, count;
    for (char *line = map ? strtok_r(map, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        size_t at = strlen(joined);
        if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3)
            snprintf(joined + at, sizeof joined - at, "%s%u %u %u", at ? "," : "", inside, outside, count);
    }
    if (*joined)
        say(key, joined);
}

static void say_status(void)
{
    static const char *const names[][2] = {
        {"CapEff:", "caps_effective"}, {"CapPrm:", "caps_permitted"}, {"CapBnd:", "caps_bounding"},
        {"CapInh:", "caps_inheritable"}, {"CapAmb:", "caps_ambient"}, {"NoNewPrivs:", "no_new_privs"},
        {"Seccomp:", "seccomp"},
    };
    char *status = slurp("/proc/self/status"), *rest = NULL, name[32], value[32];
    for (char *line = status ? strtok_r(status, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (sscanf(line, "%31s %31s", name, value) == 2 && !strcmp(name, names[i][0]))
                say(names[i][1], value);
}

/* Memory and swap together, as version 1 counts; version 2 has two limits. */
static void say_memory_2(void)
{
    unsigned long long memory, swap;
    char number[32], *value = slurp(CGROUP "memory.max");
    if (!value)
        return;
    say_number("memory_limit", value);
    bool bounded = *value != 'm';
    memory = strtoull(value, NULL, 10);
    if (!(value = slurp(CGROUP "memory.swap.max")))
        return;
    swap = strtoull(value, NULL, 10);
    snprintf(number, sizeof number, "%llu", memory + swap);
    say("memory_swap_limit", bounded && *value != 'm' ? number : "max");
}

static void say_limits(void)
{
    char quota[32], period[32], *value;
    if (say_file("memory_limit", CGROUP "memory/memory.limit_in_bytes")) {
        say_file("memory_swap_limit", CGROUP "memory/memory.memsw.limit_in_bytes");
        say_file("cpu_quota", CGROUP "cpu/cpu.cfs_quota_us");
        say_file("cpu_period", CGROUP "cpu/cpu.cfs_period_us");
        say_file("pids_limit", CGROUP "pids/pids.max");
        return;
    }
    say_memory_2();
    if ((value = slurp(CGROUP "cpu.max")) && sscanf(value, "%31s %31s", quota, period) == 2) {
        say_number("cpu_quota", quota);
        say_number("cpu_period", period);
    }
    say_file("pids_limit", CGROUP "pids.max");
}

/* Those that are up: some kernels put tunnels that are down into every namespace. */
static void say_interfaces(void)
{
    char names[512] = "", path[320];
    DIR *folder = opendir("/sys/class/net");
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        size_t at = strlen(names);
        snprintf(path, sizeof path, "/sys/class/net/%s/flags", entry->d_name);
        char *flags = entry->d_name[0] == '.' ? NULL : slurp(path);
        if (flags && strtoul(flags, NULL, 16) & 1)
            snprintf(names + at, sizeof names - at, "%s%s", at ? "," : "", entry->d_name);
    }
    if (folder) {
        closedir(folder);
        say("interfaces", names);
    }
}

/* From the kernel's octal escapes. */
static void unescape(char *to, const char *from, size_t most)
{
    size_t at = 0;
    unsigned code;
    while (*from && at + 1 < most)
        if (*from == '\\' && sscanf(from, "\\%3o", &code) == 1) {
            to[at++] = code;
            from += 4;
        } else
            to[at++] = *from++;
    to[at] = 0;
}

/* To a list with commas between; one in a name is escaped, as the kernel escapes others. */
static void append(char *list, size_t most, const char *name)
{
    size_t at = strlen(list);
    snprintf(list + at, most - at, "%s", at ? "," : "");
    for (; *name && strlen(list) + 5 < most; name++) {
        at = strlen(list);
        snprintf(list + at, most - at, *name == ',' ? "\\054" : "%c", *name);
    }
}

static char writable[8192], loose[8192];

static void see_mount(const char *escaped, const char *options)
{
    struct stat found;
    char path[MOST_PATH];
    if (strlen(escaped) >= MOST_PATH)
        fault("a mount point has too long a name");
    if (!strcmp(escaped, "/"))
        say("read_only_root", strncmp(options, "ro", 2) ? "0" : "1");
    if (strncmp(options, "rw", 2))
        return;
    unescape(path, escaped, sizeof path);
    if (stat(path, &found) || !S_ISDIR(found.st_mode) || !(found.st_mode & S_IWOTH))
        return;
    if (mount_count == MOST_MOUNTS)
        fault("more writable mounts than can be wiped");
    strcpy(mounts[mount_count++], path);
    append(writable, sizeof writable, escaped);
    if (!strstr(options, ",nosuid") || !strstr(options, ",nodev"))
        append(loose, sizeof loose, escaped);
}

static void say_mounts(void)
{
    static char all[sizeof text];
    char *info = slurp("/proc/self/mountinfo"), *rest = NULL;
    if (!info || strlen(info) == sizeof text - 1)
        fault("the mounts cannot be read"); /* not one of them may be missed */
    strcpy(all, info);
    for (char *line = strtok_r(all, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char path[MOST_PATH * 4], options[256];
        if (sscanf(line, "%*s %*s %*s %*s %2047s %255s", path, options) == 2)
            see_mount(path, options);
    }
    say("writable", writable);
    say("loose", loose);
}

static bool has_entries(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry = NULL;
    while (folder && (entry = readdir(folder)) && entry->d_name[0] == '.')
        ;
    if (folder)
        closedir(folder);
    return entry != NULL;
}

static bool has_content(const char *path)
{
    char byte;
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t got = file < 0 ? 0 : read(file, &byte, 1);
    if (file >= 0)
        close(file);
    return got > 0;
}

/* What an engine covers or makes read-only (runc's maskedPaths and readonlyPaths), where it did not. */
static void say_exposed(void)
{
    static const char *const folders[] = {"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"};
    static const char *const secrets[] = {"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                                          "/proc/timer_list"};
    static const char *const controls[] = {"/proc/irq/default_smp_affinity", "/proc/sys/kernel/core_pattern",
                                           "/proc/sysrq-trigger", "/sys/kernel/rcu_expedited",
                                           CGROUP "memory/cgroup.procs", CGROUP "cgroup.procs"};
    char exposed[512] = "";
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (has_entries(folders[i]))
            append(exposed, sizeof exposed, folders[i]);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (has_content(secrets[i]))
            append(exposed, sizeof exposed, secrets[i]);
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++)
        if (!access(controls[i], W_OK))
            append(exposed, sizeof exposed, controls[i]);
    say("exposed", exposed);
}

void facts_gather(void)
{
    unsigned char version[4];
    put32(version, VERSION);
    memcpy(said, version, 4);
    said_size = 4;
    say_map("uid_map", "/proc/self/uid_map");
    say_map("gid_map", "/proc/self/gid_map");
    say_status();
    say_limits();
    say_interfaces();
    say_mounts();
    say_exposed();
}

void facts_send(void)
{
    frames_send(HELLO, 0, said, said_size);
}

/* Asked twice in each run, so the file stays open. */
uint32_t oom_kills(void)
{
    static int file = -1;
    char counts[512];
    if (file < 0)
        file = open(CGROUP "memory/memory.oom_control", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        file = open(CGROUP "memory.events", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : pread(file, counts, sizeof counts - 1, 0);
    counts[size < 0 ? 0 : size] = 0;
    char *found = strstr(counts, "oom_kill ");
    return found ? strtoul(found + 9, NULL, 10) : 0;
}
