//! A program whose lines a test awaits.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// A line that has not come after this does not come.
const LINE_WAIT_MAX: Duration = Duration::from_secs(20);

/// A running program, read line by line; killed when dropped. Its methods panic with everything read so far when what
/// they wait for does not come: they are for tests.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts it with nothing to read; standard output and standard error become one stream of lines.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => panic!("{command:?} does not start: {error}"),
        };
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>);
        let errors = child.stderr.take().map(|errors| Box::new(errors) as Box<dyn Read + Send>);
        for stream in [output, errors].into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line; nothing once the program has closed its output.
    ///
    /// # Panics
    ///
    /// When neither happens in time.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(LINE_WAIT_MAX) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no further line after {self}"),
        }
    }

    /// Reads up to the line that begins with `beginning`, and gives that one back.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn until(&mut self, beginning: &str) -> String {
        self.until_line(beginning, |line| line.starts_with(beginning))
    }

    /// Reads up to the line that has `part` in it, and gives that one back.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn until_has(&mut self, part: &str) -> String {
        self.until_line(part, |line| line.contains(part))
    }

    fn until_line(&mut self, wanted: &str, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            match self.line() {
                Some(line) if is_it(&line) => return line,
                Some(_) => {}
                None => panic!("ended before {wanted:?}: {self}"),
            }
        }
    }

    /// The next `count` lines.
    ///
    /// # Panics
    ///
    /// When they do not come.
    pub fn take(&mut self, count: usize) -> Vec<String> {
        let line = |_| match self.line() {
            Some(line) => line,
            None => panic!("ended early: {self}"),
        };
        (0..count).map(line).collect()
    }

    /// All remaining lines, and how it ended.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn finish(mut self) -> (Vec<String>, ExitStatus) {
        let rest = std::iter::from_fn(|| self.line()).collect();
        // Its output is closed, so it is on its way out.
        match self.child.wait() {
            Ok(status) => (rest, status),
            Err(error) => panic!("{error}: {self}"),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen.iter().try_for_each(|line| write!(out, "\n    {line}"))
    }
}

impl Drop for Program {
    /// SIGKILL: as if the machine below it had died.
    fn drop(&mut self) {
        // Gone already is what we want.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_the_end_with_the_exit_status() {
        let mut program = Program::start(Command::new("sh").args(["-c", "echo one; echo two; echo three; exit 3"]));

        assert_eq!(program.until("t"), "two");
        let (rest, status) = program.finish();
        assert_eq!((rest, status.code()), (vec!["three".to_owned()], Some(3)));
    }
}
