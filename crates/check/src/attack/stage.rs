//! A broker under attack, the attackers in a process of their own, and good clients beside them.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use columba_proto::{QoS, Version};
use tempfile::TempDir;

use super::{Attack, Seen, Target};
use crate::load::{
    self, LoadError, Pace, Peer, Plan, Report, Running, Stop, Via, free_port, raise_descriptor_limit, write_authority,
    write_certificate,
};

/// Messages that the good clients publish in a second, all together.
const GOOD_PER_SECOND: f64 = 200.0;
/// How many of them publish, and how many subscribe.
const GOOD_CLIENTS: u32 = 2;
/// What they wait is measured from so long after their first messages on: then the attack goes on.
const WARM_UP: Duration = Duration::from_secs(1);

/// A broker of `program` that listens on every transport.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    target: Target,
    running: Running,
    dir: TempDir,
    /// Attackers compute only when nobody else wants the processor.
    yields: bool,
}

/// What one attack did.
#[derive(Clone, Debug)]
pub struct Bout {
    /// What the good clients have seen of it.
    pub good: Report,
    /// What the attackers have seen.
    pub seen: Seen,
    /// The most memory that was ever resident in the broker's process, in bytes; what came before the attack counts.
    pub peak: u64,
}

impl Stage {
    /// Starts the broker; `limits` are lines of the section `[limits]`.
    pub fn set(program: impl Into<PathBuf>, limits: &str) -> Result<Self, LoadError> {
        raise_descriptor_limit();
        let program = program.into();
        let dir = tempfile::tempdir().map_err(LoadError::io("making a scratch folder"))?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let config = dir.path().join("columba.toml");
        fs::write(&config, configuration(ports, dir.path(), limits)?).map_err(LoadError::io("writing the configuration"))?;
        let running = Peer::columba(&program, &[]).with_config(config).start(ports[0], dir.path())?;
        let [plain, tls, web_socket, certified] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Self { program, target: Target { plain, tls, web_socket, certified }, running, dir, yields: false })
    }

    /// The same with attackers that compute only when nobody else wants the processor: to see how long the broker lets good clients wait, where on a network
    /// attackers have processors of their own. On a machine that has much else to do they hardly attack.
    #[must_use]
    pub fn with_attackers_that_yield(self) -> Self {
        Self { yields: true, ..self }
    }

    /// Where it listens.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("columba.log")).unwrap_or_default()
    }

    /// The most memory that was ever resident in its process, in bytes.
    pub fn peak(&self) -> Result<u64, LoadError> {
        self.running.process().peak_memory()
    }

    /// What good clients see when there are only they.
    pub fn calm(&self, measured: Duration) -> Result<Report, LoadError> {
        load::run(&self.good_clients(measured), None)
    }

    /// What happens under attack.
    pub fn bout(&self, attack: Attack, connections: usize, measured: Duration) -> Result<Bout, LoadError> {
        let plan = self.good_clients(measured);
        thread::scope(|scope| {
            let (inside, are_inside) = mpsc::channel();
            let plan = &plan;
            // Whoever listens is there until it has heard it.
            let tell = move || inside.send(()).unwrap_or_default();
            let good = scope.spawn(move || load::run_and_tell(plan, None, tell));
            // They are inside before the attack begins: a broker without memory lets nobody in. Where they do not get in, their error says why.
            if are_inside.recv().is_err() {
                good.join().map_err(|_| LoadError::Stalled { doing: "loading the broker" })??;
                return Err(LoadError::Stalled { doing: "connecting" });
            }
            let attackers = Attackers::start(&self.attacking_program(), attack, connections, &self.target)?;
            let good = good.join().map_err(|_| LoadError::Stalled { doing: "loading the broker" })??;
            let seen = attackers.stop()?;
            Ok(Bout { good, seen, peak: self.peak()? })
        })
    }

    /// The program and its arguments before its own, where the system has `chrt`. It is the policy and not the priority that counts: even at the lowest one a process
    /// keeps its slice of some milliseconds.
    fn attacking_program(&self) -> Vec<OsString> {
        let has_chrt =
            || Command::new("chrt").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
        let policy = if self.yields && has_chrt() { &["chrt", "--idle", "0"][..] } else { &[] };
        policy.iter().map(OsString::from).chain([self.program.clone().into()]).collect()
    }

    /// QoS 1, on schedule, whatever happens around them.
    fn good_clients(&self, measured: Duration) -> Plan {
        Plan {
            via: Via::Plain,
            version: Version::V5,
            publishers: GOOD_CLIENTS,
            subscribers: GOOD_CLIENTS,
            pace: Pace::PerSecond(GOOD_PER_SECOND),
            window: 100,
            stop: Stop::After(measured),
            warm_up: WARM_UP,
            ..Plan::comparing(self.target.plain, QoS::AtLeastOnce, measured)
        }
    }
}

