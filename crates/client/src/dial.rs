//! From a name to an accepted session: connect, CONNECT, CONNACK.

use std::num::{NonZeroU16, NonZeroU32};

use columba_proto::connection::Open;
use columba_proto::connection::client::{Answer, AwaitConnack};
use columba_proto::packet::{Auth, Connack, Connect, ConnectProperties, Packet, PublishProperties, Will};
use columba_proto::scram::METHOD;
use columba_proto::{PacketType, PeerError, QoS, ReasonCode, Version, Violation};

use crate::connection::{Connection, Wire};
use crate::error::{ConnectError, Refusal};
use crate::login::Login;
use crate::options::Options;
use crate::session::{Outlet, Welcome};
use crate::tap::{Direction, Tap, Verdict};
use crate::translate::{pairs, publish_properties};

/// A connection on which packets flow.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) open: Open,
    pub(crate) welcome: Welcome,
}

/// Connects; `clean_start` and `client_id` may differ from the options when it is not the first time.
pub(crate) async fn dial(
    options: &Options,
    tap: &mut Tap,
    clean_start: bool,
    client_id: &str,
) -> Result<Established, ConnectError> {
    let limit = options.connect_wait_max;
    let attempt = attempt(options, tap, clean_start, client_id);
    tokio::time::timeout(limit, attempt).await.unwrap_or(Err(ConnectError::TimedOut { after: limit }))
}

async fn attempt(options: &Options, tap: &mut Tap, clean_start: bool, client_id: &str) -> Result<Established, ConnectError> {
    let mut connection = Connection::open(options).await?;
    let (login, first) = Login::begin(options)?.unzip();
    let phase = send_connect(options, tap, clean_start, client_id, first.as_deref(), &mut connection);
    connection.flush().await.map_err(ConnectError::closed)?;
    if connection.output.is_cut() {
        return Err(ConnectError::Closed(None));
    }
    let (open, welcome) = read_connack(options.version, phase, login, tap, &mut connection).await?;
    Ok(Established { connection, open, welcome })
}

fn send_connect(
    options: &Options,
    tap: &mut Tap,
    clean_start: bool,
    client_id: &str,
    authentication_data: Option<&[u8]>,
    connection: &mut Connection,
) -> AwaitConnack {
    let user_properties = pairs(&options.user_properties);
    let will_pairs = options.will.as_ref().map(|will| pairs(&will.properties.user_properties)).unwrap_or_default();
    let properties = if options.version.has_properties() {
        ConnectProperties {
            session_expiry: (options.session_expiry > 0).then_some(options.session_expiry),
            receive_maximum: NonZeroU16::new(options.receive_maximum),
            maximum_packet_size: options.maximum_packet_size.and_then(NonZeroU32::new),
            topic_alias_maximum: (options.topic_alias_maximum > 0).then_some(options.topic_alias_maximum),
            request_response_information: options.request_response_information.then_some(true),
            request_problem_information: (!options.request_problem_information).then_some(false),
            user_properties: user_properties.as_slice().into(),
            authentication_method: authentication_data.map(|_| METHOD),
            authentication_data,
        }
    } else {
        ConnectProperties::default()
    };
    let will = options.will.as_ref().map(|will| Will {
        topic: will.topic.as_name(),
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain,
        delay: will.delay,
        properties: if options.version.has_properties() {
            publish_properties(&will.properties, &will_pairs)
        } else {
            PublishProperties::default()
        },
    });
    let connect = Connect {
        version: options.version,
        bridge: false,
        clean_start,
        keep_alive: options.keep_alive,
        client_id,
        will,
        // A method of its own carries both.
        username: options.username.as_deref().filter(|_| authentication_data.is_none()),
        password: options.password.as_deref().filter(|_| authentication_data.is_none()),
        properties,
    };
    let phase = AwaitConnack::new(&connect);
    Wire { output: &mut connection.output, tap }.send(&Packet::Connect(connect));
    phase
}

