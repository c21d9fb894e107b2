//! What is kept in place of a password: SCRAM keys, or one of the hashes that mosquitto's files have.

use std::{
    fmt::{self, Display},
    num::NonZeroU32,
    str::FromStr,
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use columba_proto::scram::{self, Keys};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

type SaltAndHash = (Box<[u8]>, Box<[u8]>);

/// What one try of a password may cost, whatever a file says: 256 MiB, about a second.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const ROUNDS_MAX: u32 = 10_000_000;

/// Bytes of a salt or a hash.
const SALT_LEN_MAX: usize = 64;
const HASH_LENS: std::ops::RangeInclusive<usize> = 16..=64;

/// What new hashes cost: the first choice of RFC 9106's successors for servers, 19 MiB in two passes.
const ARGON2_MEMORY_KIB: u32 = 19 << 10;
const ARGON2_PASSES: u32 = 2;
const ARGON2_HASH_LEN: usize = 32;

/// The same for PBKDF2 with SHA-512.
const PBKDF2_ROUNDS: NonZeroU32 = NonZeroU32::new(210_000).expect("not zero");

/// What is kept in place of a password.
#[derive(Clone, Eq, PartialEq)]
pub enum Secret {
    /// `SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER` (RFC 5803): the only kind that also lets a client log in by SCRAM.
    Scram(Keys),
    /// `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH`, also mosquitto 2.1's default.
    Argon2id(Argon2id),
    /// `$7$ROUNDS$SALT$HASH`, mosquitto 2.0's default: PBKDF2 with HMAC-SHA-512.
    Pbkdf2Sha512 {
        /// Rounds that each guess takes.
        rounds: NonZeroU32,
        /// Stands before the first round.
        salt: Box<[u8]>,
        /// What comes out.
        hash: Box<[u8]>,
    },
    /// `$6$SALT$HASH`, mosquitto 1's: one SHA-512 of password and salt. Cheap to guess.
    Sha512 {
        /// Stands behind the password.
        salt: Box<[u8]>,
        /// What comes out.
        hash: Box<[u8]>,
    },
}

/// A hash by Argon2id (RFC 9106).
#[derive(Clone, Eq, PartialEq)]
pub struct Argon2id {
    params: Params,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// How a password is turned into a [`Secret`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// By Argon2id: memory, and tens of milliseconds, for each guess.
    Argon2id,
    /// By PBKDF2 with SHA-512, as mosquitto 2.0 reads it.
    Pbkdf2Sha512,
    /// By one SHA-512, as mosquitto 1 reads it.
    Sha512,
    /// Keys for SCRAM-SHA-256, with so many rounds.
    Scram(NonZeroU32),
}

/// The text is none that a secret is written in.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SecretError {
    /// Not one of the kinds.
    #[error(
        "no hash that is known here: $argon2id$..., $7$... or $6$... as mosquitto_passwd writes them, or SCRAM-SHA-256$..., as `columba user add` writes them"
    )]
    Unknown,
    /// One of them, and damaged.
    #[error("a damaged hash: {0}")]
    Damaged(&'static str),
    /// One that asks for more work than anybody should do for a stranger.
    #[error(
        "a hash that costs too much: at most 256 MiB, 16 passes and 16 lanes of Argon2id, 10,000,000 rounds of PBKDF2 or SCRAM"
    )]
    Dear,
    /// A text that SCRAM takes for no password.
    #[error("this text cannot be a password for SCRAM")]
    NotForScram,
}

