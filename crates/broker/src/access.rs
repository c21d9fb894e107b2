//! What clients may do: rules in an order, of which the first that speaks decides (docs/security.md).
//!
//! Who a rule is for is looked at when somebody connects; while messages flow only topics are, level by level, without allocation, and a topic like the last one not at all.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::net::IpAddr;

use columba_proto::TopicFilter;
use thiserror::Error;

/// The rules, compiled.
#[derive(Debug, Default)]
pub struct Acl {
    rules: Vec<Rule>,
    /// Rules for users by name only, and all the others.
    by_user: BTreeMap<Box<str>, Vec<u32>>,
    others: Vec<u32>,
    default: Effect,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Effect {
    /// It may be done.
    Allow,
    /// It may not.
    #[default]
    Deny,
}

/// What can be allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Action {
    /// PUBLISH, and a will.
    Publish = 1,
    /// SUBSCRIBE.
    Subscribe = 2,
    /// A message on its way to a subscriber.
    Receive = 4,
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Actions(u8);

impl Actions {
    /// These and one more.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action as u8)
    }

    /// Whether it is among them.
    pub const fn has(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What people call it: where it stands.
    pub name: Box<str>,
    /// What it says.
    pub effect: Effect,
    /// About what.
    pub actions: Actions,
    /// For which topics.
    pub topics: Vec<Pattern>,
    /// For whom.
    pub who: Who,
}

/// Whom a rule is for: those for whom all three hold.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// By user.
    pub users: Named,
    /// By client identifier, where that matters: one of these, in which `*` stands for any text.
    pub clients: Option<Vec<Box<str>>>,
    /// By address, where that matters: one of these networks.
    pub addresses: Option<Vec<Network>>,
}

/// Users.
#[derive(Clone, Debug, Default)]
pub enum Named {
    /// Everybody.
    #[default]
    Anybody,
    /// Those who have not logged in.
    Strangers,
    /// Those who have.
    LoggedIn,
    /// Those who have, as one of these.
    These(Vec<Box<str>>),
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many bits are the same.
    pub bits: u8,
}

/// A topic filter in which `%c` can stand for the client identifier and `%u` for the user.
#[derive(Clone, Debug)]
pub struct Pattern(Box<[Level]>);

#[derive(Clone, Debug)]
enum Level {
    /// `+`
    Any,
    /// `#`
    Rest,
    /// The pieces make up the whole level.
    Pieces(Box<[Piece]>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    ClientId,
    User,
}

/// Whether `%c` and `%u` mean something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placeholders {
    /// They do.
    Meant,
    /// They are letters like others.
    Letters,
}

/// The text is no pattern.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a topic filter")]
pub struct NotAPattern;

/// Who wants to do something.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// Client identifier.
    pub client_id: &'s str,
    /// As whom it has logged in.
    pub user: Option<&'s str>,
    /// Where it is, where that is an address.
    pub address: Option<IpAddr>,
}

/// What one client may do.
#[derive(Debug)]
pub struct Permissions {
    acl: Arc<Acl>,
    /// Rules that its login brought along, for it alone: they come first, and are for it whomever they name.
    own: Option<Arc<Acl>>,
    /// The rules that are for it, in order.
    rules: Box<[u32]>,
    client_id: Box<str>,
    user: Option<Box<str>>,
    /// The last topics that were allowed: most clients use one.
    published: String,
    received: String,
}

/// Which rule denies it; `None`: there is none that allows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denied(pub Option<RuleNo>);

/// The place of a rule in its ACL, from 0; or one that a login brought along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RuleNo(u32);

/// A rule of the client's own, whichever; no ACL has so many.
const OWN: RuleNo = RuleNo(u32::MAX);

/// What people are told about such a rule.
pub(crate) const OWN_RULES: &str = "the rules of its login";

impl Denied {
    /// Whether a rule denies it that the client's login brought along.
    pub(crate) fn is_by_own_rules(self) -> bool {
        self.0 == Some(OWN)
    }
}

/// What becomes of a publication that is denied; deciding it is the configuration's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeniedPublish {
    /// It is dropped. MQTT 5 says so in the acknowledgement (0x87); an older client is answered as if it had been taken.
    Acknowledge,
    /// Its client is disconnected (0x87 in MQTT 5).
    Disconnect,
}

