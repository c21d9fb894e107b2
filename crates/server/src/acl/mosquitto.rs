//! mosquitto's `acl_file`: `user NAME`, `topic [read|write|readwrite|deny] FILTER`, `pattern [...] FILTER`.
//!
//! Lines for a user come before patterns, which are for everybody, and in each group denials come before what allows. `topic` lines before the first `user` are for those who
//! have not logged in. Whatever no line allows is denied.

use columba_broker::access::{Acl, Action, Actions, Effect, Named, Pattern, Placeholders, Rule, Who};

use super::{Wrong, push};

/// What a line is about, in the order in which lines are looked at.
#[derive(Default)]
struct Groups {
    denied_topics: Vec<Rule>,
    topics: Vec<Rule>,
    denied_patterns: Vec<Rule>,
    patterns: Vec<Rule>,
}

pub(super) fn parse(text: &str) -> Result<Acl, Wrong> {
    let mut groups = Groups::default();
    let mut user: Option<Box<str>> = None;
    for (index, line) in text.lines().enumerate() {
        let number = Some(index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Err((number, format!("nothing stands behind \"{word}\"").into()));
        }
        match word {
            "user" => user = Some(rest.into()),
            "topic" | "pattern" => {
                let is_pattern = word == "pattern";
                let (effect, actions, filter) = access(rest).map_err(|problem| (number, problem))?;
                let placeholders = if is_pattern { Placeholders::Meant } else { Placeholders::Letters };
                let pattern = Pattern::new(filter, placeholders)
                    .map_err(|error| (number, format!("\"{filter}\" is {error}").into_boxed_str()))?;
                let users = match &user {
                    _ if is_pattern => Named::Anybody,
                    None => Named::Strangers,
                    Some(user) => Named::These(vec![user.clone()]),
                };
                let name = format!("line {} ({line})", index + 1).into();
                let rule = Rule { name, effect, actions, topics: vec![pattern], who: Who { users, ..Who::default() } };
                let group = match (is_pattern, effect) {
                    (false, Effect::Deny) => &mut groups.denied_topics,
                    (false, Effect::Allow) => &mut groups.topics,
                    (true, Effect::Deny) => &mut groups.denied_patterns,
                    (true, Effect::Allow) => &mut groups.patterns,
                };
                push(group, rule, number)?;
            }
            _ => return Err((number, format!("\"{word}\" is none of user, topic and pattern").into())),
        }
    }
    let Groups { denied_topics, topics, denied_patterns, patterns } = groups;
    Ok(Acl::new([denied_topics, topics, denied_patterns, patterns].concat(), Effect::Deny))
}

/// `[read|write|readwrite|deny] FILTER`; one word alone is a filter, for reading and writing.
fn access(text: &str) -> Result<(Effect, Actions, &str), Box<str>> {
    let read = Actions::default().with(Action::Subscribe).with(Action::Receive);
    let all = read.with(Action::Publish);
    let Some((word, filter)) = text.split_once([' ', '\t']) else { return Ok((Effect::Allow, all, text)) };
    let (effect, actions) = match word {
        "read" => (Effect::Allow, read),
        "write" => (Effect::Allow, Actions::default().with(Action::Publish)),
        "readwrite" => (Effect::Allow, all),
        "deny" => (Effect::Deny, all),
        _ => return Err(format!("\"{word}\" is none of read, write, readwrite and deny").into()),
    };
    Ok((effect, actions, filter.trim_start()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use columba_broker::access::Subject;
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "# everybody who does not log in\ntopic read public/#\n\nuser eve\ntopic readwrite eve/#\ntopic deny eve/secret\ntopic write log with spaces\ntopic both\n\
        user bob\ntopic read #\npattern write clients/%c/%u\npattern deny clients/evil/#\n";

    fn may(user: Option<&str>, client_id: &str, action: Action, topic: &str) -> bool {
        let acl = Arc::new(parse(FILE).unwrap());
        acl.permissions(Subject { client_id, user, address: None }).explain(action, topic).0.is_ok()
    }

    #[test]
    fn lines_are_for_their_user_patterns_for_all_and_denials_come_first() {
        use Action::{Publish, Receive, Subscribe};
        for (user, action, topic, expected) in [
            (None, Receive, "public/a", true),
            (None, Publish, "public/a", false),
            (Some("eve"), Receive, "public/a", false),
            (Some("eve"), Publish, "eve/a", true),
            (Some("eve"), Receive, "eve/secret", false),
            (Some("eve"), Publish, "log with spaces", true),
            (Some("eve"), Receive, "log with spaces", false),
            (Some("eve"), Publish, "both", true),
            (Some("eve"), Receive, "both", true),
            (Some("bob"), Receive, "eve/secret", true),
            (Some("bob"), Receive, "$SYS/broker/uptime", false),
            (Some("bob"), Subscribe, "#", true),
            (Some("bob"), Publish, "clients/c/bob", true),
            (Some("bob"), Publish, "clients/c/eve", false),
            (None, Publish, "clients/c/", false),
        ] {
            assert_eq!(may(user, "c", action, topic), expected, "{user:?} {action:?} {topic}");
        }
        assert!(!may(Some("bob"), "evil", Publish, "clients/evil/bob"));
        assert!(may(Some("bob"), "evil", Receive, "clients/evil/bob"), "his own line comes before patterns");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, line, problem) in [
            ("user\n", 1, "nothing stands behind \"user\""),
            ("\npattern\n", 2, "nothing stands behind \"pattern\""),
            ("topic all a\n", 1, "\"all\" is none of read, write, readwrite and deny"),
            ("topic read a/#/b\n", 1, "\"a/#/b\" is not a topic filter"),
            ("topics a\n", 1, "\"topics\" is none of user, topic and pattern"),
        ] {
            let (at, said) = parse(text).map(|_| ()).unwrap_err();
            assert_eq!((at, &*said), (Some(line), problem), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((user|topic|pattern|#)( (read|write|readwrite|deny))?[ \\t]?[a-c%u/+#$ ]{0,12}\n){0,6}") {
            if let Ok(acl) = parse(&text) {
                let mut permissions = Arc::new(acl).permissions(Subject { client_id: "a", user: Some("b"), address: None });
                // Who may receive something may subscribe to what it is among.
                if permissions.may_receive("a/b").is_ok() {
                    for filter in ["a/b", "a/+", "+/b", "a/#", "#"] {
                        prop_assert!(permissions.may_subscribe(filter).is_ok(), "{} {}", text, filter);
                    }
                }
            }
        }
    }
}
