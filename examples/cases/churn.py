"""Messages are read from a buffer. Most of the time goes into copying memory that is freed at once.

Slow:  to read the 16 bytes of a message, the whole buffer is copied.
Fixed: only the 16 bytes are.
"""
import struct
import time
import case

BUFFER = bytearray(struct.pack("<QQ", 1, 2) * 16384)


def message(buffer, at):
    return struct.unpack("<QQ", bytes(buffer)[at:at + 16])


def message_fixed(buffer, at):
    return struct.unpack("<QQ", bytes(buffer[at:at + 16]))


def main():
    options = case.options(__doc__)
    read = message_fixed if options.fixed else message
    count, copied, begin = 0, 0, time.perf_counter()
    for _ in case.arrivals(options.seconds, 0.1):
        for at in range(0, len(BUFFER), 16):
            read(BUFFER, at)
        count += len(BUFFER) // 16
        copied += len(BUFFER) // 16 * (16 if options.fixed else len(BUFFER))
    case.tell("%d messages in %.2f s, for which %.1f MiB were copied", count, time.perf_counter() - begin, copied / 2**20)


if __name__ == "__main__":
    main()
