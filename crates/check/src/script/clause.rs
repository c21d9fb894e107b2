//! The numbered statements of MQTT 3.1.1 and MQTT 5.0.

use std::fmt;
use std::sync::OnceLock;

use columba_proto::Version;

/// All statements in our words, with what is said of each.
const CLAUSES: &str = include_str!("../../clauses.toml");

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

/// How it is known that columba keeps a statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum By {
    /// Scripts cite it; it is open where none does.
    Script,
    /// It cannot be otherwise, for this reason.
    Construction(String),
    /// Conversations do not see it: these tests show it.
    Test(String),
    /// There is nothing that it speaks of, for this reason.
    NotApplicable(String),
    /// It binds clients, and a broker sees nothing of it; this shows it for ours.
    Client(String),
}

/// What the list says of a statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Which.
    pub clause: Clause,
    /// The statement in our words.
    pub says: String,
    /// `client`, `server` or `both`.
    pub binds: String,
    /// Whether a broker can be tested for it from outside.
    pub broker_testable: bool,
    /// How it is known that it holds.
    pub by: By,
}

/// All statements, MQTT 5.0 first, in their order.
///
/// # Panics
///
/// Never: the list is part of the program, and a test reads it.
pub fn all() -> &'static [Entry] {
    static ALL: OnceLock<Vec<Entry>> = OnceLock::new();
    ALL.get_or_init(|| read(CLAUSES).expect("the list of clauses is as its head says"))
}

fn read(text: &str) -> Result<Vec<Entry>, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let clauses = table.get("clause").and_then(toml::Value::as_array).ok_or("no clauses")?;
    clauses.iter().map(|clause| entry(clause).ok_or_else(|| format!("what is this? {clause}"))).collect()
}

fn entry(clause: &toml::Value) -> Option<Entry> {
    let text = |key| clause.get(key).and_then(toml::Value::as_str);
    let standard = [Standard::Mqtt311, Standard::Mqtt5].into_iter().find(|standard| Some(standard.name()) == text("standard"))?;
    let why = || text("why").map(str::to_owned);
    let by = match text("by") {
        None => By::Script,
        Some("construction") => By::Construction(why()?),
        Some("test") => By::Test(why()?),
        Some("not applicable") => By::NotApplicable(why()?),
        Some("client") => By::Client(why()?),
        Some(_) => return None,
    };
    Some(Entry {
        // As long as the program, like the ids that the scripts cite.
        clause: Clause { standard, id: String::leak(text("id")?.to_owned()) },
        says: text("says")?.to_owned(),
        binds: text("binds")?.to_owned(),
        broker_testable: clause.get("broker_testable")?.as_bool()?,
        by,
    })
}
