#include "server.h"

#include "agent.h"
#include "harness.h"

#include <string.h>

#define HEADER 16

static struct {
    unsigned char frame[HEADER + MOST_PAYLOAD];
    size_t size;
    unsigned runs; /* started, and no END heard: a START may come before the END of the run before it is heard */
    bool wipes;    /* between END and WIPED */
    uint64_t run;  /* that has said something and is not wiped */
    uint64_t heard[2];
    bool fault;
} server;

static void output(uint64_t run, int stream, uint32_t length)
{
    if (!server.runs || server.wipes || !length)
        broken("output of no run, or none");
    server.run = run;
    server.heard[stream] += length;
}

static void end(const unsigned char *payload, uint32_t length)
{
    if (!server.runs || server.wipes || length != 56 || payload[0] > CANCELLED || payload[1] > STAGE_SETUP || payload[2] ||
        payload[3])
        broken("an END that is none");
    for (int stream = 0; stream < 2; stream++)
        if (server.heard[stream] > get64(payload + 16 + 8 * stream))
            broken("more output than the script has written");
    reached("END", 3);
    server.runs--;
    server.wipes = true;
}

static void wiped(const unsigned char *payload, uint32_t length)
{
    if (!server.wipes || length < 1 || length > 257 || payload[0] > 1 || (payload[0] && length > 1))
        broken("a WIPED that is none");
    reached(payload[0] ? "WIPED clean" : "WIPED dirty", 11);
    server.wipes = false;
    server.run = 0;
    memset(server.heard, 0, sizeof server.heard);
}

static void hear_frame(uint8_t type, uint64_t run, const unsigned char *payload, uint32_t length)
{
    if ((run == 0) != (type == PONG || type == FAULT) || (server.run && run && run != server.run))
        broken("a frame of another run");
    switch (type) {
    case OUT: return output(run, 0, length);
    case ERR: return output(run, 1, length);
    case END: return end(payload, length);
    case WIPED: return wiped(payload, length);
    case CREDIT_MORE:
        if (!server.runs || server.wipes || length != 4 || !get32(payload))
            broken("a CREDIT that is none");
        reached("CREDIT", 6);
        return;
    case PONG:
        if (length)
            broken("a PONG that is none");
        return;
    case FAULT:
        reached((const char *)payload, length);
        server.fault = true;
        return;
    default: broken("a frame of an unknown type");
    }
}

void server_reset(void)
{
    server.size = server.runs = server.run = 0;
    server.wipes = server.fault = false;
    memset(server.heard, 0, sizeof server.heard);
}

void server_expects_end(void)
{
    server.runs++;
}

void server_hears(const unsigned char *bytes, size_t size)
{
    while (size) {
        size_t whole = server.size < HEADER ? HEADER : HEADER + get32(server.frame + 4);
        size_t part = whole - server.size < size ? whole - server.size : size;
        if (server.fault)
            broken("it goes on after a FAULT");
        memcpy(server.frame + server.size, bytes, part);
        server.size += part;
        bytes += part;
        size -= part;
        if (server.size < HEADER)
            return;
        if (server.frame[1] || server.frame[2] || server.frame[3] || get32(server.frame + 4) > MOST_PAYLOAD)
            broken("a header that is none");
        if (server.size == HEADER + get32(server.frame + 4)) {
            server.size = 0;
            hear_frame(server.frame[0], get64(server.frame + 8), server.frame + HEADER, get32(server.frame + 4));
        }
    }
}

void server_is_answered(void)
{
    if (server.size || server.runs || server.wipes)
        broken("something is due");
}