fn configuration(ports: [u16; 4], dir: &Path, limits: &str) -> Result<String, LoadError> {
    let (cert, key) = write_certificate(dir)?;
    let ca = write_authority(dir)?;
    let [plain, tls, web_socket, certified] = ports;
    let files = format!("cert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display());
    Ok(format!(
        "[limits]\n{limits}\n[log]\nfilter = \"warn\"\n\
         [[listener]]\nurl = \"mqtt://127.0.0.1:{plain}\"\n\
         [[listener]]\nurl = \"mqtts://127.0.0.1:{tls}\"\n{files}\
         [[listener]]\nurl = \"ws://127.0.0.1:{web_socket}\"\n\
         [[listener]]\nurl = \"mqtts://127.0.0.1:{certified}\"\n{files}ca = \"{}\"\nclient_cert = \"require\"\n",
        ca.display()
    ))
}

/// `program bench attacker`, which attacks until its input ends.
struct Attackers {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Attackers {
    fn start(program: &[OsString], attack: Attack, connections: usize, target: &Target) -> Result<Self, LoadError> {
        let ports = [target.plain, target.tls, target.web_socket, target.certified].map(|address| address.port().to_string());
        let (first, rest) = program.split_first().ok_or(LoadError::Stalled { doing: "starting the attackers" })?;
        let mut child = Command::new(first)
            .args(rest)
            .args(["bench", "attacker", attack.name(), "--connections", &connections.to_string()])
            .args(["--ports", &ports.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(LoadError::io("starting the attackers"))?;
        let output = child.stdout.take().ok_or(LoadError::Stalled { doing: "starting the attackers" })?;
        let mut attackers = Self { child, lines: BufReader::new(output) };
        let mut line = String::new();
        attackers.lines.read_line(&mut line).map_err(LoadError::io("waiting for the attackers"))?;
        if line.trim_end() == BEGUN { Ok(attackers) } else { Err(LoadError::Stalled { doing: "waiting for the attackers" }) }
    }

    fn stop(mut self) -> Result<Seen, LoadError> {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).map_err(LoadError::io("waiting for the attackers"))?;
        Seen::parse(rest.trim_end()).ok_or(LoadError::Stalled { doing: "hearing what the attackers have seen" })
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // Gone already is what we want.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The line with which an attacker says that its attack goes on.
const BEGUN: &str = "begun";

impl Seen {
    /// What an attacker's process says when the attack has begun, and what it says at its end.
    pub fn lines(result: Option<Self>) -> String {
        result.map_or_else(|| BEGUN.to_owned(), |seen| format!("{} {} {}", seen.opened, seen.closed, seen.let_in))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { opened: next()?, closed: next()?, let_in: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attacker_says_is_understood() {
        let seen = Seen { opened: 3, closed: 2, let_in: 1 };
        assert_eq!(Seen::parse(&Seen::lines(Some(seen))), Some(seen));
        assert_eq!(Seen::parse(&Seen::lines(None)), None);
    }
}
