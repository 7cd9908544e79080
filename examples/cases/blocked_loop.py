"""A service of asyncio, in which clients come side by side. Each waits far longer than its own request takes.

Slow:  a task calls a function that sleeps, as a driver that is not asynchronous waits for its device: no other task goes on.
Fixed: the same function runs in threads.
"""
import asyncio
import time
import case


def read_device():
    time.sleep(0.03)


async def answer():
    read_device()


async def answer_fixed():
    await asyncio.get_running_loop().run_in_executor(None, read_device)


async def client(function, end, waits):
    while time.perf_counter() < end:
        start = time.perf_counter()
        await function()
        waits.append(time.perf_counter() - start)
        await asyncio.sleep(0.1)


async def serve(options):
    waits, late, end = [], [], time.perf_counter() + options.seconds
    clients = [asyncio.ensure_future(client(answer_fixed if options.fixed else answer, end, waits)) for _ in range(10)]
    while time.perf_counter() < end:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        late.append(time.perf_counter() - start - 0.01)
    await asyncio.gather(*clients)
    case.tell("%d requests; the loop was late by %.0f ms on average", len(waits), 1000 * sum(late) / len(late))


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(serve(case.options(__doc__)))