impl Secret {
    /// Takes time and memory, and is meant to. `salt` is chance that no other secret has.
    pub fn derive(kind: Kind, password: &str, salt: [u8; 16]) -> Result<Self, SecretError> {
        Ok(match kind {
            Kind::Argon2id => {
                let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, 1, Some(ARGON2_HASH_LEN))
                    .map_err(|_| SecretError::Damaged("parameters"))?;
                let mut kept = Argon2id { params, salt: salt.into(), hash: vec![0; ARGON2_HASH_LEN].into() };
                kept.hash = kept.hash_of(password.as_bytes()).ok_or(SecretError::Damaged("parameters"))?;
                Self::Argon2id(kept)
            }
            Kind::Pbkdf2Sha512 => {
                let hash = pbkdf2_sha512(password.as_bytes(), &salt, PBKDF2_ROUNDS, 64);
                Self::Pbkdf2Sha512 { rounds: PBKDF2_ROUNDS, salt: salt.into(), hash }
            }
            Kind::Sha512 => Self::Sha512 { salt: salt.into(), hash: sha512(password.as_bytes(), &salt) },
            Kind::Scram(rounds) => Self::Scram(Keys::derive(password, &salt, rounds).map_err(|_| SecretError::NotForScram)?),
        })
    }

    /// Whether this is the password. Takes as long for a wrong one as for the right one.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match self {
            // One that is no text is no password of theirs, and nobody learns anything from how soon that is said.
            Self::Scram(keys) => str::from_utf8(password).is_ok_and(|password| keys.are_of(password)),
            Self::Argon2id(kept) => kept.hash_of(password).is_some_and(|hash| hash.ct_eq(&kept.hash).into()),
            Self::Pbkdf2Sha512 { rounds, salt, hash } => pbkdf2_sha512(password, salt, *rounds, hash.len()).ct_eq(hash).into(),
            Self::Sha512 { salt, hash } => sha512(password, salt).ct_eq(hash).into(),
        }
    }

    /// The keys for a login by SCRAM.
    pub fn scram_keys(&self) -> Option<&Keys> {
        match self {
            Self::Scram(keys) => Some(keys),
            Self::Argon2id(_) | Self::Pbkdf2Sha512 { .. } | Self::Sha512 { .. } => None,
        }
    }

    /// Whether it is cheaper to guess from than what is written today. Keys for SCRAM are not: they are for more than passwords.
    pub fn is_outdated(&self) -> bool {
        match self {
            Self::Sha512 { .. } | Self::Pbkdf2Sha512 { .. } => true,
            Self::Scram(_) | Self::Argon2id(_) => false,
        }
    }

    /// The kind's name, as `columba user add --hash` takes it.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Scram(_) => "scram-sha-256",
            Self::Argon2id(_) => "argon2id",
            Self::Pbkdf2Sha512 { .. } => "pbkdf2",
            Self::Sha512 { .. } => "sha512",
        }
    }
}

impl Argon2id {
    /// `None`: no memory for it.
    fn hash_of(&self, password: &[u8]) -> Option<Box<[u8]>> {
        let mut memory: Vec<Block> = Vec::new();
        memory.try_reserve_exact(self.params.block_count()).ok()?;
        memory.resize(self.params.block_count(), Block::default());
        let mut hash = vec![0; self.hash.len()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        argon2.hash_password_into_with_memory(password, &self.salt, &mut hash, &mut memory[..]).ok()?;
        Some(hash.into())
    }
}

fn pbkdf2_sha512(password: &[u8], salt: &[u8], rounds: NonZeroU32, len: usize) -> Box<[u8]> {
    let mut hash = vec![0; len];
    pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds.get(), &mut hash);
    hash.into()
}

fn sha512(password: &[u8], salt: &[u8]) -> Box<[u8]> {
    let digest = Sha512::new().chain_update(password).chain_update(salt).finalize();
    digest.as_slice().into()
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return argon2id(rest).map(Self::Argon2id);
        }
        if let Some(rest) = text.strip_prefix("$7$") {
            let (rounds, rest) = rest.split_once('$').ok_or(SecretError::Damaged("no rounds"))?;
            let rounds = rounds.parse().map_err(|_| SecretError::Damaged("no number of rounds"))?;
            let rounds = NonZeroU32::new(rounds).ok_or(SecretError::Damaged("no number of rounds"))?;
            if rounds.get() > ROUNDS_MAX {
                return Err(SecretError::Dear);
            }
            let (salt, hash) = salt_and_hash(rest)?;
            return Ok(Self::Pbkdf2Sha512 { rounds, salt, hash });
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            let (salt, hash) = salt_and_hash(rest)?;
            return if hash.len() == 64 { Ok(Self::Sha512 { salt, hash }) } else { Err(SecretError::Damaged("not 64 bytes")) };
        }
        if text.starts_with(scram::METHOD) {
            let keys: Keys = text.parse().map_err(|_| SecretError::Damaged("no keys as RFC 5803 writes them"))?;
            return if keys.iterations().get() > ROUNDS_MAX { Err(SecretError::Dear) } else { Ok(Self::Scram(keys)) };
        }
        Err(SecretError::Unknown)
    }
}

