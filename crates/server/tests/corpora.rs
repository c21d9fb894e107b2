//! The committed configurations of the fuzz target, once more (docs/fuzzing.md).

use columba_check::fuzz::{self, corpus};
use columba_server::Config;

#[test]
fn any_text_is_a_configuration_or_wrong_at_a_line_and_a_column() {
    let inputs = corpus::replay("config", |data| fuzz::config(data, Config::parse)).unwrap();

    assert!(inputs > 0, "the corpus of config is empty");
}
