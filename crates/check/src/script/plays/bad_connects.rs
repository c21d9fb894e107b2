//! CONNECTs that no client may send (§3.1.2, §3.1.3, §3.1.4).

use columba_proto::ReasonCode;

use crate::script::bytes::{
    CLEAN, CONNECT, PASSWORD, USER_NAME, WILL, WILL_QOS_1, WILL_QOS_2, WILL_RETAIN, connect, properties, text,
};
use crate::script::clause::{v3, v5};
use crate::script::client::frame;
use crate::script::{SINCE_V311, Script, Stage, Suite, V5, V311, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "a CONNECT that is cut short or too long ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[
            v5("MQTT-3.1.4-1"),
            v5("MQTT-3.1.3-1"),
            v5("MQTT-3.1.3-3"),
            v3("MQTT-3.1.4-1"),
            v3("MQTT-3.1.3-1"),
            v3("MQTT-3.1.3-3"),
        ],
        needs: &[],
        play: a_connect_that_is_cut_short_or_too_long_ends_the_connection,
    },
    Script {
        title: "will QoS and will retain need a will",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.2-11"), v5("MQTT-3.1.2-13"), v3("MQTT-3.1.2-11"), v3("MQTT-3.1.2-13"), v3("MQTT-3.1.2-15")],
        needs: &[],
        play: will_qos_and_will_retain_need_a_will,
    },
    Script {
        title: "will QoS 3 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.2-12"), v3("MQTT-3.1.2-14")],
        needs: &[],
        play: will_qos_3_ends_the_connection,
    },
    Script {
        title: "the will is there if and only if its flag says so",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.2-9"), v5("MQTT-3.1.4-1"), v3("MQTT-3.1.2-9"), v3("MQTT-3.1.2-11"), v3("MQTT-3.1.4-1")],
        needs: &[],
        play: the_will_is_there_if_its_flag_says_so,
    },
    Script {
        title: "user name and password are there if and only if their flags say so",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[
            v5("MQTT-3.1.2-16"),
            v5("MQTT-3.1.2-17"),
            v5("MQTT-3.1.2-18"),
            v5("MQTT-3.1.2-19"),
            v3("MQTT-3.1.2-18"),
            v3("MQTT-3.1.2-19"),
            v3("MQTT-3.1.2-20"),
            v3("MQTT-3.1.2-21"),
        ],
        needs: &[],
        play: user_name_and_password_are_there_if_their_flags_say_so,
    },
    Script {
        title: "no password without a user name",
        suite: Suite::Packets,
        versions: V311,
        clauses: &[v3("MQTT-3.1.2-22")],
        needs: &[],
        play: no_password_without_a_user_name,
    },
    Script {
        title: "properties that CONNECT cannot have end the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.1.4-1"), v5("MQTT-2.2.2-1")],
        needs: &[],
        play: properties_that_connect_cannot_have_end_the_connection,
    },
];

const MALFORMED: &[ReasonCode] = &[ReasonCode::MALFORMED_PACKET];
const BREACH: &[ReasonCode] = &[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR];

/// A CONNECT with these flags and fields behind a client identifier of this story.
fn with(stage: &Stage, flags: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let payload = [vec![text(stage.id("breaker"))], fields.to_vec()].concat();
    connect(stage.version(), CLEAN | flags, &[], &payload)
}

/// The fields of a will.
fn will(stage: &Stage) -> Vec<Vec<u8>> {
    vec![properties(stage.version(), &[]), text(stage.topic("will")), text("gone")]
}

fn a_connect_that_is_cut_short_or_too_long_ends_the_connection(stage: &Stage) -> Verdict {
    let full = with(stage, WILL | USER_NAME | PASSWORD, &[will(stage), vec![text("user"), text("secret")]].concat());
    let body = &full[2..];
    // Before the level is there nobody knows in which words to say what is wrong.
    let cut = |length: usize| ("a CONNECT that ends too early", frame(CONNECT, &body[..length]));
    stage.each_connect_ends(&[0, 1, 5, 6].map(cut), &[])?;
    // Cut in each field: flags, keep-alive, and all of the payload.
    let lengths = [7, 8, 9, 10, 12].into_iter().chain((body.len() - 16)..body.len());
    let mut table: Vec<(&str, Vec<u8>)> = lengths.map(cut).collect();
    table.push(("a CONNECT with one more byte", frame(CONNECT, &[body, &[0]].concat())));
    table.push(("a CONNECT without a client identifier", connect(stage.version(), CLEAN, &[], &[])));
    stage.each_connect_ends(&table, BREACH)
}

