"""A proxy that speaks TLS, in front of a service that does not.

Writes `ca.pem` into the folder, then a line of JSON with its port.
"""
import asyncio
import json
import ssl
import sys
from pathlib import Path

import trustme

folder, behind = Path(sys.argv[1]), int(sys.argv[2])
authority = trustme.CA()
authority.cert_pem.write_to_path(folder / "ca.pem")
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
authority.issue_cert("localhost").configure_cert(context)


async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    its_reader, its_writer = await asyncio.open_connection("127.0.0.1", behind)
    await asyncio.gather(pass_on(reader, its_writer), pass_on(its_reader, writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