/// What stands behind `$argon2id$`.
fn argon2id(text: &str) -> Result<Argon2id, SecretError> {
    let rest = text.strip_prefix("v=19$").ok_or(SecretError::Damaged("not version 19"))?;
    let (costs, rest) = rest.split_once('$').ok_or(SecretError::Damaged("no costs"))?;
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for cost in costs.split(',') {
        let (name, value) = cost.split_once('=').ok_or(SecretError::Damaged("costs are m=KIB,t=PASSES,p=LANES"))?;
        let place = match name {
            "m" => &mut memory,
            "t" => &mut passes,
            "p" => &mut lanes,
            _ => return Err(SecretError::Damaged("costs are m=KIB,t=PASSES,p=LANES")),
        };
        let value: u32 = value.parse().map_err(|_| SecretError::Damaged("a cost that is no number"))?;
        if place.replace(value).is_some() {
            return Err(SecretError::Damaged("a cost twice"));
        }
    }
    let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
        return Err(SecretError::Damaged("costs are m=KIB,t=PASSES,p=LANES"));
    };
    if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
        return Err(SecretError::Dear);
    }
    let (salt, hash) = rest.split_once('$').ok_or(SecretError::Damaged("no salt and hash"))?;
    let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| SecretError::Damaged("not base64"));
    let (salt, hash) = lens(bytes(salt)?, bytes(hash)?)?;
    if salt.len() < argon2::MIN_SALT_LEN {
        return Err(SecretError::Damaged("a salt that is too short"));
    }
    let params = Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| SecretError::Damaged("impossible costs"))?;
    Ok(Argon2id { params, salt, hash })
}

/// `SALT$HASH`, as mosquitto writes them.
fn salt_and_hash(text: &str) -> Result<SaltAndHash, SecretError> {
    let (salt, hash) = text.split_once('$').ok_or(SecretError::Damaged("no salt and hash"))?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| SecretError::Damaged("not base64"));
    lens(bytes(salt)?, bytes(hash)?)
}

fn lens(salt: Vec<u8>, hash: Vec<u8>) -> Result<SaltAndHash, SecretError> {
    let is_good = (1..=SALT_LEN_MAX).contains(&salt.len()) && HASH_LENS.contains(&hash.len());
    if is_good { Ok((salt.into(), hash.into())) } else { Err(SecretError::Damaged("a salt or hash of an impossible length")) }
}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scram(keys) => keys.fmt(f),
            Self::Argon2id(Argon2id { params, salt, hash }) => {
                let [salt, hash] = [salt, hash].map(|bytes| STANDARD_NO_PAD.encode(bytes));
                let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
                write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
            }
            Self::Pbkdf2Sha512 { rounds, salt, hash } => {
                write!(f, "$7${rounds}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Self::Sha512 { salt, hash } => write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash)),
        }
    }
}

/// Says the kind only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.kind_name()).finish()
    }
}

