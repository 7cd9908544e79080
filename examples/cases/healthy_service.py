"""Healthy: a server on loopback and a client of it, both in threads. It answers at once, and mostly has nothing to do."""
import socket
import threading
import time
import case


def respond(request):
    words = request.decode().split()
    return ("%d words, %d letters\n" % (len(words), sum(map(len, words)))).encode()


def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(1000)
            if not request:
                return
            connection.sendall(respond(request))


def ask(address, question):
    with socket.create_connection(address) as connection:
        connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1000)


def main():
    options = case.options(__doc__)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,), name="server")
        server.start()
        longest, count = 0.0, 0
        for _ in case.arrivals(options.seconds, 0.25):
            start = time.perf_counter()
            ask(listener.getsockname(), b"how long is this line of words?")
            longest = max(longest, time.perf_counter() - start)
            count += 1
        ask(listener.getsockname(), b"")
        server.join()
    case.tell("%d requests, answered in %.1f ms at most", count, longest * 1000)


if __name__ == "__main__":
    main()
