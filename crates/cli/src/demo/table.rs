//! The nine rows: what arrives, for each QoS of a publication and each of a subscription.

use columba_client::QoS;

use super::story::Story;
use super::{Place, Score, connected, in_time, say, went_wrong};
use crate::exit::Failure;

const PAYLOAD: &str = "{\"data\":\"test\"}";

/// What the publisher must see, by the QoS of the publication.
const PUBLISHER: [&[&str]; 3] = [
    &["send: publish"],
    &["send: publish", "receive: puback"],
    &["send: publish", "receive: pubrec", "send: pubrel", "receive: pubcomp"],
];

/// What the subscriber must see, by the lower of both.
const SUBSCRIBER: [&[&str]; 3] = [
    &["receive: publish"],
    &["receive: publish", "send: puback"],
    &["receive: publish", "send: pubrec", "receive: pubrel", "send: pubcomp"],
];

pub(super) async fn show(place: &Place) -> Result<Score, Failure> {
    let mut score = Score::default();
    for sent_at in QoS::ALL {
        for asked_for in QoS::ALL {
            score.count(row(place, sent_at, asked_for).await?);
        }
    }
    Ok(score)
}

async fn row(place: &Place, sent_at: QoS, asked_for: QoS) -> Result<bool, Failure> {
    let name = format!("{}-{}", sent_at as u8, asked_for as u8);
    let topic = place.topic(&name);
    let (told_by_publisher, told_by_subscriber) = (Story::default(), Story::default());
    let subscriber = connected(place.client(&format!("sub-{name}")).inject_faults(told_by_subscriber.teller())).await?;
    let subscribing = in_time("SUBSCRIBE", subscriber.subscribe(&topic).qos(asked_for).into_future());
    let mut inbox = subscribing.await?.map_err(|error| went_wrong("SUBSCRIBE", error))?;
    let publisher = connected(place.client(&format!("pub-{name}")).inject_faults(told_by_publisher.teller())).await?;

    let publishing = in_time("PUBLISH", publisher.publish(&topic, PAYLOAD).qos(sent_at).into_future());
    publishing.await?.map_err(|error| went_wrong("PUBLISH", error))?;
    let message = in_time("the delivery", inbox.next()).await?;
    // What is still to be said by a client leaves in front of its DISCONNECT.
    publisher.close().await.map_err(|error| went_wrong("DISCONNECT", error))?;
    inbox.keep();
    subscriber.close().await.map_err(|error| went_wrong("DISCONNECT", error))?;

    let expected = sent_at.min(asked_for);
    let received = message.as_ref().map(columba_client::Message::qos);
    say(format!(
        "{:>6}{:>13}{:>14}          {:<41}{}",
        sent_at as u8,
        asked_for as u8,
        received.map_or_else(|| "-".to_owned(), |qos| (qos as u8).to_string()),
        told_by_publisher.text(),
        told_by_subscriber.text()
    ));
    Ok(received == Some(expected)
        && message.is_some_and(|message| &message.payload()[..] == PAYLOAD.as_bytes())
        && told_by_publisher.lines() == PUBLISHER[sent_at as usize]
        && told_by_subscriber.lines() == SUBSCRIBER[expected as usize])
}
