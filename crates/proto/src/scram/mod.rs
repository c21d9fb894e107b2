//! SCRAM-SHA-256 (RFC 5802, RFC 7677): an enhanced authentication (§4.12) in which no password travels and none is stored, and in which the server, too, has to
//! show that it knows the user.
//!
//! Both halves, as far as they decide: the messages are what stands in Authentication Data. Chance is an input ([`Secret`] on the server's side, a nonce on the
//! client's), and so are the keys of a user. Names and passwords are taken as they are: `SASLprep` would change nothing in ASCII, and other text is not normalised.
//!
//! ```
//! use columba_proto::scram::{ClientFirst, ITERATIONS, Keys, Secret, begin};
//!
//! let stored = Keys::derive("pencil", b"any salt", ITERATIONS)?;
//!
//! let (await_challenge, client_first) = begin("user", "pencil", "rOprNGfwEbeRWgbNEkqO")?;
//! let first = ClientFirst::read(&client_first)?;
//! assert_eq!(first.user(), "user");
//! let (await_proof, server_first) = first.challenge(Some(stored), &Secret::new([7; 32]), 1);
//! let (await_signature, client_final) = await_challenge.on_challenge(&server_first)?;
//! let (user, server_final) = await_proof.on_proof(&client_final)?;
//! await_signature.on_signature(&server_final)?;
//! assert_eq!(&*user, "user");
//! # Ok::<(), columba_proto::scram::ScramError>(())
//! ```

mod base64;
mod client;
mod keys;
mod message;
mod server;

use core::num::NonZeroU32;

pub use client::{AwaitChallenge, AwaitSignature, begin};
pub use keys::{Keys, KeysError};
pub use server::{AwaitProof, ClientFirst, Secret};
use thiserror::Error;

/// The Authentication Method in CONNECT and AUTH (§3.1.2.11.9), as RFC 7677 names it.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Rounds for new keys: whoever steals the keys needs as many for each guess, and the client for each connection (RFC 7677 §4).
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("not zero");

