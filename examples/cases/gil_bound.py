"""Three threads make checksums of files that come in. Three threads are no faster than one.

Slow:  the checksum is computed in Python, which only the thread that holds the GIL can do.
Fixed: zlib.crc32 does it, quicker, and without the GIL.
"""
import threading
import time
import zlib
import case

BLOCK = bytes(range(256)) * 2000


def checksum(block):
    low, high = 1, 0
    for byte in block:
        low += byte
        high += low
    return (high % 65521) << 16 | low % 65521


def work(seconds, function, counts):
    before, blocks = time.thread_time(), 0
    for _ in case.arrivals(seconds, 0.1):
        for _ in range(4):
            function(BLOCK)
            blocks += 1
    counts.append((blocks, time.thread_time() - before))


def main():
    options = case.options(__doc__)
    function = zlib.crc32 if options.fixed else checksum
    counts, begin = [], time.perf_counter()
    threads = [threading.Thread(target=work, args=(options.seconds, function, counts), name="worker %d" % i) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    case.tell("%d blocks in %.2f s by 3 threads, which ran for %.2f s, all together", sum(blocks for blocks, _ in counts), took,
              sum(cpu for _, cpu in counts))


if __name__ == "__main__":
    main()
