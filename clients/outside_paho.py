"""A publisher and a subscriber on paho-mqtt, 1.6 and 2.x with either callback API, MQTT 3.1.1 and 5.

  outside_paho.py publish   --port N --id I --qos Q --topic T --payload P   one message, then `done`
  outside_paho.py subscribe --port N --id I --qos Q --topic T               `ready: GRANTED`, then messages until killed
  outside_paho.py resume    --port N --id I                                 `session: true|false`, then messages until killed

Messages are printed as `message: QOS TOPIC PAYLOAD`. --api 2 takes the second callback API, --five MQTT 5,
--user NAME --password WORD log in, --ca FILE TLS, --web WebSocket.
"""
import argparse
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "subscribe", "resume"])
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--id", default="outside-paho")
    parser.add_argument("--qos", type=int, default=0)
    parser.add_argument("--topic", default="outside/topic")
    parser.add_argument("--payload", default="coo")
    parser.add_argument("--api", type=int, choices=[1, 2], default=1)
    parser.add_argument("--five", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--ca")
    parser.add_argument("--web", action="store_true")
    return parser.parse_args()


class Program:
    def __init__(self, given):
        self.given = given
        arguments = {"client_id": given.id, "protocol": mqtt.MQTTv5 if given.five else mqtt.MQTTv311}
        if not given.five:
            arguments["clean_session"] = False
        if given.web:
            arguments["transport"] = "websockets"
        if hasattr(mqtt, "CallbackAPIVersion"):
            arguments["callback_api_version"] = mqtt.CallbackAPIVersion(given.api)
        self.client = mqtt.Client(**arguments)
        if given.user is not None:
            self.client.username_pw_set(given.user, given.password)
        if given.ca:
            self.client.tls_set(ca_certs=given.ca)
        self.client.on_connect = self.connected
        self.client.on_subscribe = self.subscribed
        self.client.on_publish = self.published
        self.client.on_message = self.message

    def run(self):
        if self.given.five:
            keep = Properties(PacketTypes.CONNECT)
            keep.SessionExpiryInterval = 3600
            self.client.connect("localhost", self.given.port, clean_start=False, properties=keep)
        else:
            self.client.connect("localhost", self.given.port)
        self.client.loop_forever()

    # The callback APIs differ in how many words follow; the first ones are the same.
    def connected(self, client, userdata, flags, reason, *more):
        if reason != 0:
            say(f"failed: {reason}")
            sys.exit(1)
        if self.given.role == "publish":
            client.publish(self.given.topic, self.given.payload, self.given.qos)
        elif self.given.role == "subscribe":
            client.subscribe(self.given.topic, self.given.qos)
        else:
            present = flags.session_present if self.given.api == 2 else flags["session present"]
            say(f"session: {str(bool(present)).lower()}")

    def subscribed(self, client, userdata, identifier, granted, *more):
        say("ready: " + ",".join(str(getattr(one, "value", one)) for one in granted))

    def published(self, client, userdata, identifier, *more):
        say("done")
        client.disconnect()

    def message(self, client, userdata, message):
        say(f"message: {message.qos} {message.topic} {message.payload.decode()}")


def say(line):
    print(line, flush=True)


Program(options()).run()
