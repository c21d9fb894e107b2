//! A mosquitto to talk to, where there is one.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker; stopped when dropped.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// Starts one with these lines in its configuration, or says that there is none.
    pub(crate) fn start(lines: &str) -> Option<Self> {
        let program = find("mosquitto").or_else(|| skip("mosquitto is not installed"))?;
        let folder = tempfile::tempdir().expect("a folder for its configuration");
        let port = free_port();
        let file = folder.path().join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{lines}\n");
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

/// Looks in PATH, and where Debian keeps daemons.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

/// Says so past the test harness, which swallows what a passing test prints.
fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("COLUMBA_NO_SKIP").is_none_or(|value| value != "1"), "SKIPPED: {why}");
    let line = format!("SKIPPED: {}: {why}\n", std::thread::current().name().unwrap_or("a test"));
    let mut stderr = std::fs::File::options().append(true).open("/dev/stderr");
    match &mut stderr {
        Ok(stderr) => stderr.write_all(line.as_bytes()).ok(),
        Err(_) => std::io::stderr().write_all(line.as_bytes()).ok(),
    };
    None
}
