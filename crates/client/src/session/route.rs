//! Which subscription a message came for.

use columba_proto::packet::SubscriptionOptions;
use columba_proto::{SubscriptionFilter, TopicName};

use super::Waiters;
use crate::message::Message;

/// Where a message goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// To the inbox for what nobody has subscribed to here.
    CatchAll,
    /// To the inboxes of these subscriptions.
    To(Vec<usize>),
}

/// The subscriptions made here, those on their way included: a retained message may overtake SUBACK (§3.8.4).
pub(crate) struct Subscriptions<W: Waiters>(Vec<Subscribed<W::Inbox>>);

#[derive(Clone)]
pub(crate) struct Subscribed<I> {
    pub(crate) filter: SubscriptionFilter,
    pub(crate) options: SubscriptionOptions,
    /// By which messages name it (§3.3.2.3.8).
    pub(crate) id: Option<u32>,
    pub(crate) user_properties: Vec<(String, String)>,
    /// The SUBSCRIBE that made it, or 0 for all that share the catch-all inbox: they have one inbox together.
    pub(crate) group: u32,
    pub(crate) inbox: I,
}

impl<W: Waiters> Default for Subscriptions<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: Waiters> Subscriptions<W> {
    /// A filter has one subscription in a session; a new one takes the place of the old (§3.8.4) [MQTT-3.8.4-3].
    pub(crate) fn put(&mut self, subscribed: Subscribed<W::Inbox>) {
        self.remove(&subscribed.filter);
        self.0.push(subscribed);
    }

    pub(crate) fn remove(&mut self, filter: &SubscriptionFilter) {
        self.0.retain(|subscribed| subscribed.filter != *filter);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscribed<W::Inbox>> {
        self.0.iter()
    }

    pub(crate) fn inbox(&self, number: usize) -> Option<&W::Inbox> {
        self.0.get(number).map(|subscribed| &subscribed.inbox)
    }

    /// By the identifiers in the message where there are some, else by the filters. One inbox is named once.
    pub(crate) fn route(&self, message: &Message) -> Route {
        let by_id = |subscribed: &Subscribed<W::Inbox>| subscribed.id.is_some_and(|id| message.subscription_ids.contains(&id));
        let topic = message.topic.as_name();
        let mut matched = Vec::new();
        if !message.subscription_ids.is_empty() {
            matched = self.numbers(by_id);
        }
        if matched.is_empty() {
            matched = self.numbers(|subscribed| matches(&subscribed.filter, topic));
        }
        let group_of = |&number: &usize| self.0.get(number).map(|subscribed| subscribed.group);
        matched.sort_by_key(group_of);
        matched.dedup_by_key(|number| group_of(number));
        if matched.is_empty() { Route::CatchAll } else { Route::To(matched) }
    }

    fn numbers(&self, wanted: impl Fn(&Subscribed<W::Inbox>) -> bool) -> Vec<usize> {
        self.0.iter().enumerate().filter(|(_, subscribed)| wanted(subscribed)).map(|(number, _)| number).collect()
    }
}

fn matches(filter: &SubscriptionFilter, topic: TopicName<'_>) -> bool {
    filter.filter().matches(topic)
}
