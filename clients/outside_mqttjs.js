// A publisher and a subscriber on MQTT.js that print what happens on the wire.
//
//   outside_mqttjs.js publish   --url U --id I --qos Q --topic T --payload P   one message, then `done`
//   outside_mqttjs.js subscribe --url U --id I --qos Q --topic T               `ready: GRANTED`, then messages until killed
//   outside_mqttjs.js resume    --url U --id I                                 `session: true|false`, then messages until killed
//
// --ca FILE names the authorities for mqtts and wss, --user U --password P who it is.
// `send: NAME` and `receive: NAME` are printed for the packets of delivery only, `message: QOS TOPIC PAYLOAD` for messages.
'use strict'

const { parseArgs } = require('node:util')
const { readFileSync } = require('node:fs')
const mqtt = require('mqtt')

const { values: options, positionals: [role] } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
    id: { type: 'string', default: 'outside-mqttjs' },
    qos: { type: 'string', default: '0' },
    topic: { type: 'string', default: 'outside/topic' },
    payload: { type: 'string', default: 'coo' },
    ca: { type: 'string' },
    user: { type: 'string' },
    password: { type: 'string' },
    five: { type: 'boolean', default: false }
  }
})
const qos = Number(options.qos)
const delivery = new Set(['publish', 'puback', 'pubrec', 'pubrel', 'pubcomp'])

// Handlers stand before CONNECT leaves: what waited for this session may follow its CONNACK at once.
const client = mqtt.connect(options.url, {
  clientId: options.id,
  username: options.user,
  password: options.password,
  ca: options.ca ? readFileSync(options.ca) : undefined,
  clean: false,
  reconnectPeriod: 0,
  protocolVersion: options.five ? 5 : 4,
  properties: options.five ? { sessionExpiryInterval: 3600 } : undefined
})
client.on('packetsend', packet => print('send', packet))
client.on('packetreceive', packet => print('receive', packet))
client.on('message', (topic, payload, packet) => console.log(`message: ${packet.qos} ${topic} ${payload}`))
client.on('error', error => fail(error))
client.on('close', () => fail('the connection is closed'))
client.on('connect', connack => {
  if (role === 'publish') {
    client.publish(options.topic, options.payload, { qos }, error => {
      if (error) fail(error)
      console.log('done')
      // QoS 0 is done when the socket has taken it.
      client.removeAllListeners('close').end(false, () => process.exit(0))
    })
  } else if (role === 'subscribe') {
    client.subscribe(options.topic, { qos }, (error, granted) => {
      if (error) fail(error)
      console.log(`ready: ${granted.map(one => one.qos)}`)
    })
  } else {
    console.log(`session: ${connack.sessionPresent}`)
  }
})

function print (direction, packet) {
  if (delivery.has(packet.cmd)) console.log(`${direction}: ${packet.cmd}`)
}

function fail (why) {
  console.log(`failed: ${why}`)
  process.exit(1)
}