/// Rounds that a client takes from a server: about a second of a small machine, and not an hour.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// Bytes of one message: a nonce, a salt and a name need no more.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ScramError {
    /// Not what RFC 5802 §7 writes.
    #[error("the message does not follow RFC 5802 (§7)")]
    Grammar,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// The other side insists on channel binding.
    #[error("channel binding is not offered (RFC 5802 §6)")]
    ChannelBinding,
    /// The other side insists on something that nobody has defined.
    #[error("an extension that must be understood is not (RFC 5802 §5.1)")]
    Extension,
    /// The client wants to be somebody else than it proves to be.
    #[error("acting for another user is not offered (RFC 5802 §5.1)")]
    OtherIdentity,
    /// A name or a password with a control character, or an empty name.
    #[error("a name or password that has control characters or is no name (RFC 4013 §2.3)")]
    Text,
    /// The nonce is not that of this exchange.
    #[error("the nonce is not the one of this exchange (RFC 5802 §5)")]
    Nonce,
    /// The user does not exist, or that is not the password.
    #[error("wrong user name or password")]
    Proof,
    /// Whoever answers does not know the password.
    #[error("the server does not prove that it knows the password (RFC 5802 §3)")]
    Signature,
    /// None, or more than [`ITERATIONS_MAX`].
    #[error("an iteration count of 0 or above {ITERATIONS_MAX}")]
    Iterations,
    /// The server says `e=`.
    #[error("the server refuses the authentication")]
    Refused,
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn keys() -> Keys {
        let salt = base64::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Keys::derive("pencil", &salt, NonZeroU32::new(4096).unwrap()).unwrap()
    }

    /// The example of RFC 7677 §3, from both sides.
    #[test]
    fn the_conversation_of_the_rfc() {
        let (challenged, first) = begin("user", "pencil", "rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(text(first), FIRST);
        let (answered, last) = challenged.on_challenge(CHALLENGE.as_bytes()).unwrap();
        assert_eq!(text(last), FINAL);
        assert_eq!(answered.on_signature(SIGNATURE.as_bytes()), Ok(()));

        let first = ClientFirst::read(FIRST.as_bytes()).unwrap();
        let (await_proof, challenge) = first.challenge_with(keys(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(text(challenge), CHALLENGE);
        let (user, signature) = await_proof.on_proof(FINAL.as_bytes()).unwrap();
        assert_eq!((&*user, text(signature).as_str()), ("user", SIGNATURE));
    }

    fn proved(name: &str, password: &str, known: Option<Keys>) -> Result<(), ScramError> {
        let (challenged, first) = begin(name, password, "abc").unwrap();
        let first = ClientFirst::read(&first).unwrap();
        assert_eq!(first.user(), name);
        let (await_proof, challenge) = first.challenge(known, &Secret::new([7; 32]), 1);
        let (answered, last) = challenged.on_challenge(&challenge).unwrap();
        let (_, signature) = await_proof.on_proof(&last)?;
        answered.on_signature(&signature)
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
        assert_eq!(proved("user", "pencil", Some(keys())), Ok(()));
        assert_eq!(proved("user", "Pencil", Some(keys())), Err(ScramError::Proof));
        assert_eq!(proved("user", "pencil", None), Err(ScramError::Proof));
    }

    #[test]
    fn who_is_unknown_gets_the_same_salt_every_time_and_others_another() {
        let challenge = |name: &str, number| {
            let (_, first) = begin(name, "x", "abc").unwrap();
            text(ClientFirst::read(&first).unwrap().challenge(None, &Secret::new([7; 32]), number).1)
        };
        let salt = |challenge: &str| challenge.split(",s=").nth(1).map(String::from);

        assert_eq!(salt(&challenge("a", 1)), salt(&challenge("a", 2)));
        assert_ne!(challenge("a", 1), challenge("a", 2), "the nonce is new");
        assert_ne!(salt(&challenge("a", 1)), salt(&challenge("b", 1)));
    }

    #[test]
    fn names_with_the_letters_of_the_grammar_arrive_whole() {
        for name in ["a,b=c", "=2C", "ünï", "="] {
            assert_eq!(proved(name, "pencil", Some(keys())), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_a_server_does_not_take_is_told_apart() {
        let read = |text: &str| ClientFirst::read(text.as_bytes()).map(|_| ());

        assert_eq!(read("y,,n=user,r=abc"), Ok(()));
        assert_eq!(read("n,a=user,n=user,r=abc"), Ok(()));
        assert_eq!(read("p=tls-unique,,n=user,r=abc"), Err(ScramError::ChannelBinding));
        assert_eq!(read("n,a=other,n=user,r=abc"), Err(ScramError::OtherIdentity));
        assert_eq!(read("n,,m=x,n=user,r=abc"), Err(ScramError::Extension));
        for bad in
            ["", "n", "n,,", "x,,n=user,r=abc", "n,,n=,r=abc", "n,,n=user", "n,,n=user,r=", "n,,n=us=er,r=abc", "n,,r=abc,n=user"]
        {
            assert_eq!(read(bad), Err(ScramError::Grammar), "{bad:?}");
        }
        assert_eq!(ClientFirst::read(&[0xff]).map(|_| ()), Err(ScramError::Grammar));
        assert_eq!(ClientFirst::read(&[b'n'; MESSAGE_BYTES_MAX + 1]).map(|_| ()), Err(ScramError::TooLong));
    }

    #[test]
    fn a_proof_belongs_to_one_exchange() {
        let answer = |last: &str| {
            let first = ClientFirst::read(FIRST.as_bytes()).unwrap();
            first.challenge_with(keys(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").0.on_proof(last.as_bytes()).map(|_| ())
        };

        assert_eq!(answer(FINAL), Ok(()));
        assert_eq!(answer(&FINAL.replace("hNlF$k0", "hNlF$k1")), Err(ScramError::Nonce));
        assert_eq!(answer(&FINAL.replace("c=biws", "c=eSws")), Err(ScramError::ChannelBinding));
        assert_eq!(answer(&FINAL.replace("p=dHzb", "p=dHzc")), Err(ScramError::Proof));
        assert_eq!(answer(&FINAL.replace("p=dHzb", "p=dH!b")), Err(ScramError::Grammar));
        assert_eq!(answer("c=biws"), Err(ScramError::Grammar));
    }

    #[test]
    fn a_client_believes_no_server_that_does_not_know_the_password() {
        let challenged = || begin("user", "pencil", "rOprNGfwEbeRWgbNEkqO").unwrap().0;
        let challenge = |text: &str| challenged().on_challenge(text.as_bytes()).map(|_| ());

        assert_eq!(challenge("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), Err(ScramError::Nonce));
        assert_eq!(
            challenge("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            Err(ScramError::Nonce),
            "none of its own"
        );
        assert_eq!(challenge(&CHALLENGE.replace("i=4096", "i=0")), Err(ScramError::Iterations));
        assert_eq!(challenge(&CHALLENGE.replace("i=4096", "i=1000001")), Err(ScramError::Iterations));
        let (answered, _) = challenged().on_challenge(CHALLENGE.as_bytes()).unwrap();
        assert_eq!(answered.on_signature(SIGNATURE.replace("6rri", "6rrj").as_bytes()), Err(ScramError::Signature));
        let (answered, _) = challenged().on_challenge(CHALLENGE.as_bytes()).unwrap();
        assert_eq!(answered.on_signature(b"e=other-error"), Err(ScramError::Refused));
    }
}
