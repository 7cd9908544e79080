"""What the cases share: their options, work that comes at a steady pace, and the line in which each tells its own truth."""
import argparse
import sys
import time


def options(about):
    """The options of a case: .fixed, its mended form, and .seconds, for how long it works."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if not about.startswith("Healthy"):
        parser.add_argument("--fixed", action="store_true", help="the mended form")
    parser.add_argument("--seconds", type=float, default=3, help="for how long it works (3)")
    return parser.parse_args()


def arrivals(seconds, every):
    """Yields 0, 1, 2 ... as work comes in, a piece every so many seconds; a program that is too slow gets the next one at once."""
    begin = time.monotonic()
    number = 0
    while time.monotonic() < begin + seconds:
        yield number
        number += 1
        wait = begin + number * every - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def tell(text, *values):
    """The last line of a case: what it measured with its own clocks, whatever a profiler says."""
    sys.stdout.write("truth: " + text % values + "\n")
    sys.stdout.flush()
