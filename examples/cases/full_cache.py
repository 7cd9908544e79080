"""A service that shows thumbnails. Its memory grows for a while: is it a leak?

Slow:  no, a cache: once it has all 120 thumbnails, it stops growing. But it holds all of them for ever.
Fixed: it holds the eight that were asked for last.
"""
import collections
import case

CACHE = collections.OrderedDict()
ASKED = collections.Counter()


def draw(picture):
    return bytearray(250000)


def thumbnail(picture, most):
    if picture in CACHE:
        CACHE.move_to_end(picture)
        ASKED["found"] += 1
    else:
        CACHE[picture] = draw(picture)
        ASKED["drawn"] += 1
        if len(CACHE) > most:
            CACHE.popitem(last=False)
    return CACHE[picture]


def main():
    options = case.options(__doc__)
    most = 8 if options.fixed else 10000
    batches = round(options.seconds / 0.1)
    for batch in case.arrivals(options.seconds, 0.1):
        for number in range(300 * batch // batches, 300 * (batch + 1) // batches):   # the first 40 % of them fill the cache
            favourite = number >= 120 and number % 4
            thumbnail(number % 6 if favourite else number * 7 % 120, most)
    case.tell("%d thumbnails drawn, %d found in the cache, which has %.1f MiB", ASKED["drawn"], ASKED["found"],
              sum(map(len, CACHE.values())) / 2**20)


if __name__ == "__main__":
    main()
