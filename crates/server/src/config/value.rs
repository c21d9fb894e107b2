//! A value of the configuration, from a file, the environment or the command line, and how it is read as what a key wants.

use std::ops::RangeInclusive;

use toml::de::DeValue;

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string, or bare words in the environment and behind `--set`.
    Text(String),
    /// A whole number.
    Number(i64),
    /// true or false.
    Flag(bool),
    /// Several.
    List(Vec<Self>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl Value {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number that is too large"), Self::Number),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    /// Reads what stands in an environment variable or behind `=`: TOML where it is TOML, else plain text.
    pub(super) fn from_text(text: &str) -> Self {
        DeValue::parse(text).map_or_else(|_| Self::Text(text.to_owned()), |value| Self::from_toml(value.get_ref()))
    }

    /// As it stands in a file.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::to_toml).collect::<Vec<_>>().join(", ")),
            Self::Other(_) => String::new(),
        }
    }

    pub(super) fn text(&self) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(_) | Self::Flag(_) | Self::List(_) | Self::Other(_) => Err(Wrong("text in quotes".into())),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Text(_) | Self::Number(_) | Self::List(_) | Self::Other(_) => Err(Wrong("true or false".into())),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
        let number = match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(_) | Self::Flag(_) | Self::List(_) | Self::Other(_) => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Wrong(format!("a number from {} to {}", range.start(), range.end())))
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Wrong> {
        let found = self.text().ok().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        found.map(|&(_, value)| value).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            Wrong(names.join(" or "))
        })
    }

    /// Several values; one alone is a list of it.
    pub(super) fn list(&self) -> Result<&[Self], Wrong> {
        match self {
            Self::List(items) => Ok(items),
            Self::Text(_) => Ok(std::slice::from_ref(self)),
            Self::Number(_) | Self::Flag(_) | Self::Other(_) => Err(Wrong("a list like [\"...\", \"...\"]".into())),
        }
    }

    /// Milliseconds: `30` (seconds), `"30s"`, `"5m"`, `"200ms"`.
    pub(super) fn duration_ms(&self) -> Result<u64, Wrong> {
        let found = match self {
            Self::Number(seconds) => u64::try_from(*seconds).ok().and_then(|seconds| seconds.checked_mul(1000)),
            Self::Text(text) => with_unit(
                text,
                &[("", 1000), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)],
            ),
            Self::Flag(_) | Self::List(_) | Self::Other(_) => None,
        };
        found.ok_or_else(|| Wrong("a duration like \"30s\", \"5m\", \"1h\" or \"200ms\"".into()))
    }

    /// Bytes: `512`, `"4k"`, `"1MiB"`, `"2MB"`.
    pub(super) fn size(&self) -> Result<u64, Wrong> {
        let found = match self {
            Self::Number(bytes) => u64::try_from(*bytes).ok(),
            Self::Text(text) => with_unit(
                text,
                &[
                    ("", 1),
                    ("B", 1),
                    ("k", 1 << 10),
                    ("K", 1 << 10),
                    ("KiB", 1 << 10),
                    ("kB", 1000),
                    ("M", 1 << 20),
                    ("MiB", 1 << 20),
                    ("MB", 1_000_000),
                    ("G", 1 << 30),
                    ("GiB", 1 << 30),
                    ("GB", 1_000_000_000),
                    ("TiB", 1 << 40),
                ],
            ),
            Self::Flag(_) | Self::List(_) | Self::Other(_) => None,
        };
        found.ok_or_else(|| Wrong("a size like 512, \"4k\" or \"2MiB\"".into()))
    }

    /// `"none"` for no bound, else what `read` makes of it.
    pub(super) fn or_none<T>(&self, read: impl FnOnce(&Self) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
        if self.text() == Ok("none") {
            return Ok(None);
        }
        read(self).map(Some).map_err(|Wrong(expected)| Wrong(format!("{expected}, or \"none\"")))
    }
}

/// The value is not what its key wants; this is.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wrong(pub(super) String);

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_on_the_command_line() {
        let ms = |text: &str| Value::from_text(text).duration_ms();

        assert_eq!(ms("30"), Ok(30_000));
        assert_eq!(ms("200ms"), Ok(200));
        assert_eq!(ms("\"5m\""), Ok(300_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        assert!(ms("soon").is_err());
        assert!(ms("-1").is_err());
    }

    #[test]
    fn sizes_tell_binary_from_decimal_units() {
        let bytes = |text: &str| Value::from_text(text).size();

        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("4k"), Ok(4096));
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert_eq!(bytes("2MB"), Ok(2_000_000));
        assert!(bytes("2 MiBs").is_err());
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(Value::Number(100).number(1..=65_535), Ok(100));
        assert_eq!(Value::Number(0).number(1..=65_535), Err(Wrong("a number from 1 to 65535".into())));
        assert!(Value::Number(-5).number(0..=10).is_err());
    }
}
