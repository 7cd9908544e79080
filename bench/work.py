"""The work that is profiled: a fixed amount of calls and loops, some 30 frames deep. Returns seconds of wall time."""
import sys
import time


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def loop(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def deep(depth, rounds):
    if depth:
        return deep(depth - 1, rounds)
    for _ in range(rounds):
        loop(20000)
        fib(13)


def work(rounds=1000):
    begin = time.perf_counter()
    deep(30, rounds)
    return time.perf_counter() - begin


if __name__ == '__main__':
    print(work(int(sys.argv[1]) if len(sys.argv) > 1 else 250))
