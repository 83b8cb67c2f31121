/* Everything that a process can read, looked through for a secret: search HEX...
   HEX is the secret's bytes, each with all bits turned over, so that the secret is nowhere in what this program has.
   A line for each place that has one, and last how many files were read.
   search writable: a line for each folder and file, but of processes, that can be written to. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SECRET 64
#define MOST_FILE (64 << 20) /* of a file; a device is endless */
#define MOST_DEVICE (1 << 20)
#define BUFFER 65536

static unsigned char turned[MOST_SECRET];
static size_t size;
static long looked;
static int for_writable;

static void parse(const char *hex)
{
    unsigned byte;
    for (size = 0; size < MOST_SECRET && sscanf(hex + 2 * size, "%2x", &byte) == 1; size++)
        turned[size] = byte;
}

static int has(const unsigned char *bytes, size_t length)
{
    const unsigned char *at = bytes, *end = bytes + length;
    while (end - at >= (long)size && (at = memchr(at, 0xff & ~turned[0], end - at - size + 1))) {
        size_t same = 0;
        while (same < size && at[same] == (0xff & ~turned[same]))
            same++;
        if (same == size)
            return 1;
        at++;
    }
    return 0;
}

/* From `offset` on, at most `most` bytes. */
static int file_has(int file, off_t offset, size_t most)
{
    static unsigned char buffer[MOST_SECRET + BUFFER];
    size_t kept = 0, seen = 0;
    while (seen < most) {
        ssize_t got = pread(file, buffer + kept, BUFFER, offset + seen);
        if (got < 0 && errno == ESPIPE)
            got = read(file, buffer + kept, BUFFER);
        if (got <= 0)
            return 0;
        if (has(buffer, kept + got))
            return 1;
        seen += got;
        size_t keep = kept + got < size - 1 ? kept + got : size - 1;
        memmove(buffer, buffer + kept + got - keep, keep);
        kept = keep;
    }
    return 0;
}

/* What a process has in memory, map by map. */
static void look_into_memory(const char *path)
{
    char maps[4096], line[4096];
    unsigned long from, to;
    snprintf(maps, sizeof maps, "%.*s/maps", (int)(strlen(path) - 4), path);
    FILE *list = fopen(maps, "re");
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    while (list && memory >= 0 && fgets(line, sizeof line, list))
        if (sscanf(line, "%lx-%lx r", &from, &to) == 2 && from < 1UL << 47 && file_has(memory, from, to - from))
            printf("%s\n", path);
    if (list)
        fclose(list);
    if (memory >= 0)
        close(memory);
}

static void look_into(const char *path, mode_t mode)
{
    size_t length = strlen(path);
    if (has((const unsigned char *)path, length))
        printf("name of %s\n", path);
    if (!strncmp(path, "/proc/", 6) && length > 4 && !strcmp(path + length - 4, "/mem"))
        return look_into_memory(path);
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (file < 0)
        return;
    looked++;
    if (file_has(file, 0, S_ISREG(mode) ? MOST_FILE : MOST_DEVICE))
        printf("%s\n", path);
    close(file);
}

/* The links of /proc/N/fd are files of others; its other links lead back to what is looked at anyway. */
static int leads_to_file(const char *path)
{
    return !strncmp(path, "/proc/", 6) && strstr(path, "/fd/");
}

/* Those of processes change under the walk, and each may write to its own. */
static int is_process(const char *path)
{
    return !strncmp(path, "/proc/", 6) && isdigit((unsigned char)path[6]);
}

static void look(const char *folder)
{
    char path[4096];
    struct stat found;
    struct dirent *entry;
    DIR *open_folder = opendir(*folder ? folder : "/");
    while (open_folder && (entry = readdir(open_folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        int written = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (written >= (int)sizeof path || lstat(path, &found))
            continue;
        if (for_writable) {
            if (is_process(path) || !(S_ISDIR(found.st_mode) || S_ISREG(found.st_mode)))
                continue;
            if (!access(path, W_OK))
                puts(path);
        }
        if (S_ISDIR(found.st_mode))
            look(path);
        else if (for_writable)
            continue;
        else if (!S_ISLNK(found.st_mode))
            look_into(path, found.st_mode);
        else if (leads_to_file(path) && !stat(path, &found) && !S_ISDIR(found.st_mode))
            look_into(path, found.st_mode);
    }
    if (open_folder)
        closedir(open_folder);
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for_writable = !strcmp(arguments[1], "writable");
    parse(arguments[1]);
    look("");
    if (!for_writable)
        printf("%ld files\n", looked);
    return 0;
}
