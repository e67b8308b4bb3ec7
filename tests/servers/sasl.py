"""Asks clients of the Kafka protocol for a name and a password, in front of a broker that does not.

Arguments: the port to listen on, the port of the broker, a file with passwords by user (JSON, read for each client), and for
TLS a folder with `server.pem` and `server.key`. What clients may ask before they are known is ApiVersions, which the broker
answers, and the handshake, which is answered here: PLAIN by a comparison, SCRAM by a library. Then bytes pass untouched.
"""

import asyncio
import hmac
import json
import pathlib
import ssl
import struct
import sys

import scramp

PORT, BROKER, USERS = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58


class Refused(Exception):
    pass


def plain(users):
    """One step: the token is `authorisation NUL user NUL password`."""
    token = yield
    _, user, password = token.split(b"\0")
    known = users.get(user.decode())
    if known is None or not hmac.compare_digest(known.encode(), password):
        raise Refused
    yield b"", True


def scram(users, mechanism):
    """Two steps."""
    mechanism = scramp.ScramMechanism(mechanism)
    server = mechanism.make_server(lambda user: mechanism.make_auth_info(users[user], iteration_count=4096))
    try:
        server.set_client_first((yield).decode())
        server.set_client_final((yield server.get_server_first().encode(), False).decode())
    except (scramp.ScramException, KeyError) as error:
        raise Refused from error
    yield server.get_server_final().encode(), True


def text(value):
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()


async def frame(reader):
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


async def send(writer, data):
    writer.write(struct.pack(">i", len(data)) + data)
    await writer.drain()


async def authenticate(client, to_client, broker, to_broker):
    """Whether the client is who it says. One that does anything else in between is not."""
    mechanism = steps = None
    while True:
        request = await frame(client)
        key, version, correlation, name = struct.unpack(">hhih", request[:10])
        body, head = request[10 + max(name, 0) :], struct.pack(">i", correlation)
        if key == API_VERSIONS:
            await send(to_broker, request)
            await send(to_client, await frame(broker))
        elif key == HANDSHAKE and version == 1:
            mechanism = body[2:].decode()
            known = mechanism in MECHANISMS
            listed = struct.pack(">i", len(MECHANISMS)) + b"".join(map(text, MECHANISMS))
            await send(to_client, head + struct.pack(">h", 0 if known else UNSUPPORTED_MECHANISM) + listed)
            if not known:
                return False
            users = json.loads(USERS.read_text())
            steps = plain(users) if mechanism == "PLAIN" else scram(users, mechanism)
            next(steps)
        elif key == AUTHENTICATE and version == 1 and steps:
            # How long the session may last: 0 is for ever.
            lifetime = struct.pack(">q", 0)
            try:
                answer, done = steps.send(body[4:])
            except Refused:
                # In the words of Apache Kafka.
                why = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
                failed = struct.pack(">h", AUTHENTICATION_FAILED) + text(why) + struct.pack(">i", 0)
                await send(to_client, head + failed + lifetime)
                return False
            answer = struct.pack(">h", 0) + text(None) + struct.pack(">i", len(answer)) + answer
            await send(to_client, head + answer + lifetime)
            if done:
                return True
        else:
            return False


async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def serve(client, to_client):
    to_broker = None
    try:
        broker, to_broker = await asyncio.open_connection("127.0.0.1", BROKER)
        if await authenticate(client, to_client, broker, to_broker):
            await asyncio.gather(pass_on(client, to_broker), pass_on(broker, to_client))
    except (asyncio.IncompleteReadError, OSError):
        pass  # Either side may end a connection at any time.
    finally:
        to_client.close()
        if to_broker:
            to_broker.close()


async def main():
    context = None
    if len(sys.argv) > 4:
        folder = pathlib.Path(sys.argv[4])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, ssl=context)
    async with server:
        await server.serve_forever()


asyncio.run(main())
