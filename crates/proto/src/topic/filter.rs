//! Topic Filters and matching (§4.7).

use alloc::boxed::Box;
use core::borrow::Borrow;
use core::fmt;
use core::str::{FromStr, Split};

use thiserror::Error;

use super::TopicName;
use crate::text::TEXT_LEN_MAX;

/// What a subscription matches topics with. One that exists is valid.
///
/// ```
/// use columba_proto::{TopicFilter, TopicName};
///
/// let filter: TopicFilter = "home/+/lamp/#".parse()?;
/// assert!(filter.matches(TopicName::new("home/kitchen/lamp")?));
/// assert!("home/lamp#".parse::<TopicFilter>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicFilter(Box<str>);

/// Why a text is no Topic Filter. The packet is malformed (0x81).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TopicFilterError {
    /// Empty.
    #[error("a topic filter has at least one character [MQTT-4.7.3-1]")]
    Empty,
    /// `#` elsewhere than alone in the last level.
    #[error("# stands alone in the last level [MQTT-4.7.1-1]")]
    MisplacedHash,
    /// `+` beside other characters.
    #[error("+ fills a whole level [MQTT-4.7.1-2]")]
    MisplacedPlus,
    /// U+0000.
    #[error("a topic filter holds no U+0000 [MQTT-4.7.3-2]")]
    Nul,
    /// More than two length bytes can say.
    #[error("a topic filter has at most 65,535 bytes [MQTT-4.7.3-3]")]
    TooLong,
}

/// One level of a filter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Level<'a> {
    /// Matches itself, character by character.
    Name(&'a str),
    /// `+` matches any one level.
    One,
    /// `#` matches its parent and everything below.
    Rest,
}

/// The levels of a filter from left to right.
#[derive(Clone, Debug)]
pub struct Levels<'a>(Split<'a, char>);

impl<'a> Iterator for Levels<'a> {
    type Item = Level<'a>;

    fn next(&mut self) -> Option<Level<'a>> {
        self.0.next().map(|level| match level {
            "+" => Level::One,
            "#" => Level::Rest,
            name => Level::Name(name),
        })
    }
}

impl TopicFilter {
    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels from left to right.
    pub fn levels(&self) -> Levels<'_> {
        Levels(self.0.split('/'))
    }

    /// Does it have a wildcard at all? Without one it matches exactly the topic that is spelled the same.
    pub fn has_wildcard(&self) -> bool {
        self.levels().any(|level| !matches!(level, Level::Name(_)))
    }

    /// Does it match this topic?
    pub fn matches(&self, topic: TopicName<'_>) -> bool {
        matches(&self.0, topic)
    }
}

/// Does a filter (known to be valid) match this topic?
///
/// Nothing is normalised [MQTT-4.7.3-4]; a filter that begins with a wildcard matches no topic that begins with `$`
/// [MQTT-4.7.2-1].
pub fn matches(filter: &str, topic: TopicName<'_>) -> bool {
    if topic.is_dollar() && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut filter = filter.as_bytes();
    let mut topic = topic.as_str().as_bytes();
    loop {
        match filter {
            [b'#', ..] => return true,
            [b'+', after @ ..] => {
                filter = after;
                topic = topic.iter().position(|byte| *byte == b'/').map_or(&[], |slash| &topic[slash..]);
            }
            _ => {
                let same = filter.iter().zip(topic).take_while(|(wanted, byte)| wanted == byte && **byte != b'/').count();
                filter = &filter[same..];
                topic = &topic[same..];
            }
        }
        // Both stand at the end of a level now, or they differ.
        match (filter, topic) {
            ([] | [b'/', b'#'], []) => return true,
            ([b'/', wanted @ ..], [b'/', rest @ ..]) => {
                filter = wanted;
                topic = rest;
            }
            _ => return false,
        }
    }
}

impl FromStr for TopicFilter {
    type Err = TopicFilterError;

    fn from_str(text: &str) -> Result<Self, TopicFilterError> {
        check(text)?;
        Ok(Self(text.into()))
    }
}

fn check(text: &str) -> Result<(), TopicFilterError> {
    if text.is_empty() {
        return Err(TopicFilterError::Empty);
    }
    if text.len() > TEXT_LEN_MAX {
        return Err(TopicFilterError::TooLong);
    }
    if text.contains('\0') {
        return Err(TopicFilterError::Nul);
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        match level {
            "+" => {}
            "#" if is_last => {}
            _ if level.contains('#') => return Err(TopicFilterError::MisplacedHash),
            _ if level.contains('+') => return Err(TopicFilterError::MisplacedPlus),
            _ => {}
        }
    }
    Ok(())
}

impl AsRef<str> for TopicFilter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicFilter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn matched(filter: &str, topic: &str) -> bool {
        filter.parse::<TopicFilter>().unwrap().matches(TopicName::new(topic).unwrap())
    }

    #[test]
    fn the_examples_of_the_standard_match_as_it_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("+/tennis/#", "sport/tennis"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("/", "/"),
            ("a//b", "a//b"),
        ] {
            assert!(matched(filter, topic), "{filter} matches {topic}");
        }
    }

    #[test]
    fn the_counterexamples_of_the_standard_do_not_match() {
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/a"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("Accounts", "ACCOUNTS"),
            ("a", "a/"),
            ("a/b/#", "a"),
            ("a/+/b", "a/b"),
        ] {
            assert!(!matched(filter, topic), "{filter} does not match {topic}");
        }
    }

    #[test]
    fn a_misplaced_wildcard_makes_no_filter() {
        use TopicFilterError::*;
        for (text, error) in [
            ("", Empty),
            ("sport/tennis#", MisplacedHash),
            ("sport/tennis/#/ranking", MisplacedHash),
            ("##", MisplacedHash),
            ("sport+", MisplacedPlus),
            ("+a/b", MisplacedPlus),
            ("++", MisplacedPlus),
            ("a\0", Nul),
        ] {
            assert_eq!(text.parse::<TopicFilter>(), Err(error), "{text:?}");
        }
    }

    /// §4.7 as plainly as it can be said.
    fn by_the_book(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => by_the_book(filter, topic),
            ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && by_the_book(filter, topic),
            ([], [..]) | ([..], []) => false,
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]

        #[test]
        fn matching_agrees_with_the_book(filter in "[ab$/+#]{1,8}", topic in "[ab$/]{1,8}") {
            let Ok(parsed) = filter.parse::<TopicFilter>() else {
                return Ok(());
            };
            let topic = TopicName::new(&topic).unwrap();
            let hidden = topic.is_dollar() && filter.starts_with(['+', '#']);
            let filter_levels: Vec<&str> = filter.split('/').collect();
            let topic_levels: Vec<&str> = topic.levels().collect();

            proptest::prop_assert_eq!(parsed.matches(topic), !hidden && by_the_book(&filter_levels, &topic_levels));
        }
    }
}
