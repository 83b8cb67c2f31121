/* The script's streams: its output to the server up to a limit, its input from the server against credit. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CREDIT_STEP 32768
#define HOLD (SECOND / 200) /* how long a little output waits for more: with the END it is one write instead of two */
#define HOLD_MOST 16384

static struct {
    unsigned char bytes[CREDIT];
    size_t at, size;
    bool ended;      /* the server has sent all */
    uint32_t credit; /* taken, and not said yet */
} input;

int64_t held_until;

void close_end(int *end)
{
    if (*end >= 0)
        close(*end);
    *end = -1;
}

void pass_output(int *end, int stream)
{
    static unsigned char dropped[CHUNK];
    uint64_t *written = &run.written[stream];
    uint64_t room = *written < run.start.keep ? run.start.keep - *written : 0;
    size_t most = room && room < CHUNK ? room : CHUNK;
    unsigned char *into = room ? frames_reserve(most) : dropped;
    if (!into)
        return; /* the server is slow: the script waits */
    ssize_t got = read(*end, into, most);
    /* When all are dead that could write, nothing more comes, though the kernel may hold the other end for a while. */
    if (got < 0 && (errno == EINTR || (errno == EAGAIN && run.state != DRAINING)))
        return;
    if (got <= 0)
        return close_end(end);
    *written += got;
    if (!frames_pending())
        held_until = now() + HOLD;
    if (room)
        frames_commit(stream ? ERR : OUT, run.id, got);
    if (*written >= run.start.most && run.state == RUNNING)
        end_run(OUTPUT_LIMIT);
}

static void give_credit(size_t bytes)
{
    unsigned char amount[4];
    input.credit += bytes;
    if (input.ended || (input.size && input.credit < CREDIT_STEP) || !input.credit)
        return;
    put32(amount, input.credit);
    input.credit = held_until = 0;
    frames_send(CREDIT_MORE, run.id, amount, sizeof amount);
}

/* The script does not want what is left. */
static void discard_input(void)
{
    size_t size = input.size;
    close_end(&run.child.in);
    input.size = 0;
    give_credit(size);
}

void pass_input(void)
{
    size_t most = input.at + input.size > CREDIT ? CREDIT - input.at : input.size;
    ssize_t put = most ? write(run.child.in, input.bytes + input.at, most) : 0;
    if (put < 0 && errno != EAGAIN && errno != EINTR)
        return discard_input();
    if (put > 0) {
        input.at = (input.at + put) % CREDIT;
        input.size -= put;
        give_credit(put);
    }
    if (!input.size && input.ended)
        close_end(&run.child.in);
}

void input_reset(void)
{
    input.at = input.size = input.credit = 0;
    input.ended = false;
}

void input_add(const struct frame *frame)
{
    if (input.ended || frame->length > CREDIT - input.size)
        fault("STDIN beyond its end or its credit");
    input.ended = !frame->length;
    size_t to = (input.at + input.size) % CREDIT;
    size_t first = frame->length < CREDIT - to ? frame->length : CREDIT - to;
    memcpy(input.bytes + to, frame->payload, first);
    memcpy(input.bytes, frame->payload + first, frame->length - first);
    input.size += frame->length;
    if (run.child.in < 0)
        discard_input();
    else
        pass_input();
}

bool input_waits(void)
{
    return input.size || input.ended;
}

/* Nobody waits for output alone: the client gets its answer at the end. */
bool holding(void)
{
    bool early = run.state == RUNNING || run.state == LINGERING;
    return early && frames_pending() && frames_pending() < HOLD_MOST && now() < held_until;
}
