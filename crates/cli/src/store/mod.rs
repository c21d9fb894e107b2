//! `columba store`: a data directory looked at, copied and made anew.

mod check;
mod copy;
mod dump;
mod record;
mod stats;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use columba_proto::TopicFilter;
use columba_server::tools::ToolError;
use columba_store::DirError;

use crate::exit::{Exit, Failure};

/// What `columba store` takes.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read everything in a data directory and say whether it is whole (exit status: 0 whole, 1 damaged, 2 cannot be told)
    Check(CheckArgs),
    /// Print the records of a data directory or of an export, one a line
    Dump(DumpArgs),
    /// Write all that a stopped broker's data directory holds into one file
    Export(CopyArgs),
    /// Make a data directory from an export or a backup
    Import(ImportArgs),
    /// Say how much a data directory holds, and where
    Stats(StatsArgs),
    /// Write all that a running broker holds into one file
    Backup(CopyArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Data directory of a broker that does not run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args, Debug)]
struct DumpArgs {
    /// Data directory of a broker that does not run, or an export
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// Only records that name the sessions of this client
    #[arg(long, alias = "client", value_name = "CLIENT-ID", allow_hyphen_values = true)]
    session: Option<String>,
    /// Only messages with topics that this filter matches, and subscriptions with the same filter
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    topic: Option<String>,
    /// Print payloads, too
    #[arg(long)]
    payload: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args, Debug)]
struct CopyArgs {
    /// Data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to write; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct ImportArgs {
    /// File that `export` or `backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Data directory to make; new or empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Args, Debug)]
struct StatsArgs {
    /// Data directory of a broker that does not run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How many of the longest queues to name
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// How a command prints what it has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

fn filter(text: &str) -> Result<String, String> {
    text.parse::<TopicFilter>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Runs one of them; the answer is what to print, and how it ends.
pub(crate) fn run(args: StoreArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Check(args) => check::run(&args),
        What::Dump(args) => dump::run(&args).map(|()| (String::new(), Exit::Done)),
        What::Export(args) => copy::export(&args),
        What::Import(args) => copy::import(&args),
        What::Stats(args) => stats::run(&args),
        What::Backup(args) => copy::backup(&args),
    }
}

/// Why a tool cannot do its work, in the shape of all commands.
fn failure(exit: Exit, error: &ToolError, dir: &std::path::Path) -> Failure {
    let mut failure = Failure::new(exit, error.to_string());
    for note in error.notes() {
        failure = failure.note(note);
    }
    let dir = dir.display();
    match error {
        ToolError::Directory(DirError::InUse { .. }) => failure
            .note("this looks at the directory of a broker that does not run")
            .try_this(format!("columba store backup {dir} FILE")),
        ToolError::Directory(DirError::NotThere { .. }) => {
            failure.note("a data directory is what `columba serve --data-dir` was given, or ~/.local/state/columba")
        }
        ToolError::Directory(DirError::HalfImported { .. }) => failure.try_this(format!("columba store import FILE {dir}")),
        ToolError::Damaged(_) => failure.try_this(format!("columba serve --data-dir {dir} --accept-loss")),
        ToolError::NoBroker { .. } => failure.try_this(format!("columba store export {dir} FILE")),
        ToolError::Directory(_)
        | ToolError::Recover(_)
        | ToolError::Export { .. }
        | ToolError::File { .. }
        | ToolError::Refused(_)
        | ToolError::Output(_) => failure,
    }
}

/// Bytes for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number and what it counts.
fn count(number: u64, what: &str) -> String {
    let plural = match what.strip_suffix("y") {
        _ if number == 1 => what.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{what}s"),
    };
    format!("{number} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let all = [0, 1023, 1024, 1536, 1 << 20, (5 << 30) + (1 << 29), u64::MAX].map(bytes);

        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.5 GiB", "1677721.5 TiB"]);
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            (count(1, "entry"), count(2, "entry"), count(0, "session")),
            ("1 entry".into(), "2 entries".into(), "0 sessions".into())
        );
    }
}
