/* A fuzzer's input: what the server sends, when the agent gets it, and what happens to the script meanwhile.
 *
 * The first byte says which of the agent's allocations fails, 0 none.  Then instructions, each a byte (its remainder
 * by 8) and its operands, bytes too; what is missing at the end of the input is 0:
 *
 *   0 raw      size, bytes                   these bytes
 *   1 frame    type, run, size, bytes        a frame with a right header
 *   2 filled   type, run, KiB, size, again   the same, so many bytes "a"; and so many more of it
 *   3 start    run, uid, time, kept, most, script KiB, script size, args * 16 + env, more; then for each string its
 *              size (255: 40,000 bytes "x") and bytes; `more` bytes, from -128 to 127, at the end of the payload
 *   4 turn     mask, chunk                   what is ready (the order of turn()'s poll), bytes of a read or write, 0 all
 *   5 script   what, amount                  see enum deed
 *   6 time     exponent                      so many nanoseconds pass, as a power of two
 *   7 trouble  which                         see enum trouble
 */
#ifndef INPUT_H
#define INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { SENT, TURN, DEED, TIME, TROUBLE };
enum deed { PRINT, COMPLAIN, CLOSE_OUT, CLOSE_ERR, EXIT, TAKE, CLOSE_IN, LITTER };
enum trouble { INTERRUPTED, SERVER_GONE, SERVER_ENDS, SCRIPT_FULL, NO_SCRIPT, NO_SPAWN, POLL_FAILS, TROUBLES };

struct input {
    const uint8_t *at, *end;
};

struct instruction {
    enum kind kind;
    uint8_t first, second;
};

/* What the server has sent and the agent has not read. */
extern unsigned char wire[];
extern size_t wire_at, wire_end;

/* The next instruction, or false at the end.  What it sends is put on the wire. */
bool input_next(struct input *input, struct instruction *found);
uint8_t input_byte(struct input *input);

#endif