fn will_qos_and_will_retain_need_a_will(stage: &Stage) -> Verdict {
    let table = [WILL_QOS_1, WILL_QOS_2, WILL_RETAIN].map(|flag| ("CONNECT without a will", with(stage, flag, &[])));
    stage.each_connect_ends(&table, BREACH)
}

fn will_qos_3_ends_the_connection(stage: &Stage) -> Verdict {
    let connect = with(stage, WILL | WILL_QOS_1 | WILL_QOS_2, &will(stage));
    stage.each_connect_ends(&[("CONNECT with will QoS 3", connect)], MALFORMED)
}

fn the_will_is_there_if_its_flag_says_so(stage: &Stage) -> Verdict {
    let will = will(stage);
    let table = [
        ("a will flag and no will", with(stage, WILL, &[])),
        ("a will without a payload", with(stage, WILL, &will[..2])),
        ("a will and no will flag", with(stage, 0, &will)),
    ];
    stage.each_connect_ends(&table, BREACH)
}

fn user_name_and_password_are_there_if_their_flags_say_so(stage: &Stage) -> Verdict {
    let (user, password) = (text("user"), text("secret"));
    let table = [
        ("a user name flag and no user name", with(stage, USER_NAME, &[])),
        ("a user name and no flag", with(stage, 0, std::slice::from_ref(&user))),
        ("a password flag and no password", with(stage, USER_NAME | PASSWORD, std::slice::from_ref(&user))),
        ("a password and no flag", with(stage, USER_NAME, &[user, password])),
    ];
    stage.each_connect_ends(&table, BREACH)
}

fn no_password_without_a_user_name(stage: &Stage) -> Verdict {
    stage.each_connect_ends(&[("a password and no user name", with(stage, PASSWORD, &[text("secret")]))], &[])
}

fn properties_that_connect_cannot_have_end_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let id = text(stage.id("breaker"));
    let blocks: [(&str, Vec<u8>); 12] = [
        ("receive maximum 0", vec![0x21, 0, 0]),
        ("maximum packet size 0", vec![0x27, 0, 0, 0, 0]),
        ("two session expiries", vec![0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]),
        ("two receive maxima", vec![0x21, 0, 9, 0x21, 0, 9]),
        ("two topic alias maxima", vec![0x22, 0, 9, 0x22, 0, 9]),
        ("request response information 2", vec![0x19, 2]),
        ("request problem information 2", vec![0x17, 2]),
        ("a will delay outside of a will", vec![0x18, 0, 0, 0, 1]),
        ("a topic alias", vec![0x23, 0, 1]),
        ("a server keep-alive", vec![0x13, 0, 9]),
        ("authentication data without a method", [vec![0x16], text("x")].concat()),
        ("a property that nobody has listed", vec![0x7e, 0]),
    ];
    let own = blocks.each_ref().map(|(what, block)| (*what, connect(version, CLEAN, block, std::slice::from_ref(&id))));
    stage.each_connect_ends(&own, BREACH)?;

    let response_topic = [vec![0x08], text("a/#")].concat();
    let of_will: [(&str, Vec<u8>); 4] = [
        ("a will with a subscription identifier", vec![0x0b, 1]),
        ("a will with a topic alias", vec![0x23, 0, 1]),
        ("a will with two delays", vec![0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1]),
        ("a will whose response topic has a wildcard", response_topic),
    ];
    let topic = text(stage.topic("will"));
    let wills = of_will.each_ref().map(|(what, block)| {
        let payload = [id.clone(), properties(version, block), topic.clone(), text("gone")];
        (*what, connect(version, CLEAN | WILL, &[], &payload))
    });
    stage.each_connect_ends(&wills, BREACH)
}
