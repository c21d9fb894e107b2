//! Who may connect, as the world tells it.

use alloc::sync::Arc;
use core::fmt;

use columba_proto::scram::{Keys, Secret};

/// What is known of users. Asked when somebody connects, never while messages flow; it answers at once.
pub trait Users: fmt::Debug + Send + Sync {
    /// The SCRAM-SHA-256 keys of a user, where there are any.
    fn scram_keys(&self, user: &str) -> Option<Keys>;
}

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
