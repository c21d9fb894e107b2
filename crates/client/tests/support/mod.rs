//! A mosquitto to talk to, where there is one.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use columba_check::outside;

/// Ports to try.
const PORTS_TRIED: usize = 8;

/// A running broker; stopped when dropped.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// Starts one with these lines in its configuration, or says that there is none. Without lines, everybody may do all.
    pub(crate) fn start(lines: &str) -> Option<Self> {
        let story = std::thread::current().name().unwrap_or("a test").to_owned();
        let program = outside::or_skip(outside::program("mosquitto"), &story, "mosquitto")?;
        let lines = if lines.is_empty() { "allow_anonymous true" } else { lines };
        // The port was free a moment ago; now it may be somebody else's.
        (0..PORTS_TRIED).find_map(|_| Self::start_at(free_port(), &program, lines)).or_else(|| panic!("mosquitto does not start"))
    }

    /// `None` if it ends instead of listening.
    fn start_at(port: u16, program: &Path, lines: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for its configuration");
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\n{lines}\n")).expect("its configuration is written");
        let mut process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let listens = log.by_ref().lines().map_while(Result::ok).any(|line| line.ends_with(" running"));
        // Read to the end, or mosquitto waits for room in the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let broker = Self { process, port, _folder: folder };
        listens.then_some(broker)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
