//! Conversations with clients: the checker is the server here, and clients are its guests.
//!
//! A [`Story`] has a client started, waits for its CONNECT, and goes on as a server would, or as one that loses packets. What it asks of a client is what the
//! standard asks of all; a client that cannot be brought to do something is skipped with the reason.

mod guest;
mod plays;
mod start;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use columba_proto::{QoS, Version};

use super::clause::Clause;
use super::runner::{Outcome, Played};
use super::stage::{Said, Told};
use super::{Stop, Verdict};

pub use guest::Guest;
pub use plays::STORIES;
pub use start::{Commands, Running, Start};

/// How long a client may take for what it owes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come until it is said that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// What a client is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It publishes one message.
    Publisher,
    /// It subscribes, and prints what comes.
    Subscriber,
}

/// What a client is started with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// What it is to do.
    pub role: Role,
    /// Where the checker listens.
    pub address: SocketAddr,
    /// The version that it is to speak.
    pub version: Version,
    /// The QoS of its message, or of its subscription.
    pub qos: QoS,
    /// The topic or filter.
    pub topic: String,
    /// The payload of its message.
    pub payload: String,
    /// Its identifier; its session is to outlive its connection.
    pub client_id: String,
}

/// One conversation with a client.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// What it shows, as a statement.
    pub title: &'static str,
    /// What the client does in it.
    pub role: Role,
    /// At which QoS.
    pub qos: QoS,
    /// The versions in which it is told.
    pub versions: &'static [Version],
    /// What it shows of the standards.
    pub clauses: &'static [Clause],
    /// The story.
    pub play: fn(&mut Visit) -> Verdict,
}

/// A story that is being told.
pub struct Visit {
    listener: TcpListener,
    order: Order,
    client: Box<dyn Running>,
    told: Told,
    begun: Instant,
    guests: u32,
}

impl Visit {
    /// What the client was asked for.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The next connection of the client, with its CONNECT. Nothing is answered.
    pub fn guest(&mut self) -> Verdict<Guest> {
        self.guest_within(PATIENCE)?.ok_or_else(|| Stop::Failed {
            expected: "the client connects".into(),
            got: format!("it did not within {} s", PATIENCE.as_secs()),
        })
    }

    /// The same for a connection that a client need not make.
    pub fn returning_guest(&mut self) -> Verdict<Guest> {
        let guest = self.guest_within(PATIENCE)?;
        guest.ok_or_else(|| Stop::Skipped(format!("the client did not come back within {} s", PATIENCE.as_secs())))
    }

    fn guest_within(&mut self, within: Duration) -> Verdict<Option<Guest>> {
        let until = Instant::now() + within;
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                self.guests += 1;
                self.say("connects");
                return Guest::greet(self, stream).map(Some);
            }
            if Instant::now() >= until || self.client.has_ended() {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How often the client has printed this payload, some time after it did for the first time.
    pub fn printed(&self, payload: &str) -> usize {
        let count = || self.client.output().matches(payload).count();
        let until = Instant::now() + PATIENCE;
        while count() == 0 && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        // What comes twice comes soon.
        std::thread::sleep(SILENCE);
        count()
    }

    fn say(&mut self, what: impl Into<String>) {
        let at = self.begun.elapsed();
        self.told.transcript.push(Said { at, who: format!("client/{}", self.guests), what: what.into() });
    }

    /// Something that the standard only recommends, and that this client does not do.
    pub fn advise(&mut self, text: impl Into<String>) {
        self.told.advice.push(text.into());
    }
}

/// Tells one story to a client.
pub fn play(story: &'static Story, version: Version, start: &dyn Start, number: usize) -> Played {
    let begun = Instant::now();
    let (verdict, told) = match visit(story, version, start, number, begun) {
        Ok(mut visit) => {
            let verdict = (story.play)(&mut visit);
            visit.client.end();
            (verdict, visit.told)
        }
        Err(stop) => (Err(stop), Told::default()),
    };
    let clauses = story.clauses.iter().filter(|clause| clause.standard.judges(version)).map(|clause| clause.id).collect();
    Played { title: story.title, version, clauses, outcome: Outcome::from(verdict), told, took: begun.elapsed() }
}

fn visit(story: &Story, version: Version, start: &dyn Start, number: usize, begun: Instant) -> Verdict<Visit> {
    let cannot = |error: std::io::Error| Stop::Skipped(format!("cannot listen: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let order = Order {
        role: story.role,
        address: listener.local_addr().map_err(cannot)?,
        version,
        qos: story.qos,
        topic: format!("check/{number}"),
        payload: format!("payload-{number}"),
        client_id: format!("check{number}"),
    };
    let client = start.start(&order)?;
    Ok(Visit { listener, order, client, told: Told::default(), begun, guests: 0 })
}
