/* The server as it should hear the agent: docs/agent-protocol.md, "Agent to server". */
#ifndef SERVER_H
#define SERVER_H

#include <stddef.h>

void server_reset(void);
/* A script has been started: an END and a WIPED must come. */
void server_expects_end(void);
/* Bytes of the agent's; aborts at what the protocol does not allow. */
void server_hears(const unsigned char *bytes, size_t size);
/* Aborts when something is due, or was said by half. */
void server_is_answered(void);

#endif
