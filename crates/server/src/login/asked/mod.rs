//! A service of the operator's that is asked over HTTP who somebody is: one POST with JSON for each login, and JSON back (docs/security.md).
//!
//! It is asked by one thread beside the judges, over connections that stay open. Whatever it does but answer, nobody gets in by it.

mod breaker;
mod cache;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use columba_broker::auth::{Known, Question, Way};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{breaker::Breaker, cache::Cache};
use super::{
    Moment, Verdict, rules,
    wire::{Asking, Line, NoAnswer, ServiceError, Wires},
};
use crate::config::Service;

/// Bytes of an answer: rules for some hundreds of topics.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is asked, and what it has said lately.
#[derive(Debug)]
pub(crate) struct Asked {
    wanted: Service,
    wires: Wires,
    lately: Mutex<Lately>,
}

#[derive(Debug)]
struct Lately {
    cache: Cache,
    breaker: Breaker,
}

/// What the service answers with 200.
#[derive(Debug, Deserialize)]
struct Reply {
    result: Said,
    #[serde(default)]
    is_superuser: bool,
    acl: Option<Value>,
    /// Seconds since 1970 until which it holds.
    expire_at: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Said {
    Allow,
    Deny,
    Ignore,
}

impl Asked {
    /// `None`: nobody is asked.
    pub(crate) fn new(wanted: &Service) -> Result<Option<Arc<Self>>, ServiceError> {
        let Some(url) = &wanted.url else { return Ok(None) };
        let wires = Wires::new(url, wanted.ca.as_deref(), "auth.http.ca")?;
        if wires.is_open_to_others() {
            tracing::warn!(url = %url, "passwords go to auth.http.url in plain words, over the network");
        }
        let lately = Mutex::new(Lately { cache: Cache::new(), breaker: Breaker::default() });
        Ok(Some(Arc::new(Self { wanted: wanted.clone(), wires, lately })))
    }

    /// How many questions may be on their way at once.
    pub(super) fn lines(&self) -> usize {
        self.wanted.connections
    }

    /// What the service says, or has said.
    pub(super) async fn judge(&self, line: &mut Line, question: &Question, listener: &str, now: Moment) -> Verdict {
        let key = self.lately().cache.key(question);
        if let Some(verdict) = self.lately().cache.get(&key, Instant::now()) {
            return verdict;
        }
        let Ok(password) = str::from_utf8(&question.password) else {
            return Verdict::Wrong(Way::Http, "a password that is no text, which JSON cannot say");
        };
        if !self.lately().breaker.may_ask(Instant::now()) {
            return Verdict::Unreachable;
        }
        let body = body(question, listener, password);
        let asked = tokio::time::timeout(self.wanted.timeout, line.ask(&self.wires, Asking::Post(&body), ANSWER_BYTES_MAX));
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer("no answer in time".into())),
        };
        if answer.is_err() {
            // What it says later belongs to nobody.
            line.hang_up();
        }
        let verdict = answer.and_then(|(status, bytes)| verdict(status, &bytes, &question.user, now));
        let mut lately = self.lately();
        match verdict {
            Ok(verdict) => {
                if lately.breaker.answered() {
                    tracing::info!(url = %self.wires.url(), "the service behind auth.http answers again");
                }
                let kept = match &verdict {
                    // No longer than it holds.
                    Verdict::Right(Known { until: Some(until), .. }) => {
                        self.wanted.cache.min(Duration::from_millis(until.saturating_since(now.time)))
                    }
                    Verdict::Right(_) => self.wanted.cache,
                    Verdict::Wrong(..) | Verdict::Pass | Verdict::Unreachable => self.wanted.cache_denied,
                };
                lately.cache.put(key, &verdict, kept, Instant::now());
                verdict
            }
            Err(error) => {
                if lately.breaker.failed(Instant::now()) {
                    tracing::error!(url = %self.wires.url(), %error, "the service behind auth.http does not answer: nobody logs in by it");
                } else {
                    tracing::debug!(url = %self.wires.url(), %error, "the service behind auth.http has not answered");
                }
                Verdict::Unreachable
            }
        }
    }

    /// Nothing panics while the lock is held, and nobody waits with it.
    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it is told.
fn body(question: &Question, listener: &str, password: &str) -> String {
    let host = question.peer.parse::<std::net::SocketAddr>().map(|address| address.ip().to_canonical().to_string());
    json!({
        "username": question.user,
        "password": password,
        "clientid": question.client_id,
        "peername": question.peer,
        "peerhost": host.unwrap_or_else(|_| question.peer.to_string()),
        "listener": listener,
    })
    .to_string()
}

/// 200 with an answer, 204 for yes, 403 for no; whatever else it says, it has not answered.
fn verdict(status: u16, body: &[u8], user: &str, now: Moment) -> Result<Verdict, NoAnswer> {
    let none = |why: &str| NoAnswer(why.into());
    let reply: Reply = match status {
        200 => serde_json::from_slice(body).map_err(|_| none("an answer that is not understood"))?,
        204 => return Ok(Verdict::Right(Known::user(user, Way::Http, None))),
        403 => return Ok(Verdict::Wrong(Way::Http, "denied by the service")),
        other => return Err(NoAnswer(format!("status {other}"))),
    };
    match reply.result {
        Said::Ignore => return Ok(Verdict::Pass),
        Said::Deny => return Ok(Verdict::Wrong(Way::Http, "denied by the service")),
        Said::Allow => {}
    }
    let rules = match reply.acl {
        _ if reply.is_superuser => Some(rules::everything()),
        Some(value) => Some(rules::read(&value).map_err(|_| none("rules that are not understood"))?),
        None => None,
    };
    let left = reply.expire_at.map(|at| Duration::try_from_secs_f64(at - now.unix_s)).transpose();
    let Ok(left) = left else { return Ok(Verdict::Wrong(Way::Http, "what the service says has expired")) };
    let until = left.map(|left| now.time.plus_ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)));
    Ok(Verdict::Right(Known { user: user.into(), by: Way::Http, version: None, rules: rules.map(Arc::new), until }))
}
