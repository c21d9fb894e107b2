//! `columba reload`: a running broker reads its configuration again.

use std::path::PathBuf;

use columba_server::{
    config::{Config, Data},
    tools::{self, ToolError},
};

use crate::exit::{Exit, Failure};

/// Has the broker that runs on a data directory read its configuration again
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Data directory of the broker [default: ~/.local/state/columba]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What came of it.
pub(crate) fn run(args: Args) -> Result<(String, Exit), Failure> {
    let default = || match Config::default().data {
        Data::Directory(dir) => dir,
        Data::Ephemeral => PathBuf::from("."),
    };
    let dir = args.data_dir.unwrap_or_else(default);
    match tools::reload(&dir) {
        Ok(waiting) if waiting.is_empty() => Ok(("configuration read again".to_owned(), Exit::Done)),
        Ok(waiting) => Ok((format!("configuration read again; for the next start wait: {waiting}"), Exit::Done)),
        Err(error @ (ToolError::Directory(_) | ToolError::NoBroker { .. })) => Err(elsewhere(&error)),
        Err(error) => Err(Failure::new(Exit::Other, error.to_string())),
    }
}

/// A broker may run all the same: in another directory, or with none.
fn elsewhere(error: &ToolError) -> Failure {
    Failure::new(Exit::Other, error.to_string())
        .note("a broker that keeps nothing on disk has no data directory (ephemeral; a mosquitto.conf without `persistence true`): its HTTP port and SIGHUP reach it")
        .try_this("columba ctl reload")
        .try_this("kill -HUP PID")
}
