//! Values as people write them on a command line.

use std::time::Duration;

/// Parses `30`, `1.5`, `500ms`, `30s`, `5m`, `1h`, `2d` or `1w`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => {
            return Err(format!("'{unit}' is no unit of time: write 500ms, 30s, 5m, 1h or 2d"));
        }
    };
    let number: f64 = number.parse().map_err(|_| "a duration starts with a number: 500ms, 30s, 5m".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "that is too long".to_owned())
}

/// Parses a session expiry: a duration, or `-1`, `∞`, `never` for a session that stays for ever (§3.1.2.11.2).
pub(crate) fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" | "never" => Ok(u32::MAX),
        _ => expiry_seconds(text),
    }
}

/// Parses a duration into the whole seconds that a four-byte property holds.
pub(crate) fn expiry_seconds(text: &str) -> Result<u32, String> {
    let seconds = duration(text)?.as_secs();
    u32::try_from(seconds).map_err(|_| "at most 4294967295 seconds".to_owned())
}

/// Parses `512`, `4k`, `4KiB`, `1M` or `1MiB` into bytes.
pub(crate) fn size(text: &str) -> Result<u32, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        _ => {
            return Err(format!("'{unit}' is no unit of size: write 512, 4k or 1MiB"));
        }
    };
    let number: u32 = number.parse().map_err(|_| "a size starts with a number: 512, 4k, 1MiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is too large".to_owned())
}

/// Splits `name=value` of a user property.
pub(crate) fn user_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "write it as NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_seconds_are_the_default() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("").is_err());
        assert!(duration("1.2.3").is_err());
    }

    #[test]
    fn a_session_may_stay_for_ever() {
        assert_eq!(session_expiry("-1"), Ok(u32::MAX));
        assert_eq!(session_expiry("∞"), Ok(u32::MAX));
        assert_eq!(session_expiry("4294967295"), Ok(u32::MAX));
        assert_eq!(session_expiry("1h"), Ok(3_600));
        assert!(session_expiry("4294967296").is_err());
        assert!(session_expiry("-2").is_err());
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("4k"), Ok(4_096));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert!(size("9999999MiB").is_err());
    }
}
