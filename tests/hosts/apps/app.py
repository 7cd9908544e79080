"""A web application in its two forms: /burn/SECONDS or END/burn/SECONDS works and tells the pid, anything else tells the pid."""
import os

import work


def answer(path):
    parts = path.strip('/').split('/')
    if 'burn' in parts:
        work.mixture(parts[-1], parts[0] if parts[0] != 'burn' else 'itself')
    return b'%d\n' % os.getpid()


def application(environ, start_response):
    body = answer(environ['PATH_INFO'])
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope['type'] == 'lifespan':
        while True:
            message = await receive()
            await send({'type': message['type'] + '.complete'})
            if message['type'] == 'lifespan.shutdown':
                return
    body = answer(scope['path'])
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})
