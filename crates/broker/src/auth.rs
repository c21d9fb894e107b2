//! Who may connect, as the world tells it.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use columba_proto::{
    Time,
    scram::{Keys, Secret},
};

use crate::access::Acl;

/// What is known of users. Asked when somebody connects, never while messages flow; it answers at once.
pub trait Users: fmt::Debug + Send + Sync {
    /// The SCRAM-SHA-256 keys of a user, where there are any.
    fn scram_keys(&self, user: &str) -> Option<Keys>;

    /// Which version of a user this is: another one after every change of the password. `None`: there is no such user.
    fn version(&self, user: &str) -> Option<UserVersion>;

    /// Whether somebody from there may try to log in with this name now: not after many wrong logins.
    fn may_try(&self, peer: &str, user: &str) -> bool;
}

/// Tells a user before a change of the password from the same one after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserVersion(pub u64);

/// By what clients show who they are.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who there is.
    pub users: Arc<dyn Users>,
    /// Where nonces come from; another one after every start.
    pub secret: Arc<Secret>,
    /// By listener, in the order of the configuration; further ones are like the last.
    pub doors: Vec<Door>,
}

impl Login {
    /// Everywhere by the password of a user or by SCRAM.
    pub fn new(users: Arc<dyn Users>, secret: Secret, strangers: Strangers) -> Self {
        Self { users, secret: Arc::new(secret), doors: [Door { strangers, ..Door::default() }].into() }
    }

    /// What holds on a listener.
    pub fn door(&self, listener: u16) -> Door {
        self.doors.get(usize::from(listener)).or_else(|| self.doors.last()).copied().unwrap_or_default()
    }
}

/// What a listener asks of those who come in by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Door {
    /// Those who do not try to show who they are.
    pub strangers: Strangers,
    /// Whose passwords the world is asked about.
    pub passwords: Passwords,
    /// Whether SCRAM-SHA-256 is offered.
    pub scram: bool,
}

impl Default for Door {
    fn default() -> Self {
        Self { strangers: Strangers::Refused, passwords: Passwords::Named, scram: true }
    }
}

/// Which passwords in CONNECT the world is asked about (§3.1.3.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Passwords {
    /// None: they show nothing, and count for nothing.
    Ignored,
    /// Those that come with a user name.
    Named,
    /// All of them: some speak for themselves.
    All,
}

/// Clients that connect without showing who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strangers {
    /// Are let in.
    Welcome,
    /// Are refused with 0x87.
    Refused,
}

/// Whether this is the password of that user. The world takes its time to find out, for passwords are kept so that each try costs much.
#[derive(Clone, Eq, PartialEq)]
pub struct Question {
    /// Who the client says it is; empty where it does not say.
    pub user: Box<str>,
    /// What it shows for that (§3.1.3.6).
    pub password: Box<[u8]>,
    /// Its end of the connection, as in [`Origin`](crate::seam::Origin).
    pub peer: Box<str>,
    /// Its client identifier; empty where it leaves that to us.
    pub client_id: Box<str>,
    /// Index of the listener, as in [`Origin`](crate::seam::Origin).
    pub listener: u16,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("user", &self.user).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// By what a client shows who it is, or tries to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// By nothing.
    Nothing,
    /// By a password in CONNECT; also by what stood in its place where nobody has looked at that, or knew it.
    Password,
    /// By a token in the place of a password.
    Jwt,
    /// By what a service says that was asked.
    Http,
    /// By SCRAM-SHA-256.
    Scram,
    /// By a certificate, before any byte of MQTT.
    Certificate,
}

impl Way {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Nothing, Self::Password, Self::Jwt, Self::Http, Self::Scram, Self::Certificate];

    /// A stable word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Http => "http",
            Self::Scram => "scram",
            Self::Certificate => "certificate",
        }
    }
}

/// What the world has found out.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It has shown who it is.
    Right(Known),
    /// It has not, by whom that was found, and why: for the log alone, for a client learns nothing from it.
    Wrong(Way, &'static str),
    /// Nobody has looked: too many ask, or too many guesses came from there.
    Unjudged,
    /// Who would know does not answer: nobody gets in on a guess.
    Unreachable,
}

/// Who a client has shown to be, and what came with that.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its user name.
    pub user: Box<str>,
    /// By what it has shown that.
    pub by: Way,
    /// As it was when that was shown; `None` where no list of ours has it: it is not looked at again.
    pub version: Option<UserVersion>,
    /// Rules of its own, which are looked at before those of all; where their default is to allow, they decide alone.
    pub rules: Option<Arc<Acl>>,
    /// What has shown it is good until then, and so is the connection.
    pub until: Option<Time>,
}

impl Known {
    /// A user, without anything of its own.
    pub fn user(user: impl Into<Box<str>>, by: Way, version: Option<UserVersion>) -> Self {
        Self { user: user.into(), by, version, rules: None, until: None }
    }
}
