//! The four failures of QoS 2: each packet of the exchange is lost once, on either hop, and the connection with it.

use columba_client::{Client, Goodbye, PacketType, QoS, Subscription};

use super::story::Story;
use super::{Place, Score, connected, in_time, say, went_wrong};
use crate::exit::Failure;

/// The exchange, step by step.
const STEPS: [PacketType; 4] = [PacketType::Publish, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp];
/// Sent behind the message, so that a second copy of it would have arrived in between.
const MARKER: &[u8] = b"the end";
const MESSAGE: &[u8] = b"exactly once";
/// How long the broker keeps the sessions of a demonstration that does not end well.
const SESSION_SECONDS: u32 = 300;

/// The hop that suffers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hop {
    FromPublisher,
    ToSubscriber,
}

/// How the two hops did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Failures {
    pub(super) publisher: Score,
    pub(super) subscriber: Score,
}

pub(super) async fn show(place: &Place) -> Result<Failures, Failure> {
    let mut failures = Failures::default();
    say("\npublisher to broker");
    for lost in STEPS {
        failures.publisher.count(round(place, Hop::FromPublisher, lost).await?);
    }
    say("\nbroker to subscriber");
    for lost in STEPS {
        failures.subscriber.count(round(place, Hop::ToSubscriber, lost).await?);
    }
    say("");
    Ok(failures)
}

async fn round(place: &Place, hop: Hop, lost: PacketType) -> Result<bool, Failure> {
    let side = match hop {
        Hop::FromPublisher => "p",
        Hop::ToSubscriber => "s",
    };
    let name = format!("lost-{}-{side}", lost.name());
    let topic = place.topic(&name);
    let story = Story::default();
    let mut subscriber = place.client(&format!("{name}-sub")).persistent(SESSION_SECONDS);
    let mut publisher = place.client(&format!("{name}-pub")).persistent(SESSION_SECONDS);
    match hop {
        Hop::FromPublisher => publisher = publisher.inject_faults(story.teller_that_loses(lost)),
        Hop::ToSubscriber => subscriber = subscriber.inject_faults(story.teller_that_loses(lost)),
    }
    let subscriber = connected(subscriber).await?;
    let publisher = connected(publisher).await?;
    let subscribing = in_time("SUBSCRIBE", subscriber.subscribe(&topic).qos(QoS::ExactlyOnce).into_future());
    let mut inbox = subscribing.await?.map_err(|error| went_wrong("SUBSCRIBE", error))?;

    publish(&publisher, &topic, MESSAGE).await?;
    let first = next(&mut inbox).await?;
    publish(&publisher, &topic, MARKER).await?;
    let second = next(&mut inbox).await?;
    let held = story.has_loss() && first == MESSAGE && second == MARKER;

    say(format!("  {:<9}{:<65}{}", lost.name(), story.text(), if held { "once" } else { "NOT ONCE" }));
    inbox.keep();
    end_session(&publisher).await?;
    end_session(&subscriber).await?;
    Ok(held)
}

async fn publish(publisher: &Client, topic: &str, payload: &'static [u8]) -> Result<(), Failure> {
    let publishing = in_time("PUBLISH", publisher.publish(topic, payload).qos(QoS::ExactlyOnce).into_future());
    publishing.await?.map_err(|error| went_wrong("PUBLISH", error))?;
    Ok(())
}

async fn next(inbox: &mut Subscription) -> Result<Vec<u8>, Failure> {
    let message = in_time("the delivery", inbox.next()).await?;
    message.map(|message| message.payload().to_vec()).ok_or_else(|| went_wrong("the delivery", "the connection ended"))
}

/// Leaves nothing behind: the broker may be somebody's.
async fn end_session(client: &Client) -> Result<(), Failure> {
    let goodbye = Goodbye { session_expiry: Some(0), ..Goodbye::default() };
    client.disconnect(goodbye).await.map_err(|error| went_wrong("DISCONNECT", error))?;
    Ok(())
}
