//! `columba check`: judges any broker by the conversations of the standard.

mod client;
mod report;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use columba_check::load::Via;
use columba_check::script::runner::{self, Case, Choice, Outcome, Played};
use columba_check::script::tcp::{Pace, RestartCommand, Tcp};
use columba_check::script::world::{Unable, World};
use columba_check::script::{Login, Suite};
use columba_proto::Version;

use crate::exit::{Exit, Failure};
use crate::target::{self, Scheme, Url, WEB_SOCKET_PATH};
use crate::{explain, values};

/// Scripts that are played side by side: most of them wait most of the time.
const ABREAST: usize = 16;

/// What `columba check` takes.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CheckArgs {
    #[command(subcommand)]
    whom: Option<Whom>,
    /// Broker: HOST, HOST:PORT or mqtt://USER:PASSWORD@HOST:PORT, also mqtts:// (the certificate is not judged), ws:// and wss:// [default: localhost:1883]
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Only these: 3.1, 3.1.1, 5, packets, qos, session, limits, security (repeatable)
    #[arg(long, value_name = "SUITE", value_parser = part)]
    suite: Vec<Part>,
    /// Only scripts of this clause or title; * stands for anything (repeatable)
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Say which scripts there are and what they show, and talk to nobody
    #[arg(long)]
    list: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What the standard only recommends counts as well
    #[arg(long)]
    strict: bool,
    /// Shell line that ends the broker and starts it again; `$COLUMBA_CHECK_ENDING` is `killed` or `stopped`
    #[arg(long, value_name = "COMMAND")]
    restart_cmd: Option<String>,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration)]
    patience: Duration,
    /// How long nothing must come until it is said that nothing comes
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = values::duration)]
    silence: Duration,
    /// Scripts played side by side
    #[arg(long, value_name = "N", default_value_t = ABREAST)]
    jobs: usize,
    /// Print every packet of every script, not only of those that fail
    #[arg(long, short = 'v')]
    verbose: bool,
}

/// Whom to judge in place of a broker.
#[derive(clap::Subcommand, Debug)]
enum Whom {
    /// Judge a client: the checker is the server
    Client(client::ClientArgs),
}

/// What `--suite` can name.
#[derive(Clone, Copy, Debug)]
enum Part {
    Version(Version),
    Suite(Suite),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// Lines to read
    Text,
    /// Test Anything Protocol
    Tap,
    /// XML as build servers read it
    Junit,
    /// One JSON object
    Json,
}

fn part(text: &str) -> Result<Part, String> {
    if let Some(version) = Version::ALL.into_iter().find(|version| version.name() == text) {
        return Ok(Part::Version(version));
    }
    let suite = match text {
        "packets" => Suite::Packets,
        "qos" => Suite::Qos,
        "session" => Suite::Session,
        "limits" => Suite::Limits,
        "security" => Suite::Security,
        _ => return Err("3.1, 3.1.1, 5, packets, qos, session, limits or security".into()),
    };
    Ok(Part::Suite(suite))
}

/// The verdict as text.
pub(crate) fn run(args: CheckArgs) -> Result<(String, Exit), Failure> {
    if let Some(Whom::Client(args)) = args.whom {
        return client::run(args);
    }
    let cases = choice(&args).cases();
    if cases.is_empty() {
        return Err(Failure::usage("no script is like that").try_this("columba check --list"));
    }
    if args.list {
        return Ok((report::list(&cases), Exit::Done));
    }
    let Place { address, via, path, login } = place(args.target.as_deref())?;
    let pace = Pace { patience: args.patience, silence: args.silence };
    let restart = args.restart_cmd.map(|line| RestartCommand { line });
    let new_world = || -> Box<dyn World> { Box::new(Tcp::new(address, pace, restart.clone()).over(via, &path)) };
    let mut setting = runner::probe(new_world(), login).map_err(|Unable(why)| Failure::new(Exit::NotConnected, why))?;
    setting.features.restart = restart.is_some();

    let refused: Vec<(Version, String)> = Version::ALL
        .into_iter()
        .filter_map(|version| Some((version, runner::refuses(new_world(), &setting, version)?)))
        .collect();
    let (wanted, left_out): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| !refused.iter().any(|(version, _)| *version == case.version));
    let mut progress = Progress::new(wanted.len());
    let mut played = runner::play_all(&wanted, &new_world, &setting, args.jobs, &run_name(), |one| progress.ended(one));
    progress.finish();
    for (version, why) in &refused {
        let cases = left_out.iter().filter(|case| case.version == *version);
        played.extend(cases.map(|&case| Played::skipped(case, why)));
    }
    Ok(verdict(&played, args.format, args.strict, args.verbose))
}

