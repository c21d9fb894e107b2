//! Our own ACL file, in TOML.

use std::collections::BTreeMap;

use columba_broker::access::{Acl, Action, Actions, Effect, Named, Network, Pattern, Placeholders, Rule, Who};
use serde::Deserialize;
use toml::Spanned;

use super::{Wrong, push};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    default: Default,
    groups: BTreeMap<Box<str>, Vec<Box<str>>>,
    roles: BTreeMap<Box<str>, Role>,
    rule: Vec<Spanned<RuleTable>>,
}

/// What holds where no rule speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Default {
    Allow,
    #[default]
    Deny,
}

/// Who has a role.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Role {
    users: Vec<Box<str>>,
    groups: Vec<Box<str>>,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    allow: Option<Words>,
    deny: Option<Words>,
    topics: Words,
    #[serde(default)]
    users: Option<Words>,
    #[serde(default)]
    groups: Option<Words>,
    #[serde(default)]
    roles: Option<Words>,
    #[serde(default)]
    clients: Option<Words>,
    #[serde(default)]
    addresses: Option<Words>,
    #[serde(default)]
    anonymous: bool,
}

/// One, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(Box<str>),
    Several(Vec<Box<str>>),
}

impl Words {
    fn all(&self) -> &[Box<str>] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Several(words) => words,
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Acl, Wrong> {
    let line_at = |offset: usize| text.get(..offset).map(|before| before.matches('\n').count() + 1);
    let file: File =
        toml::from_str(text).map_err(|error| (error.span().and_then(|span| line_at(span.start)), error.message().into()))?;
    let mut rules = Vec::new();
    for (index, table) in file.rule.iter().enumerate() {
        let (number, line) = (index + 1, line_at(table.span().start));
        let rule = file.rule(number, table.get_ref()).map_err(|problem| (line, format!("rule {number}: {problem}").into()))?;
        push(&mut rules, rule, line)?;
    }
    let default = match file.default {
        Default::Allow => Effect::Allow,
        Default::Deny => Effect::Deny,
    };
    Ok(Acl::new(rules, default))
}

impl File {
    fn rule(&self, number: usize, table: &RuleTable) -> Result<Rule, String> {
        let (effect, words) = match (&table.allow, &table.deny) {
            (Some(words), None) => (Effect::Allow, words),
            (None, Some(words)) => (Effect::Deny, words),
            (Some(_), Some(_)) | (None, None) => return Err("write either allow = ... or deny = ...".into()),
        };
        let mut actions = Actions::default();
        for word in words.all() {
            actions = match (&**word, effect) {
                ("publish", _) => actions.with(Action::Publish),
                // What may be subscribed to may be received; what may not still comes by other subscriptions.
                ("subscribe", Effect::Allow) => actions.with(Action::Subscribe).with(Action::Receive),
                ("subscribe", Effect::Deny) => actions.with(Action::Subscribe),
                ("receive", _) => actions.with(Action::Receive),
                ("all", _) => actions.with(Action::Publish).with(Action::Subscribe).with(Action::Receive),
                _ => return Err(format!("\"{word}\" is none of publish, subscribe, receive and all")),
            };
        }
        let pattern = |text: &str| Pattern::new(text, Placeholders::Meant).map_err(|error| format!("\"{text}\" is {error}"));
        let topics = table.topics.all().iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>()?;
        if topics.is_empty() || words.all().is_empty() {
            return Err("an empty list speaks of nothing".into());
        }
        let network =
            |text: &str| network(text).ok_or_else(|| format!("\"{text}\" is no address and no network like 10.0.0.0/8"));
        let addresses =
            table.addresses.as_ref().map(|words| words.all().iter().map(|text| network(text)).collect::<Result<Vec<_>, _>>());
        let clients = table.clients.as_ref().map(|words| words.all().to_vec());
        let who = Who { users: self.users(table)?, clients, addresses: addresses.transpose()? };
        Ok(Rule { name: name(number, table), effect, actions, topics, who })
    }

    /// Everybody whom users, groups and roles name together.
    fn users(&self, table: &RuleTable) -> Result<Named, String> {
        if table.users.is_none() && table.groups.is_none() && table.roles.is_none() {
            return Ok(if table.anonymous { Named::Strangers } else { Named::Anybody });
        }
        if table.anonymous {
            return Err("anonymous is for those who have not logged in: they are no users, and in no group or role".into());
        }
        let all = |words: &Option<Words>| words.as_ref().map(|words| words.all().to_vec()).unwrap_or_default();
        let mut users = all(&table.users);
        let mut groups = all(&table.groups);
        for role in all(&table.roles) {
            let role = self.roles.get(&role).ok_or_else(|| format!("there is no role \"{role}\""))?;
            users.extend_from_slice(&role.users);
            groups.extend_from_slice(&role.groups);
        }
        for group in groups {
            users.extend_from_slice(self.groups.get(&group).ok_or_else(|| format!("there is no group \"{group}\""))?);
        }
        if users.iter().any(|user| **user == *"*") {
            return Ok(Named::LoggedIn);
        }
        users.sort_unstable();
        users.dedup();
        Ok(Named::These(users))
    }
}

/// `rule 4 (roles/ops)`
fn name(number: usize, table: &RuleTable) -> Box<str> {
    let kinds = [
        ("users", &table.users),
        ("groups", &table.groups),
        ("roles", &table.roles),
        ("clients", &table.clients),
        ("addresses", &table.addresses),
    ];
    let whom = kinds.iter().filter_map(|(kind, words)| Some((kind, words.as_ref()?)));
    let whom: Vec<String> = whom.map(|(kind, words)| format!("{kind}/{}", words.all().join(","))).collect();
    let whom = if table.anonymous { "anonymous".to_owned() } else { whom.join(" ") };
    if whom.is_empty() { format!("rule {number}") } else { format!("rule {number} ({whom})") }.into()
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some(Network { address, bits })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use columba_broker::access::Subject;
    use proptest::prelude::*;

    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/security.md");

    fn example() -> &'static str {
        GUIDE.split("```toml\n").find_map(|part| part.split("```").next().filter(|text| text.contains("[[rule]]"))).unwrap()
    }

