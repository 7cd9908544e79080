"""Healthy: an asyncio program with twenty tasks that wait for each other, and compute for a moment now and then."""
import asyncio
import time
import case


async def produce(jobs, end):
    number = 0
    while time.monotonic() < end:
        await jobs.put(number)
        number += 1
        await asyncio.sleep(0.05)


async def consume(jobs, done):
    while True:
        number = await jobs.get()
        done.append(sum(i * number for i in range(200)))
        jobs.task_done()


async def run(seconds):
    jobs, done, end = asyncio.Queue(), [], time.monotonic() + seconds
    consumers = [asyncio.ensure_future(consume(jobs, done)) for _ in range(16)]
    await asyncio.gather(*(produce(jobs, end) for _ in range(4)))
    await jobs.join()
    for consumer in consumers:
        consumer.cancel()
    return len(done)


def main():
    options = case.options(__doc__)
    begin = time.process_time()
    done = asyncio.run(run(options.seconds))
    case.tell("%d jobs, for which the process used %.2f s of CPU time", done, time.process_time() - begin)


if __name__ == "__main__":
    main()
