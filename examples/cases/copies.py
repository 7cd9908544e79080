"""Each request gets its own settings. It is slow in a library that does what it is asked to.

Slow:  copy.deepcopy of all settings, for one that changes.
Fixed: collections.ChainMap, which has the change in front of them.
"""
import collections
import copy
import time
import case

DEFAULTS = {"option %d" % i: {"values": [1, 2, 3], "names": ("a", "b")} for i in range(60)}


def settings(number):
    own = copy.deepcopy(DEFAULTS)
    own["number"] = number
    return own


def settings_fixed(number):
    return collections.ChainMap({"number": number}, DEFAULTS)


def main():
    options = case.options(__doc__)
    function = settings_fixed if options.fixed else settings
    requests, begin = 0, time.perf_counter()
    for number in case.arrivals(options.seconds, 0.1):
        for _ in range(100):
            function(number)
            requests += 1
    case.tell("%d requests in %.2f s", requests, time.perf_counter() - begin)


if __name__ == "__main__":
    main()
