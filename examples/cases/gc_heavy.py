"""A service with a large data model answers requests. Every answer takes long, in code that does nothing.

Slow:  it calls the garbage collector after every request, "to keep memory low", and the collector walks through the whole model.
Fixed: it leaves that to Python, and tells the collector once that the model stays.
"""
import gc
import time
import case

MODEL = []


class Node:
    def __init__(self, number):
        self.number = number
        self.links = [number - 1, number + 1]


def answer(number):
    return sum(MODEL[number * 31 % len(MODEL)].links)


def main():
    options = case.options(__doc__)
    if options.fixed:
        gc.disable()   # while it is loaded
    MODEL.extend(Node(i) for i in range(400000))
    if options.fixed:
        gc.freeze()
        gc.enable()
    requests, collecting, begin = 0, 0.0, time.perf_counter()
    for number in case.arrivals(options.seconds, 0.1):
        answer(number)
        start = time.perf_counter()
        if not options.fixed:
            gc.collect()
        collecting += time.perf_counter() - start
        requests += 1
    case.tell("%d requests in %.2f s, %.2f s of them in gc.collect", requests, time.perf_counter() - begin, collecting)


if __name__ == "__main__":
    main()
