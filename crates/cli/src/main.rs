//! The program `columba`: the broker and its clients behind one command line.

mod acl;
mod args;
mod argv;
mod attack;
mod bench;
mod broker;
mod check;
#[cfg(test)]
mod command_lines;
mod config;
mod connect;
mod ctl;
mod demo;
mod exit;
mod explain;
mod guarantees;
mod health;
mod http;
mod interrupt;
mod manual;
mod output;
mod prompt;
mod property;
mod publish;
mod reload;
mod roff;
mod security;
mod serve;
mod store;
mod subscribe;
mod target;
mod token;
mod trace;
mod user;
mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use exit::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match parse(std::env::args_os().collect()) {
        Ok(cli) => run(cli),
        Err(Stop { text, exit: Exit::Done }) => print(&text),
        Err(Stop { text, exit }) => {
            eprintln!("{text}");
            exit.into()
        }
    }
}

/// The command line ends here: with help that was asked for, or with what is wrong with it.
#[derive(Debug)]
struct Stop {
    text: String,
    exit: Exit,
}

impl Stop {
    fn help(text: &impl ToString) -> Self {
        Self { text: text.to_string(), exit: Exit::Done }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { exit: failure.exit, text: failure.to_string() }
    }
}

fn parse(args: Vec<OsString>) -> Result<Cli, Stop> {
    let mut command = Cli::command();
    let args = argv::prepare(args, &command);
    let matches = command.try_get_matches_from_mut(args.clone()).map_err(|error| complain(&error, &args))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| complain(&error, &args))?;
    // `-h` is the host here; without one, somebody wants help.
    let asks_for_help = match &cli.command {
        Some(Command::Pub(args)) => args.common.host.as_deref() == Some(""),
        Some(Command::Sub(args)) => args.common.host.as_deref() == Some(""),
        Some(
            Command::Serve(_)
            | Command::Config(_)
            | Command::Reload(_)
            | Command::Guarantees(_)
            | Command::Demo(_)
            | Command::Bench(_)
            | Command::Check(_)
            | Command::Store(_)
            | Command::User(_)
            | Command::Acl(_)
            | Command::Health(_)
            | Command::Ctl(_)
            | Command::Token(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Version,
        )
        | None => false,
    };
    if asks_for_help {
        let name = matches.subcommand_name().unwrap_or_default();
        let help = command.find_subcommand_mut(name).map(clap::Command::render_help);
        return Err(Stop::help(&help.map_or_else(String::new, |help| help.to_string())));
    }
    if cli.command.is_none() && !cli.version {
        return Err(Stop::help(&command.render_help()));
    }
    Ok(cli)
}

/// mosquitto's options for keys without certificates, told apart from slips of the finger.
const PSK_OPTION: &str = "--psk";

/// clap's words in our shape: one line of what is wrong, one that can be pasted.
fn complain(error: &clap::Error, args: &[OsString]) -> Stop {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop::help(&error.render().to_string().trim_end());
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let what = paragraphs.next().unwrap_or_default().trim_start_matches("error: ").replace(property::SEPARATOR, " ");
    let mut failure = Failure::usage(what.trim_end());
    if what.contains(PSK_OPTION) {
        return failure.note("TLS is spoken with certificates only").into();
    }
    for tip in paragraphs.filter_map(|paragraph| paragraph.trim().strip_prefix("tip: ")) {
        failure = failure.note(tip.lines().next().unwrap_or_default());
    }
    let command = args.get(1).and_then(|name| name.to_str()).filter(|name| Cli::command().find_subcommand(name).is_some());
    let help = command.map_or_else(|| "columba --help".to_owned(), |name| format!("columba {name} --help"));
    failure.try_this(help).into()
}

fn run(cli: Cli) -> ExitCode {
    match cli.command {
        None | Some(Command::Version) => print(&format!("columba {}", env!("CARGO_PKG_VERSION"))),
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::Pub(args)) => {
            let quiet = args.common.quiet;
            finish(block_on(publish::run(*args)), quiet)
        }
        Some(Command::Sub(args)) => {
            let quiet = args.common.quiet;
            finish(block_on(subscribe::run(*args)), quiet)
        }
        Some(Command::Demo(args)) => finish(demo::run(&args), false),
        Some(Command::Reload(args)) => finish(reload::run(args).map(print_and_end), false),
        Some(Command::Config(args)) => finish(config::run(args).map(print_and_end), false),
        Some(Command::Guarantees(args)) => finish(guarantees::run(args).map(print_and_end), false),
        Some(Command::Bench(args)) => finish(bench::run(args).map(print_and_end), false),
        Some(Command::Check(args)) => finish(check::run(*args).map(print_and_end), false),
        Some(Command::Store(args)) => finish(store::run(args).map(print_and_end), false),
        Some(Command::Ctl(args)) => finish(ctl::run(&args).map(print_and_end), false),
        Some(Command::Token(args)) => finish(token::run(args).map(print_and_end), false),
        Some(Command::Health(args)) => finish(health::run(&args).map(print_and_end), false),
        Some(Command::User(args)) => finish(user::run(args).map(print_and_end), false),
        Some(Command::Acl(args)) => finish(acl::run(args).map(print_and_end), false),
        Some(Command::Completions(args)) => finish(Ok(print_and_end((manual::completions(&args), Exit::Done))), false),
        Some(Command::Man(args)) => finish(manual::pages(&args).map(print_and_end), false),
    }
}

/// Runs a client to its end. A thread that still waits for standard input is not waited for.
fn block_on(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Other, format!("cannot start: {}", explain::io(&error))))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn finish(result: Result<Exit, Failure>, quiet: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !quiet {
                eprintln!("{failure}");
            }
            failure.exit.into()
        }
    }
}

/// What a command has found, if it has not printed it yet, then how it ends.
fn print_and_end((text, exit): (String, Exit)) -> Exit {
    if !text.is_empty() {
        print(&text);
    }
    exit
}

/// To standard output; whoever has closed it does not want to read it.
fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => Exit::Done.into(),
        Err(_) => Exit::Other.into(),
    }
}
