//! Durable QoS 1 and 2: columba, which syncs, beside a mosquitto that keeps its sessions in memory and saves them now and then; and beside one bare sync.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use columba_proto::QoS;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::client::histogram;
use super::{LoadError, Peer, Plan, SessionKind, free_port, run};

/// Bytes of the journal's frame for one message of [`Plan::comparing`]'s size.
const FRAME_BYTES: usize = 136;
/// The file under the bare sync: written with zeros before, as the journal's segments are.
const FILE_BYTES: usize = 2 << 20;
/// How long the bare sync is measured, before and after each run with one publisher and window 1.
const BARE_SYNC_FOR: Duration = Duration::from_millis(500);

/// Publishers and their windows; as many subscribers, one each.
const LOADS: [Load; 3] =
    [Load { publishers: 64, window: 20 }, Load { publishers: 1, window: 20 }, Load { publishers: 1, window: 1 }];

/// Above this many times our processor time, mosquitto is beaten.
const CPU_RATIO_MIN: f64 = 2.0;
/// What an acknowledgement may take beyond its sync, in microseconds.
const BEYOND_SYNC_MAX_US: u64 = 100;

/// What to measure.
#[derive(Clone, Debug)]
pub struct DurablePlan {
    /// Measured time of one run.
    pub measured: Duration,
    /// Runs of which the median counts.
    pub runs: usize,
}

/// Who publishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Load {
    publishers: u32,
    window: u16,
}

/// One broker under one load: the run with the median processor time.
#[derive(Clone, Debug)]
pub struct DurableRow {
    /// The broker.
    pub peer: String,
    /// The QoS of publications and subscriptions.
    pub qos: QoS,
    /// How many publish.
    pub publishers: u32,
    /// Unacknowledged messages of each.
    pub window: u16,
    /// Deliveries per second.
    pub per_second: f64,
    /// Microseconds of the broker's processor time for each delivery.
    pub cpu_us: f64,
    /// Median time until PUBACK or PUBCOMP, in microseconds.
    pub answer_p50_us: u64,
    /// All but one in a hundred are answered within so many microseconds.
    pub answer_p99_us: u64,
    /// Lost, repeated, reordered or changed messages in all runs.
    pub flaws: u64,
}

/// A small write and a sync, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct BareSync {
    /// Median in microseconds.
    pub p50_us: u64,
    /// All but one in a hundred take no longer, in microseconds.
    pub p99_us: u64,
    /// Microseconds of processor time for each.
    pub cpu_us: f64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Durable {
    /// How the load looked.
    pub title: String,
    /// Rows in the order in which they are to be read: mosquitto before columba.
    pub rows: Vec<DurableRow>,
    /// A bare sync on the same disk, between the runs with window 1.
    pub bare: BareSync,
}

/// Measures each of `peers` with everything that it keeps in `disk`; says on `progress` what it does.
pub fn durable(peers: &[Peer], plan: &DurablePlan, disk: &Path, mut progress: impl FnMut(&str)) -> Result<Durable, LoadError> {
    let cases: Vec<(Load, QoS)> =
        LOADS.into_iter().flat_map(|load| [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| (load, qos))).collect();
    let mut rows: Vec<Vec<DurableRow>> = vec![Vec::new(); cases.len() * peers.len()];
    let mut bare = Probe::new(disk)?;
    for turn in 1..=plan.runs {
        for (case, &(load, qos)) in cases.iter().enumerate() {
            progress(&format!("run {turn} of {}: QoS {}, {} x window {}", plan.runs, qos as u8, load.publishers, load.window));
            for (at, peer) in peers.iter().enumerate() {
                if load.window == 1 {
                    bare.run(BARE_SYNC_FOR)?;
                }
                rows[case * peers.len() + at].push(measure(peer, load, qos, plan, disk)?);
            }
        }
    }
    bare.run(BARE_SYNC_FOR)?;
    let first = plan_of(([127, 0, 0, 1], 0).into(), LOADS[0], QoS::AtLeastOnce, plan);
    Ok(Durable {
        title: format!(
            "persistent sessions, one subscriber for each publisher, {} bytes, MQTT 3.1.1, saturated, median of {} runs of {:?}",
            first.payload, plan.runs, plan.measured
        ),
        rows: rows.into_iter().filter_map(median).collect(),
        bare: bare.result(),
    })
}

fn plan_of(address: std::net::SocketAddr, load: Load, qos: QoS, plan: &DurablePlan) -> Plan {
    Plan {
        publishers: load.publishers,
        subscribers: load.publishers,
        window: load.window,
        session: SessionKind::Persistent,
        ..Plan::comparing(address, qos, plan.measured)
    }
}

/// A fresh broker: sessions of an earlier load would go on queueing.
fn measure(peer: &Peer, load: Load, qos: QoS, plan: &DurablePlan, disk: &Path) -> Result<DurableRow, LoadError> {
    let dir = tempfile::tempdir_in(disk).map_err(LoadError::io("making a scratch folder"))?;
    let running = peer.start(free_port()?, dir.path())?;
    let report = run(&plan_of(running.address(), load, qos, plan), Some(running.process()))?;
    Ok(DurableRow {
        peer: peer.name().to_owned(),
        qos,
        publishers: load.publishers,
        window: load.window,
        per_second: report.per_second(),
        cpu_us: report.cpu_us_per_delivery().unwrap_or(f64::NAN),
        answer_p50_us: report.answers.value_at_quantile(0.5) / 1000,
        answer_p99_us: report.answers.value_at_quantile(0.99) / 1000,
        flaws: report.lost + report.duplicates + report.out_of_order + report.corrupt,
    })
}