async fn read_connack(
    version: Version,
    mut phase: AwaitConnack,
    mut login: Option<Login>,
    tap: &mut Tap,
    connection: &mut Connection,
) -> Result<(Open, Welcome), ConnectError> {
    loop {
        if let Some(spoken) = connection.input.other_protocol() {
            return Err(ConnectError::Speaks(spoken));
        }
        check_first_byte(connection.input.first()).map_err(ConnectError::NotMqtt)?;
        if let Some(frame) = connection.input.frame().map_err(ConnectError::NotMqtt)? {
            if is_refusal_of_version_5(version, frame.first, frame.body) {
                return Err(ConnectError::Refused(unsupported_version()));
            }
            let len = frame.len;
            let answer = phase.on_packet(frame.first, frame.body).map_err(ConnectError::NotMqtt)?;
            if let Answer::Continue(next, auth) = answer {
                pass(tap, &Packet::Auth(auth))?;
                let begun = login.ok_or_else(|| ConnectError::NotMqtt(Violation::UnexpectedAuth.into()))?;
                let (goes_on, data) = begun.answer(&auth)?;
                (phase, login) = (next, Some(goes_on));
                connection.input.handled(len);
                let auth = Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, Some(METHOD), Some(&data));
                Wire { output: &mut connection.output, tap }.send(&Packet::Auth(auth));
                connection.flush().await.map_err(ConnectError::closed)?;
                continue;
            }
            let accepted = judged(&answer, version, login, tap)?;
            connection.input.handled(len);
            return Ok(accepted);
        }
        connection.ready(true).await.map_err(ConnectError::closed)?;
        if !connection.read().map_err(ConnectError::closed)? {
            return Err(ConnectError::Closed(None));
        }
    }
}

/// Who speaks another protocol is recognised by its first byte; its "remaining length" may never come.
fn check_first_byte(first: Option<u8>) -> Result<(), PeerError> {
    match first.map(PacketType::of).transpose()? {
        None | Some(PacketType::Connack | PacketType::Auth) => Ok(()),
        Some(other) => Err(Violation::NotConnack(other).into()),
    }
}

/// A server that knows nothing of MQTT 5 refuses it in the words of 3.1.1: return code 1 and no properties (3.1.1
/// `[MQTT-3.1.2-2]`).
fn is_refusal_of_version_5(version: Version, first: u8, body: &[u8]) -> bool {
    version.has_properties() && first == 0x20 && body == [0, 1]
}

fn unsupported_version() -> Refusal {
    Refusal { reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, text: None, server_reference: None }
}

fn judged(answer: &Answer<'_>, version: Version, login: Option<Login>, tap: &mut Tap) -> Result<(Open, Welcome), ConnectError> {
    match answer {
        Answer::Open(open, connack) => {
            pass(tap, &Packet::Connack(*connack))?;
            if let Some(login) = login {
                login.finish(connack)?;
            }
            Ok((*open, accepted(version, connack)))
        }
        Answer::Refused(connack) => {
            pass(tap, &Packet::Connack(*connack))?;
            Err(ConnectError::Refused(Refusal {
                reason: connack.reason,
                text: connack.properties.reason_string.map(str::to_owned),
                server_reference: connack.properties.server_reference.map(str::to_owned),
            }))
        }
        // Answered before.
        Answer::Continue(..) => Err(ConnectError::NotMqtt(Violation::UnexpectedAuth.into())),
    }
}

fn pass(tap: &mut Tap, packet: &Packet<'_>) -> Result<(), ConnectError> {
    match tap.judge(Direction::Receive, packet) {
        Verdict::Keep => Ok(()),
        Verdict::CutAfter | Verdict::Lose | Verdict::CutBefore => Err(ConnectError::Closed(None)),
    }
}

fn accepted(version: Version, connack: &Connack<'_>) -> Welcome {
    let properties = &connack.properties;
    Welcome {
        session_present: version.has_session_present().then_some(connack.session_present),
        receive_maximum: properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
        maximum_qos: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
        retain_available: properties.retain_available.unwrap_or(true),
        maximum_packet_size: properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get),
        subscription_ids_available: version.has_properties() && properties.subscription_identifiers_available.unwrap_or(true),
        assigned_client_id: properties.assigned_client_id.map(str::to_owned),
        server_keep_alive: properties.server_keep_alive,
    }
}
