/* Frames from the server, taken as they come: in pieces of any size. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER = 16, MOST_START = 2 << 20 };

static struct {
    uint8_t header[HEADER];
    size_t have; /* bytes of the header */
    size_t left; /* bytes of the payload that are to come */
    uint64_t run;
    uint8_t *start; /* the payload of a START, which is kept until it is whole */
    size_t start_count;
} frame;

static void check_length(enum type type, size_t length) {
    switch (type) {
    case START:
        if (length > MOST_START)
            fault("START is too long");
        return;
    case SCRIPT:
        if (length == 0)
            fault("SCRIPT is empty");
        /* fallthrough */
    case STDIN:
        if (length > MOST_PAYLOAD)
            fault("the frame is too long");
        return;
    case CANCEL:
    case PING:
        if (length != 0)
            fault("CANCEL and PING have no payload");
        return;
    default:
        fault("there is no such type of frame");
    }
}

/* The header is whole. */
static void begin(void) {
    enum type type = frame.header[0];
    if (frame.header[1] | frame.header[2] | frame.header[3])
        fault("the reserved bytes are not zero");
    frame.left = get32(frame.header + 4);
    frame.run = get64(frame.header + 8);
    check_length(type, frame.left);
    if ((frame.run == 0) != (type == PING))
        fault("the run's id is zero, or PING has one");
    if (type == START) {
        frame.start_count = frame.left;
        frame.start = malloc(frame.left + 1);
        if (frame.start == NULL)
            fault("there is no memory for START");
    }
}

/* A piece of the payload. */
static void take(const uint8_t *bytes, size_t count) {
    switch ((enum type)frame.header[0]) {
    case START:
        memcpy(frame.start + frame.start_count - frame.left, bytes, count);
        break;
    case SCRIPT:
        run_script(frame.run, bytes, count);
        break;
    default:
        run_stdin(frame.run, bytes, count);
    }
    frame.left -= count;
}

/* The frame is whole. */
static void end(void) {
    enum type type = frame.header[0];
    if (type == START)
        run_start(frame.run, frame.start, frame.start_count);
    else if (type == CANCEL)
        run_cancel(frame.run);
    else if (type == PING)
        queue_frame(PONG, 0, NULL, 0);
    else if (type == STDIN && get32(frame.header + 4) == 0)
        run_stdin(frame.run, NULL, 0);
    frame.have = 0;
}

void frames_receive(const uint8_t *bytes, size_t count) {
    while (count > 0) {
        size_t wanted = frame.have < HEADER ? HEADER - frame.have : frame.left;
        size_t piece = count < wanted ? count : wanted;
        if (frame.have < HEADER) {
            memcpy(frame.header + frame.have, bytes, piece);
            frame.have += piece;
            if (frame.have == HEADER)
                begin();
        } else {
            take(bytes, piece);
        }
        bytes += piece;
        count -= piece;
        if (frame.have == HEADER && frame.left == 0)
            end();
    }
}
