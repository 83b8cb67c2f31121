#include "input.h"

#include <string.h>

#define MOST_WIRE (512 << 10) /* more costs time and shows nothing new; the rest is not sent */
#define LONG_STRING 40000

unsigned char wire[MOST_WIRE];
size_t wire_at, wire_end;

uint8_t input_byte(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static void put(const void *bytes, size_t size)
{
    size_t room = MOST_WIRE - wire_end;
    size = size < room ? size : room;
    memcpy(wire + wire_end, bytes, size);
    wire_end += size;
}

static void fill(int byte, size_t size)
{
    size_t room = MOST_WIRE - wire_end;
    size = size < room ? size : room;
    memset(wire + wire_end, byte, size);
    wire_end += size;
}

static void number(uint64_t value, int bytes)
{
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        fill(value >> shift & 255, 1);
}

static void literal(struct input *input, size_t size)
{
    size_t there = input->end - input->at;
    size_t taken = size < there ? size : there;
    put(input->at, taken);
    input->at += taken;
    fill('z', size - taken);
}

static void header(uint8_t type, uint8_t run, uint32_t length)
{
    fill(type, 1);
    fill(0, 3);
    number(length, 4);
    number(run ? 0x0102030405060700 + run % 4 : 0, 8);
}

static void frame(struct input *input, uint8_t type, uint8_t run)
{
    size_t size = input_byte(input);
    header(type, run, size);
    literal(input, size);
}

static void filled(struct input *input, uint8_t type, uint8_t run)
{
    size_t size = input_byte(input) << 10;
    size += input_byte(input);
    for (int left = input_byte(input); left >= 0; left--) {
        header(type, run, size);
        fill('a', size);
    }
}

static uint64_t power(uint8_t exponent)
{
    return exponent < 64 ? (uint64_t)1 << exponent : exponent % 2 ? UINT64_MAX : 0;
}

static void start(struct input *input)
{
    size_t begin = wire_end;
    header(1, input_byte(input), 0);
    uint8_t uid = input_byte(input);
    number(uid == 255 ? UINT32_MAX : uid, 4);
    for (int limit = 0; limit < 3; limit++)
        number(power(input_byte(input)), 8);
    uint64_t script = (uint64_t)input_byte(input) << 10;
    script += input_byte(input);
    number(script, 8);
    uint8_t counts = input_byte(input);
    int8_t more = input_byte(input);
    number(counts / 16, 4);
    number(counts % 16, 4);
    for (int left = counts / 16 + counts % 16; left; left--) {
        uint8_t size = input_byte(input);
        number(size == 255 ? LONG_STRING : size, 4);
        if (size == 255)
            fill('x', LONG_STRING);
        else
            literal(input, size);
    }
    fill('m', more > 0 ? more : 0);
    size_t least = begin + 16;
    if (more < 0)
        wire_end = wire_end > least - more ? wire_end + more : wire_end;
    size_t end = wire_end;
    if (end < least)
        return; /* the wire is full */
    wire_end = begin + 4;
    number(end - least, 4);
    wire_end = end;
}

bool input_next(struct input *input, struct instruction *found)
{
    if (input->at == input->end)
        return false;
    uint8_t what = input_byte(input) % 8, first = 0, second = 0;
    *found = (struct instruction){.kind = what < 4 ? SENT : TURN + what - 4};
    if (what == 3)
        start(input);
    else if (what == 0)
        literal(input, input_byte(input));
    else {
        first = input_byte(input);
        second = what < 6 ? input_byte(input) : 0;
    }
    if (what == 1)
        frame(input, first, second);
    if (what == 2)
        filled(input, first, second);
    found->first = first;
    found->second = second;
    return true;
}
