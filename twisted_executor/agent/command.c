/* START: its fixed fields, then arguments and variables, each with its length before it. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIXED = 48, ALLOW_PTRACE = 1 };

static char *const OURS[] = {"HOME=/tmp", "TMPDIR=/tmp", "USER=sandbox", "LOGNAME=sandbox"};
enum { OUR_COUNT = sizeof OURS / sizeof OURS[0] };

static bool same_name(const char *a, const char *b) {
    while (*a == *b && *a != '=' && *a != '\0') {
        a++;
        b++;
    }
    return *a == '=' && *b == '=';
}

/* Put a variable in the place of one of the first `known` with its name, else behind all. */
static size_t set(char **env, size_t known, size_t count, char *variable) {
    for (size_t i = 0; i < known; i++)
        if (same_name(env[i], variable)) {
            env[i] = variable;
            return count;
        }
    env[count] = variable;
    return count + 1;
}

/* What the image sets, over it ours, over it the request's, whose names differ from each other. */
static void merge(char **env, char **request, size_t request_count) {
    size_t count = 0;
    for (char **variable = environ; *variable != NULL; variable++)
        count = set(env, count, count, *variable);
    for (size_t i = 0; i < OUR_COUNT; i++)
        count = set(env, count, count, OURS[i]);
    size_t known = count;
    for (size_t i = 0; i < request_count; i++)
        count = set(env, known, count, request[i]);
    env[count] = NULL;
}

static size_t environ_count(void) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    return count;
}

/* Turn the texts into strings where they stand: one byte to the left of each is free for the NUL before it. */
static void read_texts(uint8_t *at, uint8_t *end, char **texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if ((size_t)(end - at) < 4)
            fault("START ends within a length");
        size_t length = get32(at);
        if (length > (size_t)(end - at) - 4)
            fault("START ends within a text");
        if (memchr(at + 4, '\0', length) != NULL)
            fault("a text of START has a NUL");
        texts[i] = memmove(at, at + 4, length);
        at[length] = '\0';
        at += 4 + length;
    }
    if (at != end)
        fault("START has bytes behind its last text");
}

static void check_variables(char **variables, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (variables[i][0] == '=' || strchr(variables[i], '=') == NULL)
            fault("a variable of START has no name");
}

void command_read(struct command *command, uint8_t *payload, size_t count) {
    if (count < FIXED)
        fault("START is too short");
    uint32_t flags = get32(payload + 4);
    uint64_t microseconds = get64(payload + 8);
    size_t arg_count = get32(payload + 40), env_count = get32(payload + 44);
    *command = (struct command){
        .uid = get32(payload),
        .allow_ptrace = flags & ALLOW_PTRACE,
        .time_limit = microseconds * 1000,
        .kept = get64(payload + 16),
        .most_output = get64(payload + 24),
        .script_bytes = get64(payload + 32),
        .payload = payload,
    };
    if (command->uid == 0 || command->uid == UINT32_MAX || (flags & ~(uint32_t)ALLOW_PTRACE) != 0)
        fault("START has a uid or flags that cannot be");
    if (microseconds == 0 || microseconds > UINT32_MAX * 1000000ull || command->script_bytes == 0)
        fault("START has a time limit or a script's size that cannot be");
    if (arg_count + env_count > (count - FIXED) / 4)
        fault("START has fewer texts than it says");

    /* One block: "sh", the script, the arguments, NULL; the merged variables, NULL; the request's variables. */
    size_t argv_size = arg_count + 3, envp_size = environ_count() + OUR_COUNT + env_count + 1;
    char **block = calloc(argv_size + envp_size + env_count + arg_count, sizeof *block);
    if (block == NULL)
        fault("there is no memory for START");
    char **texts = block + argv_size + envp_size;
    read_texts(payload + FIXED, payload + count, texts, arg_count + env_count);
    check_variables(texts + arg_count, env_count);
    command->argv = block;
    command->argv[0] = "sh";
    command->argv[1] = SCRIPT_PATH;
    memcpy(command->argv + 2, texts, arg_count * sizeof *texts);
    command->envp = block + argv_size;
    merge(command->envp, texts + arg_count, env_count);
}

void command_free(struct command *command) {
    free(command->argv);
    free(command->payload);
    command->argv = command->envp = NULL;
    command->payload = NULL;
}
