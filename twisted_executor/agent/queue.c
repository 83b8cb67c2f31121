/* Frames to the server.  The queue is bounded: while it has no room the script's output stays in its pipes. */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER = 16,
    SIZE = 192 * 1024,
    CONTROL = 4096, /* always left for frames that are not output */
    TO_SERVER = STDOUT_FILENO,
    EXIT_FAULT = 70,      /* EX_SOFTWARE of sysexits.h */
    FAULT_PATIENCE = 1000 /* milliseconds */
};

static uint8_t queue[SIZE];
static size_t from, to; /* what waits in it */

/* Make a gap of this many bytes behind what waits. */
static bool make_room(size_t count) {
    if (SIZE - (to - from) < count)
        return false;
    if (SIZE - to < count) {
        memmove(queue, queue + from, to - from);
        to -= from;
        from = 0;
    }
    return true;
}

static void put_header(enum type type, uint64_t run, size_t count) {
    uint8_t *at = queue + to;
    put32(at, (uint32_t)type << 24);
    put32(at + 4, (uint32_t)count);
    put64(at + 8, run);
    to += HEADER + count;
}

void queue_frame(enum type type, uint64_t run, const void *payload, size_t count) {
    if (!make_room(HEADER + count))
        exit(EXIT_FAULT); /* the server asks on and on, and reads nothing */
    if (count > 0)
        memcpy(queue + to + HEADER, payload, count);
    put_header(type, run, count);
}

uint8_t *queue_place(void) {
    return make_room(HEADER + MOST_PAYLOAD + CONTROL) ? queue + to + HEADER : NULL;
}

void queue_output(enum type type, uint64_t run, size_t count) {
    put_header(type, run, count);
}

bool queue_waits(void) {
    return from < to;
}

void queue_flush(void) {
    while (from < to) {
        ssize_t count = write(TO_SERVER, queue + from, to - from);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0)
            exit(0); /* the server is gone */
        from += (size_t)count;
    }
    from = to = 0; /* small runs use the same few pages again and again */
}

void fault(const char *reason) {
    size_t count = strlen(reason);
    queue_frame(FAULT, 0, reason, count < MOST_TEXT ? count : MOST_TEXT);
    uint64_t deadline = now() + FAULT_PATIENCE * (NANOSECONDS / 1000);
    for (queue_flush(); queue_waits() && now() < deadline; queue_flush()) {
        struct pollfd polled = {.fd = TO_SERVER, .events = POLLOUT};
        poll(&polled, 1, FAULT_PATIENCE);
    }
    exit(EXIT_FAULT);
}
