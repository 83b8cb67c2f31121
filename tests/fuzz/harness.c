#include "harness.h"
#include "kernel.h"

#include <stdbool.h>
#include <stdio.h>

#define MOST_TEXTS 64

jmp_buf exited;
int exit_code;
unsigned failing_allocation;

static char texts[MOST_TEXTS][80];
static int text_count;

_Noreturn void broken(const char *what)
{
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void tell(void)
{
    for (int text = 0; text < text_count; text++)
        fprintf(stderr, "reached: %s\n", texts[text]);
}

void reached(const char *what, size_t size)
{
    char line[sizeof texts[0]];
    snprintf(line, sizeof line, "%.*s", (int)size, what);
    for (int text = 0; text < text_count; text++)
        if (!strcmp(texts[text], line))
            return;
    if (!text_count)
        atexit(tell);
    if (text_count == MOST_TEXTS)
        broken("more texts than there is room for");
    strcpy(texts[text_count++], line);
}

_Noreturn void fuzz_exit(int code)
{
    exit_code = code;
    longjmp(exited, 1);
}

static bool allocation_fails(void)
{
    return failing_allocation && !--failing_allocation;
}

void *fuzz_malloc(size_t size)
{
    return allocation_fails() ? NULL : malloc(size);
}

void *fuzz_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : calloc(count, size);
}
