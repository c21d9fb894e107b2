//! What TLS and WebSocket cost beside plain TCP: one broker with all its listeners, one transport after the other, in one run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use columba_proto::{QoS, Version};

use super::idle::per_connection;
use super::via::write_certificate;
use super::{LoadError, Peer, Plan, Via, free_port, run};

/// What to measure.
#[derive(Clone, Debug)]
pub struct TransportPlan {
    /// Measured time of one run.
    pub measured: Duration,
    /// Runs of which the median counts.
    pub runs: usize,
    /// Connections whose memory is looked at; none: it is not.
    pub idle: usize,
}

/// One transport.
#[derive(Clone, Debug)]
pub struct TransportRow {
    /// Which.
    pub via: Via,
    /// Microseconds of the broker's processor time for each delivery.
    pub cpu_us: f64,
    /// Deliveries per second.
    pub per_second: f64,
    /// Lost, repeated, reordered or changed messages in all runs.
    pub flaws: u64,
    /// Bytes of an idle connection, where that was looked at.
    pub idle_bytes: Option<u64>,
}

/// All rows, plain TCP first.
#[derive(Clone, Debug)]
pub struct TransportCosts {
    /// How the load looked.
    pub title: String,
    /// One row for each transport.
    pub rows: Vec<TransportRow>,
}

/// Measures `program serve` over each transport; says on `progress` what it does.
pub fn transports(
    program: impl Into<PathBuf>,
    plan: &TransportPlan,
    mut progress: impl FnMut(&str),
) -> Result<TransportCosts, LoadError> {
    let program = program.into();
    let mut rows: Vec<Vec<TransportRow>> = vec![Vec::new(); Via::ALL.len()];
    for turn in 1..=plan.runs {
        let dir = tempfile::tempdir().map_err(LoadError::io("making a scratch folder"))?;
        let (peer, ports) = peer(&program, dir.path())?;
        let running = peer.start(ports[0], dir.path())?;
        for ((via, port), rows) in Via::ALL.into_iter().zip(&ports).zip(&mut rows) {
            progress(&format!("run {turn} of {}: {via}", plan.runs));
            let load = load(([127, 0, 0, 1], *port).into(), via, plan.measured);
            let report = run(&load, Some(running.process()))?;
            rows.push(TransportRow {
                via,
                cpu_us: report.cpu_us_per_delivery().unwrap_or(f64::NAN),
                per_second: report.per_second(),
                flaws: report.lost + report.duplicates + report.out_of_order + report.corrupt,
                idle_bytes: None,
            });
        }
    }
    let mut rows: Vec<TransportRow> = rows.into_iter().filter_map(median).collect();
    if plan.idle > 0 {
        for (at, row) in rows.iter_mut().enumerate() {
            progress(&format!("{} idle connections over {}", plan.idle, row.via));
            let dir = tempfile::tempdir().map_err(LoadError::io("making a scratch folder"))?;
            let (peer, ports) = peer(&program, dir.path())?;
            let running = peer.start(ports[0], dir.path())?;
            let address = ([127, 0, 0, 1], ports[at]).into();
            row.idle_bytes = Some(per_connection(&running, address, row.via, plan.idle)?);
        }
    }
    let first = load(([127, 0, 0, 1], 0).into(), Via::Plain, plan.measured);
    let title = format!(
        "QoS 1, {} publishers, {} subscribers (pairs), {} bytes, MQTT 5, clean sessions, window {}, saturated, median of {} runs of {:?}",
        first.publishers, first.subscribers, first.payload, first.window, plan.runs, plan.measured
    );
    Ok(TransportCosts { title, rows })
}

fn load(address: std::net::SocketAddr, via: Via, measured: Duration) -> Plan {
    Plan { via, version: Version::V5, window: 64, ..Plan::comparing(address, QoS::AtLeastOnce, measured) }
}

/// A broker with a listener for each transport; the first is plain.
fn peer(program: &Path, dir: &Path) -> Result<(Peer, Vec<u16>), LoadError> {
    let (cert, key) = write_certificate(dir)?;
    let ports = Via::ALL.iter().map(|_| free_port()).collect::<Result<Vec<_>, _>>()?;
    let mut words = vec!["--cert".to_owned(), cert.display().to_string(), "--key".to_owned(), key.display().to_string()];
    for (via, port) in Via::ALL.iter().zip(&ports).skip(1) {
        words.extend(["--listen".to_owned(), format!("{via}://127.0.0.1:{port}")]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok((Peer::columba(program, &words), ports))
}

fn median(mut rows: Vec<TransportRow>) -> Option<TransportRow> {
    rows.sort_by(|left, right| left.cpu_us.total_cmp(&right.cpu_us));
    let flaws = rows.iter().map(|row| row.flaws).sum();
    let middle = rows.len().checked_sub(1)? / 2;
    Some(TransportRow { flaws, ..rows.swap_remove(middle) })
}

impl TransportCosts {
    /// How many times the processor time of plain TCP this transport takes.
    pub fn ratio(&self, via: Via) -> Option<f64> {
        let of = |via| self.rows.iter().find(|row| row.via == via).map(|row| row.cpu_us);
        Some(of(via)? / of(Via::Plain)?)
    }
}

impl fmt::Display for TransportCosts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        writeln!(
            out,
            "{:<6} {:>16} {:>14} {:>6} {:>7} {:>12}",
            "over", "CPU us/delivery", "deliveries/s", "flaws", "ratio", "idle bytes"
        )?;
        for row in &self.rows {
            let ratio = self.ratio(row.via).unwrap_or(f64::NAN);
            let idle = row.idle_bytes.map_or_else(String::new, |bytes| bytes.to_string());
            writeln!(
                out,
                "{:<6} {:>16.3} {:>14.0} {:>6} {:>7.2} {:>12}",
                row.via.scheme(),
                row.cpu_us,
                row.per_second,
                row.flaws,
                ratio,
                idle
            )?;
        }
        Ok(())
    }
}
