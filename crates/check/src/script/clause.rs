//! The numbered statements of MQTT 3.1.1 and MQTT 5.0.

use std::fmt;

use columba_proto::Version;

/// Both standards: version, id, section, whom it binds, whether a broker can be tested for it.
const CLAUSES: &str = include_str!("../../clauses.tsv");

/// A text that numbers its statements.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Standard {
    /// MQTT 3.1.1.
    Mqtt311,
    /// MQTT 5.0.
    Mqtt5,
}

impl Standard {
    /// As the list writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt311 => "3.1.1",
            Self::Mqtt5 => "5",
        }
    }

    /// Whether a conversation in this version shows anything of it.
    pub const fn judges(self, version: Version) -> bool {
        version.has_properties() == matches!(self, Self::Mqtt5)
    }
}

/// One statement. The same id means different things in the two standards.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Clause {
    /// Whose.
    pub standard: Standard,
    /// `MQTT-3.1.0-1`.
    pub id: &'static str,
}

/// A statement of MQTT 5.0.
pub const fn v5(id: &'static str) -> Clause {
    Clause { standard: Standard::Mqtt5, id }
}

/// A statement of MQTT 3.1.1.
pub const fn v3(id: &'static str) -> Clause {
    Clause { standard: Standard::Mqtt311, id }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// What the list says of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Which.
    pub clause: Clause,
    /// `client`, `server` or `both`.
    pub binds: &'static str,
    /// Whether a broker can be tested for it from outside.
    pub broker_testable: bool,
}

/// All statements, 3.1.1 first or 5 first, as the list has them.
pub fn all() -> impl Iterator<Item = Entry> {
    CLAUSES.lines().skip(1).filter_map(|line| {
        let mut fields = line.split('\t');
        let standard = if fields.next()? == Standard::Mqtt5.name() { Standard::Mqtt5 } else { Standard::Mqtt311 };
        let id = fields.next()?;
        let _section = fields.next()?;
        let binds = fields.next()?;
        let broker_testable = fields.next()? == "yes";
        Some(Entry { clause: Clause { standard, id }, binds, broker_testable })
    })
}
