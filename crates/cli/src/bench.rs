//! `columba bench`: measures a broker, and columba side by side with mosquitto.

use std::fmt::Write as _;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use columba_check::load::{
    self, ComparePlan, Durability, DurablePlan, IdlePlan, LoadError, Pace, Peer, Plan, Process, Report, RestartPlan, SessionKind,
    Stop, Topics, TransportPlan, Via,
};
use columba_proto::{QoS, Version};

use crate::args::{qos, version};
use crate::attack::{self, AttackArgs, AttackerArgs};
use crate::exit::{Exit, Failure};
use crate::values;

pub(crate) const MIB: u64 = 1024 * 1024;
/// How long a drained broker may take to give its disk space back.
const IDLE: Duration = Duration::from_mins(1);

/// What `columba bench` takes.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Load a running broker with publishers and subscribers
    #[command(disable_help_flag = true)]
    Pubsub(Box<PubsubArgs>),
    /// Processor time for each delivered message: columba and mosquitto under the same load
    Compare(CompareArgs),
    /// QoS 1 and 2 to persistent sessions: columba, which syncs, beside a mosquitto that does not, and beside one bare sync
    Durable(DurableArgs),
    /// TLS and WebSocket beside plain TCP: processor time for each message, memory of an idle connection
    Transports(TransportsArgs),
    /// Memory of an idle connection
    Idle(IdleArgs),
    /// Store messages, kill the broker, and see how soon it serves them again
    Restart(RestartArgs),
    /// Do harm to a broker of our own, and see what good clients notice of it
    Attack(AttackArgs),
    /// What `attack` starts: one attack, until the input ends
    #[command(hide = true)]
    Attacker(AttackerArgs),
}

#[derive(Args, Debug)]
struct PubsubArgs {
    /// Host of the broker
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Port of the broker
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = 1883)]
    port: u16,
    /// Clients that publish
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pubs: u32,
    /// Clients that subscribe
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    subs: u32,
    /// Who receives what
    #[arg(long, value_enum, default_value = "pairs")]
    topics: Spread,
    /// Quality of service of publications and subscriptions
    #[arg(short = 'q', long, value_name = "QOS", value_parser = qos(), default_value = "1")]
    qos: QoS,
    /// Bytes of each payload
    #[arg(short = 's', long, value_name = "SIZE", value_parser = values::size, default_value = "64")]
    size: u32,
    /// Unacknowledged messages of each publisher
    #[arg(short = 'M', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
    /// MQTT version: 5, 3.1.1 or 3.1
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = version, default_value = "3.1.1")]
    protocol_version: Version,
    /// Persistent sessions, so that the broker must store QoS 1 and 2
    #[arg(short = 'c', long)]
    keep_session: bool,
    /// Messages per second of all publishers together, on schedule [default: as many as the windows allow]
    #[arg(short = 'R', long, value_name = "RATE")]
    rate: Option<f64>,
    /// Send so many messages
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "duration")]
    messages: Option<u64>,
    /// Measure for so long
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "10s")]
    duration: Duration,
    /// Process of the broker on this machine, to measure its processor time
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

#[derive(Args, Debug)]
struct CompareArgs {
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measured time of each run
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "3s")]
    duration: Duration,
    /// Who receives what
    #[arg(long, value_enum, default_value = "pairs")]
    topics: Spread,
    /// The least ratio of mosquitto's processor time to ours, at every QoS
    #[arg(long, value_name = "RATIO")]
    require: Option<f64>,
}

#[derive(Args, Debug)]
struct TransportsArgs {
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measured time of each run
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "3s")]
    duration: Duration,
    /// Idle connections whose memory is looked at
    #[arg(long, value_name = "N", default_value_t = 1000)]
    idle: usize,
    /// Fail unless TLS takes at most 1.5 times the processor time of plain TCP, WebSocket 1.3 times, and an idle TLS connection 10 KiB
    #[arg(long)]
    require: bool,
}

#[derive(Args, Debug)]
struct DurableArgs {
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measured time of each run
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "3s")]
    duration: Duration,
    /// Where the brokers keep their data; it says nothing on a file system in memory [default: the system's folder for scratch files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Fail unless columba needs half of mosquitto's processor time at 64 publishers, at a higher rate, and answers one publisher with window 1 within 0.1 ms
    /// of a bare sync
    #[arg(long)]
    require: bool,
}

#[derive(Args, Debug)]
struct IdleArgs {
    /// Connections at the first look
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    few: usize,
    /// Connections at the second look
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    many: usize,
    /// Each client subscribes to a topic of its own
    #[arg(long)]
    subscribe: bool,
}

