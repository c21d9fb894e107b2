//! A broker behind a socket: ours or any other, in real time.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use columba_net::Heard;

use crate::load::Via;
use crate::load::via::Layers;

use super::world::{Arrival, Ending, LineNo, Unable, World};

/// How long a connection may take.
const DIALLING: Duration = Duration::from_secs(5);
/// How long a broker may take to come back.
const STARTING: Duration = Duration::from_secs(30);
/// Between two looks whether it is back.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// How patient to be with a broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// How long an answer may take.
    pub patience: Duration,
    /// How long nothing must come until it is said that nothing comes.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), silence: Duration::from_millis(200) }
    }
}

/// How a broker is ended and started by whoever asks for the check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestartCommand {
    /// A line for `sh`, run with `COLUMBA_CHECK_ENDING` set to `stopped` or `killed`; when it returns the broker starts.
    pub line: String,
}

/// The world outside.
pub struct Tcp {
    address: SocketAddr,
    pace: Pace,
    restart: Option<RestartCommand>,
    via: Via,
    path: String,
    lines: BTreeMap<LineNo, Line>,
    opened: u32,
    begun: Instant,
}

/// One connection, with what stands between it and MQTT.
struct Line {
    stream: TcpStream,
    layers: Option<Box<Layers>>,
    /// The transport has said that nothing follows.
    has_ended: bool,
}

impl Line {
    /// What the layers have to say.
    fn flush(&mut self) -> std::io::Result<()> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        self.stream.write_all(layers.outward())?;
        let written = layers.outward().len();
        layers.wrote(written);
        Ok(())
    }

    /// Until MQTT can be spoken.
    fn shake(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        self.stream.set_read_timeout(Some(DIALLING)).map_err(failed)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let Some(layers) = &mut self.layers else { return Ok(()) };
            layers.take(&mut Vec::new())?;
            let is_open = layers.is_open();
            self.flush().map_err(failed)?;
            if is_open {
                return Ok(());
            }
            let count = self.stream.read(&mut buffer).map_err(failed)?;
            let Some(layers) = &mut self.layers else { return Ok(()) };
            if count == 0 || layers.came(&mut buffer[..count], &mut Vec::new())? == Heard::End {
                return Err("the broker closed it during the handshake".into());
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(layers) = &mut self.layers else { return self.stream.write_all(bytes) };
        layers.take(&mut bytes.to_vec()).map_err(std::io::Error::other)?;
        self.flush()
    }
}

impl Tcp {
    /// A way to this broker; nothing is opened yet.
    pub fn new(address: SocketAddr, pace: Pace, restart: Option<RestartCommand>) -> Self {
        let (via, path) = (Via::Plain, String::new());
        Self { address, pace, restart, via, path, lines: BTreeMap::new(), opened: 0, begun: Instant::now() }
    }

    /// The same over this transport; of a WebSocket, at this path. Certificates are not judged.
    #[must_use]
    pub fn over(self, via: Via, path: &str) -> Self {
        Self { via, path: path.to_owned(), ..self }
    }
}

impl World for Tcp {
    fn dial(&mut self) -> Result<LineNo, Unable> {
        let stream = TcpStream::connect_timeout(&self.address, DIALLING)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| Unable(format!("cannot connect to {}: {error}", self.address)))?;
        let unable = |why: String| Unable(format!("cannot speak {} with {}: {why}", self.via, self.address));
        let layers = Layers::new(self.via, &self.path).map_err(|error| unable(error.to_string()))?;
        let mut opened = Line { stream, layers, has_ended: false };
        opened.shake().map_err(unable)?;
        let line = LineNo(self.opened);
        self.opened += 1;
        self.lines.insert(line, opened);
        Ok(line)
    }

    fn send(&mut self, line: LineNo, bytes: &[u8]) {
        if let Some(line) = self.lines.get_mut(&line) {
            // What the broker does not want to hear any more shows when it is read from.
            let _closed_perhaps = line.send(bytes);
        }
    }

    fn receive(&mut self, line: LineNo, within: Duration, into: &mut Vec<u8>) -> Arrival {
        let Some(line) = self.lines.get_mut(&line) else { return Arrival::Closed };
        if line.layers.is_some() {
            return receive_through(line, within, into);
        }
        let stream = &mut line.stream;
        // Zero would mean: for ever.
        let within = within.max(Duration::from_millis(1));
        if stream.set_read_timeout(Some(within)).is_err() {
            return Arrival::Closed;
        }
        let from = into.len();
        into.resize(from + CHUNK, 0);
        let read = stream.read(&mut into[from..]);
        into.truncate(from + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Arrival::Closed,
            Ok(_) => Arrival::Bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Arrival::Nothing
            }
            Err(_) => Arrival::Closed,
        }
    }

    fn cut(&mut self, line: LineNo) {
        if let Some(line) = self.lines.remove(&line) {
            // It may be closed already.
            let _closed_perhaps = line.stream.shutdown(Shutdown::Both);
        }
    }

    fn pass(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn patience(&self) -> Duration {
        self.pace.patience
    }

    fn silence(&self) -> Duration {
        self.pace.silence
    }

    fn restart(&mut self, ending: Ending) -> Result<(), Unable> {
        let Some(command) = &self.restart else { return Err(Unable("no --restart-cmd was given".into())) };
        let ending = match ending {
            Ending::Stopped => "stopped",
            Ending::Killed => "killed",
        };
        let status = Command::new("sh")
            .args(["-c", &command.line])
            .env("COLUMBA_CHECK_ENDING", ending)
            .status()
            .map_err(|error| Unable(format!("cannot run sh: {error}")))?;
        if !status.success() {
            return Err(Unable(format!("--restart-cmd ended with {status}")));
        }
        let begun = Instant::now();
        while begun.elapsed() < STARTING {
            if TcpStream::connect_timeout(&self.address, DIALLING).is_ok() {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        Err(Unable(format!("the broker did not come back within {} s", STARTING.as_secs())))
    }
}

/// What comes need not be anything of MQTT: a part of a record, or a ping.
fn receive_through(line: &mut Line, within: Duration, into: &mut Vec<u8>) -> Arrival {
    let from = into.len();
    let deadline = Instant::now() + within;
    let mut buffer = vec![0; CHUNK];
    loop {
        if line.has_ended {
            return Arrival::Closed;
        }
        // Zero would mean: for ever.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if line.stream.set_read_timeout(Some(left)).is_err() {
            return Arrival::Closed;
        }
        match line.stream.read(&mut buffer) {
            Ok(0) => return Arrival::Closed,
            Ok(count) => {
                let Some(layers) = &mut line.layers else { return Arrival::Closed };
                line.has_ended = layers.came(&mut buffer[..count], into) != Ok(Heard::More);
                // What the broker does not want to hear any more shows when it is read from.
                let _closed_perhaps = line.send(&[]);
                if into.len() > from {
                    return Arrival::Bytes;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => return Arrival::Closed,
        }
        if !line.has_ended && Instant::now() >= deadline {
            return Arrival::Nothing;
        }
    }
}
