//! Running `columba` and looking at what it says.

#[path = "../../../client/tests/support/mod.rs"]
mod mosquitto;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};

pub(crate) use mosquitto::Mosquitto;

/// What a command that has ended has left.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `columba` with these words to its end.
pub(crate) fn columba(words: &[&str]) -> Said {
    columba_with_input(words, "")
}

/// The same, and it reads this.
pub(crate) fn columba_with_input(words: &[&str], input: &str) -> Said {
    let mut child = start(words);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(child)
}

/// Starts `columba` with these words.
pub(crate) fn start(words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_columba"))
        .args(words)
        .env_remove("COLUMBA_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end.
pub(crate) fn said(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What Ctrl-C does.
pub(crate) fn interrupt(process: u32) {
    let sent = Command::new("kill").args(["-INT", &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A `columba sub` that has been granted its subscription. Traces everything on stderr.
pub(crate) struct Subscribed {
    child: Child,
    err: BufReader<ChildStderr>,
}

impl Subscribed {
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut child = start(&[&["sub", "--trace=all"], words].concat());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("receive: suback") {
            line.clear();
            assert!(err.read_line(&mut line).unwrap() > 0, "columba sub ended before it was subscribed");
        }
        Self { child, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a word, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end; on stderr is what came behind SUBACK.
    pub(crate) fn said(mut self) -> Said {
        let mut err = String::new();
        self.err.read_to_string(&mut err).unwrap();
        Said { err, ..said(self.child) }
    }
}

/// A server that answers each connection with the next of these bytes, and then only listens.
pub(crate) fn fake_server(answers: &'static [&'static [u8]]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1_024];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            stream.write_all(answer).unwrap();
            while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
        }
    });
    port
}
