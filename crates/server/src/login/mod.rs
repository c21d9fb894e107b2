//! By what clients show who they are: one way after the other, as a listener has them (docs/security.md).
//!
//! A way that knows nothing of what it is shown passes it on to the next; one that knows it to be wrong ends it.

mod asked;
mod couriers;
mod jwt;
mod rules;
#[cfg(test)]
#[path = "../../tests/common/service.rs"]
mod service;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};

use columba_broker::auth::{Door, Known, Passwords, Question, Strangers, Way};
use columba_proto::Time;
use thiserror::Error;

use self::jwt::Judged;
pub(crate) use self::{
    asked::Asked,
    couriers::{Couriers, Desk},
    jwt::{Fetched, KeySetSeen, Parked, Tokens, watched},
};
pub use self::{
    jwt::{KeyError, KeyFileError},
    wire::ServiceError,
};
use crate::{
    clock::ProcessClock,
    config::{Access, Config, Listener, Method},
    users::KnownUsers,
};

/// What one way says of somebody.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is who it says it is.
    Right(Known),
    /// It is not, by what that was found, and why, for the log.
    Wrong(Way, &'static str),
    /// Nothing that this way knows.
    Pass,
    /// Who would know does not answer.
    Unreachable,
}

/// What comes of a question at once.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// This.
    Said(Verdict),
    /// The way at this place has to be asked elsewhere.
    Elsewhere(usize),
    /// The way at this place can say more when the keys of tokens are fetched.
    AfterFetch(usize),
}

/// What nobody knew.
pub(crate) const UNKNOWN: &str = "no user of that name, and nothing else that is known here";

/// The same moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Seconds since 1970, as tokens count them.
    pub(crate) unix_s: f64,
    /// As shards count it.
    pub(crate) time: Time,
}

impl Moment {
    pub(crate) fn now(clock: &ProcessClock) -> Self {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { unix_s: unix.as_secs_f64(), time: clock.now() }
    }
}

/// All ways, and which of them each listener has.
#[derive(Debug)]
pub(crate) struct Methods {
    pub(crate) users: Option<Arc<KnownUsers>>,
    pub(crate) tokens: Option<Arc<Tokens>>,
    pub(crate) asked: Option<Arc<Asked>>,
    /// Those of listeners that say nothing of their own.
    usual: Vec<Method>,
    access: Access,
    /// By the number of a listener, also of former ones.
    listeners: RwLock<Vec<(String, Vec<Method>)>>,
}

/// A listener, or `auth.order`, names a way that is not there.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{place} names \"{}\", and there is no {needed}", method.name())]
pub struct NoMethod {
    place: String,
    method: Method,
    needed: &'static str,
}

impl Methods {
    /// Looks that whatever `auth.order` names is there.
    pub(crate) fn new(
        config: &Config,
        users: Option<Arc<KnownUsers>>,
        tokens: Option<Arc<Tokens>>,
        asked: Option<Arc<Asked>>,
    ) -> Result<Self, NoMethod> {
        let usual = config.auth.methods(users.is_some());
        let methods = Self { users, tokens, asked, usual, access: config.access, listeners: RwLock::default() };
        methods.check(&methods.usual, || "auth.order".into())?;
        Ok(methods)
    }

    /// Looks that whatever these listeners name is there.
    pub(crate) fn check_all(&self, listeners: &[Listener]) -> Result<(), NoMethod> {
        let own = |listener: &Listener| {
            let own = listener.auth.as_deref().unwrap_or(&self.usual);
            self.check(own, || format!("listener {}", listener.address))
        };
        listeners.iter().try_for_each(own)
    }

    fn check(&self, methods: &[Method], place: impl Fn() -> String) -> Result<(), NoMethod> {
        for &method in methods {
            let (is_there, needed) = match method {
                Method::Password => (self.users.is_some(), "auth.password.file"),
                Method::Jwt => (self.tokens.is_some(), "key under auth.jwt"),
                Method::Http => (self.asked.is_some(), "auth.http.url"),
                Method::Anonymous => (true, ""),
            };
            if !is_there {
                return Err(NoMethod { place: place(), method, needed });
            }
        }
        Ok(())
    }

    /// The keys of tokens behind a URL, where there are any.
    pub(crate) fn fetched(&self) -> Option<&Arc<Fetched>> {
        self.tokens.as_ref().and_then(|tokens| tokens.fetched())
    }

    /// Whether there is any way to show who one is.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_none() && self.tokens.is_none() && self.asked.is_none()
    }

    /// A listener with this number opens; the answer is what it asks for.
    pub(crate) fn open(&self, number: u16, listener: &Listener) -> Door {
        let lets_in = match &listener.auth {
            Some(own) => own.contains(&Method::Anonymous),
            None => self.access == Access::Anyone || (self.access == Access::ThisMachine && self.is_empty()),
        };
        let mut methods = listener.auth.clone().unwrap_or_else(|| self.usual.clone());
        methods.retain(|method| *method != Method::Anonymous);
        let has = |method| methods.contains(&method);
        let passwords = match () {
            () if has(Method::Jwt) || has(Method::Http) => Passwords::All,
            () if has(Method::Password) => Passwords::Named,
            () => Passwords::Ignored,
        };
        let strangers = if lets_in { Strangers::Welcome } else { Strangers::Refused };
        let door = Door { strangers, passwords, scram: has(Method::Password) };
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(number);
        if listeners.len() <= place {
            listeners.resize_with(place + 1, Default::default);
        }
        listeners[place] = (listener.address.to_string(), methods);
        door
    }

    /// How the listener with this number is called.
    pub(crate) fn name(&self, number: u16) -> String {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.get(usize::from(number)).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Somebody has, with a password of the users file, and knows it.
    pub(crate) fn logged_in(&self, question: &Question) {
        if let Some(users) = &self.users {
            users.upgrade(&question.user, &question.password);
        }
    }

    /// What comes of a question, from the way at this place on.
    pub(crate) fn judge(&self, question: &Question, from: usize, now: Moment) -> Outcome {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let methods = listeners.get(usize::from(question.listener)).map(|(_, methods)| methods.clone()).unwrap_or_default();
        drop(listeners);
        for (place, method) in methods.into_iter().enumerate().skip(from) {
            let verdict = match method {
                Method::Password => self.users.as_ref().map(|users| users.judge(&question.user, &question.password)),
                Method::Jwt => match self.tokens.as_ref().map(|tokens| tokens.judge(question, now)) {
                    Some(Judged::AwaitsKeys) => return Outcome::AfterFetch(place),
                    Some(Judged::Said(verdict)) => Some(verdict),
                    None => None,
                },
                Method::Http => return Outcome::Elsewhere(place),
                Method::Anonymous => None,
            };
            match verdict {
                Some(Verdict::Pass) | None => {}
                Some(verdict) => return Outcome::Said(verdict),
            }
        }
        Outcome::Said(Verdict::Pass)
    }
}