impl Acl {
    /// Rules in their order, and what holds where none speaks.
    pub fn new(rules: Vec<Rule>, default: Effect) -> Self {
        let mut acl = Self { rules: Vec::new(), by_user: BTreeMap::new(), others: Vec::new(), default };
        for (no, rule) in (0..).zip(&rules) {
            match &rule.who.users {
                Named::These(users) => {
                    for user in users {
                        let of_user = acl.by_user.entry(user.clone()).or_default();
                        // Who is named twice is meant once.
                        if of_user.last() != Some(&no) {
                            of_user.push(no);
                        }
                    }
                }
                Named::Anybody | Named::Strangers | Named::LoggedIn => acl.others.push(no),
            }
        }
        acl.rules = rules;
        acl
    }

    /// What this client may do.
    pub fn permissions(self: &Arc<Self>, subject: Subject<'_>) -> Permissions {
        let of_user = subject.user.and_then(|user| self.by_user.get(user)).map_or(&[][..], Vec::as_slice);
        let mut rules: Vec<u32> =
            of_user.iter().chain(&self.others).copied().filter(|&no| self.rules[no as usize].who.includes(subject)).collect();
        rules.sort_unstable();
        Permissions {
            acl: Arc::clone(self),
            own: None,
            rules: rules.into(),
            client_id: subject.client_id.into(),
            user: subject.user.map(Into::into),
            published: String::new(),
            received: String::new(),
        }
    }

    /// What people are told about a denial.
    pub fn name_of(&self, denied: Denied) -> &str {
        self.name(denied.0).unwrap_or("no rule allows it")
    }

    fn name(&self, no: Option<RuleNo>) -> Option<&str> {
        if no == Some(OWN) {
            return Some(OWN_RULES);
        }
        no.and_then(|no| self.rules.get(no.0 as usize)).map(|rule| &*rule.name)
    }
}

impl Permissions {
    /// The same with rules that go before all others. Where their default is to allow, they decide alone.
    #[must_use]
    pub fn with_own(mut self, own: Option<Arc<Acl>>) -> Self {
        self.own = own;
        self
    }

    /// Whether it may publish there.
    pub fn may_publish(&mut self, topic: &str) -> Result<(), Denied> {
        if !topic.is_empty() && self.published == topic {
            return Ok(());
        }
        self.decide(Action::Publish, topic).1?;
        self.published.clear();
        self.published.push_str(topic);
        Ok(())
    }

    /// Whether a message with this topic may reach it.
    pub fn may_receive(&mut self, topic: &str) -> Result<(), Denied> {
        if !topic.is_empty() && self.received == topic {
            return Ok(());
        }
        self.decide(Action::Receive, topic).1?;
        self.received.clear();
        self.received.push_str(topic);
        Ok(())
    }

    /// Whether it may subscribe with this filter (without `$share`): not where every topic that it matches is denied.
    pub fn may_subscribe(&self, filter: &str) -> Result<(), Denied> {
        self.decide_filter(filter).1
    }

    /// The same with the name of the rule that decides, for people. Of [`Action::Subscribe`] `topic` is a filter.
    pub fn explain(&self, action: Action, topic: &str) -> (Result<(), Denied>, Option<&str>) {
        let (no, result) = match action {
            Action::Subscribe => self.decide_filter(topic),
            Action::Publish | Action::Receive => self.decide(action, topic),
        };
        (result, self.acl.name(no))
    }

    fn decide(&self, action: Action, topic: &str) -> (Option<RuleNo>, Result<(), Denied>) {
        self.first(action, |_, pattern| self.matches(pattern, topic))
    }

    fn decide_filter(&self, filter: &str) -> (Option<RuleNo>, Result<(), Denied>) {
        self.first(Action::Subscribe, |effect, pattern| match effect {
            Effect::Allow => self.meets(pattern, filter),
            Effect::Deny => self.covers(pattern, filter),
        })
    }

    /// What the first rule says that speaks of it.
    fn first(&self, action: Action, speaks: impl Fn(Effect, &Pattern) -> bool) -> (Option<RuleNo>, Result<(), Denied>) {
        let is_it = |rule: &Rule| rule.actions.has(action) && rule.topics.iter().any(|pattern| speaks(rule.effect, pattern));
        let says = |effect, no| (Some(no), if effect == Effect::Allow { Ok(()) } else { Err(Denied(Some(no))) });
        if let Some(own) = &self.own {
            if let Some(rule) = own.rules.iter().find(|rule| is_it(rule)) {
                return says(rule.effect, OWN);
            }
            if own.default == Effect::Allow {
                return says(Effect::Allow, OWN);
            }
        }
        for &no in &self.rules {
            let rule = &self.acl.rules[no as usize];
            if is_it(rule) {
                return says(rule.effect, RuleNo(no));
            }
        }
        (None, if self.acl.default == Effect::Allow { Ok(()) } else { Err(Denied(None)) })
    }

