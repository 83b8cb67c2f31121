/* Takes all that it can get: consume threads, pages, memory-file or arguments. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MANY_THREADS 10000
#define PIECE (1 << 20)
#define ARGUMENTS 14
#define ARGUMENT (128 << 10) /* the most that the kernel takes for one (MAX_ARG_STRLEN) */

static void *rest(void *nothing)
{
    pause();
    return nothing;
}

static int threads(void)
{
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int count = 0; count < MANY_THREADS; count++)
        if (pthread_create(&thread, &small, rest, NULL))
            return puts("no more") < 0;
    return puts("as many as it wants") < 0;
}

static _Noreturn void pages(void)
{
    for (;;) {
        char *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece != MAP_FAILED)
            memset(piece, 1, PIECE);
    }
}

static int memory_file(void)
{
    static char piece[PIECE];
    int file = memfd_create("x", 0);
    while (write(file, piece, sizeof piece) > 0)
        ;
    return 1;
}

/* Processes that hold as many arguments as a process may have. */
static _Noreturn void arguments(char *self)
{
    static char text[ARGUMENT - 1], *list[ARGUMENTS + 3];
    memset(text, 'x', sizeof text - 1);
    list[0] = self;
    list[1] = "rest";
    for (int i = 0; i < ARGUMENTS; i++)
        list[i + 2] = text;
    for (;;)
        if (!fork()) {
            execv("/proc/self/exe", list);
            _exit(1);
        }
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "threads"))
        return threads();
    if (!strcmp(what, "pages"))
        pages();
    if (!strcmp(what, "memory-file"))
        return memory_file();
    if (!strcmp(what, "arguments"))
        arguments(words[0]);
    if (!strcmp(what, "rest"))
        return pause();
    return 2;
}
