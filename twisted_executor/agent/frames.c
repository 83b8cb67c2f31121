/* Frames to and from the server, over our stdin and stdout, which never block. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER 16
#define RESERVE 4096 /* for frames of our own: a run has few, and they are small */
#define QUEUE (2 * (MOST_PAYLOAD + HEADER) + RESERVE)

static unsigned char input[MOST_PAYLOAD + HEADER];
static size_t input_at, input_end;
static unsigned char head[HEADER];
static size_t head_size;
static unsigned char small[MOST_PAYLOAD];
static unsigned char *payload, *large;
static size_t payload_size;

static unsigned char queue[QUEUE];
static size_t queue_at, queue_end;

void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = value >> (24 - 8 * i);
}

void put64(unsigned char *at, uint64_t value)
{
    put32(at, value >> 32);
    put32(at + 4, value);
}

uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

uint64_t get64(const unsigned char *at)
{
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

bool frames_read(void)
{
    if (input_at < input_end)
        return true;
    ssize_t got = read(STDIN_FILENO, input, sizeof input);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    input_at = 0;
    input_end = got;
    return got > 0;
}

static size_t take(void *to, size_t most)
{
    size_t there = input_end - input_at, size = there < most ? there : most;
    memcpy(to, input + input_at, size);
    input_at += size;
    return size;
}

static void begin_payload(const struct frame *frame)
{
    if (frame->type < START || frame->type > PING || head[1] || head[2] || head[3])
        fault("a frame that is none");
    if (frame->length > (frame->type == START ? MOST_START : MOST_PAYLOAD))
        fault("a frame that is too long");
    payload = small;
    if (frame->length > sizeof small && !(payload = large = malloc(frame->length)))
        fault("no memory for a frame");
    payload_size = 0;
}

bool frames_next(struct frame *frame)
{
    if (head_size == HEADER && payload_size == get32(head + 4)) {
        /* The frame before this one has been used. */
        head_size = 0;
        free(large);
        large = NULL;
    }
    if (head_size < HEADER) {
        head_size += take(head + head_size, HEADER - head_size);
        if (head_size < HEADER)
            return false;
        *frame = (struct frame){.type = head[0], .length = get32(head + 4)};
        begin_payload(frame);
    }
    uint32_t length = get32(head + 4);
    payload_size += take(payload + payload_size, length - payload_size);
    if (payload_size < length)
        return false;
    *frame = (struct frame){.type = head[0], .length = length, .run = get64(head + 8), .payload = payload};
    return true;
}

static void make_room(void)
{
    if (queue_at == queue_end)
        queue_at = queue_end = 0;
    else if (queue_at > 0) {
        memmove(queue, queue + queue_at, queue_end - queue_at);
        queue_end -= queue_at;
        queue_at = 0;
    }
}

static void put_header(uint8_t type, uint64_t run, size_t length)
{
    unsigned char *at = queue + queue_end;
    memset(at, 0, HEADER);
    at[0] = type;
    put32(at + 4, length);
    put64(at + 8, run);
}

void frames_send(uint8_t type, uint64_t run, const void *data, size_t length)
{
    if (queue_end + HEADER + length > QUEUE)
        make_room();
    if (queue_end + HEADER + length > QUEUE)
        fault("the server does not read"); /* a server that pings and never reads */
    put_header(type, run, length);
    if (length)
        memcpy(queue + queue_end + HEADER, data, length);
    queue_end += HEADER + length;
}

unsigned char *frames_reserve(size_t size)
{
    if (queue_end + HEADER + size + RESERVE > QUEUE)
        make_room();
    return queue_end + HEADER + size + RESERVE > QUEUE ? NULL : queue + queue_end + HEADER;
}

void frames_commit(uint8_t type, uint64_t run, size_t length)
{
    put_header(type, run, length);
    queue_end += HEADER + length;
}

bool frames_flush(void)
{
    while (queue_at < queue_end) {
        ssize_t written = write(STDOUT_FILENO, queue + queue_at, queue_end - queue_at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return false;
        if (written < 0)
            _exit(0); /* the server is gone */
        queue_at += written;
    }
    return true;
}

size_t frames_pending(void)
{
    return queue_end - queue_at;
}

_Noreturn void fault(const char *why)
{
    size_t length = strlen(why);
    make_room();
    if (queue_end + HEADER + length <= QUEUE) {
        put_header(FAULT, 0, length);
        memcpy(queue + queue_end + HEADER, why, length);
        queue_end += HEADER + length;
    }
    frames_flush();
    _exit(70);
}