    /// Whether the pattern matches this topic (§4.7).
    fn matches(&self, pattern: &Pattern, topic: &str) -> bool {
        if topic.starts_with('$') && pattern.begins_with_wildcard() {
            return false;
        }
        let mut names = topic.split('/');
        for level in &pattern.0 {
            match level {
                Level::Rest => return true,
                Level::Any if names.next().is_some() => {}
                Level::Pieces(pieces) if names.next().is_some_and(|name| self.is(pieces, name)) => {}
                Level::Any | Level::Pieces(_) => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether there is a topic that both match.
    fn meets(&self, pattern: &Pattern, filter: &str) -> bool {
        // A wildcard at the beginning matches nothing that begins with $ [MQTT-4.7.2-1].
        if (filter.starts_with('$') && pattern.begins_with_wildcard())
            || (filter.starts_with(['+', '#']) && self.begins_with_dollar(pattern))
        {
            return false;
        }
        let (mut levels, mut names) = (pattern.0.iter(), filter.split('/'));
        loop {
            match (levels.next(), names.next()) {
                // `a/#` matches `a`, too.
                (Some(Level::Rest), _) | (_, Some("#")) | (None, None) => return true,
                (Some(Level::Any), Some(_)) => {}
                (Some(Level::Pieces(pieces)), Some(name)) if name == "+" || self.is(pieces, name) => {}
                (Some(_), _) | (None, Some(_)) => return false,
            }
        }
    }

    /// Whether the pattern matches every topic that the filter matches.
    fn covers(&self, pattern: &Pattern, filter: &str) -> bool {
        if filter.starts_with('$') && pattern.begins_with_wildcard() {
            return false;
        }
        let (mut levels, mut names) = (pattern.0.iter(), filter.split('/'));
        loop {
            match (levels.next(), names.next()) {
                (Some(Level::Rest), _) | (None, None) => return true,
                (Some(Level::Any), Some(name)) if name != "#" => {}
                (Some(Level::Pieces(pieces)), Some(name)) if !matches!(name, "+" | "#") && self.is(pieces, name) => {}
                (Some(_), _) | (None, Some(_)) => return false,
            }
        }
    }

    /// Whether a level of a topic is made up of these.
    fn is(&self, pieces: &[Piece], name: &str) -> bool {
        let mut rest = name;
        for piece in pieces {
            let text = match piece {
                Piece::Text(text) => Some(&**text),
                Piece::ClientId => Some(&*self.client_id),
                Piece::User => self.user.as_deref(),
            };
            // One without a name, or with an empty one, is nobody: it would match what is meant for all.
            let Some(after) = text.filter(|text| !text.is_empty() || pieces.len() == 1).and_then(|text| rest.strip_prefix(text))
            else {
                return false;
            };
            rest = after;
        }
        rest.is_empty()
    }

    fn begins_with_dollar(&self, pattern: &Pattern) -> bool {
        match pattern.0.first() {
            Some(Level::Pieces(pieces)) => match pieces.first() {
                Some(Piece::Text(text)) => text.starts_with('$'),
                Some(Piece::ClientId) => self.client_id.starts_with('$'),
                Some(Piece::User) => self.user.as_deref().is_some_and(|user| user.starts_with('$')),
                None => false,
            },
            Some(Level::Any | Level::Rest) | None => false,
        }
    }
}

impl Who {
    fn includes(&self, subject: Subject<'_>) -> bool {
        let by_user = match &self.users {
            Named::Anybody => true,
            Named::Strangers => subject.user.is_none(),
            Named::LoggedIn => subject.user.is_some(),
            Named::These(users) => subject.user.is_some_and(|user| users.iter().any(|one| **one == *user)),
        };
        let by_client = || self.clients.as_ref().is_none_or(|clients| clients.iter().any(|one| fits(one, subject.client_id)));
        let by_address = || {
            let Some(networks) = &self.addresses else { return true };
            subject.address.is_some_and(|address| networks.iter().any(|network| network.has(address)))
        };
        by_user && by_client() && by_address()
    }
}

/// Whether a text fits, where `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        fn begins_alike(left: u128, right: u128, len: u32, bits: u32) -> bool {
            (left ^ right).checked_shr(len.saturating_sub(bits)).unwrap_or(0) == 0
        }
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                begins_alike(ours.to_bits().into(), theirs.to_bits().into(), 32, self.bits.into())
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => begins_alike(ours.to_bits(), theirs.to_bits(), 128, self.bits.into()),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Pattern {
    /// Reads a topic filter.
    pub fn new(text: &str, placeholders: Placeholders) -> Result<Self, NotAPattern> {
        let _: TopicFilter = text.parse().map_err(|_| NotAPattern)?;
        let level = |name: &str| match name {
            "+" => Level::Any,
            "#" => Level::Rest,
            _ if placeholders == Placeholders::Letters => Level::Pieces([Piece::Text(name.into())].into()),
            _ => Level::Pieces(pieces(name)),
        };
        Ok(Self(text.split('/').map(level).collect()))
    }

    fn begins_with_wildcard(&self) -> bool {
        matches!(self.0.first(), Some(Level::Any | Level::Rest))
    }
}

fn pieces(name: &str) -> Box<[Piece]> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(at) =
        rest.match_indices('%').map(|(at, _)| at).find(|&at| matches!(rest.as_bytes().get(at + 1), Some(b'c' | b'u')))
    {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].into()));
        }
        pieces.push(if rest.as_bytes()[at + 1] == b'c' { Piece::ClientId } else { Piece::User });
        rest = &rest[at + 2..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    pieces.into()
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;

    const ALL: Actions = Actions(7);

    fn rule(effect: Effect, actions: Actions, topic: &str, who: Who) -> Rule {
        let topics = vec![Pattern::new(topic, Placeholders::Meant).unwrap()];
        Rule { name: format!("{effect:?} {topic}").into(), effect, actions, topics, who }
    }

    fn allow(topic: &str) -> Rule {
        rule(Effect::Allow, ALL, topic, Who::default())
    }

    fn deny(topic: &str) -> Rule {
        rule(Effect::Deny, ALL, topic, Who::default())
    }

    const EVE: Subject<'_> = Subject { client_id: "gate-7", user: Some("eve"), address: None };

    fn of(rules: Vec<Rule>, subject: Subject<'_>) -> Permissions {
        Arc::new(Acl::new(rules, Effect::Deny)).permissions(subject)
    }

    #[test]
    fn a_pattern_matches_as_a_filter_does() {
        for (pattern, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b", "a", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("c/%c", "c/gate-7", true),
            ("c/%c", "c/gate-8", false),
            ("x%u-%c/y", "xeve-gate-7/y", true),
            ("x%u-%c/y", "xeve-gate-77/y", false),
            ("%x/100%", "%x/100%", true),
        ] {
            assert_eq!(of(vec![allow(pattern)], EVE).may_publish(topic).is_ok(), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_placeholder_for_nobody_matches_nothing_and_no_name_is_a_wildcard() {
        let stranger = Subject { user: None, ..EVE };
        assert!(of(vec![allow("u/%u")], stranger).may_publish("u/").is_err());
        assert!(of(vec![allow("u/%u/x")], stranger).may_publish("u/%u/x").is_err());
        for client_id in ["+", "#", "a/b", "+/x"] {
            let subject = Subject { client_id, ..EVE };
            for topic in ["c/x", "c/a/b", "c/x/y", "c"] {
                assert!(of(vec![allow("c/%c")], subject).may_publish(topic).is_err(), "{client_id} {topic}");
            }
        }
    }

    #[test]
    fn the_first_rule_that_speaks_decides() {
        let mut both = of(vec![deny("a/secret/#"), allow("a/#")], EVE);
        assert_eq!(both.may_publish("a/b"), Ok(()));
        let denied = both.may_publish("a/secret/x").unwrap_err();
        assert_eq!(both.acl.name_of(denied), "Deny a/secret/#");
        let unsaid = both.may_publish("b").unwrap_err();
        assert_eq!(both.acl.name_of(unsaid), "no rule allows it");

        assert_eq!(of(vec![allow("a/#"), deny("a/secret/#")], EVE).may_publish("a/secret/x"), Ok(()));
        let mut open = Arc::new(Acl::new(vec![deny("a")], Effect::Allow)).permissions(EVE);
        assert!(open.may_publish("b").is_ok() && open.may_publish("a").is_err());
    }

    #[test]
    fn what_was_allowed_last_is_remembered_by_its_action_only() {
        let publish = Actions::default().with(Action::Publish);
        let mut permissions = of(vec![rule(Effect::Allow, publish, "a/+", Who::default())], EVE);
        for _ in 0..2 {
            assert!(permissions.may_publish("a/b").is_ok());
            assert!(permissions.may_receive("a/b").is_err());
            assert!(permissions.may_publish("a/b/c").is_err());
        }
    }

    #[test]
    fn a_subscription_is_denied_where_nothing_can_ever_come() {
        for (rules, filter, expected) in [
            (vec![allow("a/+/c")], "a/#", true),
            (vec![allow("a/+/c")], "#", true),
            (vec![allow("a/+/c")], "+/b/+", true),
            (vec![allow("a/+/c")], "a/b/d", false),
            (vec![allow("a/+/c")], "a/b", false),
            (vec![allow("a/+/c")], "b/#", false),
            (vec![allow("a/#")], "a", true),
            (vec![allow("a")], "a/#", true),
            (vec![allow("c/%c")], "c/+", true),
            (vec![allow("c/%c")], "c/gate-8", false),
            (vec![allow("$SYS/#")], "#", false),
            (vec![allow("$SYS/#")], "$SYS/a", true),
            (vec![allow("#")], "$SYS/#", false),
            (vec![deny("a/#"), allow("#")], "a/b", false),
            (vec![deny("a/#"), allow("#")], "a/+/#", false),
            (vec![deny("a/+"), allow("#")], "a/#", true),
            (vec![deny("a/b"), allow("#")], "a/+", true),
            (vec![deny("#"), allow("$SYS/#")], "$SYS/a", true),
        ] {
            assert_eq!(of(rules.clone(), EVE).may_subscribe(filter).is_ok(), expected, "{rules:?} {filter}");
        }
    }

    #[test]
    fn rules_are_for_whom_they_name() {
        let named = |users| Who { users, ..Who::default() };
        let who = |who: Who, subject| of(vec![rule(Effect::Allow, ALL, "#", who)], subject).may_publish("t").is_ok();
        let stranger = Subject { user: None, ..EVE };
        assert!(who(named(Named::These(vec!["bob".into(), "eve".into()])), EVE));
        assert!(!who(named(Named::These(vec!["bob".into()])), EVE));
        assert!(!who(named(Named::These(vec!["eve".into()])), stranger));
        assert!(who(named(Named::LoggedIn), EVE) && !who(named(Named::LoggedIn), stranger));
        assert!(!who(named(Named::Strangers), EVE) && who(named(Named::Strangers), stranger));
        for (pattern, expected) in [
            ("gate-*", true),
            ("*-7", true),
            ("g*e*7", true),
            ("gate-7", true),
            ("gate", false),
            ("*8", false),
            ("*", true),
            ("gate-7*7", false),
        ] {
            let clients = Some(vec![pattern.into()]);
            assert_eq!(who(Who { clients, ..Who::default() }, EVE), expected, "{pattern}");
        }
        for (network, bits, address, expected) in [
            ("10.0.0.0", 8, "10.9.8.7", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("0.0.0.0", 0, "10.1.2.3", true),
            ("10.0.0.0", 8, "::ffff:10.1.1.1", true),
            ("2001:db8::", 32, "2001:db8::5", true),
            ("2001:db8::", 32, "10.0.0.1", false),
            ("::", 0, "2001::1", true),
        ] {
            let addresses = Some(vec![Network { address: network.parse().unwrap(), bits }]);
            let subject = Subject { address: Some(address.parse().unwrap()), ..EVE };
            assert_eq!(
                who(Who { addresses: addresses.clone(), ..Who::default() }, subject),
                expected,
                "{network}/{bits} {address}"
            );
            assert!(!who(Who { addresses, ..Who::default() }, EVE), "no address is in no network");
        }
    }

    #[test]
    fn rules_for_a_name_keep_their_place_among_the_others() {
        let named = || Who { users: Named::These(vec!["eve".into(), "eve".into()]), ..Who::default() };
        let mut permissions =
            of(vec![deny("a"), rule(Effect::Allow, ALL, "+", named()), deny("b"), rule(Effect::Deny, ALL, "c", named())], EVE);

        assert_eq!(&*permissions.rules, [0, 1, 2, 3]);
        assert!(permissions.may_publish("a").is_err());
        assert!(permissions.may_publish("b").is_ok() && permissions.may_publish("c").is_ok());
    }

    #[test]
    fn what_is_no_filter_is_no_pattern() {
        for text in ["", "a/#/b", "a+", "#a"] {
            assert_eq!(Pattern::new(text, Placeholders::Meant).err(), Some(NotAPattern), "{text:?}");
        }
    }
}
