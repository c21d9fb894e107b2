//! columba and mosquitto under the same load, one after the other.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use columba_proto::QoS;

use super::{LoadError, Peer, Plan, Topics, free_port, run};

/// What to compare.
#[derive(Clone, Debug)]
pub struct ComparePlan {
    /// Measured time of one run.
    pub measured: Duration,
    /// Runs of which the median counts.
    pub runs: usize,
    /// Who receives what.
    pub topics: Topics,
}

/// One broker at one QoS: the run with the median processor time.
#[derive(Clone, Debug)]
pub struct Row {
    /// The broker.
    pub peer: String,
    /// The QoS of publications and subscriptions.
    pub qos: QoS,
    /// Microseconds of the broker's processor time for each delivery.
    pub cpu_us: f64,
    /// Deliveries per second.
    pub per_second: f64,
    /// Median latency in microseconds (under saturation: the depth of the queues).
    pub p50_us: u64,
    /// Lost, repeated, reordered or changed messages in all runs.
    pub flaws: u64,
}

/// All rows, in the order in which they are to be read.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How the load looked.
    pub title: String,
    /// One row for each broker and QoS.
    pub rows: Vec<Row>,
}

/// Measures each of `peers` at QoS 0, 1 and 2; says on `progress` what it does.
pub fn compare(peers: &[Peer], plan: &ComparePlan, mut progress: impl FnMut(&str)) -> Result<Comparison, LoadError> {
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let mut rows: Vec<Vec<Row>> = vec![Vec::new(); peers.len() * levels.len()];
    for turn in 1..=plan.runs {
        for (at, peer) in peers.iter().enumerate() {
            progress(&format!("run {turn} of {}: {}", plan.runs, peer.name()));
            let dir = tempfile::tempdir().map_err(LoadError::io("making a scratch folder"))?;
            for (row, row_of_level) in measure(peer, dir.path(), plan)?.into_iter().enumerate() {
                rows[row * peers.len() + at].push(row_of_level);
            }
        }
    }
    let first = Plan::comparing(([127, 0, 0, 1], 0).into(), QoS::AtMostOnce, plan.measured);
    Ok(Comparison {
        title: format!(
            "{} publishers, {} subscribers ({}), {} bytes, MQTT 3.1.1, clean sessions, window {}, saturated, median of {} runs of {:?}",
            first.publishers,
            first.subscribers,
            match plan.topics {
                Topics::Pairs => "pairs",
                Topics::All => "each receives all",
                Topics::Shared => "one shared subscription",
            },
            first.payload,
            first.window,
            plan.runs,
            plan.measured
        ),
        rows: rows.into_iter().filter_map(median).collect(),
    })
}

/// A fresh broker, all three levels.
fn measure(peer: &Peer, dir: &Path, plan: &ComparePlan) -> Result<Vec<Row>, LoadError> {
    let running = peer.start(free_port()?, dir)?;
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .map(|qos| {
            let plan = Plan { topics: plan.topics, ..Plan::comparing(running.address(), qos, plan.measured) };
            let report = run(&plan, Some(running.process()))?;
            Ok(Row {
                peer: peer.name().to_owned(),
                qos,
                cpu_us: report.cpu_us_per_delivery().unwrap_or(f64::NAN),
                per_second: report.per_second(),
                p50_us: report.latency.value_at_quantile(0.5) / 1000,
                flaws: report.lost + report.duplicates + report.out_of_order + report.corrupt,
            })
        })
        .collect()
}

fn median(mut rows: Vec<Row>) -> Option<Row> {
    rows.sort_by(|left, right| left.cpu_us.total_cmp(&right.cpu_us));
    let flaws = rows.iter().map(|row| row.flaws).sum();
    let middle = rows.len().checked_sub(1)? / 2;
    Some(Row { flaws, ..rows.swap_remove(middle) })
}

impl Comparison {
    /// How many times less processor time the second broker needs than the first, at one level.
    pub fn ratio(&self, qos: QoS) -> Option<f64> {
        let mut of_level = self.rows.iter().filter(|row| row.qos == qos);
        let first = of_level.next()?;
        let second = of_level.next()?;
        Some(first.cpu_us / second.cpu_us)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        writeln!(
            out,
            "{:<4} {:<12} {:>16} {:>14} {:>10} {:>6} {:>7}",
            "QoS", "broker", "CPU us/delivery", "deliveries/s", "p50 us", "flaws", "ratio"
        )?;
        let mut shown = None;
        for row in &self.rows {
            let ratio = if shown == Some(row.qos) { self.ratio(row.qos) } else { None };
            shown = Some(row.qos);
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.1}"));
            writeln!(
                out,
                "{:<4} {:<12} {:>16.3} {:>14.0} {:>10} {:>6} {:>7}",
                row.qos as u8, row.peer, row.cpu_us, row.per_second, row.p50_us, row.flaws, ratio
            )?;
        }
        Ok(())
    }
}
