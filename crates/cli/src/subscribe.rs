//! `columba sub`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::time::Duration;

use columba_client::{
    AckMode, Answer, Client, Delivery, Event, Inbox, Message, Overflow, PublishError, QoS, ReasonCode, RetainHandling, Version,
};
use columba_proto::{SubscriptionFilter, TopicFilter};
use jiff::Zoned;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::args::SubArgs;
use crate::connect::{self, Role, Target};
use crate::exit::{Exit, Failure};
use crate::explain;
use crate::interrupt::{Interrupt, interrupted, time_limit};
use crate::output::Output;
use crate::property::{Property, PropertyOf};

/// Messages printed with one write.
const MESSAGES_AT_ONCE: usize = 256;
/// When a person who sees nothing is told what to expect.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the end waits for the last acknowledgements.
const GOODBYE: Duration = Duration::from_secs(2);

/// Subscribes, and prints what arrives until something ends it.
pub(crate) async fn run(args: SubArgs) -> Result<Exit, Failure> {
    let target = Target::new(&args.common, connect::env)?;
    let filters = filters(&args, &target)?;
    let filtered_out = filtered_out(&args)?;
    let output = Output::new(&args)?;
    connect::warn_of_visible_password(&args.common);
    let limit = time_limit(shortest(args.wait, args.common.timeout));
    tokio::pin!(limit);
    let connecting = connect::connect(&args.common, &target, Role::Subscriber, |builder| {
        builder.options_mut().overflow = Overflow::StopReading;
        // In place before CONNECT leaves: a resumed session delivers at once.
        builder.inbox(AckMode::Manual)
    });
    let (client, inbox) = tokio::select! {
        connected = connecting => connected?,
        () = &mut limit => return Err(Failure::new(Exit::TimeLimit, "no connection within the time limit")),
        Interrupt = interrupted() => return Ok(Exit::Done),
    };
    let events = client.events();
    let mut subscriber = Subscriber {
        args: &args,
        client,
        inbox,
        events,
        output,
        filtered_out,
        cleared: BTreeSet::new(),
        clearing: Vec::new(),
        left: args.count,
        worst: Exit::Done,
    };
    let result = tokio::select! {
        result = subscriber.work(&filters) => result,
        () = &mut limit => Ok(Exit::TimeLimit),
        Interrupt = interrupted() => Ok(Exit::Done),
    };
    subscriber.end(result).await
}

fn shortest(wait: Option<Duration>, timeout: Option<Duration>) -> Option<Duration> {
    [wait, timeout].into_iter().flatten().min()
}

/// The filters to subscribe to, with the group of `--share` in front.
fn filters(args: &SubArgs, target: &Target) -> Result<Vec<String>, Failure> {
    let mut filters: Vec<String> = args.filters.iter().chain(&args.positional_filters).cloned().collect();
    filters.extend(target.topic.clone().filter(|_| filters.is_empty()));
    if filters.is_empty() && args.unsubscribe.is_empty() {
        return Err(Failure::usage("which topics?").try_this("columba sub -t 'hello/#' -v"));
    }
    for filter in &filters {
        warn_of_shell(filter, args.common.quiet);
    }
    if let Some(group) = &args.share {
        for filter in &mut filters {
            *filter = format!("$share/{group}/{filter}");
        }
    }
    for filter in filters.iter().chain(&args.unsubscribe) {
        filter.parse::<SubscriptionFilter>().map_err(|error| explain::topic_filter(filter, error))?;
    }
    let too_old = args.common.protocol_version.is_some_and(|version| !version.has_subscription_options());
    if too_old && (args.no_local || args.retain_as_published || args.retain_handling.is_some()) {
        return Err(Failure::usage("subscription options need MQTT 5").try_this("-V 5"));
    }
    Ok(filters)
}

/// An unquoted `$SYS/broker` has become `/broker` before we see it.
fn warn_of_shell(filter: &str, quiet: bool) {
    if filter.starts_with("/broker/") && !quiet {
        eprintln!("warning: filter \"{filter}\" starts with '/'; did the shell expand $SYS? quote it: -t '$SYS{filter}'");
    }
}

fn filtered_out(args: &SubArgs) -> Result<Vec<TopicFilter>, Failure> {
    args.filter_out
        .iter()
        .map(|text| text.parse().map_err(|error: columba_proto::TopicFilterError| explain::topic_filter(text, error.into())))
        .collect()
}

fn retain_handling(args: &SubArgs) -> RetainHandling {
    match args.retain_handling.as_deref() {
        Some("1" | "new") => RetainHandling::SendIfNew,
        Some("2" | "never") => RetainHandling::DoNotSend,
        _ => RetainHandling::Send,
    }
}

