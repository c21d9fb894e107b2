//! The task that moves the packets: it connects, comes back after a loss, and never waits for the application.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use columba_proto::ReasonCode;
use columba_proto::connection::Open;
use columba_proto::packet::{Disconnect, Packet};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use crate::clocks::Clocks;
use crate::command::{Command, Goodbye, Leave, PublishWaiter, RequestWaiter, Unacknowledged};
use crate::connection::{Connection, Readiness, Wire};
use crate::dial::{Established, dial};
use crate::error::{ConnectError, Lost};
use crate::event::Event;
use crate::inbox::{InboxSender, Waiting};
use crate::limits::CLOSE_WAIT_MAX;
use crate::message::{AckHandle, Message};
use crate::options::{Options, Overflow};
use crate::session::{InboxOf, Outlet, Output, Resumption, Route, Session, Waiters, Welcome};
use crate::tap::{Direction, Tap, Verdict};
use crate::translate::pairs;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) tap: Tap,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) catch_all: InboxSender,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) acks: mpsc::WeakUnboundedSender<Command>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) ended: Arc<Mutex<Option<Lost>>>,
}

/// Connects for the first time, and leaves the rest to a task.
pub(crate) async fn start(mut parts: Parts) -> Result<(), ConnectError> {
    let (clean_start, client_id) = (parts.options.clean_start, parts.options.client_id.clone());
    let established = dial(&parts.options, &mut parts.tap, clean_start, &client_id).await?;
    let session = Session::new(&parts.options);
    let driver = Driver { parts, session, client_id, attempts: 0, lingers_until: None };
    tokio::spawn(driver.run(established));
    Ok(())
}

/// The handles that wait in the session of a running driver.
pub(crate) enum Live {}

impl Waiters for Live {
    type Publish = PublishWaiter;
    type Request = RequestWaiter;
    type Inbox = InboxSender;
}

struct Driver {
    parts: Parts,
    session: Session<Live>,
    /// As the server assigned it, if it did.
    client_id: String,
    /// To connect, since the last connection that lasted.
    attempts: u32,
    /// No handle is left; what is in flight may be acknowledged until then.
    lingers_until: Option<Instant>,
}

/// Why the loop over a connection ended.
enum End {
    Lost(Lost),
    Closing(Option<Leave>),
}

/// What the driver woke up for.
enum Wake {
    Socket(std::io::Result<Readiness>),
    Command(Option<Command>),
    Timer,
    Room,
}

/// A connection that has lasted this long counts as a success; the next wait starts small again.
const LASTED: Duration = Duration::from_secs(10);

impl Driver {
    async fn run(mut self, first: Established) {
        let mut next = Some(first);
        while let Some(established) = next {
            let Some(lost) = self.serve(established).await else {
                return;
            };
            self.session.on_lost();
            self.tell(Event::Disconnected(lost.clone()));
            next = self.come_back(lost).await;
        }
    }

    /// Lives through one connection; `None` when the client is closed.
    async fn serve(&mut self, established: Established) -> Option<Lost> {
        let Established { mut connection, open, welcome } = established;
        let mut clocks = Clocks::new(&self.parts.options, &welcome);
        if let Some(id) = &welcome.assigned_client_id {
            self.client_id.clone_from(id);
        }
        self.open_session(&welcome, &mut connection);
        match self.turn_until_end(open, &mut connection, &mut clocks).await {
            End::Lost(lost) => {
                if clocks.began.elapsed() > LASTED {
                    self.attempts = 0;
                }
                if self.parts.options.version.explains_closing() {
                    say_what_was_wrong(&lost, &mut connection, &mut self.parts.tap).await;
                }
                Some(lost)
            }
            End::Closing(Some(Leave { goodbye, done })) => {
                // The caller may have stopped waiting.
                done.send(self.close(connection, &goodbye).await).ok();
                None
            }
            End::Closing(None) => {
                // No handle is left that could be told.
                self.close(connection, &Goodbye::default()).await.ok();
                None
            }
        }
    }

    fn open_session(&mut self, welcome: &Welcome, connection: &mut Connection) {
        let mut wire = Wire { output: &mut connection.output, tap: &mut self.parts.tap };
        let had_session = self.session.on_connack(welcome, &mut wire);
        self.tell(Event::Connected { session_present: welcome.session_present.unwrap_or(false) });
        if had_session == Resumption::Lost {
            self.tell(Event::SessionLost);
        }
    }

