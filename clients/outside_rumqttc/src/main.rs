//! A publisher and a subscriber on rumqttc, MQTT 3.1.1 and 5, with the roles and lines of `outside_paho.py`.

use std::time::Duration;

struct Given {
    role: String,
    port: u16,
    id: String,
    qos: u8,
    topic: String,
    payload: String,
    five: bool,
}

fn given() -> Given {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, otherwise: &str| {
        let value = words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        value.unwrap_or_else(|| otherwise.to_owned())
    };
    Given {
        role: words.first().cloned().unwrap_or_default(),
        port: option("--port", "1883").parse().expect("a port"),
        id: option("--id", "outside-rumqttc"),
        qos: option("--qos", "0").parse().expect("a QoS"),
        topic: option("--topic", "outside/topic"),
        payload: option("--payload", "coo"),
        five: words.iter().any(|word| word == "--five"),
    }
}

/// The two versions have the same names in two modules.
macro_rules! client {
    ($name:ident, $module:path, $granted:expr, $keep:expr, $topic:expr) => {
        mod $name {
            use super::Given;
            use $module::*;

            pub fn run(given: &Given) {
                let mut options = MqttOptions::new(&*given.id, "127.0.0.1", given.port);
                options.set_keep_alive(super::Duration::from_secs(30));
                ($keep)(&mut options);
                let (client, mut connection) = Client::new(options, 10);
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(given.qos)];
                for event in connection.iter() {
                    match event.expect("the connection holds") {
                        Event::Incoming(Packet::ConnAck(connack)) => match &*given.role {
                            "publish" => client.publish(&*given.topic, qos, false, given.payload.clone()).expect("there is room"),
                            "subscribe" => client.subscribe(&*given.topic, qos).expect("there is room"),
                            _ => println!("session: {}", connack.session_present),
                        },
                        Event::Incoming(Packet::SubAck(suback)) => println!("ready: {}", ($granted)(&suback.return_codes[0])),
                        Event::Incoming(Packet::Publish(publish)) => {
                            let payload = String::from_utf8_lossy(&publish.payload);
                            println!("message: {} {} {payload}", publish.qos as u8, ($topic)(&publish.topic));
                        }
                        Event::Outgoing(rumqttc::Outgoing::Publish(_)) if given.qos == 0 => return done(&client, connection),
                        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => return done(&client, connection),
                        _ => {}
                    }
                }
            }

            fn done(client: &Client, mut connection: Connection) {
                println!("done");
                client.disconnect().expect("there is room");
                while let Ok(Ok(_)) = connection.recv() {}
            }
        }
    };
}

client!(
    older,
    rumqttc,
    |code: &rumqttc::SubscribeReasonCode| match code {
        rumqttc::SubscribeReasonCode::Success(qos) => *qos as u8,
        rumqttc::SubscribeReasonCode::Failure => 0x80,
    },
    |options: &mut rumqttc::MqttOptions| {
        options.set_clean_session(false);
    },
    |topic: &String| topic.clone()
);
client!(
    five,
    crate::outside_five,
    |code: &crate::outside_five::SubscribeReasonCode| match code {
        crate::outside_five::SubscribeReasonCode::Success(qos) => *qos as u8,
        _ => 0x80,
    },
    |options: &mut crate::outside_five::MqttOptions| {
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(3600));
    },
    |topic: &[u8]| String::from_utf8_lossy(topic).into_owned()
);

/// What the version 5 module spreads over two.
mod outside_five {
    pub use rumqttc::v5::mqttbytes::QoS;
    pub use rumqttc::v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    pub use rumqttc::v5::{Client, Connection, Event, MqttOptions};
}

fn main() {
    let given = given();
    if given.five { five::run(&given) } else { older::run(&given) }
}