struct Subscriber<'a> {
    args: &'a SubArgs,
    client: Client,
    inbox: Inbox,
    events: broadcast::Receiver<Event>,
    output: Output,
    filtered_out: Vec<TopicFilter>,
    /// Topics whose retained message we have removed, until our own empty message comes back.
    cleared: BTreeSet<String>,
    clearing: Vec<(String, Delivery)>,
    /// Messages until the end, where there is one.
    left: Option<u64>,
    worst: Exit,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    GoOn,
    Stop,
}

impl Subscriber<'_> {
    async fn work(&mut self, filters: &[String]) -> Result<Exit, Failure> {
        self.unsubscribe().await?;
        if !filters.is_empty() {
            self.subscribe(filters).await?;
        }
        if self.args.exit_after_subscribe || filters.is_empty() {
            return Ok(self.worst);
        }
        self.print_all(filters).await
    }

    async fn unsubscribe(&mut self) -> Result<(), Failure> {
        if self.args.unsubscribe.is_empty() {
            return Ok(());
        }
        let pairs = connect::user_properties(&self.args.common.properties, PropertyOf::Unsubscribe);
        let answer = self.client.unsubscribe(self.args.unsubscribe.clone(), pairs).await;
        let answer = answer.map_err(|error| explain::subscribing(&error, self.id()))?;
        self.judge(&self.args.unsubscribe, &answer, "unsubscribe from");
        Ok(())
    }

    async fn subscribe(&mut self, filters: &[String]) -> Result<(), Failure> {
        let flags = &self.args.common.properties;
        let mut subscribe = self
            .client
            .subscribe_to(filters)
            .qos(self.args.qos)
            .no_local(self.args.no_local)
            .retain_as_published(self.args.retain_as_published)
            .retain_handling(retain_handling(self.args))
            .user_properties(connect::user_properties(flags, PropertyOf::Subscribe));
        for flag in flags {
            if let Property::SubscriptionId(id) = flag.property {
                subscribe = subscribe.subscription_id(id);
            }
        }
        let answer = subscribe.into_shared_inbox().await;
        let answer = answer.map_err(|error| explain::subscribing(&error, self.id()))?;
        if self.args.common.debug {
            let granted: Vec<String> = answer.reasons.iter().map(|reason| reason.get().to_string()).collect();
            eprintln!("Subscribed: {}", granted.join(", "));
        }
        self.judge(filters, &answer, "subscribe to");
        if self.worst != Exit::Done && answer.reasons.iter().all(|reason| reason.is_failure()) {
            return Err(Failure::new(self.worst, "the broker refused all subscriptions"));
        }
        Ok(())
    }

    /// Says what was refused, and remembers it for the end.
    fn judge(&mut self, filters: &[String], answer: &Answer, verb: &str) {
        let version = self.client.version();
        // One text for all that was refused.
        let mut text = answer.text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
        for (filter, reason) in filters.iter().zip(&answer.reasons).filter(|(_, reason)| reason.is_failure()) {
            let exit = connect::exit_of(*reason, version);
            let what = format!("{verb} \"{filter}\" was refused: {}{}", refused_words(*reason, version), mem::take(&mut text));
            if !self.args.common.quiet {
                eprintln!("{}", Failure::new(exit, what));
            }
            if self.worst == Exit::Done {
                self.worst = exit;
            }
        }
    }

    async fn print_all(&mut self, filters: &[String]) -> Result<Exit, Failure> {
        let mut silence = Some(Instant::now() + SILENCE).filter(|_| self.may_explain_silence());
        loop {
            let wake = silence.unwrap_or_else(|| Instant::now() + Duration::from_hours(24));
            tokio::select! {
                message = self.inbox.next() => {
                    silence = None;
                    let Some(message) = message else {
                        return Err(self.why_closed().await);
                    };
                    if self.print_batch(message).await? == Flow::Stop {
                        return Ok(self.worst);
                    }
                }
                event = self.events.recv() => self.tell(event),
                () = tokio::time::sleep_until(wake) => {
                    if silence.take().is_some() {
                        self.explain_silence(filters);
                    }
                }
            }
        }
    }

    /// Prints this message and those that have come with it, then acknowledges what has been printed.
    async fn print_batch(&mut self, first: Message) -> Result<Flow, Failure> {
        let mut text = Vec::new();
        let mut done = Vec::new();
        let mut flow = Flow::GoOn;
        let mut next = Some(first);
        while let Some(message) = next {
            flow = self.print(&message, &mut text).await;
            done.push(message);
            if flow == Flow::Stop || done.len() == MESSAGES_AT_ONCE {
                break;
            }
            next = self.inbox.try_next();
        }
        if !text.is_empty() && write_out(text).await.is_err() {
            // Whoever reads our output has gone: what it has not read stays unacknowledged.
            return Ok(Flow::Stop);
        }
        for message in done {
            // Where the client is closed, the broker keeps the message for the next time.
            message.ack().ok();
        }
        Ok(flow)
    }

    async fn print(&mut self, message: &Message, text: &mut Vec<u8>) -> Flow {
        if self.args.retained_only && !message.retain() {
            return Flow::Stop;
        }
        if self.filtered_out.iter().any(|filter| filter.matches(message.topic_name().as_name())) {
            return Flow::GoOn;
        }
        if self.args.remove_retained && message.retain() {
            self.clear(message).await;
        } else if message.payload().is_empty() && self.cleared.remove(message.topic()) {
            return Flow::GoOn;
        }
        if self.args.no_retained && message.retain() {
            return Flow::GoOn;
        }
        if self.output.write(message, &Zoned::now(), text).is_err() {
            if !self.args.common.quiet {
                eprintln!("error: the payload of {} is not JSON", message.topic());
            }
            return Flow::GoOn;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.left == Some(0) { Flow::Stop } else { Flow::GoOn }
    }

    /// An empty retained message removes the one that is kept (§3.3.1.3). The acknowledgement is looked at in the end:
    /// it may be behind messages that we have not read yet.
    async fn clear(&mut self, message: &Message) {
        self.cleared.insert(message.topic().to_owned());
        let clearing = self.client.publish(message.topic(), "").qos(QoS::AtLeastOnce).retain(true).enqueue().await;
        match clearing {
            Ok(delivery) => self.clearing.push((message.topic().to_owned(), delivery)),
            Err(error) => self.not_cleared(message.topic(), &error),
        }
    }

    fn not_cleared(&mut self, topic: &str, error: &PublishError) {
        let failure = explain::publishing(error, topic, self.client.version(), self.id());
        if !self.args.common.quiet {
            eprintln!("{failure}");
        }
        if self.worst == Exit::Done {
            self.worst = failure.exit;
        }
    }

    /// Looks at what the broker has said to the removals, for a moment.
    async fn finish_clearing(&mut self) {
        let until = Instant::now() + GOODBYE;
        for (topic, delivery) in mem::take(&mut self.clearing) {
            if let Ok(Err(error)) = tokio::time::timeout_at(until, delivery).await {
                self.not_cleared(&topic, &error);
            }
        }
    }

    fn tell(&self, event: Result<Event, broadcast::error::RecvError>) {
        if self.args.common.quiet {
            return;
        }
        match event {
            Ok(Event::Disconnected(lost)) => eprintln!("columba: {lost}"),
            Ok(Event::Reconnecting { wait, .. }) => {
                eprintln!("columba: connecting again in {:.1} s", wait.as_secs_f64());
            }
            Ok(Event::SessionLost) => {
                eprintln!("columba: note: the broker no longer had this session; subscribed anew");
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn may_explain_silence(&self) -> bool {
        !self.args.common.quiet && io::stdout().is_terminal() && io::stderr().is_terminal()
    }

    fn explain_silence(&self, filters: &[String]) {
        let kept = if self.args.common.keep_session { "kept" } else { "new" };
        eprintln!(
            "columba: subscribed to {} (QoS {}, {kept} session). No message yet. note: offline messages need -c -i ID and QoS >= 1",
            filters.join(", "),
            self.args.qos as u8
        );
    }

    fn id(&self) -> Option<&str> {
        self.args.common.id.as_deref()
    }

    async fn why_closed(&self) -> Failure {
        match self.client.close().await {
            Err(lost) => explain::lost(&lost, self.id()),
            Ok(_) => Failure::new(Exit::Lost, "connection lost"),
        }
    }

    /// Says goodbye; what has been printed is acknowledged before.
    async fn end(mut self, result: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let exit = result?;
        // Nothing more is printed: reading goes on, whatever waits.
        self.inbox.close();
        self.finish_clearing().await;
        let goodbye = connect::goodbye(&self.args.common.properties);
        match self.client.disconnect(goodbye).await {
            Err(lost) if exit == Exit::Done => Err(explain::lost(&lost, self.id())),
            Ok(_) | Err(_) if exit == Exit::Done => Ok(self.worst),
            Ok(_) | Err(_) => Ok(exit),
        }
    }
}

fn refused_words(reason: ReasonCode, version: Version) -> String {
    if version.has_properties() {
        return explain::reason_words(reason);
    }
    // 3.x has one code for all failures, and no name for it.
    format!("failure ({:#04x}); MQTT {} does not say why", reason.get(), version.name())
}

/// Writes off the event loop: a slow reader of our output must not keep the client from its pings.
async fn write_out(text: Vec<u8>) -> io::Result<()> {
    tokio::task::spawn_blocking(move || {
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    })
    .await
    .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
