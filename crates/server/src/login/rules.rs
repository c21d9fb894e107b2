//! What a client may do, as a token or a back end says it: in the words that EMQX has for it.
//!
//! Either lists of topic filters, `{"pub": [...], "sub": [...], "all": [...]}`, or rules in their order,
//! `[{"permission": "allow", "action": "publish", "topic": "..."}]`. `${clientid}` and `${username}` (`%c`, `%u`) stand for names.

use columba_broker::access::{Acl, Action, Actions, Effect, Pattern, Placeholders, Rule, Who};
use serde::Deserialize;
use serde_json::Value;

/// Rules and filters of one client, together.
const RULES_MAX: usize = 1_000;

/// What is said in a way that is not understood here: as nobody knows what was meant, nobody gets in by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotUnderstood;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    #[serde(default, rename = "pub")]
    publish: Vec<String>,
    #[serde(default, rename = "sub")]
    subscribe: Vec<String>,
    #[serde(default)]
    all: Vec<String>,
}

/// Conditions on QoS and RETAIN are not known here, and a rule that has some is not understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneRule {
    permission: Permission,
    action: Word,
    topic: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Permission {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    #[serde(alias = "pub")]
    Publish,
    #[serde(alias = "sub")]
    Subscribe,
    All,
}

/// Reads them. Where none of them speaks, those of all clients do.
pub(super) fn read(value: &Value) -> Result<Acl, NotUnderstood> {
    let mut rules = Vec::new();
    if value.is_array() {
        for one in Vec::<OneRule>::deserialize(value).map_err(|_| NotUnderstood)? {
            let effect = match one.permission {
                Permission::Allow => Effect::Allow,
                Permission::Deny => Effect::Deny,
            };
            push(&mut rules, effect, one.action, &one.topic)?;
        }
    } else {
        let lists = Lists::deserialize(value).map_err(|_| NotUnderstood)?;
        for (word, topics) in [(Word::Publish, lists.publish), (Word::Subscribe, lists.subscribe), (Word::All, lists.all)] {
            for topic in topics {
                push(&mut rules, Effect::Allow, word, &topic)?;
            }
        }
    }
    Ok(Acl::new(rules, Effect::Deny))
}

/// Everything may be done.
pub(super) fn everything() -> Acl {
    Acl::new(Vec::new(), Effect::Allow)
}

fn push(rules: &mut Vec<Rule>, effect: Effect, word: Word, topic: &str) -> Result<(), NotUnderstood> {
    if rules.len() >= RULES_MAX {
        return Err(NotUnderstood);
    }
    let actions = match word {
        Word::Publish => Actions::default().with(Action::Publish),
        Word::Subscribe => Actions::default().with(Action::Subscribe).with(Action::Receive),
        Word::All => Actions::default().with(Action::Publish).with(Action::Subscribe).with(Action::Receive),
    };
    let topic = topic.replace("${clientid}", "%c").replace("${username}", "%u");
    // Whatever else stands in braces would be taken for letters that no topic has.
    if topic.contains("${") || topic.starts_with("eq ") {
        return Err(NotUnderstood);
    }
    let pattern = Pattern::new(&topic, Placeholders::Meant).map_err(|_| NotUnderstood)?;
    rules.push(Rule { name: topic.into(), effect, actions, topics: vec![pattern], who: Who::default() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use columba_broker::access::{Permissions, Subject};
    use serde_json::json;

    use super::*;

    fn of(value: &Value) -> Permissions {
        let subject = Subject { client_id: "gate-7", user: Some("eve"), address: None };
        Arc::<Acl>::default().permissions(subject).with_own(Some(Arc::new(read(value).unwrap())))
    }

    #[test]
    fn lists_of_filters_allow_what_they_name() {
        let mut may = of(&json!({"pub": ["state/${clientid}"], "sub": ["home/${username}/#"], "all": ["both/+"]}));

        assert!(may.may_publish("state/gate-7").is_ok() && may.may_publish("state/gate-8").is_err());
        assert!(may.may_subscribe("home/eve/x").is_ok() && may.may_receive("home/eve/x").is_ok());
        assert!(may.may_subscribe("state/gate-7").is_err() && may.may_publish("home/eve/x").is_err());
        assert!(may.may_publish("both/a").is_ok() && may.may_receive("both/a").is_ok());
        assert!(may.may_publish("else").is_err());
    }

    #[test]
    fn of_rules_the_first_that_speaks_decides() {
        let mut may = of(&json!([
            {"permission": "deny", "action": "all", "topic": "a/secret"},
            {"permission": "allow", "action": "publish", "topic": "a/#"},
            {"permission": "allow", "action": "subscribe", "topic": "b/%c"},
        ]));

        assert!(may.may_publish("a/b").is_ok() && may.may_publish("a/secret").is_err());
        assert!(may.may_subscribe("b/gate-7").is_ok() && may.may_subscribe("b/gate-8").is_err());
    }

    #[test]
    fn what_is_not_understood_allows_nothing() {
        let many: Vec<String> = (0..=RULES_MAX).map(|number| number.to_string()).collect();
        for value in [
            json!(null),
            json!("all"),
            json!({"publish": ["a"]}),
            json!({"pub": "a"}),
            json!({"pub": ["a/#/b"]}),
            json!({"pub": ["${cert_common_name}/a"]}),
            json!({"sub": ["eq a/#"]}),
            json!({"pub": many}),
            json!([{"permission": "allow", "action": "publish", "topic": "a", "qos": [0]}]),
            json!([{"permission": "maybe", "action": "publish", "topic": "a"}]),
            json!([{"permission": "allow", "action": "publish"}]),
        ] {
            assert_eq!(read(&value).err(), Some(NotUnderstood), "{value}");
        }
    }
}