    async fn turn_until_end(&mut self, open: Open, connection: &mut Connection, clocks: &mut Clocks) -> End {
        // Packets may have come right behind CONNACK.
        if let Err(lost) = self.handle_input(open, connection, clocks) {
            return End::Lost(lost);
        }
        loop {
            if let Err(lost) = self.push(connection, clocks) {
                return End::Lost(lost);
            }
            if self.lingers_until.is_some_and(|until| self.session.is_idle() || until <= Instant::now()) {
                return End::Closing(None);
            }
            let paused = self.is_paused();
            let timer = self.next_timer(clocks, paused);
            let wake = tokio::select! {
                ready = connection.ready(!paused) => Wake::Socket(ready),
                command = self.parts.commands.recv(), if self.lingers_until.is_none() => Wake::Command(command),
                () = self.parts.waiting.room(), if paused => Wake::Room,
                () = tokio::time::sleep_until(timer) => Wake::Timer,
            };
            let went_on = match wake {
                Wake::Socket(ready) => self.on_ready(ready, open, connection, clocks),
                Wake::Command(Some(command)) => match self.on_commands(command, connection) {
                    None => Ok(()),
                    leave => return End::Closing(leave),
                },
                Wake::Command(None) => {
                    self.lingers_until = Some(Instant::now() + CLOSE_WAIT_MAX);
                    Ok(())
                }
                Wake::Room => {
                    clocks.received = Instant::now();
                    Ok(())
                }
                Wake::Timer => self.on_timer(connection, clocks, paused),
            };
            if let Err(lost) = went_on {
                return End::Lost(lost);
            }
        }
    }

    /// Gets out what the session has decided.
    fn push(&mut self, connection: &mut Connection, clocks: &mut Clocks) -> Result<(), Lost> {
        loop {
            let mut wire = Wire { output: &mut connection.output, tap: &mut self.parts.tap };
            self.session.pump(&mut wire);
            self.hand_out();
            clocks.note_sent(connection.output.packets());
            connection.write().map_err(|error| Lost::Broken(error.kind()))?;
            if connection.output.is_cut() && connection.output.is_empty() {
                return Err(Lost::Cut);
            }
            if !connection.output.is_empty() || !self.session.can_send() {
                return Ok(());
            }
        }
    }

    fn on_ready(
        &mut self,
        ready: std::io::Result<Readiness>,
        open: Open,
        connection: &mut Connection,
        clocks: &mut Clocks,
    ) -> Result<(), Lost> {
        let ready = ready.map_err(|error| Lost::Broken(error.kind()))?;
        if ready == Readiness::Writable || connection.output.is_cut() {
            return Ok(());
        }
        let goes_on = connection.read().map_err(|error| Lost::Broken(error.kind()))?;
        self.handle_input(open, connection, clocks)?;
        if goes_on { Ok(()) } else { Err(Lost::Closed) }
    }

    fn handle_input(&mut self, open: Open, connection: &mut Connection, clocks: &mut Clocks) -> Result<(), Lost> {
        while let Some(frame) = connection.input.frame()? {
            let packet = open.decode(frame.first, frame.body)?;
            let len = frame.len;
            clocks.note_received(&packet);
            let verdict = self.parts.tap.judge(Direction::Receive, &packet);
            if matches!(verdict, Verdict::Keep | Verdict::CutAfter) {
                let mut wire = Wire { output: &mut connection.output, tap: &mut self.parts.tap };
                self.session.on_packet(&packet, &mut wire)?;
            }
            if matches!(verdict, Verdict::CutBefore | Verdict::CutAfter) {
                connection.output.cut();
                self.hand_out();
                return Ok(());
            }
            connection.input.handled(len);
            self.hand_out();
        }
        Ok(())
    }

    /// One command, and those that have come with it.
    fn on_commands(&mut self, first: Command, connection: &mut Connection) -> Option<Leave> {
        const COMMANDS_AT_ONCE: usize = 256;
        let mut next = Some(first);
        for _ in 0..COMMANDS_AT_ONCE {
            let Some(command) = next.take().or_else(|| self.parts.commands.try_recv().ok()) else {
                break;
            };
            let mut wire = Wire { output: &mut connection.output, tap: &mut self.parts.tap };
            let leave = take(command, &mut self.session, &self.parts.catch_all, &mut wire);
            if leave.is_some() {
                return leave;
            }
        }
        None
    }

