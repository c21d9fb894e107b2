//! By what clients show who they are, beside the users file.

use std::{path::PathBuf, time::Duration};

use super::value::{Value, Wrong};

/// One way to show who one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// A password that the users file knows, or SCRAM by the same file.
    Password,
    /// A JSON Web Token in the place of the password.
    Jwt,
    /// Not at all.
    Anonymous,
}

/// What is configured of all ways together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Auth {
    /// In which order they are asked, on listeners that say nothing else; `None`: all that there are.
    pub order: Option<Vec<Method>>,
    /// Tokens.
    pub jwt: Jwt,
}

/// What makes a JSON Web Token (RFC 7519) a good one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwt {
    /// The secret of HS256, HS384 and HS512.
    pub secret_file: Option<PathBuf>,
    /// A public key or a certificate, or several, PEM: RSA, EC on P-256 and P-384, Ed25519.
    pub key_file: Option<PathBuf>,
    /// A set of keys (RFC 7517).
    pub jwks: Option<PathBuf>,
    /// Who may have issued it (`iss`); empty: anybody who has a key.
    pub issuers: Vec<Box<str>>,
    /// For whom it must be (`aud`), one of these; empty: for anybody.
    pub audiences: Vec<Box<str>>,
    /// How far the clock of whoever issues it may be from ours.
    pub leeway: Duration,
    /// Which claim is the user name.
    pub username_claim: Box<str>,
    /// Which claim holds what the client may do.
    pub acl_claim: Box<str>,
    /// Which claim must be the client identifier, if any.
    pub client_id_claim: Option<Box<str>>,
    /// What the user name in CONNECT has to do with it.
    pub user_name: UserName,
    /// Whether the connection ends when the token does.
    pub at_expiry: AtExpiry,
}

/// What the user name in CONNECT has to do with that of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UserName {
    /// Nothing: who it is stands in the token.
    Ignored,
    /// It must be the same.
    Same,
}

/// What becomes of a connection whose token expires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtExpiry {
    /// It ends.
    Disconnect,
    /// It goes on: the token was for CONNECT.
    Stay,
}

/// The largest leeway: beyond that a clock is wrong.
const LEEWAY_MAX_MS: u64 = 300_000;

impl Default for Jwt {
    fn default() -> Self {
        Self {
            secret_file: None,
            key_file: None,
            jwks: None,
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            username_claim: "sub".into(),
            acl_claim: "acl".into(),
            client_id_claim: None,
            user_name: UserName::Ignored,
            at_expiry: AtExpiry::Disconnect,
        }
    }
}

impl Jwt {
    /// Whether there is anything to hold a token against.
    pub fn is_configured(&self) -> bool {
        self.secret_file.is_some() || self.key_file.is_some() || self.jwks.is_some()
    }

    pub(super) fn read_leeway(&mut self, value: &Value) -> Result<(), Wrong> {
        let ms = value.duration_ms()?;
        if ms > LEEWAY_MAX_MS {
            return Err(Wrong("a duration up to \"5m\"".into()));
        }
        self.leeway = Duration::from_millis(ms);
        Ok(())
    }
}

impl Auth {
    /// What a listener asks for that says nothing of its own: cheap ways first, where no order is given.
    pub(crate) fn methods(&self, has_users: bool) -> Vec<Method> {
        let all = [(Method::Jwt, self.jwt.is_configured()), (Method::Password, has_users)];
        let there = || all.iter().filter(|(_, is_there)| *is_there).map(|(method, _)| *method).collect();
        self.order.clone().unwrap_or_else(there)
    }
}

impl Method {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Methods in their order, each once.
pub(super) fn methods(value: &Value, allowed: &[Method]) -> Result<Vec<Method>, Wrong> {
    let choices: Vec<(&str, Method)> = allowed.iter().map(|method| (method.name(), *method)).collect();
    let mut methods = Vec::new();
    for item in value.list()? {
        let method = item.one_of(&choices).map_err(|Wrong(expected)| Wrong(format!("a list of {expected}")))?;
        if methods.contains(&method) {
            return Err(Wrong(format!("\"{}\" once", method.name())));
        }
        methods.push(method);
    }
    if methods.is_empty() {
        return Err(Wrong("at least one way to come in".into()));
    }
    Ok(methods)
}

/// The name of a claim.
pub(super) fn claim(value: &Value) -> Result<Box<str>, Wrong> {
    let name = value.text()?;
    if name.is_empty() { Err(Wrong("the name of a claim".into())) } else { Ok(name.into()) }
}

/// One text or several.
pub(super) fn texts(value: &Value) -> Result<Vec<Box<str>>, Wrong> {
    value.list()?.iter().map(|item| item.text().map(Box::from)).collect()
}
