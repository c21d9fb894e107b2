//! Enhanced authentication from the client's side (§4.12).

use columba_proto::packet::{Auth, Connack};
use columba_proto::scram::{self, AwaitChallenge, AwaitSignature, METHOD, ScramError};
use columba_proto::{ReasonCode, Violation};

use crate::driver::chance;
use crate::error::ConnectError;
use crate::options::{AuthMethod, Options};

/// An authentication that goes on.
#[derive(Debug)]
pub(crate) enum Login {
    AwaitChallenge(AwaitChallenge),
    AwaitSignature(AwaitSignature),
}

impl Login {
    /// Where one is wanted: what it begins with, for CONNECT.
    pub(crate) fn begin(options: &Options) -> Result<Option<(Self, Vec<u8>)>, ConnectError> {
        let Some(AuthMethod::ScramSha256) = options.auth_method else { return Ok(None) };
        if !options.version.has_auth() {
            return Err(ConnectError::NoAuthentication(options.version));
        }
        let user = options.username.as_deref().unwrap_or_default();
        let password = std::str::from_utf8(options.password.as_deref().unwrap_or_default()).map_err(|_| ScramError::Text)?;
        let nonce = format!("{:016x}{:016x}", chance(), chance());
        let (await_challenge, first) = scram::begin(user, password, &nonce)?;
        Ok(Some((Self::AwaitChallenge(await_challenge), first)))
    }

    /// The answer to an AUTH of the server [MQTT-4.12.0-3].
    pub(crate) fn answer(self, auth: &Auth<'_>) -> Result<(Self, Vec<u8>), ConnectError> {
        check_method(auth.method)?;
        match self {
            Self::AwaitChallenge(await_challenge) if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION => {
                let (await_signature, last) = await_challenge.on_challenge(auth.data.unwrap_or_default())?;
                Ok((Self::AwaitSignature(await_signature), last))
            }
            Self::AwaitChallenge(_) | Self::AwaitSignature(_) => Err(ConnectError::NotMqtt(Violation::UnexpectedAuth.into())),
        }
    }

    /// A server that lets us in without a proof of its own is not the one that knows our password.
    pub(crate) fn finish(self, connack: &Connack<'_>) -> Result<(), ConnectError> {
        check_method(connack.properties.authentication_method)?;
        match self {
            Self::AwaitChallenge(_) => Err(ScramError::Signature.into()),
            Self::AwaitSignature(await_signature) => {
                Ok(await_signature.on_signature(connack.properties.authentication_data.unwrap_or_default())?)
            }
        }
    }
}

/// [MQTT-4.12.0-5]
fn check_method(method: Option<&str>) -> Result<(), ConnectError> {
    if method == Some(METHOD) { Ok(()) } else { Err(ConnectError::NotMqtt(Violation::OtherAuthenticationMethod.into())) }
}
