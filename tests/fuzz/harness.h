/* What both targets need: the agent's exit, its allocations, and a note of what it did. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

/* Number of the allocation that fails, counted down; 0 none. */
extern unsigned failing_allocation;

/* Something that must never happen: tell and abort, so that the fuzzer keeps the input. */
_Noreturn void broken(const char *what);

/* Note that the agent did this; all that was noted is written at the end of the process, a line "reached: ..." each. */
void reached(const char *what, size_t size);

#endif