fn verdict(played: &[Played], format: Format, strict: bool, verbose: bool) -> (String, Exit) {
    let text = match format {
        Format::Text => report::text(played, strict, verbose),
        Format::Tap => report::tap(played, strict),
        Format::Junit => report::junit(played, strict),
        Format::Json => report::json(played, strict),
    };
    let failed = played.iter().any(|one| report::has_failed(one, strict));
    (text, if failed { Exit::Other } else { Exit::Done })
}

fn choice(args: &CheckArgs) -> Choice {
    let mut choice = Choice { only: args.only.clone(), ..Choice::default() };
    for part in &args.suite {
        match part {
            Part::Version(version) => choice.versions.push(*version),
            Part::Suite(suite) => choice.suites.push(*suite),
        }
    }
    choice
}

/// Names that no other run has used on this broker: what a story stores must not meet what an earlier one has left.
fn run_name() -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("c{:x}", nanos >> 16 & 0xffff_ffff)
}

/// The broker to judge, and how to get there.
struct Place {
    address: SocketAddr,
    via: Via,
    path: String,
    login: Option<Login>,
}

fn place(target: Option<&str>) -> Result<Place, Failure> {
    let url = match target {
        None => Url { host: "localhost".into(), ..Url::default() },
        Some(target) if target.contains("://") => Url::parse(target)?,
        Some(target) => Url::parse(&format!("mqtt://{target}"))?,
    };
    let via = match url.scheme {
        Scheme::Mqtt => Via::Plain,
        Scheme::Mqtts => Via::Tls,
        Scheme::Ws => Via::WebSocket,
        Scheme::Wss => Via::SecureWebSocket,
        Scheme::Unix => {
            return Err(Failure::usage("unix: cannot be checked").try_this("columba check mqtt://localhost"));
        }
    };
    target::check_host(&url.host)?;
    let port = url.port.unwrap_or_else(|| url.scheme.port());
    let unknown = |why: &str| Failure::new(Exit::NotConnected, format!("cannot find {}: {why}", url.host));
    let mut addresses = (&*url.host, port).to_socket_addrs().map_err(|error| unknown(&explain::io(&error)))?.collect::<Vec<_>>();
    // A name may stand for addresses on which nobody listens.
    let answers = |address: &SocketAddr| std::net::TcpStream::connect_timeout(address, Duration::from_secs(5)).is_ok();
    let at = addresses.iter().position(answers).unwrap_or(0);
    if addresses.is_empty() {
        return Err(unknown("it has no address"));
    }
    let login = url.username.map(|username| Login { username, password: url.password.map(String::into_bytes) });
    let path = url.path.unwrap_or_else(|| WEB_SOCKET_PATH.to_owned());
    Ok(Place { address: addresses.swap_remove(at), via, path, login })
}

/// One line on a terminal that says how far it is.
struct Progress {
    of: usize,
    ended: usize,
    failed: usize,
    shown: bool,
}

impl Progress {
    fn new(of: usize) -> Self {
        Self { of, ended: 0, failed: 0, shown: io::stderr().is_terminal() }
    }

    fn ended(&mut self, played: &Played) {
        self.ended += 1;
        self.failed += usize::from(matches!(played.outcome, Outcome::Failed { .. }));
        if self.shown {
            // A terminal that takes no line does not matter here.
            write!(io::stderr(), "\r{}/{} scripts, {} failed ", self.ended, self.of, self.failed).unwrap_or_default();
        }
    }

    fn finish(&self) {
        if self.shown {
            write!(io::stderr(), "\r\x1b[K").unwrap_or_default();
        }
    }
}
