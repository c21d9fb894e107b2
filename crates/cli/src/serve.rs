//! `columba serve`: the broker, from its command line to its exit code.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use columba_server::{
    Config, Server, StartError,
    config::{ConfigError, OnDamage, Sources},
    log,
};

/// The exit code of a command line or a configuration that makes no sense.
const USAGE: u8 = 2;

/// Runs the broker in the foreground until SIGTERM or SIGINT
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Configuration file: TOML, or mosquitto's if its name ends in .conf
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as HOST:PORT, mqtt:// mqtts:// ws:// wss://HOST:PORT or unix:PATH; `*` is all interfaces (repeatable) [default: localhost:1883]
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// The certificate of those that speak TLS, and what leads to its authority (PEM)
    #[arg(long, value_name = "FILE", requires = "listen")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Where metrics, health and the API are as http://HOST:PORT, or off; the default goes without where its port is taken [default: 127.0.0.1:8083]
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// Where to keep what must survive a restart [default: ~/.local/state/columba]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep nothing on disk
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Where stored data is damaged, set the damaged files aside and start without what is lost with them
    #[arg(long, conflicts_with = "ephemeral")]
    accept_loss: bool,
    /// Let anyone connect who can reach a listener
    #[arg(long)]
    allow_anonymous: bool,
    #[expect(clippy::doc_markdown, reason = "help is plain text: backticks would be shown")]
    /// Set one key of the configuration, like limits.max_connections=1000 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the broker until it is told to stop.
pub(crate) fn run(args: Args) -> ExitCode {
    let (sources, on_damage) = sources(args);
    let code = match load(&sources, on_damage).map_err(StartError::from).and_then(|config| serve(config, &sources)) {
        Ok(code) => code,
        Err(error) => {
            complain(&error, &sources);
            if error.is_usage() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    };
    log::flush();
    code
}

fn sources(args: Args) -> (Sources, OnDamage) {
    let Args { config, listen, cert, key, http, data_dir, ephemeral, accept_loss, allow_anonymous, set } = args;
    let env = Sources::process_env();
    let sources = Sources { file: config, env, set, listen, cert, key, http, data_dir, ephemeral, allow_anonymous };
    (sources, if accept_loss { OnDamage::SetAside } else { OnDamage::Refuse })
}

fn load(sources: &Sources, on_damage: OnDamage) -> Result<Config, ConfigError> {
    Ok(Config { on_damage, ..Config::load(sources)? })
}

fn serve(config: Config, sources: &Sources) -> Result<ExitCode, StartError> {
    log::start(&config.log);
    let running = Server::start(config)?;
    // Before the banner: whoever reads that may ask for a stop.
    running.heed_signals();
    // Whoever closed our standard output still wants a broker.
    writeln!(io::stdout(), "{}", running.banner()).unwrap_or_default();
    match running.until_signalled(|| Config::load(sources)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            writeln!(io::stderr(), "error: {failure}").unwrap_or_default();
            Ok(ExitCode::FAILURE)
        }
    }
}

fn complain(error: &StartError, asked: &Sources) {
    let mut text = format!("error: {error}\n");
    for note in error.notes() {
        text += "note:  ";
        text += &note;
        text.push('\n');
    }
    for (number, step) in error.tries(asked).iter().enumerate() {
        text += if number == 0 { "try:   " } else { "or:    " };
        text += step;
        text.push('\n');
    }
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
