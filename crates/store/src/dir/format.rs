//! The `format` file: a few lines of text that a person can read and a checksum guards.

use std::collections::BTreeMap;

use crate::log::StoreId;

/// The newest data directory format we read and the one we write.
pub(super) const VERSION: u32 = 1;
const TITLE: &str = "columba data directory";

/// What a data directory was made with; it never changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Which data directory this is.
    pub id: StoreId,
    /// How many lanes the journal's records are in.
    pub lanes: u16,
    /// How many slots client identifiers are spread over.
    pub slots: u16,
    /// The key of the hash that gives a client its slot.
    pub hash_key: [u8; 16],
    /// What makes journal frames unguessable.
    pub journal_salt: u64,
}

pub(super) enum ParseError {
    Newer(u32),
    Damaged(&'static str),
}

impl Identity {
    /// A new identity with 64 lanes and 4096 slots.
    pub fn from_random(random: [u8; 40]) -> Self {
        let (mut id, mut hash_key, mut salt) = ([0; 16], [0; 16], [0; 8]);
        id.copy_from_slice(&random[..16]);
        hash_key.copy_from_slice(&random[16..32]);
        salt.copy_from_slice(&random[32..]);
        // A version 4 UUID, so that tools show it as what it is.
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        Self { id: StoreId(id), lanes: 64, slots: 4096, hash_key, journal_salt: u64::from_le_bytes(salt) }
    }

    pub(super) fn to_text(&self) -> String {
        let text = format!(
            "{TITLE}\nformat = {VERSION}\nuuid = {}\nlanes = {}\nslots = {}\nhash_key = {:032x}\njournal_salt = {:016x}\n",
            self.id,
            self.lanes,
            self.slots,
            u128::from_be_bytes(self.hash_key),
            self.journal_salt,
        );
        let crc = crc32c::crc32c(text.as_bytes());
        text + &format!("crc32c = {crc:08x}\n")
    }

    pub(super) fn from_text(bytes: &[u8]) -> Result<Self, ParseError> {
        use ParseError::Damaged;
        let text = str::from_utf8(bytes).map_err(|_| Damaged("not text"))?;
        let rest = text.strip_prefix(TITLE).ok_or(Damaged("another title"))?;
        let fields: BTreeMap<_, _> = rest.lines().filter_map(|line| line.split_once(" = ")).collect();
        let field = |name| fields.get(name).copied().ok_or(Damaged("a field is missing"));
        let number = |name, radix| u128::from_str_radix(field(name)?, radix).map_err(|_| Damaged("not a number"));
        // The version first: what a newer one guards, and how, is its own business.
        let version = u32::try_from(number("format", 10)?).map_err(|_| Damaged("format version"))?;
        if version > VERSION {
            return Err(ParseError::Newer(version));
        }
        let guarded = text.rfind("crc32c = ").ok_or(Damaged("no checksum"))?;
        if u128::from(crc32c::crc32c(&bytes[..guarded])) != number("crc32c", 16)? || version != VERSION {
            return Err(Damaged("wrong checksum"));
        }
        let id = u128::from_str_radix(&field("uuid")?.replace('-', ""), 16).map_err(|_| Damaged("uuid"))?;
        Ok(Self {
            id: StoreId(id.to_be_bytes()),
            lanes: u16::try_from(number("lanes", 10)?).map_err(|_| Damaged("lanes"))?,
            slots: u16::try_from(number("slots", 10)?).map_err(|_| Damaged("slots"))?,
            hash_key: number("hash_key", 16)?.to_be_bytes(),
            journal_salt: u64::try_from(number("journal_salt", 16)?).map_err(|_| Damaged("journal salt"))?,
        })
    }
}
