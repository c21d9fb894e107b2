//! "Did you mean": the known word that is nearest to a mistyped one.

/// The nearest of `known`, where it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(far, _)| far <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            row[j + 1] = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["listener", "limits", "log", "data_dir"];

        assert_eq!(nearest("listner", known), Some("listener"));
        assert_eq!(nearest("limtis", known), Some("limits"));
        assert_eq!(nearest("datadir", known), Some("data_dir"));
    }

    #[test]
    fn a_word_that_is_far_from_all_suggests_nothing() {
        assert_eq!(nearest("persistence", ["listener", "limits"]), None);
    }

    #[test]
    fn swapped_neighbours_count_once() {
        assert_eq!(distance("inflihgt", "inflight"), 1);
    }
}
