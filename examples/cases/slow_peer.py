"""Orders come in, and the price of each item is asked from a server. It is slow while its CPU is idle.

Slow:  each item is a request of its own, and the server takes its 10 ms for every request.
Fixed: one request for all items of an order.
"""
import socket
import time
import case
import price_server

ITEMS = ["item %d" % i for i in range(40)]


def total(connection):
    return sum(price_server.ask(connection, [item])[0] for item in ITEMS)


def total_fixed(connection):
    return sum(price_server.ask(connection, ITEMS))


def main():
    options = case.options(__doc__)
    function = total_fixed if options.fixed else total
    with price_server.running() as address, socket.create_connection(address) as connection:
        orders, waited, begin = 0, 0.0, time.perf_counter()
        for _ in case.arrivals(options.seconds, 0.4):
            start = time.perf_counter()
            function(connection)
            waited += time.perf_counter() - start
            orders += 1
        case.tell("%d orders in %.2f s, %.2f s of them for the server", orders, time.perf_counter() - begin, waited)


if __name__ == "__main__":
    main()