    fn on_timer(&mut self, connection: &mut Connection, clocks: &mut Clocks, paused: bool) -> Result<(), Lost> {
        let now = Instant::now();
        if let (Some(sent), false) = (clocks.ping_sent, paused)
            && now >= sent + clocks.ping_wait()
        {
            return Err(Lost::Silent);
        }
        let repetition_due = self.repetition_due(clocks);
        let mut wire = Wire { output: &mut connection.output, tap: &mut self.parts.tap };
        if clocks.ping_due().is_some_and(|due| due <= now) {
            // [MQTT-3.1.2-20]
            wire.send(&Packet::Pingreq);
            clocks.ping_sent = Some(now);
        }
        if repetition_due.is_some_and(|due| due <= now) {
            self.session.repeat(&mut wire);
            clocks.progress = now;
        }
        Ok(())
    }

    fn next_timer(&self, clocks: &Clocks, paused: bool) -> Instant {
        const FAR: Duration = Duration::from_hours(24);
        let ping = match clocks.ping_sent {
            Some(_) if paused => None,
            Some(sent) => Some(sent + clocks.ping_wait()),
            None => clocks.ping_due(),
        };
        let times = [ping, self.repetition_due(clocks), self.lingers_until];
        times.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + FAR)
    }

    /// When the timed repetition of 3.1 and 3.1.1 is due.
    fn repetition_due(&self, clocks: &Clocks) -> Option<Instant> {
        let interval = self.parts.options.retry_interval;
        let repeats = self.parts.options.version.may_resend() && !interval.is_zero() && self.session.is_in_flight();
        repeats.then(|| clocks.progress + interval)
    }

    fn is_paused(&self) -> bool {
        self.parts.options.overflow == Overflow::StopReading && self.parts.waiting.is_full(self.parts.options.inbox_bytes_max)
    }

    /// Gives results and messages to those who wait for them.
    fn hand_out(&mut self) {
        while let Some(output) = self.session.next_output() {
            match output {
                // Somebody who has stopped waiting does not want to know.
                Output::Published(waiter, result) => drop(waiter.done.send(result)),
                Output::Answered(waiter, answer) => drop(waiter.send(Ok(answer))),
                Output::Deliver { mut message, token, route } => {
                    message.ack = token.map(|token| AckHandle::new(token, self.parts.acks.clone()));
                    self.deliver(message, &route);
                }
            }
        }
    }

    fn deliver(&self, message: Message, route: &Route) {
        if message.ack.is_none()
            && self.parts.options.overflow == Overflow::Drop
            && self.parts.waiting.is_full(self.parts.options.inbox_bytes_max)
        {
            self.tell(Event::Dropped);
            return;
        }
        let inboxes: Vec<&InboxSender> = match route {
            Route::CatchAll => vec![&self.parts.catch_all],
            Route::To(subscriptions) => subscriptions.iter().filter_map(|&number| self.session.inbox(number)).collect(),
        };
        let Some((last, others)) = inboxes.split_last() else {
            return;
        };
        for inbox in others {
            give(inbox, message.clone());
        }
        give(last, message);
    }

    fn tell(&self, event: Event) {
        // Nobody needs to listen.
        self.parts.events.send(event).ok();
    }

    /// Tries to connect again until it works, makes no sense, or the client is closed.
    async fn come_back(&mut self, lost: Lost) -> Option<Established> {
        let Some(backoff) = self.parts.options.reconnect.filter(|_| lost.is_worth_a_retry()) else {
            return self.give_up(lost);
        };
        let mut failed = None;
        loop {
            let wait = backoff.wait(self.attempts, chance());
            self.attempts = self.attempts.saturating_add(1);
            self.tell(Event::Reconnecting { wait, failed: failed.clone() });
            self.while_away(tokio::time::sleep(wait)).await?;
            match self.dial_again().await? {
                Ok(connected) => return Some(connected),
                Err(error) if error.is_worth_a_retry() => failed = Some(Arc::new(error)),
                Err(ConnectError::Refused(refusal)) => {
                    return self.give_up(Lost::ByServer(refusal));
                }
                Err(_) => return self.give_up(lost),
            }
        }
    }

    fn give_up(&self, lost: Lost) -> Option<Established> {
        *self.parts.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(lost);
        None
    }

    /// `None` when the client is closed meanwhile.
    async fn dial_again(&mut self) -> Option<Result<Established, ConnectError>> {
        let Parts { options, tap, commands, catch_all, .. } = &mut self.parts;
        // A session that outlives its connection is what we come back for.
        let clean_start = options.clean_start && !options.is_persistent();
        let dialing = dial(options, tap, clean_start, &self.client_id);
        until(dialing, commands, &mut self.session, catch_all).await
    }

    /// `None` when the client is closed meanwhile.
    async fn while_away<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        until(future, &mut self.parts.commands, &mut self.session, &self.parts.catch_all).await
    }

    /// Gets out what was asked for, with DISCONNECT behind it [MQTT-3.14.4-1].
    async fn close(&mut self, mut connection: Connection, goodbye: &Goodbye) -> Result<Unacknowledged, Lost> {
        let farewell = async {
            self.send_the_rest(&mut connection).await?;
            send_disconnect(goodbye, &mut connection, &mut self.parts.tap);
            connection.flush().await?;
            connection.shut_down().await
        };
        let said = tokio::time::timeout(CLOSE_WAIT_MAX, farewell).await;
        let unacknowledged = Unacknowledged(self.session.unacknowledged());
        match said {
            Ok(Err(error)) if !is_the_end(error.kind()) => Err(Lost::Broken(error.kind())),
            // A server that does not close after DISCONNECT does no harm.
            Ok(_) | Err(_) => Ok(unacknowledged),
        }
    }

    async fn send_the_rest(&mut self, connection: &mut Connection) -> std::io::Result<()> {
        loop {
            self.session.pump(&mut Wire { output: &mut connection.output, tap: &mut self.parts.tap });
            self.hand_out();
            connection.flush().await?;
            if !self.session.can_send() || connection.output.is_cut() {
                return Ok(());
            }
        }
    }
}