fn median(mut rows: Vec<DurableRow>) -> Option<DurableRow> {
    rows.sort_by(|left, right| left.cpu_us.total_cmp(&right.cpu_us));
    let flaws = rows.iter().map(|row| row.flaws).sum();
    let middle = rows.len().checked_sub(1)? / 2;
    Some(DurableRow { flaws, ..rows.swap_remove(middle) })
}

/// Writes and syncs as the journal does, in one thread that does nothing else.
struct Probe {
    file: File,
    at: usize,
    times: Histogram<u64>,
    cpu: Duration,
}

impl Probe {
    fn new(disk: &Path) -> Result<Self, LoadError> {
        let mut file = tempfile::tempfile_in(disk).map_err(LoadError::io("making a scratch file"))?;
        let written = file.write_all(&vec![0; FILE_BYTES]).and_then(|()| file.sync_all());
        written.map_err(LoadError::io("writing a scratch file"))?;
        Ok(Self { file, at: 0, times: histogram(), cpu: Duration::ZERO })
    }

    fn run(&mut self, time: Duration) -> Result<(), LoadError> {
        let frame = [0x5a; FRAME_BYTES];
        let (begun, cpu) = (Instant::now(), thread_time());
        while begun.elapsed() < time {
            let one = Instant::now();
            let synced = self.file.write_all_at(&frame, self.at as u64).and_then(|()| self.file.sync_data());
            synced.map_err(LoadError::io("syncing a scratch file"))?;
            self.times.saturating_record(u64::try_from(one.elapsed().as_nanos()).unwrap_or(u64::MAX));
            self.at = if self.at + 2 * FRAME_BYTES > FILE_BYTES { 0 } else { self.at + FRAME_BYTES };
        }
        self.cpu += thread_time().saturating_sub(cpu);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio is not exact to 2^-53")]
    fn result(&self) -> BareSync {
        BareSync {
            p50_us: self.times.value_at_quantile(0.5) / 1000,
            p99_us: self.times.value_at_quantile(0.99) / 1000,
            cpu_us: self.cpu.as_secs_f64() * 1e6 / self.times.len().max(1) as f64,
        }
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default())
}

impl Durable {
    /// The rows of one load and QoS.
    fn pair(&self, at: &DurableRow) -> Option<(&DurableRow, &DurableRow)> {
        let mut rows = self.rows.iter().filter(|row| (row.qos, row.publishers, row.window) == (at.qos, at.publishers, at.window));
        Some((rows.next()?, rows.next()?))
    }

    /// What was to be reached and was not, one line each: at 64 publishers half of mosquitto's processor time and a higher rate, and for one publisher with
    /// window 1 an answer within 0.1 ms of a bare sync (at QoS 2: of two, for PUBREC and PUBCOMP each wait for their own).
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for row in &self.rows {
            let what = format!("QoS {}, {} x window {}", row.qos as u8, row.publishers, row.window);
            if row.flaws > 0 && row.peer == "columba" {
                missed.push(format!("{what}: {} messages lost, repeated, reordered or changed", row.flaws));
            }
            let Some((theirs, ours)) = self.pair(row).filter(|(theirs, _)| std::ptr::eq(*theirs, row)) else { continue };
            if row.publishers > 1 && (theirs.cpu_us < CPU_RATIO_MIN * ours.cpu_us || theirs.per_second > ours.per_second) {
                missed.push(format!(
                    "{what}: {:.1} times less processor time, {:.1} times the rate",
                    theirs.cpu_us / ours.cpu_us,
                    ours.per_second / theirs.per_second
                ));
            }
        }
        for row in self.rows.iter().filter(|row| row.peer == "columba" && row.window == 1) {
            let syncs = row.qos as u64;
            let limit = syncs * (self.bare.p50_us + BEYOND_SYNC_MAX_US);
            if row.answer_p50_us > limit {
                missed.push(format!("QoS {}, window 1: {} us until the answer, above {limit}", row.qos as u8, row.answer_p50_us));
            }
        }
        missed
    }
}

impl fmt::Display for Durable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        writeln!(
            out,
            "{:<4} {:>5} {:>7} {:<12} {:>13} {:>7} {:>16} {:>7} {:>13} {:>13} {:>6}",
            "QoS",
            "pubs",
            "window",
            "broker",
            "deliveries/s",
            "ratio",
            "CPU us/delivery",
            "ratio",
            "answer p50 us",
            "answer p99 us",
            "flaws"
        )?;
        for row in &self.rows {
            let pair = self.pair(row).filter(|(_, ours)| std::ptr::eq(*ours, row));
            let ratio = |of: fn(&DurableRow, &DurableRow) -> f64| {
                pair.map_or(String::new(), |(theirs, ours)| format!("{:.2}", of(theirs, ours)))
            };
            writeln!(
                out,
                "{:<4} {:>5} {:>7} {:<12} {:>13.0} {:>7} {:>16.2} {:>7} {:>13} {:>13} {:>6}",
                row.qos as u8,
                row.publishers,
                row.window,
                row.peer,
                row.per_second,
                ratio(|theirs, ours| ours.per_second / theirs.per_second),
                row.cpu_us,
                ratio(|theirs, ours| theirs.cpu_us / ours.cpu_us),
                row.answer_p50_us,
                row.answer_p99_us,
                row.flaws
            )?;
        }
        let BareSync { p50_us, p99_us, cpu_us } = self.bare;
        writeln!(
            out,
            "one bare write of {FRAME_BYTES} bytes and fdatasync, in a file written before: p50 {p50_us} us, p99 {p99_us} us, {cpu_us:.2} us of processor time"
        )
    }
}
