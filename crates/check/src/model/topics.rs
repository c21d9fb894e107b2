//! The topics and filters of a run, and a plain matching of its own to judge the broker's by (§4.7).

/// A topic; its index in the vocabulary.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicNo(pub u8);

/// A filter; its index in the vocabulary.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FilterNo(pub u8);

/// All topics and filters of a run, with the answer to which filter matches which topic.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    topics: Vec<&'static str>,
    filters: Vec<&'static str>,
    matches: Vec<bool>,
}

impl Vocabulary {
    /// At most 256 of each.
    pub fn new(topics: &[&'static str], filters: &[&'static str]) -> Self {
        let matches = filters.iter().flat_map(|filter| topics.iter().map(|topic| matches(filter, topic))).collect();
        Self { topics: topics.to_vec(), filters: filters.to_vec(), matches }
    }

    /// The text of a topic.
    pub fn topic(&self, topic: TopicNo) -> &'static str {
        self.topics[usize::from(topic.0)]
    }

    /// The text of a filter, `$share/group/` included.
    pub fn filter(&self, filter: FilterNo) -> &'static str {
        self.filters[usize::from(filter.0)]
    }

    /// Whether the filter is a shared one (§4.8.2).
    pub fn is_shared(&self, filter: FilterNo) -> bool {
        share(self.filter(filter)).is_some()
    }

    /// Whether the filter matches the topic.
    pub fn matches(&self, filter: FilterNo, topic: TopicNo) -> bool {
        self.matches[usize::from(filter.0) * self.topics.len() + usize::from(topic.0)]
    }

    /// The number of a topic.
    pub fn find_topic(&self, text: &str) -> Option<TopicNo> {
        let index = self.topics.iter().position(|&topic| topic == text)?;
        u8::try_from(index).ok().map(TopicNo)
    }
}

/// The filter within a shared one.
fn share(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/")?.split_once('/').map(|(_, inner)| inner)
}

/// §4.7 written down as plainly as it goes.
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter = share(filter).unwrap_or(filter);
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false; // [MQTT-4.7.2-1]
    }
    let (filter, topic): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (Some((&"+", filter)), Some((_, topic))) => levels_match(filter, topic),
        (Some((one, filter)), Some((other, topic))) => one == other && levels_match(filter, topic),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("+/b", "/b", true),
            ("+", "/b", false),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$share/g/a/+", "a/b", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
