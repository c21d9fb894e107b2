//! What a package brings along: completion for shells, and manual pages. Both are made of the command line's own words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Failure};

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

/// Writes `columba.1` and a page for each command.
pub(crate) fn pages(args: &ManArgs) -> Result<(String, Exit), Failure> {
    let write = || -> io::Result<usize> {
        fs::create_dir_all(&args.dir)?;
        let mut command = Cli::command();
        command.build();
        write_pages(&command, "columba", &args.dir)
    };
    let dir = args.dir.display();
    match write() {
        Ok(count) => Ok((format!("{count} pages in {dir}"), Exit::Done)),
        Err(error) => Err(Failure::new(Exit::Other, format!("cannot write to {dir}: {error}"))),
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
}