/// The costs only.
impl fmt::Debug for Argon2id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2id").field("params", &self.params).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by `mosquitto_passwd` 2.0.11, and a test vector of the reference implementation of Argon2.
    const OTHERS: [(&str, &str); 3] = [
        (
            "pencil",
            "$7$101$QNeGwD9K8lBWbc6M$EwLz4z3j7jx5ZjB3OIjyLp1HZ08KW/0m+W2nZFmhWFEasBywO8Lz2mpv9iU2hM+nd7psJ0273ImMID/in6HmyQ==",
        ),
        (
            "pencil",
            "$6$JMBdUcVTkKi73BC0$bHHjG6yp5lUGTY0u6lJ8fBwBezkDUn1GnduM1rApWJ0SpOTKRnCyc36/Vcqs3uwjYgsoOT+C5UrV0qk/xP1Dpg==",
        ),
        ("password", ARGON2),
    ];
    const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn hashes_of_others_are_read_and_written_as_they_are() {
        for (password, text) in OTHERS {
            let secret: Secret = text.parse().unwrap();

            assert_eq!(secret.to_string(), text);
            assert!(secret.is_of(password.as_bytes()), "{text}");
            for wrong in ["Pencil", "", "pencil ", "password\0"] {
                assert!(!secret.is_of(wrong.as_bytes()), "{wrong:?} {text}");
            }
        }
    }

    #[test]
    fn what_is_derived_knows_its_password_and_survives_its_text() {
        for kind in [Kind::Argon2id, Kind::Pbkdf2Sha512, Kind::Sha512, Kind::Scram(NonZeroU32::new(4096).unwrap())] {
            let secret = Secret::derive(kind, "pencil", [7; 16]).unwrap();

            assert_eq!(secret.to_string().parse(), Ok(secret.clone()), "{kind:?}");
            assert!(secret.is_of(b"pencil") && !secret.is_of(b"pencils"), "{kind:?}");
            assert_eq!(secret.scram_keys().is_some(), matches!(kind, Kind::Scram(_)));
        }
    }

    #[test]
    fn what_costs_too_much_or_is_damaged_is_refused_when_it_is_read() {
        let salt_and_hash = &ARGON2[ARGON2.match_indices('$').nth(3).unwrap().0..];
        let argon2 = |costs: &str| format!("$argon2id$v=19${costs}{salt_and_hash}");
        assert!(argon2("m=8,t=1,p=1").parse::<Secret>().is_ok());
        for text in [
            argon2("m=4000000,t=1,p=1"),
            argon2("m=8,t=17,p=1"),
            argon2("m=1024,t=1,p=17"),
            OTHERS[0].1.replace("$101$", "$10000001$"),
        ] {
            assert_eq!(text.parse::<Secret>(), Err(SecretError::Dear), "{text}");
        }
        for text in [
            argon2("m=8,t=1"),
            argon2("m=8,t=1,p=1,p=1"),
            argon2("m=1,t=1,p=1"),
            ARGON2.replace("v=19", "v=16"),
            OTHERS[0].1.replace("$101$", "$0$"),
            OTHERS[0].1.replace("$101$", "$"),
            OTHERS[1].1.replace("==", ""),
            OTHERS[1].1.replace("bHHjG6yp", ""),
            "SCRAM-SHA-256$1".to_owned(),
        ] {
            assert!(matches!(text.parse::<Secret>(), Err(SecretError::Damaged(_))), "{text}");
        }
        for text in ["", "pencil", "$5$a$b", "$2b$12$abc", "argon2id"] {
            assert_eq!(text.parse::<Secret>(), Err(SecretError::Unknown), "{text}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_told_by_accident() {
        for (_, text) in OTHERS {
            assert!(!format!("{:?}", text.parse::<Secret>().unwrap()).contains(&text[text.len() - 8..]));
        }
    }

    proptest! {
        /// Whatever stands in a file: an answer, and what is read is written as it was.
        #[test]
        fn any_text_is_read_or_refused(text in "(\\$(argon2id|7|6)|SCRAM-SHA-256)?[$=,:0-9a-zA-Z+/]{0,80}") {
            if let Ok(secret) = text.parse::<Secret>() {
                prop_assert_eq!(secret.to_string().parse::<Secret>(), Ok(secret));
            }
        }

        #[test]
        fn a_damaged_hash_of_others_is_refused_or_reads_as_what_it_says(which in 0..3_usize, place in 0..200_usize, byte in 0x20..0x7f_u8) {
            let mut bytes = OTHERS[which].1.as_bytes().to_vec();
            let place = place % bytes.len();
            bytes[place] = byte;
            let text = String::from_utf8(bytes).unwrap();
            if let Ok(secret) = text.parse::<Secret>() {
                prop_assert_eq!(secret.to_string().parse::<Secret>(), Ok(secret));
            }
        }
    }
}
