"""Samples through the Python SDK: series, a tab, seconds. The SDK is imported and warm before anything is timed."""

import threading
import time

from e2b import Sandbox


def cycle():
    start = time.perf_counter()
    sandbox = Sandbox.create(timeout=300)
    created = time.perf_counter() - start
    seen = []
    sandbox.commands.run("echo hello", on_stdout=lambda _: seen.append(time.perf_counter() - start))
    return sandbox, created, seen[0]


def burst(width):
    barrier, made, lock = threading.Barrier(width), [], threading.Lock()

    def one():
        barrier.wait()
        result = cycle()
        with lock:
            made.append(result)

    threads = [threading.Thread(target=one) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sandbox, _, first in made:
        print(f"first output at {width}\t{first:.6f}")
        sandbox.kill()
    assert len(made) == width, f"{len(made)} of {width}"


for n in range(33):
    sandbox, created, first = cycle()
    if n >= 3:
        print(f"create\t{created:.6f}")
        print(f"first output at 1\t{first:.6f}")
    start = time.perf_counter()
    sandbox.kill()
    if n >= 3:
        print(f"kill\t{time.perf_counter() - start:.6f}")

sandbox = Sandbox.create(timeout=300)
for n in range(103):
    start = time.perf_counter()
    sandbox.commands.run("echo hello")
    if n >= 3:
        print(f"command\t{time.perf_counter() - start:.6f}")
sandbox.kill()

for width, rounds in ((16, 4), (50, 2)):
    for _ in range(rounds):
        burst(width)
