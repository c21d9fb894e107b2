//! `columba token`: who may use the API.

#![expect(clippy::doc_markdown, reason = "the doc comments are the text of --help, which has no backticks")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use columba_server::config::Data;
use columba_server::tokens::{FILE, Role, Tokens, TokensError};
use columba_server::{Config, config::Sources};

use crate::exit::{Exit, Failure};
use crate::values;

/// What `columba token` takes.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token and print it, once
    Create(CreateArgs),
    /// Print which tokens there are: number, role, until when, name
    Ls(FileArgs),
    /// Take a token away; the broker notices at once
    Del(DelArgs),
}

#[derive(Args, Debug)]
struct FileArgs {
    /// Tokens file, that of http.tokens_file in the broker's configuration [default: tokens in the data directory]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Data directory of the broker
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// What it allows
    #[arg(long, value_enum)]
    role: RoleArg,
    /// How long it allows anything, like 12h or 90d [default: until it is deleted]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    expires: Option<Duration>,
    /// Whose it is, for people
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
struct DelArgs {
    /// Number of the token, as ls prints it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// To look, but not into payloads
    Viewer,
    /// Everything
    Admin,
}

impl FileArgs {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        let sources = Sources { env: Sources::process_env(), data_dir: self.data_dir.clone(), ..Sources::default() };
        let config = Config::load(&sources).map_err(|error| Failure::usage(error.to_string()))?;
        match (config.http.tokens_file, config.data) {
            (Some(path), _) => Ok(path),
            (None, Data::Directory(path)) => Ok(path.join(FILE)),
            (None, Data::Ephemeral) => Err(Failure::usage("there is no data directory; name the file by --file")),
        }
    }
}

pub(crate) fn run(args: TokenArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Create(CreateArgs { role, expires, name, file }) => {
            let path = file.path()?;
            let mut tokens = Tokens::read(&path).map_err(|error| failure(&error))?;
            let role = match role {
                RoleArg::Viewer => Role::Viewer,
                RoleArg::Admin => Role::Admin,
            };
            let ends_s = expires.map(|left| now_s().saturating_add(left.as_secs()));
            let text = tokens
                .create(role, ends_s, &name)
                .map_err(|error| Failure::new(Exit::Other, format!("no chance to be had: {error}")))?;
            tokens.write(&path).map_err(|error| failure(&error))?;
            Ok((text, Exit::Done))
        }
        What::Ls(file) => {
            let tokens = Tokens::read(&file.path()?).map_err(|error| failure(&error))?;
            let lines: Vec<String> = tokens
                .iter()
                .map(|it| format!("{} {} {} {}", it.id, it.role.name(), end(it.ends_s), it.name).trim_end().into())
                .collect();
            Ok((lines.join("\n"), Exit::Done))
        }
        What::Del(DelArgs { id, file }) => {
            let path = file.path()?;
            let mut tokens = Tokens::read(&path).map_err(|error| failure(&error))?;
            if !tokens.remove(&id) {
                return Err(Failure::new(Exit::Other, format!("there is no token {id:?}")).try_this("columba token ls"));
            }
            tokens.write(&path).map_err(|error| failure(&error))?;
            Ok((format!("token {id} allows nothing any more"), Exit::Done))
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Until when, from now.
fn end(ends_s: Option<u64>) -> String {
    match ends_s.map(|end| end.saturating_sub(now_s())) {
        None => "for-ever".into(),
        Some(0) => "over".into(),
        Some(left) if left >= 2 * 86_400 => format!("{}d-left", left / 86_400),
        Some(left) if left >= 2 * 3_600 => format!("{}h-left", left / 3_600),
        Some(left) => format!("{}min-left", left / 60),
    }
}

fn failure(error: &TokensError) -> Failure {
    Failure::new(Exit::Other, error.to_string())
}
