//! `columba user`: who may log in.

#![expect(clippy::doc_markdown, reason = "the doc comments are the text of --help, which has no backticks")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use columba_proto::scram::{ITERATIONS, ITERATIONS_MAX};
use columba_server::Config;
use columba_server::config::Sources;
use columba_server::users::{Expected, Kind, Secret, SetError, UsersError, UsersFile, check_name, new_secret};

use crate::exit::{Exit, Failure};
use crate::{explain, prompt};

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
    Ls(ListArgs),
    /// Say whether a password, asked for or read from standard input, is somebody's; the exit code is 0 or 5
    Verify(NameArgs),
    /// Take users over from another file, like one of mosquitto's: hashes as they are
    Import(ImportArgs),
}

#[derive(Args, Debug)]
struct FileArgs {
    /// Users file, that of auth.password.file in the broker's configuration
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The broker's configuration, which names the users file
    #[arg(short = 'c', long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl FileArgs {
    fn path(&self) -> Result<PathBuf, Failure> {
        let Some(config) = &self.config else {
            let unknown = || {
                Failure::usage("it is not said which users file is meant").try_this("--file users").try_this("-c columba.toml")
            };
            return self.file.clone().ok_or_else(unknown);
        };
        let sources = Sources { file: Some(config.clone()), env: Sources::process_env(), ..Sources::default() };
        let loaded = Config::load(&sources).map_err(|error| Failure::usage(error.to_string()))?;
        loaded
            .password_file
            .ok_or_else(|| Failure::usage(format!("{} has no auth.password.file", config.display())).try_this("--file users"))
    }
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    file: FileArgs,
    /// What is kept in place of the passwords, too
    #[arg(long)]
    hashes: bool,
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
struct HashArgs {
    /// What is kept in place of the password
    #[arg(long, value_enum, default_value = "argon2id")]
    hash: Hash,
    /// Rounds that each guess of the password takes, and each connection of the client; of scram-sha-256
    #[arg(long, value_name = "N", default_value_t = ITERATIONS.get(), value_parser = clap::value_parser!(u32).range(4096..=i64::from(ITERATIONS_MAX)))]
    iterations: u32,
}

#[derive(Args, Debug)]
struct PasswordArgs {
    #[command(flatten)]
    user: NameArgs,
    #[command(flatten)]
    hash: HashArgs,
    /// Read the password from standard input, also on a terminal
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Args, Debug)]
struct ImportArgs {
    /// File to take from: lines of NAME:HASH
    #[arg(value_name = "FROM")]
    from: PathBuf,
    #[command(flatten)]
    file: FileArgs,
    /// The lines are NAME:PASSWORD, as mosquitto_passwd -U takes them
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    hash: HashArgs,
    /// Users that are there already get what stands in FROM
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hash {
    /// Argon2id with 19 MiB and two passes: each guess costs memory and tens of milliseconds
    Argon2id,
    /// PBKDF2 with SHA-512, as mosquitto 2.0 reads it
    Pbkdf2,
    /// One SHA-512, as mosquitto 1 reads it; cheap to guess
    Sha512,
    /// Keys for SCRAM-SHA-256, MQTT 5's enhanced authentication; the broker takes the password in CONNECT, too
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

impl HashArgs {
    fn secret_of(&self, password: &str) -> Result<Secret, Failure> {
        new_secret(self.kind(), password).map_err(|error| Failure::usage(error.to_string()))
    }

    fn kind(&self) -> Kind {
        match self.hash {
            Hash::Argon2id => Kind::Argon2id,
            Hash::Pbkdf2 => Kind::Pbkdf2Sha512,
            Hash::Sha512 => Kind::Sha512,
            Hash::ScramSha256 => Kind::Scram(NonZeroU32::new(self.iterations).unwrap_or(ITERATIONS)),
        }
    }
}

pub(crate) fn run(args: UserArgs) -> Result<(String, Exit), Failure> {
    match args.what {
        What::Add(args) => set(&args, Expected::New),
        What::Passwd(args) => set(&args, Expected::Known),
        What::Del(args) => remove(&args),
        What::Ls(args) => list(&args),
        What::Verify(args) => verify(&args),
        What::Import(args) => import(&args),
    }
}

fn set(args: &PasswordArgs, expected: Expected) -> Result<(String, Exit), Failure> {
    let (name, path) = (&args.user.name, args.user.file.path()?);
    let mut file = match expected {
        Expected::New => UsersFile::read_or_new(&path),
        Expected::Known => UsersFile::read(&path),
    }
    .map_err(failure)?;
    let again = |verb| format!("columba user {verb} {name} --file {}", path.display());
    let not_set = |error: SetError| {
        let failure = Failure::usage(error.to_string());
        match error {
            SetError::Known(_) => failure.try_this(again("passwd")),
            SetError::Nobody(_) => failure.try_this(again("add")),
            SetError::Name(_) | SetError::Empty | SetError::Secret(_) => failure,
        }
    };
    // Before anybody is asked for a password in vain.
    file.check(name, expected).map_err(not_set)?;
    let password = if args.password_stdin { prompt::password()? } else { prompt::new_password()? };
    file.set_password(name, expected, args.hash.kind(), &password).map_err(not_set)?;
    file.write(&path).map_err(failure)?;
    let what = match expected {
        Expected::New => "may log in",
        Expected::Known => "has a new password",
    };
    Ok((format!("user \"{name}\" {what}"), Exit::Done))
}

fn remove(args: &NameArgs) -> Result<(String, Exit), Failure> {
    let (name, path) = (&args.name, args.file.path()?);
    let mut file = UsersFile::read(&path).map_err(failure)?;
    if !file.remove(name) {
        return Err(nobody(name));
    }
    file.write(&path).map_err(failure)?;
    Ok((format!("user \"{name}\" may log in no more"), Exit::Done))
}

fn list(args: &ListArgs) -> Result<(String, Exit), Failure> {
    let file = UsersFile::read(&args.file.path()?).map_err(failure)?;
    let line = |(name, secret): (&str, &Secret)| {
        if args.hashes { format!("{name}  {}", secret.kind_name()) } else { name.to_owned() }
    };
    Ok((file.users().map(line).collect::<Vec<_>>().join("\n"), Exit::Done))
}

fn verify(args: &NameArgs) -> Result<(String, Exit), Failure> {
    let name = &args.name;
    let file = UsersFile::read(&args.file.path()?).map_err(failure)?;
    let secret = file.secret(name).ok_or_else(|| nobody(name))?;
    let password = prompt::password()?;
    if secret.is_of(password.as_bytes()) {
        Ok((format!("that is the password of \"{name}\""), Exit::Done))
    } else {
        Err(Failure::new(Exit::Refused, format!("that is not the password of \"{name}\"")))
    }
}

fn import(args: &ImportArgs) -> Result<(String, Exit), Failure> {
    let path = args.file.path()?;
    let mut file = UsersFile::read_or_new(&path).map_err(failure)?;
    let mut taken: Vec<(String, Secret)> = Vec::new();
    if args.plain {
        for (name, password) in plain(&args.from)? {
            taken.push((name, args.hash.secret_of(&password)?));
        }
    } else {
        let from = UsersFile::read(&args.from).map_err(|error| {
            failure(error).note("hashes of another kind cannot be taken over; passwords in plain words can, with --plain")
        })?;
        taken.extend(from.users().map(|(name, secret)| (name.to_owned(), secret.clone())));
    }
    if !args.replace
        && let Some((name, _)) = taken.iter().find(|(name, _)| file.has(name))
    {
        return Err(Failure::usage(format!("user \"{name}\" is there already; --replace takes the other password")));
    }
    let count = taken.len();
    for (name, secret) in taken {
        file.set(&name, secret).map_err(|error| Failure::usage(format!("\"{name}\": {error}")))?;
    }
    file.write(&path).map_err(failure)?;
    Ok((format!("{count} users taken over"), Exit::Done))
}

/// Lines of `NAME:PASSWORD`.
fn plain(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {}", path.display(), explain::io(&error))))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let split = |(index, line): (usize, &str)| match line.split_once(':') {
        Some((name, password)) if check_name(name).is_ok() && !password.is_empty() => Ok((name.to_owned(), password.to_owned())),
        Some(_) | None => Err(Failure::usage(format!("{}:{}: a line is NAME:PASSWORD", path.display(), index + 1))),
    };
    lines.map(split).collect()
}

fn nobody(name: &str) -> Failure {
    Failure::usage(format!("there is no user \"{name}\""))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: UsersError) -> Failure {
    Failure::usage(error.to_string())
}
