//! The demonstration ends by itself, and only then with success when everything held.

use crate::support::columba;

#[test]
fn the_demonstration_shows_nine_rows_and_eight_repairs_and_ends_well() {
    let demo = columba(&["demo"]);

    assert_eq!(demo.code, Some(0), "{}\n{}", demo.out, demo.err);
    let row = |line: &str| line.starts_with("     ") && line.contains("publish");
    assert_eq!(demo.out.lines().filter(|line| row(line)).count(), 9, "{}", demo.out);
    assert_eq!(demo.out.lines().filter(|line| line.contains('✗') && line.ends_with("once")).count(), 8, "{}", demo.out);
    assert!(demo.out.contains("min(publish, subscribe) held in 9 of 9."), "{}", demo.out);
    assert!(demo.out.contains("4 of 4 messages arrived exactly once"), "{}", demo.out);
}

#[test]
fn a_demonstration_without_a_broker_does_not_end_well() {
    let demo = columba(&["demo", "--url", "mqtt://127.0.0.1:1"]);

    assert_eq!(demo.code, Some(1), "{demo:?}");
    assert!(demo.err.starts_with("error: "), "{demo:?}");
}
