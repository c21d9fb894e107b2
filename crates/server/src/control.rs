//! A socket in the data directory, through which the broker's own user asks it for a backup while it runs, or to read its configuration again.
//!
//! One request a connection, one line: `backup` or `reload`. The answer is a line, `ok` or `error: ...`, and behind `ok` an export (docs/format.md). The thread here reads a
//! snapshot of the cold store that the follower has just brought up to date; no shard hears of it.

use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read as _, Write},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use columba_store::{ColdRead, StoreId};

use crate::{
    core::Shared,
    server::Word,
    tools::{ToolError, begin_export, export_snapshot},
};

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "control.sock";

/// What asks for a backup.
pub(crate) const BACKUP: &str = "backup";

/// What asks for the configuration to be read again. Behind `ok` stands a line with the keys that wait for the next start.
pub(crate) const RELOAD: &str = "reload";

/// Longer than any request.
pub(crate) const LINE_MAX: u64 = 1024;

/// How long nothing may move before a reader counts as gone, and how often the thread looks whether it is to end.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(200);

/// The running thread.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Listens in the directory, which is locked by us: a socket that is there is of a broker that was killed.
    pub(crate) fn start(dir: &Path, id: StoreId, shared: Arc<Shared>) -> io::Result<Self> {
        let path = dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let ending = Arc::new(AtomicBool::new(false));
        let serving = Serving { id, shared, ending: Arc::clone(&ending) };
        let thread = thread::Builder::new().name("control".into()).spawn(move || serving.run(&listener))?;
        Ok(Self { path, ending, thread })
    }

    /// Ends the thread; a backup that is under way breaks off.
    pub(crate) fn stop(self) {
        self.ending.store(true, Ordering::SeqCst);
        // It waits for a connection.
        drop(UnixStream::connect(&self.path));
        if self.thread.join().is_err() {
            tracing::error!("the thread that answers at the control socket has ended by itself");
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "cannot remove the control socket");
        }
    }
}

struct Serving {
    id: StoreId,
    shared: Arc<Shared>,
    ending: Arc<AtomicBool>,
}

impl Serving {
    fn run(self, listener: &UnixListener) {
        while !self.ending.load(Ordering::SeqCst) {
            let served = match listener.accept() {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    // Descriptors can be short for a while.
                    thread::sleep(LOOK);
                    Err(error)
                }
            };
            if let Err(error) = served
                && !self.ending.load(Ordering::SeqCst)
            {
                tracing::warn!(%error, "a request at the control socket broke off");
            }
        }
    }

    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(LOOK))?;
        let mut line = String::new();
        BufReader::new((&stream).take(LINE_MAX)).read_line(&mut line)?;
        let mut out = BufWriter::new(Patient { stream, ending: &self.ending });
        match line.trim_end() {
            BACKUP => match self.shared.checkpoints.snapshot() {
                Some(snapshot) => {
                    out.write_all(b"ok\n")?;
                    self.backup(out, &*snapshot)
                }
                None => out.write_all(b"error: it cannot write a checkpoint now; its log says why\n").and_then(|()| out.flush()),
            },
            RELOAD => {
                // It is told at the next stop too, and then there is no answer.
                let ask = || self.shared.words.send(Word::Reload).unwrap_or_default();
                match self.shared.reload.wait(ask) {
                    Some(Ok(waiting)) => writeln!(out, "ok\n{}", waiting.join(" ")),
                    Some(Err(error)) => writeln!(out, "error: {error}"),
                    None => writeln!(out, "error: it is stopping"),
                }?;
                out.flush()
            }
            "" => Ok(()),
            other => writeln!(out, "error: unknown request {other:?}").and_then(|()| out.flush()),
        }
    }

    fn backup(&self, out: impl Write, snapshot: &dyn ColdRead) -> io::Result<()> {
        let began = Instant::now();
        let mut writer = begin_export(out, self.id)?;
        let records = export_snapshot(&mut writer, snapshot)
            .map_err(|error| if let ToolError::Output(error) = error { error } else { io::Error::other(error.to_string()) })?;
        writer.finish()?;
        let duration = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(records, duration_ms = duration, "backup written");
        Ok(())
    }
}

/// Waits for a slow reader, but not for one that does not read, and not while the broker stops.
struct Patient<'a> {
    stream: UnixStream,
    ending: &'a AtomicBool,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match self.stream.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.ending.load(Ordering::SeqCst) || began.elapsed() > PATIENCE {
                        return Err(error);
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