#[derive(Args, Debug)]
struct RestartArgs {
    /// Persistent sessions
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    sessions: usize,
    /// Stored messages, all sessions together
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000_000)]
    messages: usize,
    /// Bytes of each payload
    #[arg(short = 's', long, value_name = "SIZE", value_parser = values::size, default_value = "256")]
    size: u32,
    /// The longest time until the broker listens again
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    require: Option<Duration>,
}

/// Who receives what.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spread {
    /// Each publisher's messages go to one subscriber
    Pairs,
    /// Every subscriber receives every message
    All,
    /// The subscribers are one shared subscription: each message goes to one of them
    Shared,
}

impl From<Spread> for Topics {
    fn from(spread: Spread) -> Self {
        match spread {
            Spread::Pairs => Self::Pairs,
            Spread::All => Self::All,
            Spread::Shared => Self::Shared,
        }
    }
}

/// Measures, and gives back what to print and how to end.
pub(crate) fn run(args: BenchArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Pubsub(args) => pubsub(&args),
        What::Compare(args) => compare(&args),
        What::Durable(args) => durable(&args),
        What::Transports(args) => transports(&args),
        What::Idle(args) => idle(&args),
        What::Restart(args) => restart(&args),
        What::Attack(args) => attack::bouts(&args),
        What::Attacker(args) => attack::attacker(&args),
    }
}

fn pubsub(args: &PubsubArgs) -> Result<(String, Exit), Failure> {
    let address = (args.host.as_str(), args.port).to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.ok_or_else(|| Failure::new(Exit::NotConnected, format!("host \"{}\" not found", args.host)))?;
    let plan = Plan {
        via: Via::Plain,
        version: args.protocol_version,
        publishers: args.pubs,
        subscribers: args.subs,
        topics: args.topics.into(),
        payload: args.size as usize,
        window: args.inflight,
        session: if args.keep_session { SessionKind::Persistent } else { SessionKind::Clean },
        pace: args.rate.map_or(Pace::Saturated, Pace::PerSecond),
        stop: args.messages.map_or(Stop::After(args.duration), Stop::Messages),
        ..Plan::comparing(address, args.qos, args.duration)
    };
    let report = load::run(&plan, args.pid.map(Process::new))?;
    let exit = if report.is_flawless() { Exit::Done } else { Exit::Other };
    Ok((table(&report), exit))
}

