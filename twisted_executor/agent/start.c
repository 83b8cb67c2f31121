/* The START frame: everything of a run but its script and its stdin. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

#define FIXED 44
#define MOST_STRINGS 131072

/* One string: a length, and bytes without a zero.  The length's place takes the zero of the string before it. */
static char *string(unsigned char *payload, size_t size, size_t *at)
{
    if (size - *at < 4)
        return NULL;
    uint32_t length = get32(payload + *at);
    if (length > size - *at - 4 || memchr(payload + *at + 4, 0, length))
        return NULL;
    char *found = (char *)payload + *at + 4;
    payload[*at] = 0;
    *at += 4 + length;
    return found;
}

/* `count` strings behind the first `lead` places of a new list that ends with NULL. */
static char **strings(unsigned char *payload, size_t size, size_t *at, uint32_t count)
{
    char **list = calloc(count + 1, sizeof *list);
    for (uint32_t i = 0; list && i < count; i++)
        if (!(list[i] = string(payload, size, at))) {
            free(list);
            return NULL;
        }
    return list;
}

bool start_parse(struct start *start, const struct frame *frame)
{
    const unsigned char *fixed = frame->payload;
    if (frame->length < FIXED)
        return false;
    *start = (struct start){
        .uid = ON(FRESH_UID) ? get32(fixed) : 1000,
        .time_limit_us = get64(fixed + 4),
        .keep = get64(fixed + 12),
        .most = get64(fixed + 20),
        .script_size = get64(fixed + 28),
    };
    uint32_t args = get32(fixed + 36), env = get32(fixed + 40);
    if (!start->uid || start->uid == UINT32_MAX || !start->script_size || args > MOST_STRINGS || env > MOST_STRINGS ||
        start->time_limit_us > UINT64_MAX / 1000000)
        return false;
    /* One byte more, for the zero of the last string. */
    size_t size = frame->length - FIXED, at = 0;
    if (!(start->payload = malloc(size + 1)))
        return false;
    memcpy(start->payload, fixed + FIXED, size);
    start->payload[size] = 0;
    start->args = strings(start->payload, size, &at, args);
    start->env = start->args ? strings(start->payload, size, &at, env) : NULL;
    return start->env && at == size;
}

void start_free(struct start *start)
{
    free(start->args);
    free(start->env);
    free(start->payload);
    *start = (struct start){0};
}
