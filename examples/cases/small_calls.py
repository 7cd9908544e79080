"""Pictures are made brighter. Each takes far longer than it should, although no function looks expensive.

Slow:  two tiny functions are called for each of the two million pixels: most of the time goes into calling, not into computing.
Fixed: they are called for each of the 256 values of a pixel, and bytes.translate does the rest.
"""
import time
import case

PICTURE = bytes(range(256)) * 8000


def clamp(value):
    return value if value < 256 else 255


def brighter(pixel):
    return clamp(pixel + pixel // 4)


def convert(picture):
    return bytes(map(brighter, picture))


def convert_fixed(picture):
    return picture.translate(bytes(map(brighter, range(256))))


def main():
    options = case.options(__doc__)
    convert_one = convert_fixed if options.fixed else convert
    pictures, calls, begin = 0, 0, time.perf_counter()
    for _ in case.arrivals(options.seconds, 0.1):
        convert_one(PICTURE)
        pictures += 1
        calls += 2 * (256 if options.fixed else len(PICTURE))
    took = time.perf_counter() - begin
    case.tell("%d pictures in %.2f s, %.2f million calls of brighter and clamp", pictures, took, calls / 1e6)


if __name__ == "__main__":
    main()
