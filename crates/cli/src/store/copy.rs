//! `columba store export`, `import` and `backup`.

use columba_server::tools::{self, ToolError};

use super::{CopyArgs, ImportArgs, bytes, count, failure};
use crate::exit::{Exit, Failure};

/// Of a broker that does not run.
pub(super) fn export(args: &CopyArgs) -> Result<(String, Exit), Failure> {
    let done = tools::export(&args.dir, &args.file).map_err(|error| refused(&error, args))?;
    let file = args.file.display();
    let text = format!(
        "{file}: {}, {} and {}",
        bytes(done.bytes),
        count(done.records, "record"),
        count(done.commits, "commit") + " of the journal"
    );
    Ok((text, Exit::Done))
}

/// Of one that runs.
pub(super) fn backup(args: &CopyArgs) -> Result<(String, Exit), Failure> {
    let done = tools::backup(&args.dir, &args.file).map_err(|error| refused(&error, args))?;
    Ok((format!("{}: {}, everything acknowledged before", args.file.display(), bytes(done.bytes)), Exit::Done))
}

fn refused(error: &ToolError, args: &CopyArgs) -> Failure {
    failure(Exit::Other, error, &args.dir)
}

/// Into a new directory.
pub(super) fn import(args: &ImportArgs) -> Result<(String, Exit), Failure> {
    let done = tools::import(&args.file, &args.dir).map_err(|error| failure(Exit::Other, &error, &args.dir))?;
    let dir = args.dir.display();
    let made = i64::try_from(done.made).ok().and_then(|made| jiff::Timestamp::from_millisecond(made).ok());
    let made = made.map_or_else(String::new, |made| format!(", as of {made:.0}"));
    let holds = format!("{}, {}", count(done.sessions as u64, "session"), count(done.retained as u64, "retained message"));
    Ok((format!("{dir}: {holds}{made}\ntry: columba serve --data-dir {dir}"), Exit::Done))
}
