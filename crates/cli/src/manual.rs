//! What a package brings along: completion for shells, and manual pages. Both are made of the command line's own words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::roff::Page;

/// Keys of the configuration.
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
/// How a broker is watched; a section of it is about `$SYS`.
const OPERATING: &str = include_str!("../../../docs/operating.md");

/// What `columba completions` takes.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// What `columba man` takes.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Where the pages go; made if need be
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// A script for the shell.
pub(crate) fn completions(args: &CompletionsArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "columba", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// Writes `columba.1` and a page for each command, `columba.toml.5` and `columba-sys.7`.
pub(crate) fn pages(args: &ManArgs) -> Result<(String, Exit), Failure> {
    let write = || -> io::Result<usize> {
        fs::create_dir_all(&args.dir)?;
        let mut command = Cli::command();
        command.build();
        let commands = write_pages(&command, "columba", &args.dir)?;
        for page in GUIDE.each_ref().map(|page| page()) {
            fs::write(args.dir.join(page.file()), page.roff(columba_server::config::takes))?;
        }
        Ok(commands + GUIDE.len())
    };
    let dir = args.dir.display();
    match write() {
        Ok(count) => Ok((format!("{count} pages in {dir}"), Exit::Done)),
        Err(error) => Err(Failure::new(Exit::Other, format!("cannot write to {dir}: {error}"))),
    }
}

/// What of the guide is a manual page, too.
const GUIDE: [fn() -> Page; 2] = [toml, sys];

fn toml() -> Page {
    let markdown = CONFIGURATION.split_once("\n\n").map_or("", |(_, page)| page);
    Page { name: "columba.toml", section: 5, about: "configuration of the MQTT broker columba", markdown }
}

fn sys() -> Page {
    let section = OPERATING.split("\n## ").find_map(|section| section.strip_prefix("`$SYS`\n\n"));
    Page {
        name: "columba-sys",
        section: 7,
        about: "what the MQTT broker columba tells below $SYS",
        markdown: section.unwrap_or_default(),
    }
}

/// The page of a command and those of the commands below it; how many they are.
fn write_pages(command: &clap::Command, name: &str, dir: &Path) -> io::Result<usize> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut page)?;
    fs::write(dir.join(format!("{name}.1")), page)?;
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += write_pages(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(&CompletionsArgs { shell });
            for word in ["serve", "pub", "session-expiry", "guarantees"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("man1");
        pages(&ManArgs { dir: dir.clone() }).unwrap();

        let page = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert!(page("columba.1").contains("columba\\-serve(1)"));
        assert!(page("columba-serve.1").contains("data\\-dir"));
        assert!(page("columba-store-check.1").contains("whole"));
    }

    #[test]
    fn the_pages_of_the_guide_have_every_key_and_topic() {
        let dir = tempfile::tempdir().unwrap();
        pages(&ManArgs { dir: dir.path().to_owned() }).unwrap();

        let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let (keys, topics) = (page("columba.toml.5"), page("columba-sys.7"));
        let inflight = ".TP\n\\fBlimits.inflight\\fR\na number from 1 to 65535; default: 100\n.br\n";
        assert!(keys.starts_with(".TH COLUMBA.TOML 5\n") && keys.contains(inflight), "{keys}");
        assert!(topics.contains(".TP\n\\fBcolumba/recovery/ms\\fR\n") && !topics.contains("openapi"), "{topics}");
        for page in [keys, topics] {
            assert!(page.contains(".SH DESCRIPTION\n") && !page.contains("]("), "{page}");
        }
    }
}
