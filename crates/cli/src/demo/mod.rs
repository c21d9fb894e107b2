//! `columba demo`: the nine combinations of QoS, then the four failures of QoS 2, on a broker of its own.

mod failures;
mod story;
mod table;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use columba_client::{Backoff, Builder, Client};

use crate::args::DemoArgs;
use crate::broker::Broker;
use crate::exit::{Exit, Failure};
use crate::{block_on, explain};

/// On one machine every step takes milliseconds; one that takes longer has gone wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the broker of a demonstration is.
#[derive(Clone, Debug)]
struct Place {
    host: String,
    port: u16,
    /// In front of client identifiers and topics, so that nobody else's get in the way.
    run: u32,
}

/// How many of so many held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Score {
    held: u32,
    of: u32,
}

impl Score {
    fn count(&mut self, held: bool) {
        self.of += 1;
        self.held += u32::from(held);
    }

    fn is_full(self) -> bool {
        self.held == self.of
    }
}

/// Shows it, and succeeds only if everything held.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let broker = Broker::start(args.url.as_deref())?;
    let place = Place { host: broker.host().to_owned(), port: broker.port(), run: std::process::id() };
    let result = block_on(show(place));
    broker.stop();
    result
}

async fn show(place: Place) -> Result<Exit, Failure> {
    say("publish qos  subscribe qos  received qos   publisher                                subscriber");
    let table = table::show(&place).await?;
    say("\nQoS 2, where one packet is lost (✗), and the connection with it. The session is resumed:");
    let failures = failures::show(&place).await?;
    say(format!(
        "min(publish, subscribe) held in {} of {}. Then: the connection was cut after each of the 4 QoS 2 steps and\n\
         resumed: {} of {} messages arrived exactly once from the publisher, {} of {} at the subscriber.",
        table.held, table.of, failures.publisher.held, failures.publisher.of, failures.subscriber.held, failures.subscriber.of
    ));
    let all_held = table.is_full() && failures.publisher.is_full() && failures.subscriber.is_full();
    Ok(if all_held { Exit::Done } else { Exit::Other })
}

/// A line of the demonstration; whoever has closed our output misses it.
fn say(line: impl Display) {
    writeln!(io::stdout(), "{line}").unwrap_or_default();
}

impl Place {
    fn client(&self, name: &str) -> Builder {
        let mut builder = Client::builder(self.host.clone(), self.port).client_id(format!("demo-{}-{name}", self.run));
        builder.options_mut().connect_wait_max = PATIENCE;
        builder.options_mut().reconnect = Some(Backoff { first: Duration::from_millis(5), max: Duration::from_millis(50) });
        builder
    }

    fn topic(&self, name: &str) -> String {
        format!("columba/demo/{}/{name}", self.run)
    }
}

async fn connected(builder: Builder) -> Result<Client, Failure> {
    builder.connect().await.map_err(|error| went_wrong("connecting", error))
}

fn went_wrong(step: &str, error: impl Display) -> Failure {
    Failure::new(Exit::Other, format!("the demonstration went wrong at {step}: {error}"))
}

/// Waits for a step, but not for ever.
async fn in_time<T>(step: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| went_wrong(step, explain::io(&io::ErrorKind::TimedOut.into())))
}
