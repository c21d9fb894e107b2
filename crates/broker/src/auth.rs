//! Who may connect, as the world tells it.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

use columba_proto::scram::{Keys, Secret};

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
    /// Those who do not try.
    pub strangers: Strangers,
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
    /// Who the client says it is.
    pub user: Box<str>,
    /// What it shows for that (§3.1.3.6).
    pub password: Box<[u8]>,
    /// Its end of the connection, as in [`Origin`](crate::seam::Origin).
    pub peer: Box<str>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("user", &self.user).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What the world has found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It is the password of this version of the user.
    Right(UserVersion),
    /// It is not, or there is no such user.
    Wrong,
    /// Nobody has looked: too many ask, or too many guesses came from there.
    Unjudged,
}
