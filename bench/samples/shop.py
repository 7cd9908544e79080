"""A shop's report: words are counted, prices come from a server, the whole thing several times over."""
import json
import re
import socket
import threading
import zlib

TEXT = ' '.join('%s%d' % (word, n % 97) for n in range(4000) for word in ('price', 'order', 'item', 'customer', 'basket'))


def serve(listener):
    """The slow part of the world: each answer takes 30 ms."""
    while True:
        connection, _ = listener.accept()
        while connection.recv(100):
            threading.Event().wait(0.03)
            connection.sendall(json.dumps({'price': 12}).encode())


def price(connection, name):
    connection.sendall(name.encode())
    return json.loads(connection.recv(100))['price']


def words(text):
    return re.findall(r'[a-z]+\d+', text)


def unique(names):
    seen = []
    for name in names:
        if name not in seen:
            seen.append(name)
    return seen


def pack(names):
    return zlib.compress(json.dumps(names).encode() * 20, 9)


def main():
    listener = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=serve, args=(listener,), name='server', daemon=True).start()
    connection = socket.create_connection(listener.getsockname())
    for _ in range(4):
        names = unique(words(TEXT))
        print(len(pack(words(TEXT))), sum(price(connection, name) for name in names[:12]))


main()
