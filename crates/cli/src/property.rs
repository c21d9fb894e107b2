//! `-D PACKET NAME VALUE`: the properties of MQTT 5 as mosquitto's clients name them.

use crate::exit::Failure;

/// Stands between the parts of one `-D` after [`crate::argv::prepare`]; no property can hold it.
pub(crate) const SEPARATOR: &str = "\0";

/// The packets that properties can be given for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PropertyOf {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Will,
}

/// One property of one packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PropertyFlag {
    pub(crate) of: PropertyOf,
    pub(crate) property: Property,
}

/// A property with its value, already of the right type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Property {
    ContentType(String),
    CorrelationData(String),
    MaximumPacketSize(u32),
    MessageExpiry(u32),
    PayloadFormat(bool),
    ReceiveMaximum(u16),
    RequestProblemInformation(bool),
    RequestResponseInformation(bool),
    ResponseTopic(String),
    SessionExpiry(u32),
    SubscriptionId(u32),
    TopicAliasMaximum(u16),
    User(String, String),
    WillDelay(u32),
}

impl PropertyFlag {
    /// Reads the parts that [`crate::argv::prepare`] has put together.
    pub(crate) fn parse(joined: &str) -> Result<Self, String> {
        let parts: Vec<&str> = joined.split(SEPARATOR).collect();
        let &[packet, name, ref values @ ..] = parts.as_slice() else {
            return Err("write it as -D PACKET NAME VALUE".to_owned());
        };
        let of = packet_named(packet)?;
        let property = match *values {
            [value] if name != "user-property" => property_named(name, value)?,
            [name_of_user, value] if name == "user-property" => Property::User(name_of_user.into(), value.into()),
            _ if name == "user-property" => {
                return Err(format!("write it as -D {packet} user-property NAME VALUE"));
            }
            _ => return Err(format!("write it as -D {packet} {name} VALUE")),
        };
        if may_stand_in(&property, of) {
            Ok(Self { of, property })
        } else {
            Err(format!("{packet} cannot have the property {name}"))
        }
    }
}

fn packet_named(packet: &str) -> Result<PropertyOf, String> {
    Ok(match packet.to_ascii_lowercase().as_str() {
        "connect" => PropertyOf::Connect,
        "publish" => PropertyOf::Publish,
        "subscribe" => PropertyOf::Subscribe,
        "unsubscribe" => PropertyOf::Unsubscribe,
        "disconnect" => PropertyOf::Disconnect,
        "will" => PropertyOf::Will,
        _ => {
            return Err(format!(
                "\"{packet}\" has no properties to set: connect, publish, subscribe, unsubscribe, disconnect or will"
            ));
        }
    })
}

fn property_named(name: &str, value: &str) -> Result<Property, String> {
    Ok(match name {
        "content-type" => Property::ContentType(value.to_owned()),
        "correlation-data" => Property::CorrelationData(value.to_owned()),
        "maximum-packet-size" => Property::MaximumPacketSize(number(name, value)?),
        "message-expiry-interval" => Property::MessageExpiry(number(name, value)?),
        "payload-format-indicator" => Property::PayloadFormat(flag(name, value)?),
        "receive-maximum" => Property::ReceiveMaximum(number(name, value)?),
        "request-problem-information" => Property::RequestProblemInformation(flag(name, value)?),
        "request-response-information" => Property::RequestResponseInformation(flag(name, value)?),
        "response-topic" => Property::ResponseTopic(value.to_owned()),
        "session-expiry-interval" => Property::SessionExpiry(number(name, value)?),
        "subscription-identifier" => Property::SubscriptionId(number(name, value)?),
        "topic-alias-maximum" => Property::TopicAliasMaximum(number(name, value)?),
        "will-delay-interval" => Property::WillDelay(number(name, value)?),
        "user-property" => unreachable!("has two values, and is read above"),
        "authentication-method" | "authentication-data" => {
            return Err("enhanced authentication is not built into this version".to_owned());
        }
        "topic-alias" => return Err("the client chooses topic aliases itself".to_owned()),
        _ => {
            return Err(format!("\"{name}\" is no property of MQTT 5 that can be set"));
        }
    })
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{name} takes a number, not \"{value}\""))
}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("{name} is 0 or 1")),
    }
}

/// The table of §2.2.2.2, for the packets that a client sends.
fn may_stand_in(property: &Property, of: PropertyOf) -> bool {
    use PropertyOf::*;
    match property {
        Property::User(..) => true,
        Property::ContentType(_)
        | Property::CorrelationData(_)
        | Property::MessageExpiry(_)
        | Property::PayloadFormat(_)
        | Property::ResponseTopic(_) => matches!(of, Publish | Will),
        Property::MaximumPacketSize(_)
        | Property::ReceiveMaximum(_)
        | Property::RequestProblemInformation(_)
        | Property::RequestResponseInformation(_)
        | Property::TopicAliasMaximum(_) => of == Connect,
        Property::SessionExpiry(_) => matches!(of, Connect | Disconnect),
        Property::SubscriptionId(_) => of == Subscribe,
        Property::WillDelay(_) => of == Will,
    }
}

/// Properties were given which the version cannot carry.
pub(crate) fn need_version_5() -> Failure {
    Failure::usage("properties need MQTT 5").try_this("-V 5")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parts: &[&str]) -> Result<PropertyFlag, String> {
        PropertyFlag::parse(&parts.join(SEPARATOR))
    }

    #[test]
    fn a_property_is_checked_against_its_packet() {
        assert_eq!(
            parse(&["publish", "content-type", "text/plain"]),
            Ok(PropertyFlag { of: PropertyOf::Publish, property: Property::ContentType("text/plain".into()) })
        );
        assert_eq!(
            parse(&["CONNECT", "user-property", "site", "north"]).map(|flag| flag.property),
            Ok(Property::User("site".into(), "north".into()))
        );
        assert!(parse(&["subscribe", "content-type", "text/plain"]).is_err());
        assert!(parse(&["publish", "message-expiry-interval", "soon"]).is_err());
        assert!(parse(&["publish", "colour", "red"]).is_err());
        assert!(parse(&["puback", "user-property", "a", "b"]).is_err());
        assert!(parse(&["publish", "user-property", "a"]).is_err());
        assert!(parse(&["publish"]).is_err());
    }
}
