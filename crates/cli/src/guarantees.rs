//! `columba guarantees`: what QoS 0, 1 and 2 mean on this deployment, from its configuration and its disk.

use std::path::PathBuf;

use columba_server::{
    Config,
    config::Sources,
    guarantees::{Guarantees, Row},
};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// Says what QoS 0, 1 and 2 mean with this configuration on this disk, and what each failure loses
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Configuration file
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where what must survive a restart is kept [default: ~/.local/state/columba]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As if nothing were kept on disk
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Set one key of the configuration, like durability.sync=interval (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// Lines to read
    Text,
    /// One JSON object
    Json,
}

/// The answer as text.
pub(crate) fn run(args: Args) -> Result<(String, Exit), Failure> {
    let Args { config, data_dir, ephemeral, set, format } = args;
    let sources = Sources { file: config, env: Sources::process_env(), set, data_dir, ephemeral, ..Sources::default() };
    let config = Config::load(&sources).map_err(|error| Failure::usage(error.to_string()))?;
    let told = Guarantees::of(&config);
    let text = match format {
        Format::Text => told.to_string().trim_end().to_owned(),
        Format::Json => json(&told).to_string(),
    };
    Ok((text, Exit::Done))
}

fn json(told: &Guarantees) -> Value {
    let rows = |rows: &[Row]| -> Value { rows.iter().map(|row| (row.name.to_owned(), Value::from(&*row.means))).collect() };
    let listeners: Vec<Value> = (told.listeners.iter())
        .map(|promises| {
            json!({
                "listener": promises.listener,
                "sync": promises.sync,
                "qos": rows(&promises.qos),
                "failures": rows(&promises.failures),
            })
        })
        .collect();
    json!({
        "place": told.place,
        "warning": told.place_warning,
        "listeners": listeners,
        "bounds": rows(&told.bounds),
        "advice": rows(&told.advice),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(set: &[&str], format: Format) -> Args {
        let set = set.iter().map(|&pair| pair.to_owned()).collect();
        Args { config: None, data_dir: Some("/data".into()), ephemeral: false, set, format }
    }

    #[test]
    fn programs_get_an_object_with_the_same_words() {
        let (text, exit) = run(args(&["durability.sync=interval"], Format::Json)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();

        assert_eq!(exit, Exit::Done);
        assert_eq!(value["listeners"][0]["sync"], "interval");
        let power = value["listeners"][0]["failures"]["the power fails"].as_str().unwrap();
        let (text, _) = run(args(&["durability.sync=interval"], Format::Text)).unwrap();
        assert!(power.contains("200 ms") && text.contains(power), "{text}");
    }

    #[test]
    fn a_wrong_configuration_is_a_usage_error() {
        let failure = run(args(&["durability.sync=sometimes"], Format::Text)).unwrap_err();

        assert_eq!(failure.exit, Exit::Usage);
    }
}
