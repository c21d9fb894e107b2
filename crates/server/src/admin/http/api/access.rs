//! Who asks, and what he may.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};

use crate::{
    admin::{
        http::{Peer, guard::is_local_host, problem::Problem},
        outside::Outside,
    },
    tokens::{Role, Tokens},
};

/// The tokens as they stand in their file, read again when that has changed.
#[derive(Debug)]
pub(crate) struct Keys(Mutex<Known>);

#[derive(Debug)]
struct Known {
    path: Option<PathBuf>,
    read: Option<(Stamp, Tokens)>,
}

/// By which a change of the file shows.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Keys {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self(Mutex::new(Known { path, read: None }))
    }

    /// They stand in another file from now on, or in the same.
    pub(crate) fn stand_in(&self, path: Option<PathBuf>) {
        let mut known = self.known();
        if known.path != path {
            *known = Known { path, read: None };
        }
    }

    /// Nothing panics while the lock is held.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> Result<Tokens, Problem> {
        let mut known = self.known();
        let Some(path) = &known.path else { return Ok(Tokens::default()) };
        let stamp = stamp(path);
        if let Some((seen, tokens)) = &known.read
            && *seen == stamp
        {
            return Ok(tokens.clone());
        }
        // One that cannot be read lets nobody in, rather than everybody.
        let tokens = Tokens::read(path).map_err(|error| {
            tracing::error!(%error, "the API lets nobody in");
            Problem::unavailable("the tokens file cannot be read; the log says why")
        })?;
        known.read = Some((stamp, tokens.clone()));
        Ok(tokens)
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

/// Somebody who may look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer;

/// Somebody who may do everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admin;

impl FromRequestParts<Arc<Outside>> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outside: &Arc<Outside>) -> Result<Self, Problem> {
        role(parts, outside).map(|_| Self)
    }
}

impl FromRequestParts<Arc<Outside>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outside: &Arc<Outside>) -> Result<Self, Problem> {
        match role(parts, outside)? {
            Role::Admin => Ok(Self),
            Role::Viewer => Err(Problem::new(StatusCode::FORBIDDEN, "this takes a token of the role admin")),
        }
    }
}

/// A token decides. Without any in the file, whoever is on this machine and says so may do everything, where he could as any client: nobody has to log in.
fn role(parts: &Parts, outside: &Outside) -> Result<Role, Problem> {
    let tokens = outside.keys.tokens()?;
    if let Some(given) = parts.headers.get(header::AUTHORIZATION) {
        let token = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer "));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let role = token.and_then(|token| tokens.role_of(token.trim(), now));
        return role.ok_or_else(|| unauthorized("this token is none, or none any more"));
    }
    if !tokens.is_empty() {
        return Err(unauthorized("this takes a token, as Authorization: Bearer TOKEN"));
    }
    let is_here = parts.extensions.get::<Peer>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    // A proxy on this machine speaks for others.
    let is_direct = !["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| parts.headers.contains_key(*name));
    if !(is_here && is_direct && says_local(&parts.headers)) {
        return Err(unauthorized("from another machine this takes a token: columba token create"));
    }
    if outside.in_force().has_rules {
        return Err(unauthorized("where clients have to log in or have rules, this takes a token: columba token create"));
    }
    Ok(Role::Admin)
}

fn says_local(headers: &HeaderMap) -> bool {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_local_host)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}
