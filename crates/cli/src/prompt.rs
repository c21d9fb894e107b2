//! Asking for a password.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

use crate::exit::Failure;
use crate::explain;

/// Reads a line from standard input; on a terminal after a prompt, and without showing it.
pub(crate) fn password() -> Result<String, Failure> {
    ask("Password: ")
}

/// Reads a new password; on a terminal twice, so that it is the one that was meant.
pub(crate) fn new_password() -> Result<String, Failure> {
    let first = password()?;
    if io::stdin().is_terminal() && ask("The same again: ")? != first {
        return Err(Failure::usage("the two passwords are not the same"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let is_asked = io::stdin().is_terminal();
    if is_asked {
        eprint!("{prompt}");
        io::stderr().flush().unwrap_or_default();
        echo("-echo");
    }
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    if is_asked {
        echo("echo");
        eprintln!();
    }
    read.map_err(|error| Failure::usage(format!("cannot read the password: {}", explain::io(&error))))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Where there is no `stty`, the password shows; a login is worth more than that.
fn echo(setting: &str) {
    Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status().ok();
}
