//! A mosquitto to talk to, where there is one.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use columba_check::outside;

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
        let folder = tempfile::tempdir().expect("a folder for its configuration");
        let port = free_port();
        let file = folder.path().join("mosquitto.conf");
        let lines = if lines.is_empty() { "allow_anonymous true" } else { lines };
        let text = format!("listener {port} 127.0.0.1\n{lines}\n");
        std::fs::write(&file, text).expect("its configuration is written");
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        let broker = Self { process, port, _folder: folder };
        broker.wait_until_it_listens();
        Some(broker)
    }

    fn wait_until_it_listens(&self) {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < patience, "mosquitto does not listen");
            // Nothing tells when a process of somebody else begins to listen.
            std::thread::sleep(Duration::from_millis(5));
        }
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
