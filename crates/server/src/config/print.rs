//! A configuration as it is in force, as a file of ours, and for each key who said it.

use std::fmt::Write as _;

use super::{
    Config, ConfigError, Sources,
    keys::{LISTENER, SHARED_GROUP},
    provenance::Line,
};

/// Whether it is said where each value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origins {
    /// Behind each.
    Shown,
    /// Not at all.
    Hidden,
}

/// The configuration of these sources as one file, with what holds where they say nothing.
///
/// # Errors
///
/// What is wrong with them, as [`Config::load`] says it.
pub fn print(sources: &Sources, origins: Origins) -> Result<String, ConfigError> {
    let config = Config::load(sources)?;
    let mut text = String::new();
    for line in config.provenance.lines(&config) {
        write(&mut text, origins, &line);
    }
    for (head, tables) in [(LISTENER, config.provenance.listeners()), (SHARED_GROUP, config.provenance.groups())] {
        for lines in tables {
            writeln!(text, "\n[[{head}]]").unwrap_or_default();
            for line in &lines {
                write(&mut text, origins, line);
            }
        }
    }
    Ok(text)
}

fn write(text: &mut String, origins: Origins, Line { key, value, place }: &Line<'_>) {
    match (value, origins) {
        (None, _) => writeln!(text, "# {key} is not set"),
        (Some(value), Origins::Shown) => writeln!(text, "{key} = {value}  # {place}"),
        (Some(value), Origins::Hidden) => writeln!(text, "{key} = {value}"),
    }
    .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn debug(config: &Config) -> String {
        format!("{config:?}")
    }

    /// What is printed means the same as what it was printed from.
    fn comes_back(sources: &Sources) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("printed.toml");
        for origins in [Origins::Shown, Origins::Hidden] {
            fs::write(&path, print(sources, origins).unwrap()).unwrap();
            let mut again = Config::load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
            let config = Config::load(sources).unwrap();
            // A default that is written down is wanted for sure.
            again.http.wanted = config.http.wanted;
            again.notes.clone_from(&config.notes);
            again.is_mosquittos = config.is_mosquittos;
            assert_eq!(debug(&again), debug(&config));
        }
    }

    #[test]
    fn a_configuration_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("columba.toml");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(
            &file,
            "data_dir = \"/srv/columba\"\n[limits]\ninflight = 50\nqueue_age = \"1d\"\n[[listener]]\nurl = \"mqtt://*:1884\"\nsync = \"none\"\n\
             [auth]\nanonymous = true\n[shared]\nstrategy = \"sticky\"\n[[shared.group]]\nname = \"g\"\nstrategy = \"hash-topic\"\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("conf.d/more.toml"),
            "limits.inflight = 60\n[[listener]]\nurl = \"ws://localhost:9001\"\npath = \"/m\"\n",
        )
        .unwrap();
        comes_back(&Sources::default());
        comes_back(&Sources { file: Some(file.clone()), ..Sources::default() });
        comes_back(&Sources {
            file: Some(file),
            env: vec![("COLUMBA__LIMITS__MAX_QOS".into(), "1".into()), ("HOME".into(), "/".into())],
            set: vec!["log.filter=columba_server=debug,warn".into(), "durability.disk_quota=90%".into()],
            listen: vec!["unix:/run/x.sock".into(), "mqtts://localhost:8883".into()],
            cert: Some("/c.pem".into()),
            key: Some("/k.pem".into()),
            ..Sources::default()
        });
    }

    #[test]
    fn each_value_names_who_said_it_last() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("columba.toml");
        fs::write(&file, "[limits]\nretain = false\ninflight = 50\nmax_qos = 0\n").unwrap();
        let text = print(
            &Sources {
                file: Some(file.clone()),
                env: vec![("COLUMBA__LIMITS__INFLIGHT".into(), "60".into())],
                set: vec!["limits.max_qos=1".into()],
                data_dir: Some("/srv".into()),
                ..Sources::default()
            },
            Origins::Shown,
        )
        .unwrap();
        for line in [
            &*format!("limits.retain = false  # {}:2:1", file.display()),
            "limits.inflight = 60  # COLUMBA__LIMITS__INFLIGHT",
            "limits.max_qos = 1  # --set limits.max_qos=1",
            "data_dir = \"/srv\"  # --data-dir /srv",
            "limits.receive_maximum = 1024  # default",
            "url = \"mqtt://localhost:1883\"  # default",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_configuration_of_mosquitto_is_printed_as_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, "listener 1884 127.0.0.1\nallow_anonymous true\nmax_queued_messages 50\n").unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };

        comes_back(&sources);
        let text = print(&sources, Origins::Shown).unwrap();
        assert!(text.contains(&format!("limits.queue_messages = 50  # {}", file.display())), "{text}");
    }
}
