"""Log lines come in batches, and each batch is freed of repeated lines. It cannot keep up, and one CPU is always busy.

Slow:  unique() looks up each line in a list, so its time grows with the square of the number of lines.
Fixed: it looks them up in a dict.
"""
import time
import case

LINES = ["GET /item/%d" % (i * 7919 % 10000) for i in range(6000)]


def unique(lines):
    seen = []
    for line in lines:
        if line not in seen:
            seen.append(line)
    return seen


def unique_fixed(lines):
    return list(dict.fromkeys(lines))


def main():
    options = case.options(__doc__)
    remove = unique_fixed if options.fixed else unique
    batches, spent, begin = 0, 0.0, time.perf_counter()
    for number in case.arrivals(options.seconds, 0.1):
        start = time.perf_counter()
        remove(LINES[:number % 100] + LINES)
        spent += time.perf_counter() - start
        batches += 1
    case.tell("%.2f s of %.2f s in %s, %d batches", spent, time.perf_counter() - begin, remove.__name__, batches)


if __name__ == "__main__":
    main()
