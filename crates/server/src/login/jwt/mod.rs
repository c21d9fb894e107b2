//! JSON Web Tokens in the place of a password (RFC 7515, 7519): signed, in their time, for us, and by whom we trust.
//!
//! Nothing in a token says how it is to be verified but `alg` and `kid`, and these only choose among the keys that there are: keys and addresses that come with it
//! (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.

mod fetched;
mod keys;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use columba_broker::auth::{Known, Question, Way};
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use self::fetched::{Fetched, Parked, Seen as KeySetSeen};
use self::keys::{Algorithm, Keys};
pub use self::keys::{KeyError, KeyFileError};
use super::{Moment, Verdict, rules};
use crate::{
    config::{AtExpiry, Jwt, UserName},
    watch::Watched,
};

/// Bytes of a token: rules for a hundred topics, and room. What is longer is not looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Bytes of a user name in one.
const NAME_BYTES_MAX: usize = 1_024;

/// Tokens, and the keys that they are held against.
#[derive(Debug)]
pub(crate) struct Tokens {
    wanted: Jwt,
    /// Those of files.
    keys: RwLock<Arc<Keys>>,
    /// Those behind a URL.
    fetched: Option<Arc<Fetched>>,
}

/// What comes of a token.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    /// This.
    Said(Verdict),
    /// Its key may be among those that are being fetched.
    AwaitsKeys,
}

/// What is read of a header (RFC 7515 §4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood, and none is.
    crit: Option<Value>,
}

/// The three parts of a token.
struct Parts<'t> {
    header: Header,
    /// What is signed.
    signed: &'t str,
    payload: &'t str,
    signature: &'t str,
}

/// Why a token is none that opens a door; for the log, for its owner learns nothing.
type Why = &'static str;

/// What keeps a token out.
enum Refused {
    For(Why),
    /// By none of the keys, but there may be others that are not here yet.
    ByNoKey,
}

impl From<Why> for Refused {
    fn from(why: Why) -> Self {
        Self::For(why)
    }
}

impl Tokens {
    /// Reads all keys. `None`: tokens are not configured.
    pub(crate) fn open(wanted: &Jwt, fetched: Option<Arc<Fetched>>) -> Result<Option<Arc<Self>>, KeyFileError> {
        if !wanted.is_configured() {
            return Ok(None);
        }
        let keys = RwLock::new(Arc::new(read(wanted)?));
        Ok(Some(Arc::new(Self { wanted: wanted.clone(), keys, fetched })))
    }

    /// The keys behind a URL, where there are any.
    pub(crate) fn fetched(&self) -> Option<&Arc<Fetched>> {
        self.fetched.as_ref()
    }

