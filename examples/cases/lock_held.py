"""Four threads ask a server for prices. Four are as slow as one, and no CPU is busy.

Slow:  they share a connection and a lock, so while one of them waits for the server, all others wait for that one.
Fixed: each has a connection of its own.
"""
import contextlib
import socket
import threading
import time
import case
import price_server

LOCK = threading.Lock()


def price(connection, lock, item):
    with lock:
        return price_server.ask(connection, [item])[0]


def work(seconds, connection, lock, counts):
    count = 0
    for _ in case.arrivals(seconds, 0.1):
        for number in range(8):
            price(connection, lock, "item %d" % number)
            count += 1
    counts.append(count)


def main():
    options = case.options(__doc__)
    with price_server.running() as address, contextlib.ExitStack() as stack:
        shared = stack.enter_context(socket.create_connection(address))
        counts, threads, begin = [], [], time.perf_counter()
        for number in range(4):
            connection, lock = shared, LOCK
            if options.fixed:
                connection, lock = stack.enter_context(socket.create_connection(address)), threading.Lock()
            threads.append(threading.Thread(target=work, args=(options.seconds, connection, lock, counts), name="worker %d" % number))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        case.tell("%d prices in %.2f s by %d threads; one alone could ask for 100 in a second", sum(counts), time.perf_counter() - begin,
                  len(threads))


if __name__ == "__main__":
    main()
