//! `columba user`: who may log in.

#![expect(clippy::doc_markdown, reason = "the doc comments are the text of --help, which has no backticks")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use columba_proto::scram::{ITERATIONS, ITERATIONS_MAX, Keys};
use columba_server::users::{UsersError, UsersFile, check_name};

use crate::exit::{Exit, Failure};
use crate::prompt;

/// What `columba user` takes.
#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let somebody log in, by a password that is asked for or read from standard input
    Add(PasswordArgs),
    /// Give somebody another password
    Passwd(PasswordArgs),
    /// Let somebody log in no more
    Del(NameArgs),
    /// Print who may log in, a name a line
    Ls(FileArgs),
}

#[derive(Args, Debug)]
struct FileArgs {
    /// Users file, that of auth.users_file in the broker's configuration
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct NameArgs {
    /// Name of the user
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
struct PasswordArgs {
    #[command(flatten)]
    user: NameArgs,
    /// What is kept in place of the password
    #[arg(long, value_enum, default_value = "scram-sha-256")]
    hash: Hash,
    /// Rounds that each guess of the password takes, and each connection of the client
    #[arg(long, value_name = "N", default_value_t = ITERATIONS.get(), value_parser = clap::value_parser!(u32).range(4096..=i64::from(ITERATIONS_MAX)))]
    iterations: u32,
    /// Read the password from standard input, also on a terminal
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hash {
    /// Keys for SCRAM-SHA-256, MQTT 5's enhanced authentication
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

/// Whether the user is to be there before.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Expected {
    New,
    Known,
}

pub(crate) fn run(args: UserArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Add(args) => set(&args, Expected::New),
        What::Passwd(args) => set(&args, Expected::Known),
        What::Del(args) => remove(&args),
        What::Ls(args) => list(&args),
    }
}

fn set(args: &PasswordArgs, expected: Expected) -> Result<(String, Exit), Failure> {
    let NameArgs { name, file: FileArgs { file: path } } = &args.user;
    check_name(name).map_err(|error| Failure::usage(error.to_string()))?;
    let mut file = match expected {
        Expected::New => UsersFile::read_or_new(path),
        Expected::Known => UsersFile::read(path),
    }
    .map_err(failure)?;
    let again = |verb| format!("columba user {verb} {name} --file {}", path.display());
    match (expected, file.has(name)) {
        (Expected::New, true) => {
            return Err(Failure::usage(format!("user \"{name}\" is there already")).try_this(again("passwd")));
        }
        (Expected::Known, false) => return Err(nobody(name).try_this(again("add"))),
        (Expected::New, false) | (Expected::Known, true) => {}
    }
    let password = if args.password_stdin { prompt::password()? } else { prompt::new_password()? };
    if password.is_empty() {
        return Err(Failure::usage("an empty password keeps nobody out"));
    }
    let Hash::ScramSha256 = args.hash;
    let iterations = NonZeroU32::new(args.iterations).unwrap_or(ITERATIONS);
    let keys = Keys::derive(&password, &salt(), iterations).map_err(|error| Failure::usage(error.to_string()))?;
    file.set(name, keys).map_err(|error| Failure::usage(error.to_string()))?;
    file.write(path).map_err(failure)?;
    let what = match expected {
        Expected::New => "may log in",
        Expected::Known => "has a new password",
    };
    Ok((format!("user \"{name}\" {what} once the broker is started again"), Exit::Done))
}

fn remove(args: &NameArgs) -> Result<(String, Exit), Failure> {
    let NameArgs { name, file: FileArgs { file: path } } = args;
    let mut file = UsersFile::read(path).map_err(failure)?;
    if !file.remove(name) {
        return Err(nobody(name));
    }
    file.write(path).map_err(failure)?;
    Ok((format!("user \"{name}\" may log in no more once the broker is started again"), Exit::Done))
}

fn list(args: &FileArgs) -> Result<(String, Exit), Failure> {
    let file = UsersFile::read(&args.file).map_err(failure)?;
    Ok((file.names().collect::<Vec<_>>().join("\n"), Exit::Done))
}

fn nobody(name: &str) -> Failure {
    Failure::usage(format!("there is no user \"{name}\""))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: UsersError) -> Failure {
    Failure::usage(error.to_string())
}

/// 16 bytes that no other user has.
fn salt() -> [u8; 16] {
    let chance = || RandomState::new().build_hasher().finish().to_ne_bytes();
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&chance());
    salt[8..].copy_from_slice(&chance());
    salt
}
