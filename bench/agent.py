"""The program that callers of `bench.spoken stream` talk with: ``python -m bench.agent PORT``. It
says what it hears, as quickly as it can."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HEAD = '{"event":"media",'


async def echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            # What it gets of audio may come back as it is: more than is asked for is passed over.
            if isinstance(message, str) and message.startswith(HEAD):
                await connection.send(message)
    except ConnectionClosed:
        pass


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, compression=None):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
