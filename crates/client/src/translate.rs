//! Between the owned values of this library and the borrowed packets of the standard.

use bytes::Bytes;
use columba_proto::TopicNameBuf;
use columba_proto::packet::{Publish, PublishProperties};
use columba_proto::property::SubscriptionId;

use crate::message::{Message, MessageProperties};

pub(crate) fn pairs(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

pub(crate) fn publish_properties<'a>(owned: &'a MessageProperties, pairs: &'a [(&'a str, &'a str)]) -> PublishProperties<'a> {
    PublishProperties {
        payload_format: owned.utf8_payload.then_some(true),
        message_expiry: owned.message_expiry,
        response_topic: owned.response_topic.as_deref(),
        correlation_data: owned.correlation_data.as_deref(),
        content_type: owned.content_type.as_deref(),
        user_properties: pairs.into(),
        ..PublishProperties::default()
    }
}

pub(crate) fn message(publish: &Publish<'_>, topic: TopicNameBuf) -> Message {
    let properties = &publish.properties;
    Message {
        topic,
        payload: Bytes::copy_from_slice(publish.payload),
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        subscription_ids: properties.subscription_ids.iter().map(SubscriptionId::get).collect(),
        properties: MessageProperties {
            utf8_payload: properties.payload_format == Some(true),
            message_expiry: properties.message_expiry,
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(Bytes::copy_from_slice),
            content_type: properties.content_type.map(str::to_owned),
            user_properties: properties.user_properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        },
        ack: None,
    }
}
