/* After a run: nothing of it is left, or we say what is. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define NO_REPLACE 1 /* RENAME_NOREPLACE */

static bool is_dot(const char *name)
{
    return !strcmp(name, ".") || !strcmp(name, "..");
}

/* A folder of the run's below `parent`, made readable first. */
static DIR *open_own(int parent, const char *name)
{
    fchmodat(parent, name, 0700, 0);
    int file = openat(parent, name, FOLDER);
    DIR *folder = file < 0 ? NULL : fdopendir(file);
    if (!folder && file >= 0)
        close(file);
    return folder;
}

/* Move a folder up to the top, under a name that is free there. */
static bool lift(int from, const char *name, int top)
{
    static unsigned counter;
    char fresh[32];
    fchmodat(from, name, 0700, 0); /* its ".." changes, so it must be writable */
    do
        snprintf(fresh, sizeof fresh, ".wipe%u", counter++);
    while (syscall(SYS_renameat2, from, name, top, fresh, NO_REPLACE) && errno == EEXIST);
    return faccessat(from, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
}

/* Remove a folder at the top: folders in it go up, so that no depth needs a stack or more than three descriptors. */
static bool remove_folder(int top, const char *name)
{
    DIR *folder = open_own(top, name);
    struct dirent *entry;
    if (!folder)
        return false;
    while ((entry = readdir(folder)))
        if (!is_dot(entry->d_name) && unlinkat(dirfd(folder), entry->d_name, 0))
            lift(dirfd(folder), entry->d_name, top);
    closedir(folder);
    return !unlinkat(top, name, AT_REMOVEDIR);
}

/* One pass over what is at the top; true when something went. */
static bool pass(DIR *top, uid_t uid, dev_t device)
{
    bool went = false;
    struct dirent *entry;
    struct stat found;
    rewinddir(top);
    while ((entry = readdir(top))) {
        if (is_dot(entry->d_name) || fstatat(dirfd(top), entry->d_name, &found, AT_SYMLINK_NOFOLLOW))
            continue;
        if (found.st_uid != uid || found.st_dev != device)
            continue; /* a mount point, or the way to one: root's */
        if (S_ISDIR(found.st_mode))
            went |= remove_folder(dirfd(top), entry->d_name);
        else
            went |= !unlinkat(dirfd(top), entry->d_name, 0);
    }
    return went;
}

/* As the run's own user, since root here may not look into its folders. */
static bool empty_mounts(uint32_t uid)
{
    struct stat found;
    bool emptied = !seteuid(uid);
    for (int i = 0; emptied && i < mount_count; i++) {
        DIR *top = opendir(mounts[i]);
        emptied = top && !fstat(dirfd(top), &found);
        while (emptied && pass(top, uid, found.st_dev))
            ;
        if (top)
            closedir(top);
    }
    if (seteuid(0))
        fault("the agent cannot become root again");
    prctl(PR_SET_DUMPABLE, !ON(HIDDEN)); /* seteuid sets it to fs.suid_dumpable (kernel/cred.c, commit_creds) */
    return emptied;
}

static bool leads_to_mount(const char *path)
{
    size_t length = strlen(path);
    for (int i = 0; i < mount_count; i++)
        if (!strncmp(mounts[i], path, length) && (!mounts[i][length] || mounts[i][length] == '/'))
            return true;
    return false;
}

/* Nothing but mount points and root's folders on the way to them. */
static bool is_empty(const char *path)
{
    char below[MOST_PATH + 256 + 2];
    DIR *folder = opendir(path);
    struct dirent *entry;
    bool empty = folder != NULL;
    while (empty && (entry = readdir(folder))) {
        if (is_dot(entry->d_name))
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        empty = leads_to_mount(below) && is_empty(below);
    }
    if (folder)
        closedir(folder);
    return empty;
}

/* The first place that is not empty, or NULL. */
static const char *first_full(void)
{
    for (int i = 0; i < mount_count; i++)
        if (!is_empty(mounts[i]))
            return mounts[i];
    return NULL;
}

const char *wipe(uint32_t uid)
{
    static char why[MOST_PATH + 32];
    if (unlink(SCRIPT))
        return "the script stays";
    /* Most scripts leave no file: then END and WIPED are one write. */
    const char *full = ON(WIPE) || ON(CHECK) ? first_full() : NULL;
    if (full)
        frames_flush(); /* the client does not wait for the wipe */
    if (ON(WIPE) && full && !empty_mounts(uid))
        return "the wipe failed";
    if (ON(CHECK) && full && (full = first_full())) {
        snprintf(why, sizeof why, "%.200s is not empty", full);
        return why;
    }
    return !ON(CHECK) || (kill(-1, 0) && errno == ESRCH) ? NULL : "a process is left";
}
