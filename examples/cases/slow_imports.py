"""A small tool that takes more than a second before it does anything.

Slow:  it imports a module that computes tables, although what it is asked for does not need them.
Fixed: the function that needs the tables imports them.
"""
import time
import case


def distance(steps):
    import tables
    return sum(tables.SINES[:steps])


def lengths(words):
    return [len(word) for word in words]


def main():
    options = case.options(__doc__)
    begin = time.perf_counter()
    if not options.fixed:
        import tables  # noqa: F401, at the top of the file in real life
    took = time.perf_counter() - begin
    for _ in case.arrivals(options.seconds - took, 0.1):
        lengths(["a", "few", "words"])
    case.tell("%.2f s of %.2f s until it began to work", took, time.perf_counter() - begin)


if __name__ == "__main__":
    main()
