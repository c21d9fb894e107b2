//! `columba ctl`: a running broker, by its API.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::http::{Answer, HttpArgs};

/// What `columba ctl` takes.
#[derive(Args, Debug)]
pub(crate) struct CtlArgs {
    #[command(flatten)]
    http: HttpArgs,
    /// Token of the API, where there are any; other users of this machine can see one given here
    #[arg(long, value_name = "TOKEN", env = "COLUMBA_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The broker in numbers
    Overview,
    /// Where it listens, a JSON object a line
    Listeners,
    /// The configuration in force and who said what, a JSON object a line
    Config,
    /// Users of its users file, a JSON object a line; columba user changes them
    Users,
    /// Clients that are connected, a JSON object a line
    Clients(ListArgs),
    /// One client and its session
    Client(IdArgs),
    /// Subscriptions of a client, or of all sessions, a JSON object a line
    Subscriptions {
        /// Client identifier; without it, those of all sessions
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Only those of all sessions that have exactly this topic filter
        #[arg(long, value_name = "FILTER", conflicts_with = "id")]
        filter: Option<String>,
    },
    /// End a client's connection; its session stays
    Kick(IdArgs),
    /// Sessions, also of clients that are away, a JSON object a line
    Sessions(ListArgs),
    /// End a session with everything in it
    EndSession(IdArgs),
    /// Drop what waits for a client; its session stays. Prints how many messages these are
    Purge(IdArgs),
    /// Topics with a retained message, a JSON object a line
    Retained {
        /// Topic filter
        #[arg(value_name = "FILTER", default_value = "#")]
        filter: String,
    },
    /// One retained message
    RetainedGet(TopicArgs),
    /// Clear a retained message
    RetainedRm(TopicArgs),
    /// Let the broker read its configuration again
    Reload,
    /// Publish a message in nobody's name
    Publish(PublishArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only those whose client identifier has this in it
    #[arg(value_name = "PART", default_value = "")]
    part: String,
}

#[derive(Args, Debug)]
struct IdArgs {
    /// Client identifier
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args, Debug)]
struct TopicArgs {
    /// Topic
    #[arg(value_name = "TOPIC")]
    topic: String,
}

#[derive(Args, Debug)]
struct PublishArgs {
    /// Topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Message
    #[arg(value_name = "MESSAGE", default_value = "")]
    message: String,
    /// Quality of service
    #[arg(short = 'q', long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Keep it as the topic's retained message
    #[arg(short = 'r', long)]
    retain: bool,
}

pub(crate) fn run(args: &CtlArgs) -> Result<(String, Exit), Failure> {
    let text = match &args.what {
        What::Overview => args.one("/overview"),
        What::Listeners => args.all("/listeners", ""),
        What::Config => args.all("/config", ""),
        What::Users => args.all("/users", ""),
        What::Clients(list) => args.all("/clients", &format!("&q={}", encoded(&list.part))),
        What::Client(IdArgs { id }) => args.one(&format!("/clients/{}", encoded(id))),
        What::Subscriptions { id: Some(id), .. } => args.all(&format!("/clients/{}/subscriptions", encoded(id)), ""),
        What::Subscriptions { id: None, filter: Some(filter) } => {
            args.all("/subscriptions", &format!("&filter={}", encoded(filter)))
        }
        What::Subscriptions { id: None, filter: None } => args.all("/subscriptions", ""),
        What::Kick(IdArgs { id }) => args.done("DELETE", &format!("/clients/{}", encoded(id)), None),
        What::Sessions(list) => args.all("/sessions", &format!("&q={}", encoded(&list.part))),
        What::EndSession(IdArgs { id }) => args.done("DELETE", &format!("/sessions/{}", encoded(id)), None),
        What::Purge(IdArgs { id }) => args
            .ask("DELETE", &format!("/sessions/{}/queue", encoded(id)), None)
            .and_then(|answer| Ok(answer.json()?["messages"].to_string())),
        What::Retained { filter } => args.all("/retained", &format!("&filter={}", encoded(filter))),
        What::RetainedGet(TopicArgs { topic }) => args.one(&format!("/retained/{}", encoded(topic))),
        What::RetainedRm(TopicArgs { topic }) => args.done("DELETE", &format!("/retained/{}", encoded(topic)), None),
        What::Reload => args.ask("POST", "/reload", None).and_then(|answer| Ok(format!("{:#}", answer.json()?))),
        What::Publish(PublishArgs { topic, message, qos, retain }) => {
            let body = json!({ "topic": topic, "payload": message, "qos": qos, "retain": retain });
            args.done("POST", "/publish", Some(&body))
        }
    };
    text.map(|text| (text, Exit::Done))
}

impl CtlArgs {
    fn one(&self, path: &str) -> Result<String, Failure> {
        let shown = self.ask("GET", path, None)?.json()?;
        Ok(format!("{shown:#}"))
    }

    /// A line for each item of all pages.
    fn all(&self, path: &str, query: &str) -> Result<String, Failure> {
        let (mut lines, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.ask("GET", &format!("{path}?limit=1000{query}{cursor}"), None)?.json()?;
            lines.extend(page["items"].as_array().into_iter().flatten().map(Value::to_string));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => return Ok(lines.join("\n")),
            }
        }
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String, Failure> {
        self.ask(method, path, body).map(|_| String::new())
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let answer = self.http.ask(method, &format!("/api/v1{path}"), self.token.as_deref(), body)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let problem = answer.json()?;
        let detail = problem["detail"].as_str().or_else(|| problem["title"].as_str()).unwrap_or("the broker refuses");
        let exit = if matches!(answer.status, 401 | 403) { Exit::Denied } else { Exit::Other };
        let failure = Failure::new(exit, format!("{detail} ({})", answer.status));
        Err(if answer.status == 401 { failure.note("a token goes into COLUMBA_TOKEN or --token") } else { failure })
    }
}

/// Percent-encoded, but for what needs no encoding.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => write!(out, "%{byte:02X}").expect("a String takes all that fits memory"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_whole() {
        assert_eq!(encoded("a/b c#é"), "a%2Fb%20c%23%C3%A9");
    }
}