    fn explained(user: &str, client_id: &str, address: &str, action: Action, topic: &str) -> String {
        let acl = Arc::new(parse(example()).unwrap());
        let user = Some(user).filter(|user| !user.is_empty());
        let permissions = acl.permissions(Subject { client_id, user, address: address.parse().ok() });
        let (result, name) = permissions.explain(action, topic);
        format!("{} {}", if result.is_ok() { "allowed" } else { "denied" }, name.unwrap_or("by none"))
    }

    #[test]
    fn the_example_of_the_guide_means_what_it_says() {
        use Action::{Publish, Receive, Subscribe};
        for (user, client_id, address, action, topic, expected) in [
            ("alice", "x", "10.0.0.1", Publish, "plant/secret/key", "denied rule 1"),
            ("alice", "x", "10.0.0.1", Publish, "plant/a/set", "allowed rule 2 (roles/ops)"),
            ("bob", "x", "10.0.0.1", Publish, "plant/a/set", "allowed rule 2 (roles/ops)"),
            ("carol", "x", "10.0.0.1", Publish, "plant/a/set", "denied by none"),
            ("carol", "x", "10.0.0.1", Subscribe, "plant/+/state", "allowed rule 3 (users/*)"),
            ("carol", "x", "10.0.0.1", Receive, "plant/a/state", "allowed rule 3 (users/*)"),
            ("", "x", "10.0.0.1", Receive, "plant/a/state", "denied by none"),
            (
                "carol",
                "gate-7",
                "10.0.0.1",
                Publish,
                "gates/gate-7/state",
                "allowed rule 4 (clients/gate-* addresses/10.0.0.0/8)",
            ),
            ("carol", "gate-7", "10.0.0.1", Publish, "gates/gate-8/state", "denied by none"),
            ("carol", "gate-7", "192.0.2.1", Publish, "gates/gate-7/state", "denied by none"),
            ("", "x", "", Receive, "public/news", "allowed rule 5 (anonymous)"),
        ] {
            assert_eq!(explained(user, client_id, address, action, topic), expected, "{user} {client_id} {action:?} {topic}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("default = \"maybe\"\n", (Some(1), "unknown variant `maybe`, expected `allow` or `deny`")),
            ("\n[[rule]]\nalow = \"all\"\n", (Some(3), "unknown field `alow`")),
            ("[[rule]]\ntopics = \"a\"\n", (Some(1), "rule 1: write either allow = ... or deny = ...")),
            (
                "[[rule]]\nallow = \"write\"\ntopics = \"a\"\n",
                (Some(1), "rule 1: \"write\" is none of publish, subscribe, receive and all"),
            ),
            ("[[rule]]\nallow = \"all\"\ntopics = [\"a\", \"#b\"]\n", (Some(1), "rule 1: \"#b\" is not a topic filter")),
            ("[[rule]]\nallow = \"all\"\ntopics = \"a\"\nroles = \"ops\"\n", (Some(1), "rule 1: there is no role \"ops\"")),
            ("[[rule]]\nallow = []\ntopics = \"a\"\n", (Some(1), "rule 1: an empty list speaks of nothing")),
            (
                "default = \"deny\"\n\n[[rule]]\nallow = \"all\"\ntopics = \"a\"\n\n[[rule]]\ntopics = \"a\"\n",
                (Some(7), "rule 2: write either allow = ... or deny = ..."),
            ),
            (
                "[[rule]]\nallow = \"all\"\ntopics = \"a\"\naddresses = \"10.0.0.0/33\"\n",
                (Some(1), "rule 1: \"10.0.0.0/33\" is no address and no network like 10.0.0.0/8"),
            ),
        ] {
            let (line, problem) = parse(text).map(|_| ()).unwrap_err();
            assert!((line, problem.starts_with(expected.1)) == (expected.0, true), "{text}: {line:?} {problem}");
        }
    }

    #[test]
    fn a_group_without_members_is_for_nobody() {
        let text = "groups.none = []\n[[rule]]\nallow = \"all\"\ntopics = \"#\"\ngroups = \"none\"\n";
        let acl = Arc::new(parse(text).unwrap());

        assert!(acl.permissions(Subject { client_id: "c", user: Some("eve"), address: None }).may_publish("a").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([\\[\\]a-z= \",#+/%0-9.\n]{0,40}|\\[\\[rule\\]\\]\n(allow|deny|topics|users|clients|addresses) = (\"[a-z#/+%]{0,6}\"|\\[\\]|true)\n){0,4}") {
            if let Ok(acl) = parse(&text) {
                let mut permissions = Arc::new(acl).permissions(Subject { client_id: "a", user: None, address: None });
                prop_assert_eq!(permissions.may_publish("a"), permissions.explain(Action::Publish, "a").0);
            }
        }
    }
}
