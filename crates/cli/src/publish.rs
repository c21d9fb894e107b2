//! `columba pub`.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::time::Duration;

use columba_client::{Client, Delivery, MessageProperties, PublishError, QoS, ReasonCode, TopicNameBuf};
use tokio::sync::mpsc;

use crate::args::PubArgs;
use crate::connect::{self, Role, Target};
use crate::exit::{Exit, Failure};
use crate::interrupt::{Interrupt, interrupted, time_limit};
use crate::property::PropertyOf;
use crate::{explain, property};

/// Lines read ahead of the network.
const LINES_AHEAD: usize = 64;
/// Deliveries looked after at once; more is pointless, the broker's window is smaller.
const DELIVERIES_MAX: usize = 4_096;

/// Publishes what the command line says, and ends when the broker has acknowledged it.
pub(crate) async fn run(args: PubArgs) -> Result<Exit, Failure> {
    let target = Target::new(&args.common, connect::env)?;
    let job = Job::new(&args, &target)?;
    check(&args, &properties(&args))?;
    connect::warn_of_visible_password(&args.common);
    let limit = time_limit(args.common.timeout);
    tokio::pin!(limit);
    let connecting = connect::connect(&args.common, &target, Role::Publisher, |_| ());
    let (client, ()) = tokio::select! {
        connected = connecting => connected?,
        () = &mut limit => return Err(too_late(args.common.timeout)),
        Interrupt = interrupted() => return Ok(Exit::Interrupted),
    };
    let mut publisher = Publisher::new(&args, &client, job);
    let end = tokio::select! {
        () = publisher.publish_all() => End::Finished,
        () = &mut limit => End::TimeLimit,
        Interrupt = interrupted() => End::Interrupted,
    };
    publisher.end(end).await
}

fn too_late(limit: Option<Duration>) -> Failure {
    let seconds = limit.unwrap_or_default().as_secs_f64();
    Failure::new(Exit::TimeLimit, format!("not done within {seconds} s"))
}

/// What to publish, and where.
struct Job {
    topic: TopicNameBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The same message, so many times.
    Message { payload: Vec<u8>, times: u64, pause: Duration },
    /// A message for each line of standard input.
    Lines,
}

impl Job {
    fn new(args: &PubArgs, target: &Target) -> Result<Self, Failure> {
        let named = args.topic.clone().or_else(|| target.topic.clone());
        // `pub TOPIC MESSAGE`; where -t or the URL names the topic, the first word is the message.
        let (topic, word) = match (&named, &args.positional_topic, &args.positional_message) {
            (None, topic, message) => (topic.clone(), message.clone()),
            (Some(topic), word, None) => (Some(topic.clone()), word.clone()),
            (Some(_), Some(_), Some(_)) => {
                return Err(Failure::usage("the topic is named twice").try_this("columba pub TOPIC MESSAGE"));
            }
            (Some(topic), None, Some(word)) => (Some(topic.clone()), Some(word.clone())),
        };
        let topic = topic.ok_or_else(|| Failure::usage("which topic?").try_this("columba pub -t hello/world -m hi"))?;
        let name = topic.parse().map_err(|error| explain::topic_name(&topic, error))?;
        Ok(Self { source: source(args, word, &topic)?, topic: name })
    }
}

fn source(args: &PubArgs, word: Option<String>, topic: &str) -> Result<Source, Failure> {
    let flags =
        [args.message.is_some(), args.file.is_some(), args.stdin_line, args.stdin_file, args.null_message, word.is_some()];
    if flags.iter().filter(|given| **given).count() > 1 {
        return Err(Failure::usage("the message is given twice").try_this(format!("columba pub -t {topic} -m MESSAGE")));
    }
    if args.stdin_line {
        return Ok(Source::Lines);
    }
    let payload = if let Some(text) = args.message.clone().or(word) {
        text.into_bytes()
    } else if let Some(file) = &args.file {
        fs::read(file).map_err(|error| Failure::usage(format!("cannot read {}: {}", file.display(), explain::io(&error))))?
    } else if args.stdin_file {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::usage(format!("cannot read standard input: {}", explain::io(&error))))?;
        bytes
    } else if args.null_message {
        Vec::new()
    } else {
        return Err(Failure::usage("which message?").try_this(format!("columba pub -t {topic} -m MESSAGE")));
    };
    Ok(Source::Message { payload, times: args.repeat, pause: args.repeat_delay.unwrap_or_default() })
}

