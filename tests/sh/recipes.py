"""The program of docs/recipes.md: some of everything, for a second and a half. With "slower" its function score does twice the work."""
import asyncio
import ctypes
import gc
import json
import sys
import threading
import time
import zlib

SLOWER = "slower" in sys.argv
kept, blocks = [], []
lock = threading.Lock()
allocate = ctypes.CDLL(None).malloc
allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]


def score(seconds):
    end, total = time.thread_time() + seconds * (3 if SLOWER else 1), 0
    while time.thread_time() < end:
        total += sum(i * i for i in range(200))
    return total


def load():
    return [bytearray(1000000) for i in range(150)]


def remember(number):
    kept.append(bytearray(1000000))


def native():
    blocks.append(allocate(500000))


def reader():
    with lock:
        return 1


def spin(end):
    while time.monotonic() < end:
        score(0.005)


async def handle(number):
    score(0.02)
    await asyncio.sleep(0.01)


async def requests():
    await asyncio.gather(*(asyncio.get_running_loop().create_task(handle(i)) for i in range(5)))


def main():
    with lock:
        thread = threading.Thread(target=reader, name="reader")
        thread.start()
        load()
        end, number = time.monotonic() + 1.2, 0
        worker = threading.Thread(target=spin, args=(end,), name="worker")
        worker.start()
        while time.monotonic() < end or number < 20:   # on a busy machine, too, what grows is enough to be told
            score(0.02)
            zlib.compress(bytes(2000000))
            remember(number)
            native()
            json.loads(json.dumps(list(range(2000))))
            number += 1
            time.sleep(0.01)
        worker.join()
        gc.collect()
        asyncio.run(requests())
    thread.join()


if __name__ == "__main__":
    main()
