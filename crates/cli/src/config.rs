//! `columba config`: is a configuration right, what is in force with it, and what a mosquitto.conf means here.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Subcommand;
use columba_server::{
    Config, Server, StartError,
    config::{
        self, Origins, Sources,
        mosquitto::{Import, Verdict},
    },
};

use crate::exit::{Exit, Failure};

/// What `columba config` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether the broker would start with a configuration (exit status: 0 it would, 2 it would not)
    Check(CheckArgs),
    /// Print what is in force with a configuration, as a file
    Print(PrintArgs),
    /// Print a JSON Schema of configuration files, for editors
    Schema,
    /// Print a mosquitto.conf as a configuration of columba, and what became of its lines (exit status: 1 if some are refused)
    Import(ImportArgs),
}

#[derive(clap::Args, Debug)]
struct CheckArgs {
    /// Configuration file: TOML, or mosquitto's if its name ends in .conf
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[expect(clippy::doc_markdown, reason = "help is plain text: backticks would be shown")]
    /// Set one key over it, like limits.max_connections=1000 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(clap::Args, Debug)]
struct PrintArgs {
    /// Configuration file: TOML, or mosquitto's if its name ends in .conf [default: none]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[expect(clippy::doc_markdown, reason = "help is plain text: backticks would be shown")]
    /// Set one key over it, like limits.max_connections=1000 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say behind each value where it comes from
    #[arg(long)]
    origin: bool,
}

#[derive(clap::Args, Debug)]
struct ImportArgs {
    /// The mosquitto.conf
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What it found, as text.
pub(crate) fn run(args: ConfigArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Check(CheckArgs { file, set }) => check(file, set),
        What::Print(PrintArgs { file, set, origin }) => print(file, set, origin),
        What::Schema => Ok((config::schema(), Exit::Done)),
        What::Import(ImportArgs { file }) => import(&file),
    }
}

fn check(file: PathBuf, set: Vec<String>) -> Result<(String, Exit), Failure> {
    let name = file.display().to_string();
    let sources = Sources { file: Some(file), env: Sources::process_env(), set, ..Sources::default() };
    let config = Config::load(&sources).map_err(|error| not_started(&error.into(), &sources))?;
    Server::check(&config).map_err(|error| not_started(&error, &sources))?;
    let mut text = String::new();
    for note in &config.notes {
        text += note;
        text.push('\n');
    }
    Ok((format!("{text}{name}: ok"), Exit::Done))
}

/// What a start would say.
fn not_started(error: &StartError, asked: &Sources) -> Failure {
    let failure = error.notes().into_iter().fold(Failure::usage(error.to_string()), Failure::note);
    error.tries(asked).into_iter().fold(failure, Failure::try_this)
}

fn print(file: Option<PathBuf>, set: Vec<String>, origin: bool) -> Result<(String, Exit), Failure> {
    let sources = Sources { file, env: Sources::process_env(), set, ..Sources::default() };
    let origins = if origin { Origins::Shown } else { Origins::Hidden };
    let text = config::print(&sources, origins).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((text.trim_end().to_owned(), Exit::Done))
}

/// The configuration goes to the standard output alone, so that it can go into a file.
fn import(file: &std::path::Path) -> Result<(String, Exit), Failure> {
    let import = Import::read(file).map_err(|error| Failure::usage(error.to_string()))?;
    // Nobody reads it: the configuration is still wanted.
    io::stderr().write_all(report(&import, file).as_bytes()).unwrap_or_default();
    let exit = if import.refused().next().is_some() { Exit::Other } else { Exit::Done };
    Ok((import.to_toml().trim_end().to_owned(), exit))
}

/// What became of each line, and how many of each.
fn report(import: &Import, file: &std::path::Path) -> String {
    let mut lines: Vec<String> = import.remarks.iter().map(ToString::to_string).collect();
    let count = |name: &str| import.remarks.iter().filter(|remark| remark.verdict.name() == name).count();
    let counts = [Verdict::Honoured, Verdict::NoCounterpart, Verdict::Refused]
        .map(|verdict| format!("{} {}", count(verdict.name()), verdict.name()));
    lines.push(format!("{}: {}\n", file.display(), counts.join(", ")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_configuration_that_is_right_says_so_and_one_that_is_not_says_where() {
        let (_dir, path) = file("columba.toml", "[limits]\ninflight = 50\n");
        let (text, exit) = check(path.clone(), vec![]).unwrap();
        assert_eq!((text, exit), (format!("{}: ok", path.display()), Exit::Done));

        let (_dir, path) = file("columba.toml", "[limits]\ninflght = 50\n");
        let failure = check(path, vec![]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("columba.toml:2:1: unknown key \"limits.inflght\""), "{failure}");
    }

    #[test]
    fn what_is_printed_is_a_configuration_that_is_right_and_may_say_where_it_comes_from() {
        let (_dir, path) = file("columba.toml", "[limits]\ninflight = 50\n");
        let (text, _) = print(Some(path.clone()), vec!["limits.max_qos=1".into()], true).unwrap();
        assert!(text.contains(&format!("limits.inflight = 50  # {}:2:1", path.display())), "{text}");
        assert!(text.contains("limits.max_qos = 1  # --set limits.max_qos=1"), "{text}");

        let (_dir, path) = file("columba.toml", &text);
        assert!(check(path, vec![]).unwrap().0.ends_with(": ok"));
    }

    #[test]
    fn what_is_imported_is_a_configuration_that_is_right() {
        let (_dir, path) = file("mosquitto.conf", "listener 1884 127.0.0.1\nallow_anonymous true\nmax_queued_messages 50\n");
        let (text, exit) = import(&path).unwrap();
        assert_eq!(exit, Exit::Done);

        let (_dir, path) = file("columba.toml", &text);
        let (told, _) = check(path, vec![]).unwrap();
        assert!(told.ends_with(": ok"), "{told}");
    }

    #[test]
    fn the_report_has_every_line_and_their_number() {
        let (_dir, path) = file(
            "mosquitto.conf",
            "listener 1884 127.0.0.1\nallow_anonymous true\npid_file /p\nplugin /x.so\npersistence true\n",
        );
        let name = path.display();
        let report = report(&Import::read(&path).unwrap(), &path);

        for line in [
            format!("{name}:1:1: listener: honoured: url = \"mqtt://127.0.0.1:1884\""),
            format!("{name}:2:1: allow_anonymous: honoured: auth.anonymous = true"),
            format!("{name}:3:1: pid_file: no counterpart: the service manager knows it"),
            format!("{name}:4:1: plugin: refused: there are no plugins"),
            // That there is no max_packet_size is one of them.
            format!("{name}: 4 honoured, 1 no counterpart, 1 refused"),
        ] {
            assert!(report.lines().any(|it| it == line), "{line}\nin\n{report}");
        }
    }
}