impl Source {
    /// The messages, one after the other, as they become ready.
    fn start(self) -> mpsc::Receiver<Vec<u8>> {
        let (messages, receiver) = mpsc::channel(LINES_AHEAD);
        match self {
            Self::Message { payload, times, pause } => {
                tokio::spawn(async move {
                    for round in 0..times {
                        if round > 0 && !pause.is_zero() {
                            tokio::time::sleep(pause).await;
                        }
                        if messages.send(payload.clone()).await.is_err() {
                            return;
                        }
                    }
                });
            }
            // A thread of its own: nothing can end a read of standard input early but the end of the process.
            Self::Lines => drop(std::thread::spawn(move || read_lines(&messages))),
        }
        receiver
    }
}

fn read_lines(messages: &mpsc::Sender<Vec<u8>>) {
    for line in io::stdin().lock().split(b'\n') {
        let Ok(mut line) = line else {
            return;
        };
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if messages.blocking_send(line).is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Finished,
    TimeLimit,
    Interrupted,
}

struct Publisher<'a> {
    args: &'a PubArgs,
    client: &'a Client,
    topic: TopicNameBuf,
    messages: mpsc::Receiver<Vec<u8>>,
    from_lines: bool,
    properties: MessageProperties,
    deliveries: VecDeque<Delivery>,
    total: u64,
    worst: Exit,
    unmatched_said: bool,
}

impl<'a> Publisher<'a> {
    fn new(args: &'a PubArgs, client: &'a Client, job: Job) -> Self {
        Self {
            args,
            client,
            topic: job.topic,
            from_lines: matches!(job.source, Source::Lines),
            messages: job.source.start(),
            properties: properties(args),
            deliveries: VecDeque::new(),
            total: 0,
            worst: Exit::Done,
            unmatched_said: false,
        }
    }

    async fn publish_all(&mut self) {
        let mut more = true;
        while more || !self.deliveries.is_empty() {
            tokio::select! {
                result = front(&mut self.deliveries), if !self.deliveries.is_empty() => self.on_result(result),
                message = self.messages.recv(), if more && self.deliveries.len() < DELIVERIES_MAX => match message {
                    Some(payload) => self.publish(payload).await,
                    None => more = false,
                },
            }
            if self.client.is_closed() && self.deliveries.is_empty() {
                return;
            }
        }
    }

    async fn publish(&mut self, payload: Vec<u8>) {
        self.total += 1;
        let publish = self
            .client
            .publish(self.topic.as_str(), payload)
            .qos(self.args.qos)
            .retain(self.args.retain)
            .properties(self.properties.clone());
        match publish.enqueue().await {
            Ok(delivery) => self.deliveries.push_back(delivery),
            Err(error) => self.on_result(Err(error)),
        }
    }

    fn on_result(&mut self, result: Result<ReasonCode, PublishError>) {
        match result {
            Ok(ReasonCode::NO_MATCHING_SUBSCRIBERS) => self.say_unmatched(),
            Ok(_) => {}
            Err(error) => {
                let id = self.args.common.id.as_deref();
                let failure = explain::publishing(&error, self.topic.as_str(), self.client.version(), id);
                // A lost connection ends all deliveries with the same words.
                if self.worst == Exit::Done || !matches!(error, PublishError::Closed(_)) {
                    self.complain(&failure);
                }
                if self.worst == Exit::Done {
                    self.worst = failure.exit;
                }
            }
        }
    }