fn table(report: &Report) -> String {
    let at = |quantile| report.latency.value_at_quantile(quantile) / 1000;
    let mut text = format!(
        "sent {}  received {}  lost {}  twice {}  out of order {}  changed {}\n{:.0} deliveries/s  latency us: p50 {}  p95 {}  p99 {}  p99.9 {}  max {}",
        report.sent,
        report.received,
        report.lost,
        report.duplicates,
        report.out_of_order,
        report.corrupt,
        report.per_second(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    if let Some(cpu) = report.cpu_us_per_delivery() {
        // Writing to a string cannot fail.
        write!(text, "\nbroker: {cpu:.3} us of processor time for each delivery").ok();
    }
    text
}

fn compare(args: &CompareArgs) -> Result<(String, Exit), Failure> {
    let mosquitto = Peer::mosquitto(Durability::Memory);
    if mosquitto.is_none() {
        say("mosquitto is not installed: columba is measured alone (apt-get install mosquitto)");
    }
    let peers: Vec<Peer> = mosquitto.into_iter().chain([columba()?]).collect();
    let plan = ComparePlan { measured: args.duration, runs: args.runs, topics: args.topics.into() };
    let comparison = load::compare(&peers, &plan, say)?;
    let worst = QoS::ALL.into_iter().filter_map(|qos| comparison.ratio(qos)).fold(f64::INFINITY, f64::min);
    let kept = args.require.is_none_or(|least| peers.len() > 1 && worst >= least);
    let exit = if kept { Exit::Done } else { Exit::Other };
    Ok((comparison.to_string().trim_end().to_owned(), exit))
}

/// What TLS and WebSocket may cost.
const TLS_RATIO_MAX: f64 = 1.5;
const WEB_SOCKET_RATIO_MAX: f64 = 1.3;
const IDLE_TLS_BYTES_MAX: u64 = 10 * 1024;

fn transports(args: &TransportsArgs) -> Result<(String, Exit), Failure> {
    let program = program()?;
    let plan = TransportPlan { measured: args.duration, runs: args.runs, idle: args.idle };
    let costs = load::transports(program, &plan, say)?;
    let within = |via, most: f64| costs.ratio(via).is_some_and(|ratio| ratio <= most);
    let idle = costs.rows.iter().filter(|row| row.via == Via::Tls).filter_map(|row| row.idle_bytes).max();
    let kept = within(Via::Tls, TLS_RATIO_MAX)
        && within(Via::WebSocket, WEB_SOCKET_RATIO_MAX)
        && idle.is_none_or(|bytes| bytes <= IDLE_TLS_BYTES_MAX)
        && costs.rows.iter().all(|row| row.flaws == 0);
    let exit = if kept || !args.require { Exit::Done } else { Exit::Other };
    Ok((costs.to_string().trim_end().to_owned(), exit))
}

fn durable(args: &DurableArgs) -> Result<(String, Exit), Failure> {
    let mosquitto = Peer::mosquitto(Durability::NowAndThen);
    if mosquitto.is_none() {
        say("mosquitto is not installed: columba is measured alone (apt-get install mosquitto)");
    }
    let peers: Vec<Peer> = mosquitto.into_iter().chain([columba()?]).collect();
    let plan = DurablePlan { measured: args.duration, runs: args.runs };
    let disk = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let found = load::durable(&peers, &plan, &disk, say)?;
    let missed = found.missed();
    let mut text = found.to_string().trim_end().to_owned();
    for line in &missed {
        // Writing to a string cannot fail.
        write!(text, "\nmissed: {line}").ok();
    }
    let kept = !args.require || (missed.is_empty() && peers.len() > 1);
    Ok((text, if kept { Exit::Done } else { Exit::Other }))
}

fn idle(args: &IdleArgs) -> Result<(String, Exit), Failure> {
    let plan = IdlePlan { few: args.few, many: args.many, version: Version::V311, subscribe: args.subscribe };
    let mut lines = Vec::new();
    for peer in [Some(columba()?), Peer::mosquitto(Durability::Memory)].into_iter().flatten() {
        let dir = scratch()?;
        let found = load::idle(&peer, plan, dir.path())?;
        lines.push(format!(
            "{:<10} {} connections: {} KiB private, {}: {} KiB; {} bytes for each connection",
            peer.name(),
            args.few,
            found.before / 1024,
            found.open,
            found.after / 1024,
            found.per_connection
        ));
    }
    Ok((lines.join("\n"), Exit::Done))
}

fn restart(args: &RestartArgs) -> Result<(String, Exit), Failure> {
    let plan = RestartPlan {
        sessions: args.sessions,
        messages: args.messages,
        payload: args.size as usize,
        version: Version::V311,
        window: 10_000,
        idle: IDLE,
    };
    let dir = scratch()?;
    let found = load::restart(&columba()?, plan, dir.path(), say)?;
    let disk = found.on_disk;
    let text = format!(
        "{} messages of {} bytes in {} sessions, stored in {:.1} s, memory grew by {} MiB at its peak
killed; listens after {:.3} s with {} MiB resident
{} delivered in {:.1} s, {} lost or wrong, {} sessions forgotten
on disk: {} MiB before, {} MiB stored, {} MiB when idle for {:.0} s",
        args.messages,
        args.size,
        args.sessions,
        found.storing.as_secs_f64(),
        found.grew_by / MIB,
        found.listens_after.as_secs_f64(),
        found.resident / MIB,
        found.delivered,
        found.delivering.as_secs_f64(),
        found.flaws,
        found.forgotten,
        disk.fresh / MIB,
        disk.stored / MIB,
        disk.drained / MIB,
        disk.drained_after.as_secs_f64()
    );
    let kept = found.flaws == 0 && found.forgotten == 0;
    let in_time = args.require.is_none_or(|limit| found.listens_after <= limit);
    Ok((text, if kept && in_time { Exit::Done } else { Exit::Other }))
}

pub(crate) fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(Exit::Other, format!("cannot find this program: {error}")))
}

fn columba() -> Result<Peer, Failure> {
    Ok(Peer::columba(program()?, &[]))
}

fn scratch() -> Result<tempfile::TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::new(Exit::Other, format!("cannot make a scratch folder: {error}")))
}

pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let exit = match error {
            LoadError::Io { .. } => Exit::NotConnected,
            LoadError::Refused { .. } => Exit::Refused,
            LoadError::SubscriptionRefused { .. } => Exit::Denied,
            LoadError::Lost { .. } | LoadError::Stalled { .. } => Exit::Lost,
            LoadError::PayloadTooSmall { .. } => Exit::Usage,
            LoadError::NotListening { .. } | LoadError::NoProcess { .. } => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}