    /// Reads all keys again; where something is wrong with them, the old ones stay.
    fn read_again(&self) -> Result<(), KeyFileError> {
        let keys = Arc::new(read(&self.wanted)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether the password is a token that opens the door, and for whom.
    pub(crate) fn judge(&self, question: &Question, now: Moment) -> Judged {
        let Some(text) = looks_like_a_token(&question.password) else { return Judged::Said(Verdict::Pass) };
        if text.len() > TOKEN_BYTES_MAX {
            return Judged::Said(Verdict::Wrong(Way::Jwt, "a token of more than 16 KiB"));
        }
        let Some(parts) = Parts::of(text) else { return Judged::Said(Verdict::Pass) };
        match (self.known(&parts, question, now), &self.fetched) {
            (Ok(known), _) => Judged::Said(Verdict::Right(known)),
            (Err(Refused::For(why)), _) => Judged::Said(Verdict::Wrong(Way::Jwt, why)),
            (Err(Refused::ByNoKey), Some(fetched)) if fetched.is_worth_waiting(Instant::now()) => Judged::AwaitsKeys,
            // Nobody can say that it is wrong.
            (Err(Refused::ByNoKey), Some(fetched)) if fetched.keys().is_none() => Judged::Said(Verdict::Unreachable),
            (Err(Refused::ByNoKey), _) => Judged::Said(Verdict::Wrong(Way::Jwt, "the token names a key that is not there")),
        }
    }

    /// Whether it is signed by a key of ours.
    fn verify(&self, algorithm: Algorithm, parts: &Parts<'_>, signature: &[u8]) -> Result<(), Refused> {
        let verify = |keys: &Keys| keys.verify(algorithm, parts.header.kid.as_deref(), parts.signed.as_bytes(), signature);
        let of_files = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let by_files = verify(&of_files);
        if by_files == Some(true) {
            return Ok(());
        }
        let behind_url = self.fetched.as_ref().map(|fetched| fetched.keys());
        let by_url = match &behind_url {
            None => None,
            // Whatever those of files say: these may say something else.
            Some(None) => return Err(Refused::ByNoKey),
            Some(Some(keys)) => verify(keys),
        };
        match (by_files, by_url) {
            (_, Some(true)) => Ok(()),
            (None, None) => Err(Refused::ByNoKey),
            (Some(_), _) | (_, Some(false)) => Err(Refused::For("the token's signature is by none of the keys")),
        }
    }

    fn known(&self, parts: &Parts<'_>, question: &Question, now: Moment) -> Result<Known, Refused> {
        let (algorithm, signature) = parts.signature()?;
        self.verify(algorithm, parts, &signature)?;
        let claims = parts.claims()?;
        let until = self.in_its_time(&claims, now)?;
        self.for_us(&claims)?;

        let user = claims.get(&*self.wanted.username_claim).and_then(Value::as_str).filter(|user| is_name(user));
        let user = user.ok_or("the token names no user")?;
        if self.wanted.user_name == UserName::Same && *question.user != *user {
            return Err("the token is for another user name".into());
        }
        if let Some(claim) = &self.wanted.client_id_claim
            && claims.get(&**claim).and_then(Value::as_str) != Some(&*question.client_id)
        {
            return Err("the token is for another client identifier".into());
        }
        let rules = claims.get(&*self.wanted.acl_claim).map(rules::read).transpose();
        let rules = rules.map_err(|_| "the token has rules that are not understood")?.map(Arc::new);
        Ok(Known { user: user.into(), by: Way::Jwt, version: None, rules, until })
    }

    /// Whether it is good now (RFC 7519 §4.1.4, §4.1.5); the answer is until when, where its connection ends then.
    fn in_its_time(&self, claims: &Map<String, Value>, now: Moment) -> Result<Option<columba_proto::Time>, Why> {
        let leeway_s = self.wanted.leeway.as_secs_f64();
        if let Some(begins_s) = date(claims, "nbf")?
            && now.unix_s + leeway_s < begins_s
        {
            return Err("the token is not good yet");
        }
        let Some(ends_s) = date(claims, "exp")? else { return Ok(None) };
        let left_s = ends_s + leeway_s - now.unix_s;
        if left_s <= 0.0 {
            return Err("the token has expired");
        }
        let remaining =
            Duration::try_from_secs_f64(left_s).map_or(u64::MAX, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        Ok((self.wanted.at_expiry == AtExpiry::Disconnect).then(|| now.time.plus_ms(remaining)))
    }

    /// Whether it is by whom we trust, and meant for us (RFC 7519 §4.1.1, §4.1.3).
    fn for_us(&self, claims: &Map<String, Value>) -> Result<(), Why> {
        let Jwt { issuers, audiences, .. } = &self.wanted;
        let is_one_of =
            |wanted: &[Box<str>], value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|one| **one == *text));
        if !issuers.is_empty() && !claims.get("iss").is_some_and(|issuer| is_one_of(issuers, issuer)) {
            return Err("the token is of another issuer");
        }
        let is_ours = |audience: &Value| {
            let several = audience.as_array().map_or_else(|| std::slice::from_ref(audience), Vec::as_slice);
            several.iter().any(|one| is_one_of(audiences, one))
        };
        if !audiences.is_empty() && !claims.get("aud").is_some_and(is_ours) {
            return Err("the token is for another audience");
        }
        Ok(())
    }
}

/// A point in time as a number of seconds, with or without a fraction (RFC 7519 §2).
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Why> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    seconds.map(Some).ok_or("the token has a time that is none")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Three parts in base64url (RFC 7515 §3.1); the last may be empty, as in a token that nobody has signed.
fn looks_like_a_token(password: &[u8]) -> Option<&str> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_like_one =
        password.split(|&byte| byte == b'.').count() == 3 && password.starts_with(b"ey") && password.iter().all(is_letter);
    if is_like_one { str::from_utf8(password).ok() } else { None }
}

impl<'t> Parts<'t> {
    /// `None`: it is no token, whatever it looked like.
    fn of(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        Some(Self { header, signed, payload, signature })
    }

    /// By what it is signed, and how.
    fn signature(&self) -> Result<(Algorithm, Vec<u8>), Why> {
        if self.header.crit.is_some() {
            return Err("the token has extensions that are not understood");
        }
        let algorithm = Algorithm::of(&self.header.alg).ok_or("the token is signed by no algorithm that is known here")?;
        let signature = URL_SAFE_NO_PAD.decode(self.signature).map_err(|_| "the token's signature is none")?;
        Ok((algorithm, signature))
    }

    /// What it claims: to be looked at only once it is known who says so.
    fn claims(&self) -> Result<Map<String, Value>, Why> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| "the token's claims are none")?;
        serde_json::from_slice(&payload).map_err(|_| "the token's claims are none")
    }
}

/// All keys that the configuration names.
fn read(wanted: &Jwt) -> Result<Keys, KeyFileError> {
    let mut keys = Keys::default();
    let mut add = |path: &Option<_>, add: fn(&mut Keys, &[u8]) -> Result<(), KeyError>| {
        let Some(path): &Option<std::path::PathBuf> = path else { return Ok(()) };
        add(&mut keys, &Keys::bytes(path)?).map_err(|problem| KeyFileError::Keys { path: path.clone(), problem })
    };
    add(&wanted.secret_file, Keys::add_secret)?;
    add(&wanted.key_file, Keys::add_pem)?;
    add(&wanted.jwks, Keys::add_set)?;
    Ok(keys)
}

/// The files of the keys, and what happens when one has changed: tokens that come from then on are held against the new ones.
pub(crate) fn watched(tokens: &Arc<Tokens>) -> impl Iterator<Item = Watched> + use<> {
    let Jwt { secret_file, key_file, jwks, .. } = &tokens.wanted;
    let files = [("secret of tokens", secret_file), ("keys of tokens", key_file), ("key set of tokens", jwks)];
    let watch = |(what, path): (&'static str, &Path)| {
        let (tokens, needed) = (Arc::downgrade(tokens), Arc::downgrade(tokens));
        let read = move || tokens.upgrade().map_or(Ok(()), |tokens| tokens.read_again().map_err(|error| error.to_string()));
        Watched::new(what, path.to_owned(), read).while_needed(move || needed.strong_count() > 0)
    };
    let watched: Vec<Watched> = files.into_iter().filter_map(|(what, path)| Some((what, path.as_deref()?))).map(watch).collect();
    watched.into_iter()
}
