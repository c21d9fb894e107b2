"""A publisher and a subscriber on aiomqtt, MQTT 3.1.1 and 5, with the roles and lines of outside_paho.py."""
import argparse
import asyncio

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "subscribe", "resume"])
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--id", default="outside-aiomqtt")
    parser.add_argument("--qos", type=int, default=0)
    parser.add_argument("--topic", default="outside/topic")
    parser.add_argument("--payload", default="coo")
    parser.add_argument("--five", action="store_true")
    return parser.parse_args()


def make_client(given):
    if not given.five:
        return aiomqtt.Client("127.0.0.1", given.port, identifier=given.id, protocol=aiomqtt.ProtocolVersion.V311, clean_session=False)
    keep = Properties(PacketTypes.CONNECT)
    keep.SessionExpiryInterval = 3600
    return aiomqtt.Client(
        "127.0.0.1", given.port, identifier=given.id, protocol=aiomqtt.ProtocolVersion.V5, clean_start=False, properties=keep
    )


def listen_for_session(client):
    """aiomqtt keeps to itself whether there was a session; the library below it does not."""
    inner = client._client.on_connect
    found = {}

    def connected(paho, userdata, flags, reason, *more):
        found["present"] = flags.session_present if hasattr(flags, "session_present") else bool(flags["session present"])
        inner(paho, userdata, flags, reason, *more)

    client._client.on_connect = connected
    return found


async def run(given):
    client = make_client(given)
    found = listen_for_session(client)
    async with client:
        if given.role == "publish":
            await client.publish(given.topic, given.payload, qos=given.qos)
            say("done")
            return
        if given.role == "subscribe":
            granted = await client.subscribe(given.topic, qos=given.qos)
            say("ready: " + ",".join(str(getattr(one, "value", one)) for one in granted))
        else:
            say(f"session: {str(found['present']).lower()}")
        async for message in client.messages:
            say(f"message: {message.qos} {message.topic} {message.payload.decode()}")


def say(line):
    print(line, flush=True)


asyncio.run(run(options()))
