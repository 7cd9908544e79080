"""Healthy: looks at its own state now and then, as monitors do, and sleeps until the next time."""
import resource
import case


def look(history):
    usage = resource.getrusage(resource.RUSAGE_SELF)
    history.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss))
    del history[:-20]


def main():
    options = case.options(__doc__)
    history, looks = [], 0
    for _ in case.arrivals(options.seconds, 0.25):
        look(history)
        looks += 1
    case.tell("%d looks, the last one after %.2f s of CPU time", looks, history[-1][0])


if __name__ == "__main__":
    main()