    fn say_unmatched(&mut self) {
        if !self.args.common.quiet && !std::mem::replace(&mut self.unmatched_said, true) {
            eprintln!("columba: note: accepted, but no subscription matches {} (0x10)", self.topic);
        }
    }

    /// An acknowledgement of 3.x has no word for a refusal: what a rule denies is acknowledged and dropped [MQTT-3.3.5-2]. At QoS 0 no version would say so.
    fn say_undecided(&self) {
        let version = self.client.version();
        let is_undecided = self.worst == Exit::Done && self.args.qos > QoS::AtMostOnce && !version.has_properties();
        if is_undecided && !self.args.common.quiet {
            // A broker that refuses 5 is not asked for it again.
            let advice = if self.args.common.protocol_version.is_some() { "; use -V 5" } else { "" };
            eprintln!("columba: note: MQTT {} cannot report a refused publish{advice}", version.name());
        }
    }

    fn complain(&self, failure: &Failure) {
        if !self.args.common.quiet {
            eprintln!("{failure}");
        }
    }

    /// Says goodbye, and what is left behind.
    async fn end(mut self, end: End) -> Result<Exit, Failure> {
        let closed = self.client.disconnect(connect::goodbye(&self.args.common.properties)).await;
        let left = match &closed {
            Ok(unacknowledged) => unacknowledged.0 as u64,
            Err(_) if self.args.qos == QoS::AtMostOnce => 0,
            Err(_) => self.deliveries.len() as u64,
        };
        match (end, closed) {
            (End::Finished, Ok(_)) => {
                self.say_undecided();
                Ok(self.worst)
            }
            // Whatever ended it before the end has been said already.
            (End::Finished, Err(_)) if self.worst != Exit::Done => Ok(self.worst),
            (End::Finished, Err(lost)) => Err(explain::lost(&lost, self.args.common.id.as_deref())),
            (End::TimeLimit, _) => {
                self.say_left(left);
                Err(too_late(self.args.common.timeout))
            }
            (End::Interrupted, _) => {
                self.say_left(left);
                // Whoever types lines ends them with Ctrl-C; with nothing left behind that is no failure.
                let is_done = left == 0 && self.from_lines;
                Ok(if is_done { self.worst } else { Exit::Interrupted })
            }
        }
    }

    fn say_left(&mut self, left: u64) {
        if left > 0 && !self.args.common.quiet {
            eprintln!("columba: {} of {} messages were not acknowledged", grouped(left), grouped(self.total));
        }
    }
}

async fn front(deliveries: &mut VecDeque<Delivery>) -> Result<ReasonCode, PublishError> {
    match deliveries.front_mut() {
        Some(delivery) => {
            let result = Pin::new(delivery).await;
            deliveries.pop_front();
            result
        }
        None => std::future::pending().await,
    }
}

fn properties(args: &PubArgs) -> MessageProperties {
    let mut properties = connect::message_properties(&args.common.properties, PropertyOf::Publish);
    properties.user_properties.extend(args.user_property.iter().cloned());
    if let Some(content_type) = &args.content_type {
        properties.content_type = Some(content_type.clone());
    }
    if let Some(seconds) = args.expiry {
        properties.message_expiry = Some(seconds);
    }
    if let Some(topic) = &args.response_topic {
        properties.response_topic = Some(topic.clone());
    }
    if let Some(data) = &args.correlation {
        properties.correlation_data = Some(data.clone().into());
    }
    properties
}

/// Properties need MQTT 5, whichever flag sets them.
fn check(args: &PubArgs, properties: &MessageProperties) -> Result<(), Failure> {
    let too_old = args.common.protocol_version.is_some_and(|version| !version.has_properties());
    if too_old && *properties != MessageProperties::default() {
        return Err(property::need_version_5());
    }
    Ok(())
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_thousands() {
        assert_eq!(grouped(3), "3");
        assert_eq!(grouped(418), "418");
        assert_eq!(grouped(12_418), "12,418");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
