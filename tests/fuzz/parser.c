/* The parser alone: frames.c and start.c.  However the bytes are cut, the same frames come of them. */
#include "syscalls.h"

#include "harness.h"
#include "input.h"

#include "frames.c"
#include "start.c"

static size_t chunk; /* bytes that a read gives, 0 all */
static bool interrupted;
static uint64_t digest;

ssize_t fuzz_read(int fd, void *to, size_t size)
{
    if (fd != STDIN_FILENO)
        broken("it reads what is not the server's");
    if (interrupted || wire_at == wire_end) {
        errno = interrupted ? EINTR : EAGAIN;
        interrupted = false;
        return -1;
    }
    size_t there = wire_end - wire_at, most = chunk && chunk < there ? chunk : there;
    size = size < most ? size : most;
    memcpy(to, wire + wire_at, size);
    wire_at += size;
    return size;
}

static void note(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t word = size;
    for (size_t left = size; left; left -= left < sizeof word ? left : sizeof word) {
        digest = (digest ^ word) * 0x100000001b3;
        digest ^= digest >> 29;
        memcpy(&word, at + size - left, left < sizeof word ? left : sizeof word);
    }
    digest = (digest ^ word) * 0x100000001b3;
}

/* It writes only when it gives up, and then one FAULT. */
ssize_t fuzz_write(int fd, const void *from, size_t size)
{
    const unsigned char *frame = from;
    if (fd != STDOUT_FILENO || size < HEADER || frame[0] != FAULT || get32(frame + 4) != size - HEADER)
        broken("it writes what is no FAULT");
    reached((const char *)frame + HEADER, size - HEADER);
    note(from, size);
    return size;
}

static void note_strings(char **list)
{
    for (; *list; list++)
        note(*list, strlen(*list));
}

static void observe(const struct frame *frame)
{
    struct start start = {0};
    note(&frame->type, sizeof frame->type);
    note(&frame->run, sizeof frame->run);
    note(frame->payload, frame->length);
    if (frame->type != START)
        return;
    bool parsed = start_parse(&start, frame);
    note(&parsed, sizeof parsed);
    if (parsed) {
        const char *kind = frame->length > MOST_PAYLOAD ? "a large START" : "a START";
        reached(kind, strlen(kind));
        note_strings(start.args);
        note_strings(start.env);
        if (!start.uid || !start.script_size)
            broken("a START without a user or a script");
    }
    start_free(&start);
}

static void listen_to_server(void)
{
    struct frame frame;
    if (!frames_read())
        broken("the server's stream ended");
    while (frames_next(&frame))
        observe(&frame);
}

static void reset(void)
{
    free(large);
    large = payload = NULL;
    input_at = input_end = head_size = payload_size = queue_at = queue_end = 0;
    wire_at = wire_end = 0;
    interrupted = false;
    digest = 0xcbf29ce484222325;
}

static void turn(const struct instruction *now)
{
    interrupted = now->first & 1;
    chunk = now->second;
    listen_to_server();
}

static uint64_t pass(struct input input, bool in_pieces)
{
    struct instruction now;
    reset();
    failing_allocation = input_byte(&input);
    if (setjmp(exited)) {
        if (exit_code != 70)
            broken("it exits as if nothing was wrong");
        return digest;
    }
    while (input_next(&input, &now))
        if (in_pieces && now.kind == TURN)
            turn(&now);
    chunk = 0;
    while (wire_at < wire_end || input_at < input_end)
        listen_to_server();
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    if (pass(input, true) != pass(input, false))
        broken("other frames come when the bytes are cut otherwise");
    reset();
    return 0;
}
