"""Ordinary programs run as they do elsewhere: the filter closes nothing that they need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.server_process import ServerProcess, make_images

pytestmark = pytest.mark.long
IMAGE = "script-executor-test:tools"

PYTHON_PROCESSES = """#!/usr/bin/python3
from multiprocessing import Pool, Queue, Lock, shared_memory
from concurrent.futures import ThreadPoolExecutor
with Pool(2) as pool:
    print(sum(pool.map(abs, range(-3, 3))))
with ThreadPoolExecutor(4) as threads:
    print(sum(threads.map(abs, range(-3, 3))))
queue, lock = Queue(), Lock()
with lock:
    queue.put(1)
memory = shared_memory.SharedMemory(create=True, size=4096)
memory.buf[0] = 7
print(queue.get(), memory.buf[0])
memory.unlink()
"""

PYTHON_NETWORK = """#!/usr/bin/python3
import asyncio, socket
print(socket.if_nameindex(), socket.gethostbyname("localhost"))
async def main():
    server = await asyncio.start_server(lambda r, w: (w.write(b"hi"), w.close()), "127.0.0.1", 0)
    reader, _ = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read())
asyncio.run(main())
"""

NODE = """#!/usr/bin/node
const { Worker } = require('worker_threads');
console.log(Object.keys(require('os').networkInterfaces()).join());
const code = 'require("worker_threads").parentPort.postMessage([1, 2, 3].reduce((a, b) => a + b))';
new Worker(code, { eval: true }).on('message', sum => {
  console.log(sum, require('child_process').execSync('echo child').toString().trim());
  process.exit(0);
});
"""

C = """cat >main.c <<'END'
#include <pthread.h>
#include <stdio.h>
static void *work(void *data) { return data; }
int main(void) { pthread_t t; void *d; pthread_create(&t, 0, work, "made"); pthread_join(t, &d); puts(d); return 0; }
END
gcc -O1 -pthread -o main main.c && ./main
"""

JAVA = """cat >Main.java <<'END'
import java.util.stream.IntStream;
public class Main {
    public static void main(String[] args) throws Exception {
        var thread = new Thread(() -> System.out.println(IntStream.range(0, 4).parallel().sum()));
        thread.start();
        thread.join();
    }
}
END
java -Xmx96m -XX:+UseSerialGC -Duser.home=/tmp Main.java
"""

GO = """cat >main.go <<'END'
package main
import "fmt"
func main() {
    numbers := make(chan int)
    go func() { for i := 0; i < 4; i++ { numbers <- i }; close(numbers) }()
    sum := 0
    for n := range numbers { sum += n }
    fmt.Println(sum)
}
END
GOFLAGS=-p=1 GOCACHE=/tmp/cache GO111MODULE=off go run main.go
"""

ASAN = """cat >main.c <<'END'
#include <stdlib.h>
int main(void) { char *p = malloc(4); free(p); return p[1]; }
END
gcc -fsanitize=address -g -o main main.c || exit 90
./main
"""

LEAK = """cat >main.c <<'END'
#include <stdlib.h>
int main(void) { malloc(4); return 0; }
END
gcc -fsanitize=address -g -o main main.c || exit 90
./main
"""


def started(**environ: str) -> Iterator[ServerProcess]:
    make_images("tools")
    running = ServerProcess(
        BASE_IMAGE=IMAGE, POOL_SIZE="1", TIMEOUT="120", MEMORY_LIMIT="1g", TMPFS_SIZE="400m", CPU_LIMIT="2", **environ
    )
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.fixture(scope="module")
def plain() -> Iterator[ServerProcess]:
    """A server whose scripts may not trace."""
    yield from started()


@pytest.fixture(scope="module")
def tracing() -> Iterator[ServerProcess]:
    """A server whose scripts may."""
    yield from started(SECCOMP_ALLOW="ptrace")


@pytest.mark.parametrize(
    ("script", "output"),
    [
        (PYTHON_PROCESSES, "9\n9\n1 7\n"),
        (PYTHON_NETWORK, "[(1, 'lo')] 127.0.0.1\nb'hi'\n"),
        (NODE, "lo\n6 child\n"),
        (C, "made\n"),
        (JAVA, "6\n"),
        (GO, "6\n"),
    ],
    ids=["python-processes", "python-network", "node", "c", "java", "go"],
)
def test_runs(plain: ServerProcess, script: str, output: str) -> None:
    """A program with threads, processes, shared memory, a network of its own, or a compiler."""
    assert plain.output(script) == output


def test_address_sanitizer(plain: ServerProcess) -> None:
    """What needs no tracing works: a use after free is found."""
    answer = plain.execute(ASAN)
    assert "heap-use-after-free" in answer["stderr"]


@pytest.mark.parametrize(
    ("script", "finds"), [("strace -o /dev/stderr true", "exit_group"), (LEAK, "detected memory leaks")],
    ids=["strace", "leak-sanitizer"],
)  # fmt: skip
def test_tracers(plain: ServerProcess, tracing: ServerProcess, script: str, finds: str) -> None:
    """What traces fails, and works where SECCOMP_ALLOW=ptrace allows it."""
    refused = plain.execute(script)
    assert not refused["success"]
    assert finds not in refused["stderr"]
    assert finds in tracing.execute(script)["stderr"]
