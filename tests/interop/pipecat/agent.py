"""A voice agent of Pipecat, without a model: it says what it hears, and does what keys ask for.

3: it says a minute of 740 Hz, and a mark. 4: it interrupts that. #: its pipeline ends. Events on
standard output, as our own phone has them; what Pipecat complains of on standard error. It runs in
an environment of its own, which knows nothing of the switch.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import struct
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

RATE = 8000
HZ = 740
SECONDS = 60  # of the tone

app = FastAPI()


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def tone() -> bytes:
    """Samples of 16 bits."""
    turn = 2 * math.pi * HZ / RATE
    samples = (round(8000 * math.sin(turn * i)) for i in range(RATE * SECONDS))
    return b"".join(struct.pack("<h", sample) for sample in samples)


def spoken(audio: bytes) -> OutputAudioRawFrame:
    return OutputAudioRawFrame(audio, sample_rate=RATE, num_channels=1)


class Overheard(TwilioFrameSerializer):
    """Pipecat's own; what it has no frames for is told as well."""

    async def serialize(self, frame: Frame) -> str | bytes | None:
        text = await super().serialize(frame)
        event = json.loads(text)["event"] if text else "media"
        if event != "media":
            say("sent", what=event)
        return text

    async def deserialize(self, data: str | bytes) -> Frame | None:
        event = json.loads(data)["event"]
        if event != "media":
            say("got", what=event)
        return await super().deserialize(data)


class Agent(FrameProcessor):
    """What stands where others have speech recognition, a model and a voice."""

    def __init__(self, stream: str, output: BaseOutputTransport) -> None:
        super().__init__()
        self._stream = stream
        self._output = output
        self._echoes = True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if self._echoes:
                await self.push_frame(spoken(frame.audio))
        elif isinstance(frame, InputDTMFFrame):
            await self._pressed(frame.button)
        else:
            await self.push_frame(frame, direction)

    async def _pressed(self, key: KeypadEntry) -> None:
        say("key", key=key.value)
        if key == KeypadEntry.THREE:
            self._echoes = False
            # In one piece, as Pipecat writes its own keys' tones: pushed, it would leave as slowly
            # as it is heard, and nothing of it would wait at the switch.
            await self._output.write_audio_frame(spoken(tone()))
            mark = {"event": "mark", "streamSid": self._stream, "mark": {"name": "said"}}
            await self.push_frame(OutputTransportMessageUrgentFrame(message=mark))
        elif key == KeypadEntry.FOUR:
            await self.broadcast_interruption()
            self._echoes = True
        elif key == KeypadEntry.POUND:
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


@app.websocket("/")
async def talk(connection: WebSocket) -> None:
    """A call, as Pipecat's examples for Twilio have it."""
    await connection.accept()
    provider, call = await parse_telephony_websocket(connection)
    say("start", provider=provider, stream=call.stream_id, call=call.call_id, parameters=call.body)
    # There is no account at Twilio by which it could hang up.
    quiet = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    transport = FastAPIWebsocketTransport(
        connection,
        FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_end_silence_secs=0,
            serializer=Overheard(call.stream_id, call.call_id, params=quiet),
        ),
    )
    agent = Agent(call.stream_id, transport.output())
    worker = PipelineWorker(
        Pipeline([transport.input(), agent, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )

    @transport.event_handler("on_client_disconnected")
    async def gone(*_: Any) -> None:
        say("gone")
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    say("over")


async def main() -> None:
    # Whoever has started it sends nothing, and has gone when its input ends.
    asyncio.get_running_loop().add_reader(0, os._exit, 0)
    with socket.create_server(("127.0.0.1", 0)) as door:
        say("ready", port=door.getsockname()[1])
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve([door])


if __name__ == "__main__":
    asyncio.run(main())