fn send_disconnect(goodbye: &Goodbye, connection: &mut Connection, tap: &mut Tap) {
    let user_properties = pairs(&goodbye.user_properties);
    let reason = if goodbye.with_will { ReasonCode::DISCONNECT_WITH_WILL_MESSAGE } else { ReasonCode::NORMAL_DISCONNECTION };
    let disconnect = Disconnect {
        session_expiry: goodbye.session_expiry,
        user_properties: user_properties.as_slice().into(),
        ..Disconnect::new(reason)
    };
    Wire { output: &mut connection.output, tap }.send(&Packet::Disconnect(disconnect));
}

/// A server that closes with a reset has read our DISCONNECT as well.
fn is_the_end(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::NotConnected)
}

/// Waits for `future`, and takes commands meanwhile; `None` when the client is closed.
async fn until<T>(
    future: impl Future<Output = T>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    session: &mut Session<Live>,
    catch_all: &InboxSender,
) -> Option<T> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            done = &mut future => return Some(done),
            command = commands.recv() => {
                if let Some(leave) = take(command?, session, catch_all, &mut Nowhere) {
                    // The caller may have stopped waiting.
                    leave.done.send(Ok(Unacknowledged(session.unacknowledged()))).ok();
                    return None;
                }
            }
        }
    }
}

/// Does what was asked for, or says that it is to leave.
fn take(command: Command, session: &mut Session<Live>, catch_all: &InboxSender, outlet: &mut impl Outlet) -> Option<Leave> {
    match command {
        Command::Publish(publication, waiter) => session.publish(publication, waiter),
        Command::Subscribe(request, inbox, waiter) => {
            let (inbox, of) = match inbox {
                Some(inbox) => (inbox, InboxOf::Subscription),
                None => (catch_all.clone(), InboxOf::Client),
            };
            session.subscribe(request, inbox, of, Some(waiter), outlet);
        }
        Command::Unsubscribe(request, waiter) => session.unsubscribe(request, waiter, outlet),
        Command::Ack(token) => session.ack(token, outlet),
        Command::Leave(leave) => return Some(leave),
    }
    None
}

/// Where packets go while there is no connection: the session sends none then.
struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, _packet: &Packet<'_>) {
        debug_assert!(false, "a session without a connection sends nothing");
    }

    fn has_room(&self) -> bool {
        false
    }
}

fn give(inbox: &InboxSender, message: Message) {
    if let Err(message) = inbox.send(message)
        && inbox.is_renounced()
    {
        // The application does not want it, and the server need not wait.
        message.ack().ok();
    }
}

/// Tells a server that broke the standard what it did (§4.13.1).
async fn say_what_was_wrong(lost: &Lost, connection: &mut Connection, tap: &mut Tap) {
    let Lost::Peer(error) = lost else {
        return;
    };
    let mut wire = Wire { output: &mut connection.output, tap };
    wire.send(&Packet::Disconnect(Disconnect::new(error.reason_code())));
    // The connection ends now, whether the words arrive or not.
    tokio::time::timeout(CLOSE_WAIT_MAX, connection.flush()).await.ok();
}

/// A number that nobody can tell before, and that differs between clients that lost the same server at the same moment.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
