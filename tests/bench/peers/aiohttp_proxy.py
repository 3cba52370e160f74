"""A reverse proxy on aiohttp, as short as its users write them:

``aiohttp_proxy.py PORT SERVER [SERVER...]``.
"""

import itertools
import json
import sys
import time

from aiohttp import ClientSession, TCPConnector, web

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


def end_to_end(headers):
    """The fields that go on to the next hop."""
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


def application(servers):
    """Every request goes to the next server, streamed both ways, with a JSON access log."""
    turn = itertools.cycle(servers)
    log = open("access.log", "a")  # noqa: SIM115

    async def handle(request):
        begin = time.time()
        server = next(turn)
        headers = [*end_to_end(request.headers), ("X-Forwarded-For", request.remote)]
        session = request.app["session"]
        async with session.request(
            request.method,
            f"http://{server}{request.raw_path}",
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        line = {"at": begin, "client": request.remote, "target": request.raw_path}
        log.write(json.dumps({**line, "status": answer.status, "s": time.time() - begin}) + "\n")
        return response

    async def session(app):
        app["session"] = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)
        yield
        await app["session"].close()

    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


if __name__ == "__main__":
    web.run_app(
        application(sys.argv[2:]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        backlog=4096,
    )
